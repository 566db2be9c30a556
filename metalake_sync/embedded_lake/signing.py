"""Signed URLs, each of which permits one operation on one object or part for a limited time.

Owns: the form of signed paths. Must not: know the objects.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping

PARTS = "/storage/parts"
OBJECTS = "/storage/objects"


class Signer:
    """Signs method, path and expiry time with a key that never leaves the lake."""

    def __init__(self, key: bytes, lifetime_s: float) -> None:
        self._key = key
        self._lifetime_s = lifetime_s

    def part_url(self, base_url: str, file_id: str, number: int) -> str:
        """Return the URL to PUT one part."""
        return base_url + self._signed("PUT", f"{PARTS}/{file_id}/{number}")

    def object_url(self, base_url: str, blob: str) -> str:
        """Return the URL to GET one object."""
        return base_url + self._signed("GET", f"{OBJECTS}/{blob}")

    def fault(self, method: str, path: str, query: Mapping[str, str]) -> str | None:
        """Return why a request is not permitted. None if its signature is for this request and has not expired."""
        expires, signature = query.get("expires", ""), query.get("signature", "")
        expected = self._signature(method, path, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            return "The signature is not valid for this request"
        return "The signature has expired" if time.time() > float(expires) else None

    def _signed(self, method: str, path: str) -> str:
        expires = f"{time.time() + self._lifetime_s:.3f}"
        return f"{path}?expires={expires}&signature={self._signature(method, path, expires)}"

    def _signature(self, method: str, path: str, expires: str) -> str:
        text = f"{method}\n{path}\n{expires}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256).hex()
