"""Reading text files and JSON of unknown origin.

Owns: the encoding (UTF-8 with or without a byte order mark), strict JSON, size limits, and errors with their place.
Must not: know what a file means.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO

from metalake_sync.errors import Location, ManifestError
from metalake_sync.sources.opening import NotRegular, open_bounded

TEXT_LIMIT_BYTES = 1 << 29
"""The limit for files that are read as a whole, because parsed text takes several times its size in memory."""

LINE_LIMIT_CHARS = 16 << 20

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""The first bytes of every Git LFS pointer. Source: git-lfs, docs/spec.md."""

_LFS_POINTER_LIMIT_BYTES = 1024


class LfsPointer(ManifestError):
    """The file is a Git LFS pointer: its content was not checked out."""


_confined: list[str] = []


def confine(folder: Path) -> None:
    """Refuse sources outside this folder from now on, even if a manifest or a data file names them."""
    _confined[:] = [os.path.realpath(folder)]


def _check_confined(path: Path, shown_as: str) -> None:
    for folder in _confined:
        real = os.path.realpath(path)
        if os.path.commonpath([real, folder]) != folder or ".git" in real[len(folder) :].split(os.sep):
            raise ManifestError(
                f"the file is outside {folder}, which --safe does not allow",
                where=shown_as,
                remedy="Use a file of the repository.",
            )


def open_source(path: Path, shown_as: str) -> BinaryIO:
    """Open a regular file, or a link to one, with the bounds of `opening`.

    Raises ManifestError for anything else (opening a pipe would block) and for Git LFS pointers, and OSError.
    """
    _check_confined(path, shown_as)
    try:
        opened = open_bounded(path)
    except NotRegular:
        raise ManifestError("it is not a regular file", where=shown_as, remedy="Fix the path.") from None
    size_bytes = os.fstat(opened.fileno()).st_size
    # Peeked bytes stay in the buffer, so this costs no further read.
    if size_bytes <= _LFS_POINTER_LIMIT_BYTES and opened.peek(len(_LFS_POINTER)).startswith(_LFS_POINTER):
        opened.close()
        message = "it is a Git LFS pointer, not the file itself"
        raise LfsPointer(message, where=shown_as, remedy="Run 'git lfs pull' and try again.")
    return opened


def open_text(path: Path, shown_as: str, newline: str | None = None) -> TextIOWrapper:
    """Like `open_source`, as text. Reading raises UnicodeDecodeError and OSError."""
    return TextIOWrapper(open_source(path, shown_as), encoding="utf-8-sig", newline=newline)


def read_text(path: Path, shown_as: str) -> str:
    """Read a whole file. Raises ManifestError."""
    try:
        with open_text(path, shown_as) as opened:
            if os.fstat(opened.fileno()).st_size > TEXT_LIMIT_BYTES:
                remedy = "Split it. Metadata may also be JSON Lines or CSV, which are read line by line."
                raise ManifestError(f"it is larger than {TEXT_LIMIT_BYTES >> 20} MB", where=shown_as, remedy=remedy)
            return opened.read()
    except UnicodeDecodeError as error:
        raise _not_utf8(shown_as, error) from None
    except OSError as error:
        raise _unreadable(shown_as, error) from None


def read_lines(path: Path, shown_as: str) -> Iterator[str]:
    """Yield the lines of a file with their line endings. Raises ManifestError."""
    try:
        with open_text(path, shown_as, newline="") as opened:
            number = 0
            while line := opened.readline(LINE_LIMIT_CHARS):
                number += 1
                if len(line) == LINE_LIMIT_CHARS:
                    message = f"the line is longer than {LINE_LIMIT_CHARS >> 20} million characters"
                    raise ManifestError(
                        message, where=Location(shown_as, number), remedy="Check that it is the right file."
                    )
                yield line
    except UnicodeDecodeError as error:
        raise _not_utf8(shown_as, error) from None
    except OSError as error:
        raise _unreadable(shown_as, error) from None


def parse_json(text: str, shown_as: str, first_line: int = 1) -> Any:
    """Parse JSON. `first_line` is the line of the text in its file. Raises ManifestError with line and column.

    Numbers that cannot be sent (NaN, 1e400, a thousand digits) are accepted here: `check_values` reports their field.
    """
    try:
        return _loads(text)
    except json.JSONDecodeError as error:
        place = Location(shown_as, first_line + error.lineno - 1, error.colno)
        raise ManifestError(f"broken JSON ({error.msg})", where=place, remedy="Fix it there.") from None
    except _KeyTwice as error:
        raise ManifestError(f"the key {error} occurs twice in an object", where=shown_as, remedy=_KEEP_ONE) from None
    except RecursionError:
        raise ManifestError("it is nested too deeply", where=shown_as, remedy="Make it flatter.") from None


def _loads(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_each_key_once)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python refuses integers of more than 4,300 digits. A shorter one is still too large to be sent.
        return json.loads(text, object_pairs_hook=_each_key_once, parse_int=lambda digits: int(digits[:4000]))


def read_json(path: Path, shown_as: str) -> Any:
    """Read a JSON document. Raises ManifestError with line and column."""
    return parse_json(read_text(path, shown_as), shown_as)


_KEEP_ONE = "Keep one of them."


class _KeyTwice(Exception):
    pass


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _KeyTwice(repr(next(key for key in keys if keys.count(key) > 1)))
    return found


def _not_utf8(shown_as: str, error: UnicodeDecodeError) -> ManifestError:
    return ManifestError(f"it is not UTF-8 (byte {error.start})", where=shown_as, remedy="Save it as UTF-8.")


def _unreadable(shown_as: str, error: OSError) -> ManifestError:
    return ManifestError(f"it cannot be read ({error.strerror})", where=shown_as, remedy="Create it, or fix the path.")
