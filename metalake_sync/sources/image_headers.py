"""Facts from the headers of images: size, orientation, time, place and camera.

Owns: these facts, and the frame of coordinates, which is the same for reading, writing, previews and metadata: the
image as it is shown, rotated by its EXIF orientation. Missing facts and impossible ones (a date of zeros, a latitude of
200) set no value. EXIF is read by Pillow, an optional extra; sizes do not need it. Must not: decode pixels.
"""

from __future__ import annotations

import datetime
import math
import os
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.metadata_layers import MetadataLayer
from metalake_sync.sources.opening import open_bounded, open_regular_file
from metalake_sync.sources.readings import Reading, ReadingCache, read_cached

HEADER_READER = "header 1"

QUARTER_TURNS = frozenset({5, 6, 7, 8})
"""The orientations that swap width and height. Source: EXIF 2.32 (CIPA DC-008), tag 0x0112."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEAD_BYTES = 24
"""The signature, and IHDR up to width and height, of 4 bytes each. Source: W3C, PNG, sections 5.2 and 11.2.2."""

_SIGNATURES = (b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
"""Formats whose headers are plain structures. The library also reads SVG, and XML of unknown origin is a risk."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The header of an image."""

    stored: tuple[int, int]
    """Width and height of the stored pixels."""
    orientation: int = 1
    """1 to 8 as in EXIF; 1 is upright."""

    @property
    def is_turned(self) -> bool:
        """Whether width and height of the shown image are swapped."""
        return self.orientation in QUARTER_TURNS

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the shown image in pixels."""
        width, height = self.stored
        return (height, width) if self.is_turned else (width, height)


def read_header(path: str) -> ImageHeader | None:
    """Return the header of an image file, or None if it cannot be read."""
    try:
        with os.fdopen(open_regular_file(path), "rb") as file:
            head = file.peek(_PNG_HEAD_BYTES)
            if head.startswith(_PNG) and head[12:16] == b"IHDR" and len(head) >= _PNG_HEAD_BYTES:
                # Most PNG files need no more. The library takes as long as opening the file.
                width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
                return ImageHeader((width, height)) if width and height else None
            if not head.startswith(_SIGNATURES):
                return None
            # It imports urllib.request: 12 ms, which runs without such images save.
            import imagesize

            found = imagesize.get_info(file, dpi=False, colors=False, channels=False, exif_rotation=False)
    except Exception:  # noqa: BLE001 - any error of the library for an invalid header
        return None
    if found.width <= 0 or found.height <= 0:
        return None
    return ImageHeader((found.width, found.height), found.rotation if 1 <= found.rotation <= 8 else 1)


def image_size(path: str) -> tuple[int, int] | None:
    """Return width and height of the shown image in pixels, or None if the header cannot be read."""
    header = read_header(path)
    return header.size if header is not None else None


def cached_header(cache: ReadingCache, path: str) -> ImageHeader | None:
    """Return the header. A file that did not change is not opened."""
    reading = read_cached(cache, HEADER_READER, path, _header_reading)
    return ImageHeader((reading["width"], reading["height"]), reading.get("orientation", 1)) if reading else None


def _header_reading(path: str) -> Reading:
    header = read_header(path)
    if header is None:
        return {}
    return {"width": header.stored[0], "height": header.stored[1], "orientation": header.orientation}


DEFAULT_FIELDS: Mapping[str, str] = {
    "captured_at": "Captured At",
    "latitude": "GPS Latitude",
    "longitude": "GPS Longitude",
    "altitude_m": "GPS Altitude",
    "camera_make": "Camera Make",
    "camera_model": "Camera Model",
    "width": "Width",
    "height": "Height",
    "size_bytes": "File Size",
}
"""The default field of the lake for each fact."""

NEED_NO_EXIF = frozenset({"width", "height", "size_bytes"})

FACTS_READER = "facts 2"

# Numbers of tags, as in the EXIF 2.32 specification (CIPA DC-008), sections 4.6.4 to 4.6.6.
_MAKE, _MODEL, _DATE_TIME = 0x010F, 0x0110, 0x0132
_EXIF, _DATE_TIME_ORIGINAL, _OFFSET_TIME_ORIGINAL = 0x8769, 0x9003, 0x9011
_GPS, _LAT_REF, _LAT, _LON_REF, _LON, _ALT_REF, _ALT = 0x8825, 1, 2, 3, 4, 5, 6


class ImageFacts:
    """Reads facts. `fields` maps facts to fields; None selects all facts with their default fields. Origins name files
    relative to `base_dir`. Raises ManifestError if EXIF is needed and Pillow is not installed."""

    def __init__(self, base_dir: Path, cache: ReadingCache, fields: Mapping[str, str] | None = None) -> None:
        self._base_dir = str(base_dir)
        self._cache = cache
        self._fields = DEFAULT_FIELDS if fields is None else fields
        self._exif = not self._fields.keys() <= NEED_NO_EXIF
        if self._exif:
            _need_pillow()

    def layers_of(self, path: str) -> Iterator[MetadataLayer]:
        reader = FACTS_READER if self._exif else f"{FACTS_READER} sizes"
        facts = read_cached(self._cache, reader, path, self._read)
        values = {field: facts[fact] for fact, field in self._fields.items() if fact in facts} if facts else {}
        if values:
            yield MetadataLayer(
                f"{'EXIF' if self._exif else 'header'} of {os.path.relpath(path, self._base_dir)}", values
            )

    def _read(self, path: str) -> Reading:
        facts: dict[str, Any] = {"size_bytes": os.path.getsize(path)}
        size = image_size(path)
        if size is not None:
            facts["width"], facts["height"] = size
            if self._exif:
                facts |= read_exif(path)
        return facts


def _need_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise ManifestError(
            "'from: exif' needs Pillow, which is not installed",
            remedy="Run: pip install 'metalake-sync[exif]'. Width, height and size_bytes do not need it.",
        ) from None


def read_exif(path: str) -> dict[str, Any]:
    """Return the EXIF facts of an image. Empty if they are missing or cannot be read."""
    from PIL import Image

    with warnings.catch_warnings():
        # Only the header is read, so large images are safe.
        warnings.simplefilter("ignore")
        try:
            with open_bounded(path) as file, Image.open(file) as image:
                exif = image.getexif()
                main: dict[int, Any] = dict(exif)
                detail, gps = dict(exif.get_ifd(_EXIF)), dict(exif.get_ifd(_GPS))
        except (
            OSError,
            SyntaxError,
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            AttributeError,
            OverflowError,
            ZeroDivisionError,
            struct.error,
            Image.DecompressionBombError,
        ):  # fmt: skip - errors of Pillow for invalid EXIF
            return {}
    facts = {
        "captured_at": _moment(
            detail.get(_DATE_TIME_ORIGINAL) or main.get(_DATE_TIME), detail.get(_OFFSET_TIME_ORIGINAL)
        ),
        "latitude": _angle(gps.get(_LAT), gps.get(_LAT_REF), "NS", 90),
        "longitude": _angle(gps.get(_LON), gps.get(_LON_REF), "EW", 180),
        "altitude_m": _altitude(gps.get(_ALT), gps.get(_ALT_REF)),
        "camera_make": _exif_text(main.get(_MAKE)),
        "camera_model": _exif_text(main.get(_MODEL)),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _exif_text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    text = value.split("\0")[0].strip()
    return "".join(char for char in text if char.isprintable()) or None


def _moment(value: Any, offset: Any) -> str | None:
    """Convert '2024:01:31 12:30:00' to ISO 8601, with the UTC offset if the camera recorded it."""
    try:
        moment = datetime.datetime.strptime((_exif_text(value) or "")[:19], "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        return None
    try:
        return datetime.datetime.fromisoformat(moment + (_exif_text(offset) or "")).isoformat()
    except ValueError:
        return moment


def _angle(value: Any, reference: Any, directions: str, limit: int) -> float | None:
    """Convert degrees, minutes and seconds to a decimal number. South and west are negative."""
    toward = (_exif_text(reference) or "").upper()
    try:
        degrees, minutes, seconds = (float(part) for part in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    angle = degrees + minutes / 60 + seconds / 3600
    if toward not in tuple(directions) or not math.isfinite(angle) or not 0 <= angle <= limit:
        return None
    return round(-angle if toward == directions[1] else angle, 7)


def _altitude(value: Any, reference: Any) -> float | None:
    """Return meters above sea level; negative below it."""
    try:
        meters = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not math.isfinite(meters):
        return None
    below = reference in (1, b"\x01")
    return round(-meters if below else meters, 2)
