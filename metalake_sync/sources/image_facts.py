"""Facts from the header of an image: time, place, camera and size.

Owns: these facts. Must not: decode pixels. EXIF is read by Pillow, an optional extra; sizes do not need it. Missing
facts and impossible ones (a date of zeros, a latitude of 200) set no value.
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
from metalake_sync.sources.file_metadata import MetadataLayer
from metalake_sync.sources.images import image_size
from metalake_sync.sources.readings import Reading, ReadingCache, read_cached
from metalake_sync.sources.regular_files import open_bounded

FIELDS: Mapping[str, str] = {
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

READER = "facts 2"

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
        self._fields = FIELDS if fields is None else fields
        self._exif = not self._fields.keys() <= NEED_NO_EXIF
        if self._exif:
            _need_pillow()

    def layers_of(self, path: str) -> Iterator[MetadataLayer]:
        reader = READER if self._exif else f"{READER} sizes"
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
        "camera_make": _text(main.get(_MAKE)),
        "camera_model": _text(main.get(_MODEL)),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    text = value.split("\0")[0].strip()
    return "".join(char for char in text if char.isprintable()) or None


def _moment(value: Any, offset: Any) -> str | None:
    """Convert '2024:01:31 12:30:00' to ISO 8601, with the UTC offset if the camera recorded it."""
    try:
        moment = datetime.datetime.strptime((_text(value) or "")[:19], "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        return None
    try:
        return datetime.datetime.fromisoformat(moment + (_text(offset) or "")).isoformat()
    except ValueError:
        return moment


def _angle(value: Any, reference: Any, directions: str, limit: int) -> float | None:
    """Convert degrees, minutes and seconds to a decimal number. South and west are negative."""
    toward = (_text(reference) or "").upper()
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
