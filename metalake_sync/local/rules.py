"""Which files of a folder are wanted: media type, include and exclude patterns, ignore files, and what is never wanted.

Patterns speak gitignore's grammar, through pathspec, relative to the scanned folder. Most lists of patterns name only
file names ("*.jpg"): those are compiled to one expression over the name, because they are asked for every file.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from metalake_sync.core.facts import MediaType
from metalake_sync.errors import ManifestError
from metalake_sync.local.globs import compile_patterns

IGNORE_FILE = ".metalakeignore"

_NEVER_FOLDERS = frozenset({".metalake-sync", ".metalake", ".git"})
_NEVER_FILES = frozenset({IGNORE_FILE, ".DS_Store", "Thumbs.db"})
_UNFINISHED = (".part", "~", ".swp", ".crdownload", ".tmp")

_ENDINGS = {
    MediaType.IMAGE: re.compile(r".\.(?:jpe?g|png)\Z", re.IGNORECASE | re.DOTALL),
    MediaType.VIDEO: re.compile(r".\.(?:mp4|mkv)\Z", re.IGNORECASE | re.DOTALL),
    MediaType.OTHER: re.compile(r".", re.DOTALL),
}

_PLAIN_NAME_PATTERN = re.compile(r"[^/!#\\\s\[][^/\\\[]*[^/\\\s\[]|[^/!#\\\s\[]")
"""A pattern that speaks of a file's name alone: no slash, no negation, no comment, no class, no blank at its ends."""


def is_never_wanted(name: str) -> bool:
    """Whether no rule takes a file of this name: unfinished ones, and what systems leave lying about."""
    return name in _NEVER_FILES or name.endswith(_UNFINISHED)


def is_never_walked(folder: str) -> bool:
    """Whether no scan enters a folder of this name."""
    return folder in _NEVER_FOLDERS


def has_ending_of(media_type: MediaType, name: str) -> bool:
    """Whether a file of this name is one of the type."""
    return _ENDINGS[media_type].search(name) is not None


class PatternList:
    """A list of patterns in gitignore's grammar, matched against paths relative to one folder.

    Raises ManifestError for a pattern that is none.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        try:
            # Most lists are empty, and loading pathspec takes 8 ms.
            self._spec = compile_patterns(self.patterns) if self.patterns else None
        except (ValueError, TypeError) as error:
            raise ManifestError(
                f"{', '.join(map(repr, self.patterns))} holds a pattern that can't be understood ({error})",
                remedy="Patterns are written as in a .gitignore file.",
            ) from None
        self._names = _one_expression(self.patterns)

    def matches_folder(self, path: str) -> bool:
        return self._spec is not None and self._spec.match_file(path + "/")

    def matches_file(self, folder: str, name: str) -> bool:
        """Match one file; the folders above it were asked before (`matches_folder`)."""
        if self._names is not None:
            return self._names.match(name) is not None
        return self._spec is not None and self._spec.match_file(f"{folder}/{name}" if folder else name)

    def verdict(self, path: str) -> bool | None:
        """True: matched. False: taken back by a later '!' pattern. None: no pattern speaks of it."""
        return None if self._spec is None else self._spec.check_file(path).include


def _one_expression(patterns: Sequence[str]) -> re.Pattern[str] | None:
    """One expression over the file name, if every pattern speaks of names alone."""
    if not all(_PLAIN_NAME_PATTERN.fullmatch(pattern) for pattern in patterns):
        return None
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))


@dataclass(frozen=True)
class ScanRules:
    """What is wanted below one folder. An empty `include` takes every file of the media type."""

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

    def at_root(self) -> FolderRules:
        """The rules as they stand in the scanned folder itself. Raises ManifestError for a bad pattern."""
        return FolderRules(self, "", included=not self.include, _checked=(self.includes, self.excludes))


@dataclass(frozen=True, slots=True)
class FolderRules:
    """The rules in one folder of the scan. `included`: the folder as a whole is included, so every file in it is.
    `ignores`: the ignore files that reach here, each with the folder that it stands in, the deepest last."""

    rules: ScanRules
    folder: str
    included: bool
    ignores: tuple[tuple[str, PatternList], ...] = ()
    _checked: tuple[PatternList, ...] = field(default=(), repr=False)

    def below(self, folder: str) -> FolderRules:
        """The rules in a folder below this one. `folder`: from the scanned folder."""
        included = self.included or self.rules.includes.matches_folder(folder)
        return replace(self, folder=folder, included=included)

    def with_ignore_file(self, path: str) -> FolderRules:
        """These rules with the folder's ignore file. Raises ManifestError if it can't be read."""
        try:
            with open(path, encoding="utf-8") as file:
                patterns = PatternList(file.read().splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(
                f"the ignore file can't be read ({error})",
                where=path,
                remedy="Make it readable UTF-8 text, or remove it.",
            ) from None
        return replace(self, ignores=(*self.ignores, (self.folder, patterns)))

    def wants_folder(self, name: str) -> bool:
        """Whether to walk into a folder: what is excluded as a whole is not even listed."""
        if not self.rules.recursive or is_never_walked(name):
            return False
        path = f"{self.folder}/{name}" if self.folder else name
        if self.rules.exclude and self.rules.excludes.matches_folder(path):
            return False
        return not self._ignored(path + "/")

    def file_filter(self) -> Callable[[str], object]:
        """`wants_file` for many names of this folder: where only the media type counts, one compiled expression."""
        rules = self.rules
        if rules.media_type is MediaType.OTHER or not self.included or rules.exclude or self.ignores:
            return self.wants_file
        # No name that is never wanted ends like a picture or a film.
        return _ENDINGS[rules.media_type].search

    def wants_file(self, name: str) -> bool:
        rules = self.rules
        if _ENDINGS[rules.media_type].search(name) is None:
            return False
        if is_never_wanted(name):
            return False
        if not self.included and not rules.includes.matches_file(self.folder, name):
            return False
        if rules.exclude and rules.excludes.matches_file(self.folder, name):
            return False
        return not self.ignores or not self._ignored(f"{self.folder}/{name}" if self.folder else name)

    def _ignored(self, path: str) -> bool:
        """What the deepest ignore file that speaks of the path says."""
        for base, patterns in reversed(self.ignores):
            verdict = patterns.verdict(path[len(base) + 1 :] if base else path)
            if verdict is not None:
                return verdict
        return False
