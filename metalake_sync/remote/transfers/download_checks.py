"""Checks that a downloaded file is complete.

A file is complete if the store's MD5 matches the received bytes, or if their number is the size that the lake gives.
The end of a body alone proves nothing: a cut connection also ends a body without a Content-Length. Must not: do I/O.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.content_proof import Claims
from metalake_sync.remote.transfers.partial import Partial

LARGEST_OF_UNKNOWN_SIZE = 1 << 30
"""How many bytes are accepted for a file whose size neither the lake nor the store gives."""

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


class WrongBody(Exception):
    """A store's complete response cannot be the file. The text says why."""


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """What proves that a file is complete."""

    size_bytes: int | None
    """From the lake, else from the store. None if neither gives it."""

    claims: Claims
    """The store's MD5s."""

    @property
    def most_bytes(self) -> int:
        """How many bytes are accepted."""
        return LARGEST_OF_UNKNOWN_SIZE if self.size_bytes is None else self.size_bytes

    def check(self, received: Partial, md5: hashlib._Hash | None) -> None:
        """Raise WrongBody if the received file does not have the expected size, or `md5` is not the store's."""
        if self.size_bytes is not None and received.size_bytes != self.size_bytes:
            raise WrongBody(f"the store sent {received.size_bytes} of {self.size_bytes} bytes")
        if md5 is not None and not self.claims.match(md5.digest()):
            raise WrongBody("the bytes do not match the store's MD5")


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the Content-Length in bytes. None if it is missing or not a number."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else None


def content_range(headers: Mapping[str, str]) -> tuple[int, int]:
    """Return the start of a range and the size of the whole file, in bytes. -1 if the response does not say."""
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if match is None:
        return -1, -1
    return int(match[1] or -1), int(match[3])
