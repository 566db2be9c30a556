"""Patterns in gitignore's grammar that no name can make slow.

pathspec turns each star into `[^/]*`, and a pattern of many stars then tries every way of sharing a name among them:
one of fifteen stars never ends on a name of two hundred letters. Within one part of a path the first place where a
piece fits is as good as any later one, so each star but the last of its part takes that one and never comes back
(`(?>…)`), as `fnmatch` does it. The same holds for `**` and the parts behind it, up to the next `**`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathspec

_STAR = re.escape("[^/]*")
_PIECE = r"(?:\\.|\[(?:\\.|[^\]\\])+\]|[^\\\[\]()/|*+?^$])+"
_STAR_AND_PIECE = re.compile(f"{_STAR}({_PIECE})(?={_STAR})")
_STARS = re.compile(f"(?:{_STAR}){{2,}}")

_PARTS_IN_FRONT = "^(?:.+/)?"
_PARTS_BETWEEN = "(?:/.+)?"
"""What pathspec makes of `**/` at a pattern's beginning, and of `/**` in it. A user's own characters can't make them:
a slash in a pattern always ends a part."""


def compile_patterns(lines: Iterable[str]) -> pathspec.GitIgnoreSpec:
    """Raises ValueError for a line that is no pattern."""
    import pathspec
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    patterns = []
    try:
        spec = pathspec.GitIgnoreSpec.from_lines(lines)
    except re.error as error:
        # A range that runs backwards, such as [z-a].
        raise ValueError(str(error)) from None
    for pattern in spec.patterns:
        if pattern.regex is not None:
            pattern = GitIgnoreSpecPattern(_without_coming_back(pattern.regex), pattern.include)
        patterns.append(pattern)
    return pathspec.GitIgnoreSpec(patterns)


def _without_coming_back(expression: re.Pattern[str]) -> re.Pattern[str]:
    text = _STARS.sub("[^/]*", expression.pattern)
    text = _STAR_AND_PIECE.sub(r"(?>[^/]*?\1)", text)
    first, *later = text.split(_PARTS_BETWEEN)
    if not later:
        return re.compile(text)
    if first.startswith(_PARTS_IN_FRONT):
        first = f"^(?>(?:.+?/)??{first.removeprefix(_PARTS_IN_FRONT)}(?=/))"
    between = "".join(f"(?>(?:/.+?)??{block}(?=/))" for block in later[:-1])
    return re.compile(f"{first}{between}{_PARTS_BETWEEN}{later[-1]}")
