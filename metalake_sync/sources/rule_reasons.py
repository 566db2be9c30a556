"""Why the scan includes or excludes a file, as text.

Owns: the sentences. Must not: have rules of its own; `FolderRules` decides.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from metalake_sync.sources.rules import (
    _ENDINGS,
    _NEVER_FILES,
    _NEVER_FOLDERS,
    _UNFINISHED,
    IGNORE_FILE,
    FolderRules,
    PatternList,
    ScanRules,
)


def why_taken_or_not(root: str, rules: ScanRules, relative_path: str) -> tuple[bool, str]:
    """Return whether the scan of `root` includes a file, and the rule that decides. `relative_path` starts at "
    "`root`."""
    *folders, filename = relative_path.split("/")
    here = rules.at_root()
    path = ""
    for folder in (None, *folders):
        if folder is not None:
            if not here.wants_folder(folder):
                return False, _why_not_folder(here, folder)
            path = f"{path}/{folder}" if path else folder
            here = here.below(path)
        ignore_file = os.path.join(root, path, IGNORE_FILE)
        if os.path.lexists(ignore_file):
            try:
                here = here.with_ignore_file(ignore_file)
            except OSError as error:
                return False, f"'{os.path.join(path, IGNORE_FILE)}' can't be read ({error.strerror})"
    if not here.wants_file(filename):
        return False, _why_not_file(here, filename)
    return True, _why_taken(here, filename)


def _why_not_folder(here: FolderRules, name: str) -> str:
    path = f"{here.folder}/{name}" if here.folder else name
    if not here.rules.recursive:
        return "it is in a subfolder, and 'recursive' is false"
    if name in _NEVER_FOLDERS:
        return f"files in '{name}' are never uploaded"
    pattern = next((one for one in here.rules.exclude if PatternList([one]).verdict(path, is_folder=True)), None)
    if pattern is not None:
        return f"exclude pattern '{pattern}' excludes the folder '{path}'"
    return f"a {IGNORE_FILE} file excludes the folder '{path}'"


def _why_not_file(here: FolderRules, name: str) -> str:
    rules = here.rules
    if _ENDINGS[rules.media_type].search(name) is None:
        return f"it does not have an extension of type '{rules.media_type}'"
    if name in _NEVER_FILES:
        return f"'{name}' is never uploaded"
    if name.endswith(_UNFINISHED):
        return "its name is that of an unfinished file"
    if rules.include and _first(rules.include, here.folder, name) is None:
        return f"no include pattern matches it ({', '.join(map(repr, rules.include))})"
    pattern = _first(rules.exclude, here.folder, name)
    if pattern is not None:
        return f"exclude pattern '{pattern}' excludes it"
    return f"a {IGNORE_FILE} file excludes it"


def _why_taken(here: FolderRules, name: str) -> str:
    if not here.rules.include:
        return f"every file of type '{here.rules.media_type}' is included"
    pattern = _first(here.rules.include, here.folder, name)
    return f"include pattern '{pattern}' matches it" if pattern is not None else "an include pattern matches its folder"


def _first(patterns: Sequence[str], folder: str, name: str) -> str | None:
    """Return the first pattern that matches alone. If only all of them together match, return all."""
    if not patterns or not PatternList(patterns).takes_file(folder, name):
        return None
    alone = (one for one in patterns if PatternList([one]).takes_file(folder, name))
    return next(alone, ", ".join(patterns))
