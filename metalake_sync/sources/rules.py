"""Which files of a folder to upload, and why: by media type, patterns, ignore files, and fixed exclusions.

Owns: these rules, and the sentences that explain them. Must not: walk a folder. Patterns have the grammar of gitignore
(`globs`), relative to the scanned folder. Lists that match file names only ("*.jpg") become one expression over the
name, because they run for every file.

Longer than 300 lines, because each sentence is the reason of one rule, and both change together.
"""

from __future__ import annotations

import codecs
import errno
import fnmatch
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from metalake_sync.core.snapshots import MediaType
from metalake_sync.errors import ManifestError
from metalake_sync.sources.junk import JUNK, START_OF_JUNK, JunkNames, junk_under
from metalake_sync.sources.opening import read_small_file

if TYPE_CHECKING:
    from metalake_sync.sources.globs import GlobList

IGNORE_FILE = ".metalakeignore"

_ENDINGS = {
    MediaType.IMAGE: re.compile(r".\.(?:jpe?g|png)\Z", re.IGNORECASE | re.DOTALL),
    MediaType.VIDEO: re.compile(r".\.(?:mp4|mkv)\Z", re.IGNORECASE | re.DOTALL),
    MediaType.OTHER: re.compile(r".", re.DOTALL),
}

_NO_JUNK = {
    media_type: re.compile(rf"(?!(?-i:{START_OF_JUNK})).*{ending.pattern}", re.IGNORECASE | re.DOTALL)
    for media_type, ending in _ENDINGS.items()
}
"""File names with an extension of the media type that no rule excludes. The other rules concern other extensions."""

_PLAIN_NAME_PATTERN = re.compile(r"[^/!#\\\s\[?][^/\\\[?]*[^/\\\s\[?]|[^/!#\\\s\[?]")
"""A pattern that matches file names only, and matches characters as it matches bytes: without slash, negation, comment,
class, `?` and surrounding blanks."""

IGNORE_FILE_LIMIT_BYTES = 1 << 20


def has_ending_of(media_type: MediaType, name: str) -> bool:
    """Return whether a file name has an extension of the media type."""
    return _ENDINGS[media_type].search(name) is not None


class PatternList:
    """A list of patterns in the grammar of gitignore, matched against paths relative to one folder.

    With `strict`, a pattern that can match nothing raises ManifestError. Otherwise it is ignored, as git does.
    """

    def __init__(self, patterns: Sequence[str], *, strict: bool = True) -> None:
        self.patterns = tuple(patterns)
        self._globs = _compiled(self.patterns, strict) if self.patterns else None
        self._names = _one_expression(self.patterns)
        self._rank_of_folder: tuple[str, int] = ("", 0)

    def verdict(self, path: str, *, is_folder: bool = False) -> bool | None:
        """Return the verdict of the last pattern that matches a path, as in git. True: it matches. False: it is negated
        ('!'). None: no pattern matches. The caller checks the folders above first."""
        if self._globs is None:
            return None
        return self._globs.sign(self._globs.rank(os.fsencode(path), is_folder=is_folder))

    def takes_file(self, folder: str, name: str) -> bool:
        """Return whether the last pattern that matches a file, or a folder above it, includes it."""
        if self._names is not None and self._names.match(name) is not None:
            return True
        if self._globs is None:
            return False
        if self._rank_of_folder[0] != folder:
            self._rank_of_folder = (folder, self.rank_of_folder(folder))
        return self.takes_file_below(self._rank_of_folder[1], folder, name)

    def rank_of_folder(self, folder: str) -> int:
        """Return the rank of the last pattern that matches a folder or one above it, 0 for none. Ranks grow "
        "along the list."""
        parts = folder.split("/") if folder else []
        return max((self.rank_of_one_folder("/".join(parts[:end])) for end in range(1, len(parts) + 1)), default=0)

    def rank_of_one_folder(self, folder: str) -> int:
        """Return the rank of the last pattern that matches this folder, 0 for none."""
        return self._globs.rank(os.fsencode(folder), is_folder=True) if self._globs is not None else 0

    def takes_file_below(self, rank: int, folder: str, name: str) -> bool:
        """Return whether a file is included. `rank` is that of its folder."""
        if self._names is not None:
            # The list has only names, and no negation.
            return rank > 0 or self._names.match(name) is not None
        if self._globs is None:
            return False
        path = os.fsencode(f"{folder}/{name}" if folder else name)
        return bool(self._globs.sign(max(rank, self._globs.rank(path, is_folder=False))))

    @property
    def only_takes(self) -> bool:
        """Whether the list has no negated pattern."""
        return not any(pattern.startswith("!") for pattern in self.patterns)

    def takes_folder(self, rank: int) -> bool:
        """Return whether a folder of this rank is included."""
        return self._globs is not None and bool(self._globs.sign(rank))


def _compiled(patterns: Sequence[str], strict: bool) -> GlobList:
    # Most lists are empty.
    from metalake_sync.sources.globs import GlobList

    try:
        return GlobList(patterns, strict=strict)
    except ValueError as error:
        raise ManifestError(f"invalid pattern: {error}", remedy="Write patterns as in a .gitignore file.") from None


def _one_expression(patterns: Sequence[str]) -> re.Pattern[str] | None:
    """Return one expression over the file name, if every pattern matches names only."""
    if not patterns or not all(_PLAIN_NAME_PATTERN.fullmatch(pattern) for pattern in patterns):
        return None
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))


@dataclass(frozen=True)
class ScanRules:
    """The rules of one scanned folder. An empty `include` selects every file of the media type."""

    media_type: MediaType
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    recursive: bool = True
    follow_symlinks: bool = False

    @cached_property
    def includes(self) -> PatternList:
        return PatternList(self.include)

    @cached_property
    def excludes(self) -> PatternList:
        return PatternList(self.exclude)

    @cached_property
    def junk(self) -> JunkNames:
        return junk_under(self.include)

    def at_root(self) -> FolderRules:
        """Return the rules in the scanned folder itself. Raises ManifestError for an invalid pattern."""
        return FolderRules(self, "", _checked=(self.includes, self.excludes))


@dataclass(frozen=True, slots=True)
class FolderRules:
    """The rules in one folder of a scan."""

    rules: ScanRules
    folder: str
    rank: int = 0
    """The rank of the folder among the include patterns."""
    ignores: tuple[tuple[str, PatternList], ...] = ()
    """The ignore files of this folder and those above, each with its folder, the deepest last."""
    _checked: tuple[PatternList, ...] = field(default=(), repr=False)

    @property
    def included(self) -> bool:
        """Whether the folder is included, so that its files are, unless a later pattern excludes them."""
        return not self.rules.include or self.rules.includes.takes_folder(self.rank)

    def below(self, folder: str) -> FolderRules:
        """Return the rules in a direct subfolder. `folder` is relative to the scanned folder."""
        rank = max(self.rank, self.rules.includes.rank_of_one_folder(folder)) if self.rules.include else 0
        return replace(self, folder=folder, rank=rank)

    def with_ignore_file(self, path: str, *, dir_fd: int | None = None) -> FolderRules:
        """Return these rules with the folder's ignore file. Raises OSError if it cannot be read."""
        patterns = PatternList(read_ignore_file(path, dir_fd=dir_fd), strict=False)
        return replace(self, ignores=(*self.ignores, (self.folder, patterns)))

    def wants_folder(self, name: str) -> bool:
        """Return whether to scan a subfolder. Excluded folders are not listed."""
        if not self.rules.recursive or self.rules.junk.is_folder(name):
            return False
        path = f"{self.folder}/{name}" if self.folder else name
        if self.rules.exclude and self.rules.excludes.verdict(path, is_folder=True):
            return False
        return not self.ignores or not self._ignored(path, is_folder=True)

    def file_filter(self) -> Callable[[str], object]:
        """Return `wants_file`, or a compiled expression that is equal to it if only the media type counts."""
        rules = self.rules
        all_included = not rules.include or (self.included and rules.includes.only_takes)
        fast = all_included and rules.junk is JUNK and not rules.exclude and not self.ignores
        if rules.media_type is MediaType.OTHER or not fast:
            return self.wants_file
        return _NO_JUNK[rules.media_type].match

    def wants_file(self, name: str) -> bool:
        rules = self.rules
        if _ENDINGS[rules.media_type].search(name) is None:
            return False
        if rules.junk.is_file(name):
            return False
        if rules.include and not rules.includes.takes_file_below(self.rank, self.folder, name):
            return False
        if rules.exclude and rules.excludes.takes_file_below(0, self.folder, name):
            return False
        return not self.ignores or not self._ignored(f"{self.folder}/{name}" if self.folder else name, is_folder=False)

    def _ignored(self, path: str, *, is_folder: bool) -> bool:
        """Return the verdict of the deepest ignore file that has one for the path."""
        for base, patterns in reversed(self.ignores):
            verdict = patterns.verdict(path[len(base) + 1 :] if base else path, is_folder=is_folder)
            if verdict is not None:
                return verdict
        return False


def read_ignore_file(path: str, *, dir_fd: int | None = None) -> list[str]:
    """Return the lines of an ignore file: UTF-8, or UTF-16 with a byte order mark.

    Raises OSError if it cannot be read, with the reason in `strerror`.
    """
    content = read_small_file(path, IGNORE_FILE_LIMIT_BYTES, dir_fd=dir_fd)
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "not UTF-8 text", path) from None
    if "\0" in text:
        raise OSError(errno.EILSEQ, "not text: it has NUL characters", path)
    # Git ends lines at "\n" and removes a "\r" before it.
    return [line.removesuffix("\r") for line in text.split("\n")]


def explain_scan(root: str, rules: ScanRules, relative_path: str) -> tuple[bool, str]:
    """Return whether the scan of `root` includes a file, and a sentence with the rule that decides.

    `relative_path` is relative to `root`.
    """
    *folders, filename = relative_path.split("/")
    here = rules.at_root()
    path = ""
    for folder in (None, *folders):
        if folder is not None:
            if not here.wants_folder(folder):
                return False, _why_folder_excluded(here, folder)
            path = f"{path}/{folder}" if path else folder
            here = here.below(path)
        ignore_file = os.path.join(root, path, IGNORE_FILE)
        if os.path.lexists(ignore_file):
            try:
                here = here.with_ignore_file(ignore_file)
            except OSError as error:
                return False, f"'{os.path.join(path, IGNORE_FILE)}' can't be read ({error.strerror})"
    if not here.wants_file(filename):
        return False, _why_file_excluded(here, filename)
    return True, _why_included(here, filename)


def _why_folder_excluded(here: FolderRules, name: str) -> str:
    path = f"{here.folder}/{name}" if here.folder else name
    if not here.rules.recursive:
        return "it is in a subfolder, and 'recursive' is false"
    if (why := here.rules.junk.why_folder(name)) is not None:
        return why
    pattern = next((one for one in here.rules.exclude if PatternList([one]).verdict(path, is_folder=True)), None)
    if pattern is not None:
        return f"exclude pattern '{pattern}' excludes the folder '{path}'"
    return f"a {IGNORE_FILE} file excludes the folder '{path}'"


def _why_file_excluded(here: FolderRules, name: str) -> str:
    rules = here.rules
    if not has_ending_of(rules.media_type, name):
        return f"it does not have an extension of type '{rules.media_type}'"
    if (why := rules.junk.why_file(name)) is not None:
        return why
    if rules.include and _first_match(rules.include, here.folder, name) is None:
        return f"no include pattern matches it ({', '.join(map(repr, rules.include))})"
    pattern = _first_match(rules.exclude, here.folder, name)
    if pattern is not None:
        return f"exclude pattern '{pattern}' excludes it"
    return f"a {IGNORE_FILE} file excludes it"


def _why_included(here: FolderRules, name: str) -> str:
    if not here.rules.include:
        return f"every file of type '{here.rules.media_type}' is included"
    pattern = _first_match(here.rules.include, here.folder, name)
    return f"include pattern '{pattern}' matches it" if pattern is not None else "an include pattern matches its folder"


def _first_match(patterns: Sequence[str], folder: str, name: str) -> str | None:
    """Return the first pattern that matches alone. If only all of them together match, return all."""
    if not patterns or not PatternList(patterns).takes_file(folder, name):
        return None
    alone = (one for one in patterns if PatternList([one]).takes_file(folder, name))
    return next(alone, ", ".join(patterns))
