"""Reads the sizes of images from their headers, without decoding them. Each object's header is read once.

Owns: the table of sizes.
"""

from __future__ import annotations

import asyncio
import io
import json
import struct
from collections.abc import Iterable, Mapping

import imagesize

from metalake_sync.embedded_lake.store import LakeStore

HEADER_BYTES = 256 << 10
"""Enough for a JPEG with a color profile and a preview in front of the size."""

READ_AT_ONCE = 16

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
"""Formats with binary headers. The library also reads SVG, but parsing untrusted XML is a risk."""

Size = tuple[int, int]
"""Width and height in pixels."""


class Images:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    async def size(self, blob: str) -> Size | None:
        """Return the size of one object, or None if it is not a readable image."""
        return (await self.sizes([blob]))[blob]

    async def sizes(self, blobs: Iterable[str]) -> Mapping[str, Size | None]:
        wanted = list(dict.fromkeys(blobs))
        rows = self._db.execute(
            "SELECT p.blob, p.width, p.height FROM json_each(?) m JOIN picture_sizes p ON p.blob = m.value",
            (json.dumps(wanted),),
        )
        known: dict[str, Size | None] = {
            blob: None if width is None else (width, height) for blob, width, height in rows
        }
        for place in range(0, len(wanted), READ_AT_ONCE):
            unknown = [blob for blob in wanted[place : place + READ_AT_ONCE] if blob not in known]
            heads = await asyncio.gather(*(self._store.storage.head(blob, HEADER_BYTES) for blob in unknown))
            known |= self._keep({blob: image_size(head) for blob, head in zip(unknown, heads, strict=True)})
        return known

    def _keep(self, found: dict[str, Size | None]) -> dict[str, Size | None]:
        if found:
            with self._store.write() as db:
                db.executemany(
                    "INSERT OR REPLACE INTO picture_sizes (blob, width, height) VALUES (?, ?, ?)",
                    ((blob, *(size or (None, None))) for blob, size in found.items()),
                )
        return found


def image_size(header: bytes) -> Size | None:
    """Return the size in a header, or None."""
    if not header.startswith(_SIGNATURES):
        return None
    try:
        # The size after the rotation given by EXIF.
        width, height = imagesize.get(io.BytesIO(header), exif_rotation=True)
    except (OSError, ValueError, struct.error):
        return None
    return (width, height) if width > 0 and height > 0 else None
