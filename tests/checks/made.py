"""Image and video files for the tests of the checks: made by Pillow, or box by box."""

from __future__ import annotations

import io
import struct
from typing import Any

from PIL import Image


def picture(kind: str, size: tuple[int, int] = (64, 48), seed: int = 0, **options: Any) -> bytes:
    """Return the bytes of an image with a pattern, so that its data is not a few bytes only."""
    image = Image.new("RGB", size)
    image.putdata(
        [((x * 7 + seed) % 256, (y * 5) % 256, (x * y) % 256) for y in range(size[1]) for x in range(size[0])]
    )
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def with_orientation(orientation: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a JPEG that EXIF turns, with a thumbnail's end mark inside its header."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "\u00ff\u00d9"
    return picture("JPEG", size, exif=exif.tobytes() + b"\xff\xd8\xff\xd9")


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def large_box(kind: bytes, content: bytes) -> bytes:
    """A box whose size has 64 bits."""
    return struct.pack(">I4sQ", 1, kind, len(content) + 16) + content


def mp4(*, index_first: bool = False) -> bytes:
    start, data, index = box(b"ftyp", b"isom\0\0\2\0isomiso2"), box(b"mdat", b"x" * 300), box(b"moov", b"y" * 100)
    return start + (index + data if index_first else data + index)


def element(kind: bytes, content: bytes, *, size: bytes | None = None) -> bytes:
    return kind + (size if size is not None else struct.pack(">Q", len(content) | 1 << 56)) + content


def mkv(*, size: bytes | None = None) -> bytes:
    head = element(b"\x1a\x45\xdf\xa3", b"\x42\x82\x88matroska", size=b"\x8b")
    return head + element(b"\xec", b"\0" * 4, size=b"\x84") + element(b"\x18\x53\x80\x67", b"c" * 500, size=size)
