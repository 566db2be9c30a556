"""Thumbnails that pages refer to, on disk, up to a bound.

Owns: the files and what is deleted first. Must not: decode images.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
import threading
from collections import OrderedDict
from typing import NamedTuple

CACHE_BYTES = 200_000_000
"""The bytes on disk. The image that was not shown for the longest time is deleted first."""

_KINDS = {"webp": "image/webp", "jpeg": "image/jpeg"}


class CachedImage(NamedTuple):
    """The bytes of a thumbnail."""

    body: bytes
    content_type: str


class ImageCache:
    """Keeps images by the hash of their bytes, in a temporary folder that only its owner can read."""

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="metalake-sync-ui-")
        self._limit = limit_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def keep(self, data_uri: str) -> str:
        """Store an image, and return its name."""
        head, _, encoded = data_uri.partition(";base64,")
        body = base64.b64decode(encoded)
        kind = head.removeprefix("data:image/")
        name = f"{hashlib.blake2b(body, digest_size=16).hexdigest()}.{kind if kind in _KINDS else 'jpeg'}"
        with self._lock:
            if name in self._sizes:
                self._sizes.move_to_end(name)
                return name
            with open(self._path(name), "wb") as file:
                file.write(body)
            self._sizes[name] = len(body)
            self._bytes += len(body)
            while self._bytes > self._limit and len(self._sizes) > 1:
                oldest, size = self._sizes.popitem(last=False)
                self._bytes -= size
                os.unlink(self._path(oldest))
        return name

    def image(self, name: str) -> CachedImage | None:
        """Return an image by its name, or None if the cache does not have it."""
        with self._lock:
            if name not in self._sizes:
                return None
            self._sizes.move_to_end(name)
            with open(self._path(name), "rb") as file:
                return CachedImage(file.read(), _KINDS[name.rpartition(".")[2]])

    def has(self, name: str) -> bool:
        """Return whether the cache has an image."""
        with self._lock:
            return name in self._sizes

    @property
    def size_bytes(self) -> int:
        """How many bytes are on disk."""
        return self._bytes

    def close(self) -> None:
        """Delete all images."""
        with self._lock:
            self._sizes.clear()
            self._bytes = 0
            self._folder.cleanup()

    def _path(self, name: str) -> str:
        return os.path.join(self._folder.name, name)
