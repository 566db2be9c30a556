"""One line of an ignore file, as git parses it, translated to a regular expression that takes bounded time.

Owns: the grammar. Must not: read files, or use a library whose behavior depends on what else is installed.

Source: gitignore(5), and git 2.39's dir.c (`parse_path_pattern`, `match_basename`, `match_pathname`) and wildmatch.c
(`dowild`). Expressions match bytes, because git matches bytes: `?` is one byte.

Time: a pattern with many stars could try every way to divide a name among them. Within one part of a path, the first
place where a piece fits is as good as any later one. So each star but the last takes the first place and never
backtracks (`(?>…)`), as in `fnmatch`. The same holds for `**/` and the parts behind it, up to the next `**/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    """The pattern can match nothing. The message is a clause that says why."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of an ignore file."""

    negative: bool
    """Whether it began with '!'."""
    folders_only: bool
    """Whether it ended with a slash."""
    by_name: bool
    """Whether it has no other slash, so that it matches the last part of a path."""
    expression: bytes
    """A regular expression that must match in full. Unused if there is a literal."""
    literal: bytes | None
    """The only path or name that it matches, if it has no wildcard."""


def parse_line(line: bytes, strict: bool) -> Pattern | None:
    """Parse a line as dir.c does. Returns None for an empty line and for a comment. Raises Malformed."""
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
    # Git compares the part before the first wildcard literally and matches the rest on its own. So in `a**/b` the stars
    # count as the beginning of a pattern.
    prefix, rest = pattern[:literal_length], pattern[literal_length:]
    if not rest:
        return Pattern(negative, folders_only, by_name, b"", prefix)
    expression = re.escape(prefix) + _translated(list(_tokens(rest, by_path=not by_name, strict=strict)))
    return Pattern(negative, folders_only, by_name, expression, None)


def _without_trailing_blanks(line: bytes) -> bytes:
    """Remove trailing blanks, except an escaped one."""
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
    """Split a pattern into tokens. Raises Malformed."""
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
                # A plain slash matches zero folders too; an escaped one does not.
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
    """Return the bytes that `[…]` matches and the position after it. Raises Malformed.

    With `strict`, a backward range is an error. Git matches its first character.
    """
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
    """Translate tokens into one expression."""
    first: list[bytes] = []
    blocks: list[tuple[bytes, list[bytes]]] = []
    block = first
    for token in tokens:
        if token in (_ANY_FOLDERS, _ANY_PATH_AND_SLASH):
            block = []
            blocks.append((token, block))
        else:
            block.append(token)
    out = [_without_backtracking(first)]
    for number, (before, block) in enumerate(blocks, start=1):
        inner = _without_backtracking(block)
        if number == len(blocks):
            out.append((b"(?:.*/)?%s" if before == _ANY_FOLDERS else b".*/%s") % inner)
        else:
            out.append((b"(?>(?:.*?/)??%s)" if before == _ANY_FOLDERS else b"(?>.*?/%s)") % inner)
    return b"".join(out)


def _without_backtracking(block: Sequence[bytes]) -> bytes:
    """Translate the parts between two `**/`. In each part, every star but the last takes the first place that fits."""
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
