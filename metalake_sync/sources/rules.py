"""Which files of a folder are wanted: media type, include and exclude patterns, ignore files, and what is never wanted.

Patterns speak gitignore's grammar (`globs`), relative to the scanned folder. Most lists of patterns name only names
of files ("*.jpg"): those are compiled to one expression over the name, because they are asked for every file.
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
from metalake_sync.sources.regular_files import read_small_file

if TYPE_CHECKING:
    from metalake_sync.sources.globs import GlobList

IGNORE_FILE = ".metalakeignore"

_NEVER_FOLDERS = frozenset({".metalake-sync", ".metalake", ".git"})
_NEVER_FILES = frozenset({IGNORE_FILE, ".DS_Store", "Thumbs.db"})
_UNFINISHED = (".part", "~", ".swp", ".crdownload", ".tmp")

_ENDINGS = {
    MediaType.IMAGE: re.compile(r".\.(?:jpe?g|png)\Z", re.IGNORECASE | re.DOTALL),
    MediaType.VIDEO: re.compile(r".\.(?:mp4|mkv)\Z", re.IGNORECASE | re.DOTALL),
    MediaType.OTHER: re.compile(r".", re.DOTALL),
}

_PLAIN_NAME_PATTERN = re.compile(r"[^/!#\\\s\[?][^/\\\[?]*[^/\\\s\[?]|[^/!#\\\s\[?]")
"""A pattern that speaks of a file's name alone, and means the same in characters as in bytes: no slash, no negation, no
comment, no class, no `?`, no blank at its ends."""

IGNORE_FILE_LIMIT_BYTES = 1 << 20


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

    `strict`: raise ManifestError for a pattern that can match nothing; else it is passed over, as git does.
    """

    def __init__(self, patterns: Sequence[str], *, strict: bool = True) -> None:
        self.patterns = tuple(patterns)
        self._globs = _compiled(self.patterns, strict) if self.patterns else None
        self._names = _one_expression(self.patterns)
        self._rank_of_folder: tuple[str, int] = ("", 0)

    def verdict(self, path: str, *, is_folder: bool = False) -> bool | None:
        """What the last pattern that matches a path says, as git asks it. True: it takes the path. False: it takes it
        back ('!'). None: no pattern matches. The folders above must have been asked before."""
        if self._globs is None:
            return None
        return self._globs.sign(self._globs.rank(os.fsencode(path), is_folder=is_folder))

    def takes_file(self, folder: str, name: str) -> bool:
        """Whether the last pattern that matches a file, or a folder above it, takes it."""
        if self._names is not None and self._names.match(name) is not None:
            return True
        if self._globs is None:
            return False
        if self._rank_of_folder[0] != folder:
            self._rank_of_folder = (folder, self.rank_of_folder(folder))
        return self.takes_file_below(self._rank_of_folder[1], folder, name)

    def rank_of_folder(self, folder: str) -> int:
        """How late in the list the last pattern stands that matches a folder, or one above it; 0 for none."""
        parts = folder.split("/") if folder else []
        return max((self.rank_of_one_folder("/".join(parts[:end])) for end in range(1, len(parts) + 1)), default=0)

    def rank_of_one_folder(self, folder: str) -> int:
        """The same of the folder alone."""
        return self._globs.rank(os.fsencode(folder), is_folder=True) if self._globs is not None else 0

    def takes_file_below(self, rank: int, folder: str, name: str) -> bool:
        """Whether a file is taken. `rank`: of its folder."""
        if self._names is not None:
            # There is nothing but names that take.
            return rank > 0 or self._names.match(name) is not None
        if self._globs is None:
            return False
        path = os.fsencode(f"{folder}/{name}" if folder else name)
        return bool(self._globs.sign(max(rank, self._globs.rank(path, is_folder=False))))

    @property
    def only_takes(self) -> bool:
        """Whether no pattern of the list takes anything back."""
        return not any(pattern.startswith("!") for pattern in self.patterns)

    def takes_folder(self, rank: int) -> bool:
        """Whether a folder of this rank is taken."""
        return self._globs is not None and bool(self._globs.sign(rank))


def _compiled(patterns: Sequence[str], strict: bool) -> GlobList:
    # Most lists are empty.
    from metalake_sync.sources.globs import GlobList

    try:
        return GlobList(patterns, strict=strict)
    except ValueError as error:
        raise ManifestError(
            f"the pattern can't be understood: {error}", remedy="Patterns are written as in a .gitignore file."
        ) from None


def _one_expression(patterns: Sequence[str]) -> re.Pattern[str] | None:
    """One expression over the file name, if every pattern speaks of names alone."""
    if not patterns or not all(_PLAIN_NAME_PATTERN.fullmatch(pattern) for pattern in patterns):
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
        return FolderRules(self, "", _checked=(self.includes, self.excludes))


@dataclass(frozen=True, slots=True)
class FolderRules:
    """The rules in one folder of the scan. `rank`: of the folder among the include patterns. `ignores`: the ignore
    files that reach here, each with the folder that it stands in, the deepest last."""

    rules: ScanRules
    folder: str
    rank: int = 0
    ignores: tuple[tuple[str, PatternList], ...] = ()
    _checked: tuple[PatternList, ...] = field(default=(), repr=False)

    @property
    def included(self) -> bool:
        """Whether the folder as a whole is included, so that a file in it is, unless a later pattern takes it back."""
        return not self.rules.include or self.rules.includes.takes_folder(self.rank)

    def below(self, folder: str) -> FolderRules:
        """The rules in a folder right below this one. `folder`: from the scanned folder."""
        rank = max(self.rank, self.rules.includes.rank_of_one_folder(folder)) if self.rules.include else 0
        return replace(self, folder=folder, rank=rank)

    def with_ignore_file(self, path: str, *, dir_fd: int | None = None) -> FolderRules:
        """These rules with the folder's ignore file. Raises OSError if it can't be read."""
        patterns = PatternList(read_ignore_file(path, dir_fd=dir_fd), strict=False)
        return replace(self, ignores=(*self.ignores, (self.folder, patterns)))

    def wants_folder(self, name: str) -> bool:
        """Whether to walk into a folder: what is excluded as a whole is not even listed."""
        if not self.rules.recursive or is_never_walked(name):
            return False
        path = f"{self.folder}/{name}" if self.folder else name
        if self.rules.exclude and self.rules.excludes.verdict(path, is_folder=True):
            return False
        return not self.ignores or not self._ignored(path, is_folder=True)

    def file_filter(self) -> Callable[[str], object]:
        """`wants_file` for many names of this folder: where only the media type counts, one compiled expression."""
        rules = self.rules
        all_included = not rules.include or (self.included and rules.includes.only_takes)
        if rules.media_type is MediaType.OTHER or not all_included or rules.exclude or self.ignores:
            return self.wants_file
        # No name that is never wanted ends like a picture or a film.
        return _ENDINGS[rules.media_type].search

    def wants_file(self, name: str) -> bool:
        rules = self.rules
        if _ENDINGS[rules.media_type].search(name) is None:
            return False
        if is_never_wanted(name):
            return False
        if rules.include and not rules.includes.takes_file_below(self.rank, self.folder, name):
            return False
        if rules.exclude and rules.excludes.takes_file_below(0, self.folder, name):
            return False
        return not self.ignores or not self._ignored(f"{self.folder}/{name}" if self.folder else name, is_folder=False)

    def _ignored(self, path: str, *, is_folder: bool) -> bool:
        """What the deepest ignore file that speaks of the path says."""
        for base, patterns in reversed(self.ignores):
            verdict = patterns.verdict(path[len(base) + 1 :] if base else path, is_folder=is_folder)
            if verdict is not None:
                return verdict
        return False


def read_ignore_file(path: str, *, dir_fd: int | None = None) -> list[str]:
    """The lines of an ignore file: UTF-8, or UTF-16 with its mark. Raises OSError for one that can't be read, with the
    reason in `strerror`."""
    content = read_small_file(path, IGNORE_FILE_LIMIT_BYTES, dir_fd=dir_fd)
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "not UTF-8 text", path) from None
    if "\0" in text:
        raise OSError(errno.EILSEQ, "not a text: it has NUL characters", path)
    # Git ends a line at "\n" alone, and takes a "\r" before it for a part of the ending.
    return [line.removesuffix("\r") for line in text.split("\n")]
