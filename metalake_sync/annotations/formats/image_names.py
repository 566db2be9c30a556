"""Names of images in the addresses that tools write: URLs, storage paths, and names with escapes.

Owns: which names an address may mean. Must not: match names with images.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

from metalake_sync.lazy_dataclass import dataclass

_IMAGE = re.compile(r"\.(jpe?g|png|bmp|gif|tiff?|webp|jfif|heic|heif|avif|dcm|svg)$", re.IGNORECASE)
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts in front of the name of an uploaded file."""

_LONGEST = 4096
"""A longer text is not an address: it may hold the image itself."""


@dataclass(frozen=True, slots=True)
class ImageNames:
    """The names that an address may mean."""

    plain: str
    """The last part of the address, without query and escapes."""
    all: tuple[str, ...]
    """All names, in the order in which they are tried."""


def image_name(written: str) -> str:
    """Return the name of an image as a source writes it: of a URL or of an address in a bucket its last part, without
    query and escapes. Any other text stays as it is."""
    scheme, separator, rest = written.partition("://")
    if not separator or not scheme.isalnum():
        return written
    return unquote(rest.partition("#")[0].partition("?")[0].rstrip("/").rpartition("/")[2]) or written


def image_names(address: str) -> ImageNames:
    """Return the names of the image at an address."""
    path = _path(address)
    plain = _last(unquote(path))
    found = [unquote(path), plain, _last(path), _last(address)]
    without = _UPLOADED.sub("", plain, count=1) if _UPLOADED.match(plain) else plain
    return ImageNames(plain, tuple(dict.fromkeys(name for name in (*found, without) if name)))


def looks_like_image(address: str) -> bool:
    """Whether an address ends in the extension of an image, before or in its query."""
    return len(address) <= _LONGEST and _IMAGE.search(unquote(_path(address))) is not None


def _path(address: str) -> str:
    """Return the path of an address, with its escapes."""
    if len(address) > _LONGEST:
        return ""
    slashed = address.replace("\\", "/")
    try:
        parts = urlsplit(slashed)
        if not parts.scheme and "/?d=" not in slashed:
            # A plain name may hold `#` and `?`.
            return slashed
        if "d" in (query := parse_qs(parts.query)) and "local-files" in parts.path:
            return query["d"][0]
    except ValueError:
        return slashed
    if len(parts.scheme) == 1:
        return slashed  # a drive of Windows
    return f"{parts.netloc}/{parts.path.lstrip('/')}" if parts.netloc else parts.path


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
