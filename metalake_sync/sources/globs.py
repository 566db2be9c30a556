"""Patterns in gitignore's grammar, with git's own semantics, quirks included, and in bounded time.

A list of patterns becomes a few regular expressions over bytes, because git matches bytes: `?` is one byte. Source:
gitignore(5), and git 2.39's dir.c (`parse_path_pattern`, `match_basename`, `match_pathname`) and wildmatch.c
(`dowild`). Must not: read files, or use a library whose backend depends on what else is installed.

Time: a pattern of many stars could try every way of sharing a name among them. Within one part of a path the first
place where a piece fits is as good as any later one, so each star but the last takes that one and never comes back
(`(?>…)`), as `fnmatch` does it. The same holds for `**/` and the parts behind it, up to the next `**/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

_SPECIAL = b"*?[\\"
_SLASH, _BACKSLASH, _BRACKET = b"/"[0], b"\\"[0], b"["[0]
_STAR, _QUESTION, _CLOSING, _DASH, _BLANK = b"*"[0], b"?"[0], b"]"[0], b"-"[0], b" "[0]

_ASCII = range(128)
_CLASSES: dict[bytes, frozenset[int]] = {
    b"alnum": frozenset(byte for byte in _ASCII if chr(byte).isalnum()),
    b"alpha": frozenset(byte for byte in _ASCII if chr(byte).isalpha()),
    b"blank": frozenset(b" \t"),
    b"cntrl": frozenset([*range(32), 127]),
    b"digit": frozenset(b"0123456789"),
    b"graph": frozenset(range(33, 127)),
    b"lower": frozenset(byte for byte in _ASCII if chr(byte).islower()),
    b"print": frozenset(range(32, 127)),
    b"punct": frozenset(byte for byte in range(33, 127) if not chr(byte).isalnum()),
    b"space": frozenset(b" \t\n\r"),
    b"upper": frozenset(byte for byte in _ASCII if chr(byte).isupper()),
    b"xdigit": frozenset(b"0123456789abcdefABCDEF"),
}


class Malformed(ValueError):
    """The pattern can match nothing. Says why."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """`negative`: it takes back. `folders_only`: it ended with a slash. `by_name`: it has no other slash, and is
    matched with the last part of a path. `expression`: over bytes, to be matched in full; `literal`: what it stands for
    where it has no wildcard."""

    negative: bool
    folders_only: bool
    by_name: bool
    expression: bytes
    literal: bytes | None


@dataclass(slots=True)
class _Run:
    """Patterns that follow each other and agree in their sign, so that their order does not matter. Each set holds
    literals; each list holds expressions."""

    negative: bool
    names: set[bytes] = field(default_factory=set)
    folder_names: set[bytes] = field(default_factory=set)
    paths: set[bytes] = field(default_factory=set)
    folder_paths: set[bytes] = field(default_factory=set)
    name_expressions: list[bytes] = field(default_factory=list)
    folder_name_expressions: list[bytes] = field(default_factory=list)
    path_expressions: list[bytes] = field(default_factory=list)
    folder_path_expressions: list[bytes] = field(default_factory=list)

    def add(self, pattern: _Pattern) -> None:
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
        """Tells of a path, its last part and whether it is a folder's whether a pattern matches."""
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
    """A list of patterns. `lines`: as in an ignore file. `strict`: raise Malformed for a pattern that can match
    nothing, or not what it says; else it is taken as git takes it."""

    def __init__(self, lines: Iterable[str], *, strict: bool = False) -> None:
        runs: list[_Run] = []
        for line in lines:
            try:
                pattern = _parse(line.encode("utf-8", "surrogateescape"), strict)
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
        """How late in the list the last pattern stands that matches a path; 0 if none does."""
        name = path[path.rfind(b"/") + 1 :]
        for number, matches in self._matchers:
            if matches(path, name, is_folder):
                return number
        return 0

    def sign(self, rank: int) -> bool | None:
        """What a rank says: True takes, False takes back, None says nothing."""
        return self._signs[rank]


def _any_of(expressions: Sequence[bytes]) -> Callable[[bytes], object]:
    if not expressions:
        return lambda _: None
    return re.compile(b"|".join(b"(?:%s)" % one for one in expressions), re.DOTALL).fullmatch


# One line.


def _parse(line: bytes, strict: bool) -> _Pattern | None:
    """A line as dir.c takes it; None for an empty one and for a comment. Raises Malformed."""
    if line.startswith(b"#"):
        return None
    pattern = _without_trailing_blanks(line)
    if not pattern:
        return None
    negative = pattern.startswith(b"!")
    pattern = pattern[negative:]
    folders_only = pattern.endswith(b"/")
    pattern = pattern[: len(pattern) - folders_only]
    if not pattern:
        raise Malformed("it names nothing")
    by_name = b"/" not in pattern
    pattern = pattern.removeprefix(b"/")
    literal_length = next((at for at, byte in enumerate(pattern) if byte in _SPECIAL), len(pattern))
    # What stands in front of the first wildcard is compared as it is; the rest begins anew, so that in `a**/b` the
    # stars stand at a beginning.
    prefix, rest = pattern[:literal_length], pattern[literal_length:]
    if not rest:
        return _Pattern(negative, folders_only, by_name, b"", prefix)
    expression = re.escape(prefix) + _translated(list(_tokens(rest, by_path=not by_name, strict=strict)))
    return _Pattern(negative, folders_only, by_name, expression, None)


def _without_trailing_blanks(line: bytes) -> bytes:
    """Without the blanks at its end, but for an escaped one."""
    end: int | None = None
    at = 0
    while at < len(line):
        if line[at] == _BLANK:
            end = at if end is None else end
        else:
            end = None
            if line[at] == _BACKSLASH:
                at += 1
        at += 1
    return line[:end]


# Tokens: an expression of one byte, or one of these.
_ANY_NAME = b"*"
_ANY_PATH = b"**"
_ANY_FOLDERS = b"**/"
_ANY_PATH_AND_SLASH = b"**\\/"
_PART_END = b"/"


def _tokens(pattern: bytes, *, by_path: bool, strict: bool) -> Iterator[bytes]:
    """Raises Malformed."""
    at = 0
    while at < len(pattern):
        byte = pattern[at]
        if byte == _BACKSLASH:
            if at + 1 == len(pattern):
                raise Malformed("it ends with a backslash")
            yield _exactly(pattern[at + 1])
            at += 2
        elif byte == _QUESTION:
            yield b"[^/]"
            at += 1
        elif byte == _BRACKET:
            members, at = _class(pattern, at, strict)
            yield _one_of(members)
        elif byte == _STAR:
            begins = at == 0 or pattern[at - 1] == _SLASH
            first = at
            while at < len(pattern) and pattern[at] == _STAR:
                at += 1
            following = pattern[at : at + 2]
            if (
                by_path
                and at - first > 1
                and begins
                and (not following or following[:1] == b"/" or following == b"\\/")
            ):
                # An escaped slash does not match "no folder at all", as a plain one does.
                yield {b"": _ANY_PATH, b"\\/": _ANY_PATH_AND_SLASH}.get(following, _ANY_FOLDERS)
                at += {b"": 0, b"\\/": 2}.get(following, 1)
            else:
                yield _ANY_NAME
        else:
            yield _exactly(byte)
            at += 1


def _exactly(byte: int) -> bytes:
    return _PART_END if byte == _SLASH else re.escape(bytes([byte]))


def _one_of(members: frozenset[int]) -> bytes:
    if not members:
        raise Malformed("a class in it holds no character")
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(members)) + b"]"


def _class(pattern: bytes, start: int, strict: bool) -> tuple[frozenset[int], int]:
    """The bytes that `[…]` stands for, and where it ends. Raises Malformed; with `strict` also for a range that runs
    backwards, which git takes for its first character."""
    unclosed = Malformed("a '[' in it has no ']'")

    def byte_at(place: int) -> int:
        if place >= len(pattern):
            raise unclosed
        return pattern[place]

    at = start + 1
    negated = byte_at(at) in b"!^"
    at += negated
    members: set[int] = set()
    before: int | None = None
    while True:
        byte = byte_at(at)
        if byte == _BACKSLASH:
            at += 1
            byte = byte_at(at)
            members.add(byte)
            before = byte
        elif byte == _DASH and before is not None and pattern[at + 1 : at + 2] not in (b"", b"]"):
            at += 1
            last = byte_at(at)
            if last == _BACKSLASH:
                at += 1
                last = byte_at(at)
            if strict and last < before:
                raise Malformed(f"the range {chr(before)}-{chr(last)} runs backwards")
            members |= set(range(before, last + 1))
            before = None
        elif pattern[at : at + 2] == b"[:":
            end = pattern.find(b"]", at + 2)
            if end < 0:
                raise unclosed
            if end == at + 2 or pattern[end - 1 : end] != b":":
                members.add(byte)
                before = byte
            else:
                name = pattern[at + 2 : end - 1]
                if name not in _CLASSES:
                    raise Malformed(f"'[:{name.decode(errors='replace')}:]' is not a class")
                members |= _CLASSES[name]
                before = None
                at = end
        else:
            members.add(byte)
            before = byte
        at += 1
        if byte_at(at) == _CLOSING:
            break
    found = frozenset(range(1, 256)) - members if negated else frozenset(members)
    return found - {_SLASH}, at + 1


def _translated(tokens: Sequence[bytes]) -> bytes:
    """Tokens as one expression."""
    first: list[bytes] = []
    blocks: list[tuple[bytes, list[bytes]]] = []
    block = first
    for token in tokens:
        if token in (_ANY_FOLDERS, _ANY_PATH_AND_SLASH):
            block = []
            blocks.append((token, block))
        else:
            block.append(token)
    out = [_without_coming_back(first)]
    for number, (before, block) in enumerate(blocks, start=1):
        inner = _without_coming_back(block)
        if number == len(blocks):
            out.append((b"(?:.*/)?%s" if before == _ANY_FOLDERS else b".*/%s") % inner)
        else:
            out.append((b"(?>(?:.*?/)??%s)" if before == _ANY_FOLDERS else b"(?>.*?/%s)") % inner)
    return b"".join(out)


def _without_coming_back(block: Sequence[bytes]) -> bytes:
    """What stands between two `**/`: parts, each of whose stars but the last takes the first place that fits."""
    out: list[bytes] = []
    piece: list[bytes] = []
    star = False

    def close(*, for_good: bool) -> None:
        nonlocal star
        if star:
            out.append(b"[^/]*" + b"".join(piece) if for_good else b"(?>[^/]*?%s)" % b"".join(piece))
        else:
            out.extend(piece)
        piece.clear()
        star = False

    for token in block:
        if token == _ANY_NAME:
            if star and not piece:
                continue
            close(for_good=False)
            star = True
        elif token in (_PART_END, _ANY_PATH):
            close(for_good=True)
            out.append(b".*" if token == _ANY_PATH else b"/")
        else:
            piece.append(token)
    close(for_good=True)
    return b"".join(out)
