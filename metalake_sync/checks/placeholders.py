"""Recognizes files that are there instead of an image or a video: placeholders, zero bytes, and documents.

Owns: what the first bytes of such files look like. Must not: import more than it needs, because worker processes import
it again.
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEAD_BYTES = 4096
"""How many bytes from the beginning of a file the functions need."""

POINTER_LIMIT_BYTES = 1024
"""Git LFS pointers are smaller. Source: git-lfs, docs/spec.md."""

_LFS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
"""The first bytes of every Git LFS pointer, and of those of its first versions. Source: git-lfs, docs/spec.md."""

_ANNEX = re.compile(rb"(?:\.\./)*(?:\.git/annex/|/annex/)objects/")
"""The first bytes of a git-annex pointer, and of a link that was checked out as a text file.
Source: git-annex, 'pointer file' in its documentation of the internal formats."""

_BLANK = b" \t\r\n"
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


class Problem(NamedTuple):
    """What is wrong with the bytes of a file."""

    check: str
    """The code of a check (`core.checks.Check`)."""
    message: str
    """A clause whose subject is the file."""


def find_pointer(head: bytes, size_bytes: int) -> Problem | None:
    """Return a problem if a file is a Git LFS or git-annex pointer. `head`: its first bytes."""
    if size_bytes > POINTER_LIMIT_BYTES:
        return None
    if head.startswith(_LFS):
        return Problem("pointer", "is a Git LFS pointer, not the file itself")
    if _ANNEX.match(head):
        return Problem("pointer", "is a git-annex pointer, not the file itself")
    return None


def find_stand_in(head: bytes, size_bytes: int) -> Problem | None:
    """Return a problem if a file cannot be an image or a video, whatever its format. `head`: its first bytes."""
    if not size_bytes:
        return Problem("empty", "is empty (0 bytes)")
    pointer = find_pointer(head, size_bytes)
    if pointer is not None:
        return pointer
    if not head.strip(b"\0"):
        return Problem("zeros", "begins with zero bytes only, as after a crash")
    document = _document(head)
    return Problem("other_type", f"is {document}, not an image or a video") if document is not None else None


def _document(head: bytes) -> str | None:
    """Return what kind of document a text is, or None for other bytes."""
    text = head
    for mark in _BYTE_ORDER_MARKS:
        text = text.removeprefix(mark)
    if b"\0" in text[:256]:
        text = text.replace(b"\0", b"")  # UTF-16, if it is a text.
    text = text.lstrip(_BLANK)[:1024].lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page"
    if text.startswith((b"<?xml", b"<!doctype", b"<svg", b"<error", b"<!--")):
        return "a web page" if b"<html" in text else "an SVG drawing" if b"<svg" in text else "an XML document"
    if re.match(rb'\{\s*(?:"|\})|\[\s*(?:["{\[\]]|-?\d)', text):
        return "a JSON document"
    return None
