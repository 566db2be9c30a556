"""Reads the structure of JPEG, PNG, MP4 and Matroska files: type, size in pixels, and whether they end too early.

Owns: how much of a file is read. That is the beginning, the end, and the headers of its parts; a JPEG file is read as a
whole only if its end mark is not where it belongs. Must not: decode pixels, or keep more than one part in memory.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from metalake_sync.checks.placeholders import HEAD_BYTES, Problem, find_stand_in

TAIL_BYTES = 4096
CHUNK_BYTES = 1 << 20

PARTS_LIMIT = 100_000
"""The largest number of parts that are followed in one file. A longer file counts as whole."""


class Facts(NamedTuple):
    """What the structure of a file says."""

    problem: Problem | None = None
    width: int = 0
    """In stored pixels. 0: unknown."""
    height: int = 0


class OpenFile:
    """An open file. Reads of its beginning come from memory."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self.size_bytes = size_bytes
        self.head = self._read(0, HEAD_BYTES)

    def at(self, offset: int, count: int) -> bytes:
        """Return `count` bytes at an offset, fewer at the end."""
        if offset + count <= len(self.head):
            return self.head[offset : offset + count]
        return self._read(offset, count)

    def _read(self, offset: int, count: int) -> bytes:
        count = min(count, self.size_bytes - offset)
        found = b""
        # Network file systems may return less than a whole read.
        while len(found) < count and (more := os.pread(self._descriptor, count - len(found), offset + len(found))):
            found += more
        return found


JPEG, PNG, MP4, MATROSKA = "image/jpeg", "image/png", "video/mp4", "video/x-matroska"

_OF_EXTENSION: Mapping[str, tuple[str, str]] = {
    "jpg": (JPEG, "a JPEG image"),
    "jpeg": (JPEG, "a JPEG image"),
    "png": (PNG, "a PNG image"),
    "mp4": (MP4, "an MP4 video"),
    "mkv": (MATROSKA, "a Matroska video"),
}

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EBML = b"\x1a\x45\xdf\xa3"
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""The types of the first box of an MP4 or QuickTime file. Source: ISO/IEC 14496-12, and Apple's QuickTime format."""

_STILL_BRANDS = (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif", b"avis")
"""Brands of images in the same container."""


def read_structure(file: OpenFile, name: str) -> Facts:
    """Return what the structure of a file says. `name`: its name, for the extension. Raises OSError."""
    stand_in = find_stand_in(file.head, file.size_bytes)
    if stand_in is not None:
        return Facts(stand_in)
    expected, called = _OF_EXTENSION.get(name.rpartition(".")[2].lower(), ("", ""))
    if not expected:
        return Facts()
    found = _type_of(file.head)
    if found is None:
        return Facts(Problem("other_type", f"does not have the first bytes of {called}"))
    if found != expected:
        return Facts(Problem("other_type", f"has the bytes of {found}, but the extension of {called}"))
    return _READERS[expected](file)


def _type_of(head: bytes) -> str | None:
    """Return the media type of a file by its signature, or None if it is unknown."""
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head.startswith(_PNG_SIGNATURE):
        return PNG
    if head[4:8] in _FIRST_BOXES and head[8:12] not in _STILL_BRANDS:
        return MP4
    if head.startswith(_EBML):
        return MATROSKA
    # Imported here, because most files are of the types above.
    import filetype

    guessed = filetype.guess(head)
    return str(guessed.mime) if guessed is not None else None


def _truncated(message: str) -> Problem:
    return Problem("truncated", message)


_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_END = b"\xff\xd9"


def _read_jpeg(file: OpenFile) -> Facts:
    """Follow the segments up to the image data, and look for the end mark. Source: ITU-T T.81, annex B."""
    offset, width, height = 2, 0, 0
    for _ in range(PARTS_LIMIT):
        mark = file.at(offset, 4)
        if len(mark) < 4:
            return Facts(_truncated("ends before its image data"), width, height)
        if mark[0] != 0xFF:
            return Facts(Problem("undecodable", f"has no JPEG marker at byte {offset}"), width, height)
        if mark[1] == 0xFF:
            offset += 1
            continue
        if mark[1] in _WITHOUT_LENGTH:
            offset += 2
            continue
        if mark[1] == _END_OF_IMAGE:
            return Facts(_truncated("has no image data"), width, height)
        length = int.from_bytes(mark[2:4], "big")
        if mark[1] in _SIZE_MARKERS:
            frame = file.at(offset + 5, 4)
            height, width = int.from_bytes(frame[:2], "big"), int.from_bytes(frame[2:], "big")
        offset += 2 + max(length, 2)
        if mark[1] == _START_OF_SCAN:
            break
    if not width:
        return Facts(Problem("undecodable", "has no width"), width, height)
    return Facts(None if _has_end(file, offset) else _truncated("ends inside its image data"), width, height)


def _has_end(file: OpenFile, offset: int) -> bool:
    """Whether the end mark follows the image data that begins at `offset`. Image data cannot contain the mark."""
    begin = max(offset, file.size_bytes - TAIL_BYTES)
    if _END in file.at(begin, TAIL_BYTES):
        return True
    # Some cameras add megabytes after the image.
    last = b""
    while offset < begin:
        chunk = file.at(offset, CHUNK_BYTES)
        if not chunk:
            return False
        if _END in last + chunk:
            return True
        last, offset = chunk[-1:], offset + len(chunk)
    return False


_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def _read_png(file: OpenFile) -> Facts:
    """Read the size and look for the last chunk. Source: W3C, PNG, sections 5 and 11.2."""
    header = file.at(8, 25)
    if len(header) < 25:
        return Facts(_truncated("ends inside its header"))
    if header[4:8] != b"IHDR" or zlib.crc32(header[4:21]) != int.from_bytes(header[21:25], "big"):
        return Facts(Problem("undecodable", "has a damaged header"))
    width, height = int.from_bytes(header[8:12], "big"), int.from_bytes(header[12:16], "big")
    if not width or not height:
        return Facts(Problem("undecodable", "has no width or no height"), width, height)
    if file.at(file.size_bytes - len(_PNG_END), len(_PNG_END)) == _PNG_END:
        return Facts(None, width, height)
    offset = 8
    for _ in range(PARTS_LIMIT):
        chunk = file.at(offset, 8)
        length, kind = int.from_bytes(chunk[:4], "big"), chunk[4:]
        if len(chunk) < 8 or not kind.isalpha() or offset + 12 + length > file.size_bytes:
            return Facts(_truncated("ends inside its image data"), width, height)
        if kind == b"IEND":
            break
        offset += 12 + length
    return Facts(None, width, height)


def _read_mp4(file: OpenFile) -> Facts:
    """Follow the boxes of the top level. Source: ISO/IEC 14496-12, section 4.2."""
    offset = 0
    has_index = has_data = False
    for _ in range(PARTS_LIMIT):
        if offset >= file.size_bytes:
            break
        box = file.at(offset, 16)
        length, kind = int.from_bytes(box[:4], "big"), box[4:8]
        if length == 1:
            length = int.from_bytes(box[8:16], "big")
        elif length == 0 and kind.strip(b"\0"):
            length = file.size_bytes - offset
        if length < 8 or len(box) < 8:
            if has_index and has_data:
                break  # Bytes that no box holds, such as padding.
            return Facts(_truncated(f"has no valid part at byte {offset}"))
        has_index = has_index or kind == b"moov"
        has_data = has_data or kind == b"mdat"
        if offset + length > file.size_bytes:
            return Facts(_truncated(f"ends inside its part '{kind.decode('latin-1')}'"))
        offset += length
    if not has_index:
        return Facts(_truncated("has no index ('moov'), as after an interrupted recording"))
    return Facts(None if has_data else _truncated("has no data ('mdat')"))


_SEGMENT = 0x18538067


def _read_matroska(file: OpenFile) -> Facts:
    """Follow the elements up to the segment. Source: RFC 8794, sections 4 to 6."""
    offset = 0
    for _ in range(PARTS_LIMIT):
        if offset >= file.size_bytes:
            return Facts(_truncated("ends before its content"))
        data = file.at(offset, 12)
        kind_length = _length_of(data[0]) if data else 0
        size_length = _length_of(data[kind_length]) if 0 < kind_length <= 4 and len(data) > kind_length else 0
        if not size_length or len(data) < kind_length + size_length:
            return Facts(_truncated(f"has no valid part at byte {offset}"))
        kind = int.from_bytes(data[:kind_length], "big")
        all_ones = (1 << 7 * size_length) - 1
        length = int.from_bytes(data[kind_length : kind_length + size_length], "big") & all_ones
        offset += kind_length + size_length
        if length == all_ones:
            return Facts()  # A recording of unknown length, such as a live one.
        if offset + length > file.size_bytes:
            return Facts(_truncated("ends inside its content"))
        if kind == _SEGMENT:
            return Facts()
        offset += length
    return Facts()


def _length_of(first: int) -> int:
    """Return how many bytes a number of variable length has, from its first byte. 0: it is invalid."""
    return 9 - first.bit_length() if first else 0


_READERS = {JPEG: _read_jpeg, PNG: _read_png, MP4: _read_mp4, MATROSKA: _read_matroska}
