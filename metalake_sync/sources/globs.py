"""Lists of patterns in the grammar of gitignore, with git's own semantics.

Owns: the order of a list, and matching many patterns at once: a list becomes a few sets of literals and a few regular
expressions over bytes. Must not: read files, or know the grammar of one line (`glob_syntax`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from metalake_sync.sources.glob_syntax import Malformed, Pattern, parse_line


@dataclass(slots=True)
class _Run:
    """Consecutive patterns with the same sign, whose order does not matter. Sets hold literals, lists expressions."""

    negative: bool
    names: set[bytes] = field(default_factory=set)
    folder_names: set[bytes] = field(default_factory=set)
    paths: set[bytes] = field(default_factory=set)
    folder_paths: set[bytes] = field(default_factory=set)
    name_expressions: list[bytes] = field(default_factory=list)
    folder_name_expressions: list[bytes] = field(default_factory=list)
    path_expressions: list[bytes] = field(default_factory=list)
    folder_path_expressions: list[bytes] = field(default_factory=list)

    def add(self, pattern: Pattern) -> None:
        if pattern.by_name:
            literals = self.folder_names if pattern.folders_only else self.names
            expressions = self.folder_name_expressions if pattern.folders_only else self.name_expressions
        else:
            literals = self.folder_paths if pattern.folders_only else self.paths
            expressions = self.folder_path_expressions if pattern.folders_only else self.path_expressions
        if pattern.literal is not None:
            literals.add(pattern.literal)
        else:
            expressions.append(pattern.expression)

    def matcher(self) -> Callable[[bytes, bytes, bool], bool]:
        """Return a function of a path, its last part and whether it is a folder. It says whether a pattern matches."""
        names, folder_names, paths, folder_paths = self.names, self.folder_names, self.paths, self.folder_paths
        by_name, by_folder_name = _any_of(self.name_expressions), _any_of(self.folder_name_expressions)
        by_path, by_folder_path = _any_of(self.path_expressions), _any_of(self.folder_path_expressions)

        def matches(path: bytes, name: bytes, is_folder: bool) -> bool:
            return (
                name in names
                or path in paths
                or by_name(name) is not None
                or by_path(path) is not None
                or (
                    is_folder
                    and (
                        name in folder_names
                        or path in folder_paths
                        or by_folder_name(name) is not None
                        or by_folder_path(path) is not None
                    )
                )
            )

        return matches


class GlobList:
    """A list of patterns, given as the lines of an ignore file.

    With `strict`, a pattern that can match nothing, or something else than it says, raises Malformed. Otherwise it has
    the meaning that git gives it.
    """

    def __init__(self, lines: Iterable[str], *, strict: bool = False) -> None:
        runs: list[_Run] = []
        for line in lines:
            try:
                pattern = parse_line(line.encode("utf-8", "surrogateescape"), strict)
            except Malformed as error:
                if strict:
                    raise Malformed(f"'{line}': {error}") from None
                continue
            if pattern is None:
                continue
            if not runs or runs[-1].negative != pattern.negative:
                runs.append(_Run(pattern.negative))
            runs[-1].add(pattern)
        self._matchers = [(number, run.matcher()) for number, run in enumerate(runs, start=1)][::-1]
        self._signs = [None, *(not run.negative for run in runs)]

    def rank(self, path: bytes, *, is_folder: bool) -> int:
        """Return the rank of the last pattern that matches a path. Ranks grow along the list; 0 means no match."""
        name = path[path.rfind(b"/") + 1 :]
        for number, matches in self._matchers:
            if matches(path, name, is_folder):
                return number
        return 0

    def sign(self, rank: int) -> bool | None:
        """Return what a rank means: True includes the path, False excludes it ('!'), None decides nothing."""
        return self._signs[rank]


def _any_of(expressions: Sequence[bytes]) -> Callable[[bytes], object]:
    if not expressions:
        return lambda _: None
    return re.compile(b"|".join(b"(?:%s)" % one for one in expressions), re.DOTALL).fullmatch
