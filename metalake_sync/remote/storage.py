"""The door to the object stores: how a part is sent to each, as a plan of requests. No I/O.

A lake tells which store takes the bytes; the four calls around a part are the same for all of them, so `transfer` has
one loop and asks here for what differs.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import quote

from metalake_sync.errors import SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol.wire import StorageKind

PART_BYTES = 16 << 20
"""The usual size of a part: large enough that a file of 160 GB stays under the limit of parts."""

PART_LIMIT = 10_000
"""The most parts of one file. Source: Amazon S3 multipart upload limits."""

PART_BYTES_LIMIT = 4000 << 20
"""The largest part that every store takes: Azure's largest block (4,000 MiB), below S3's 5 GiB."""

_ALIGNMENT = 1 << 20
"""Part sizes are whole MiB: Google wants multiples of 256 KiB."""


class TooManyParts(SyncError):
    """The file is larger than the store takes in one piece."""


def choose_part_size(size_bytes: int) -> int:
    """The size of a file's parts in bytes. Raises TooManyParts past what any store takes."""
    needed = -(-size_bytes // PART_LIMIT)
    part_size = max(PART_BYTES, -(-needed // _ALIGNMENT) * _ALIGNMENT)
    if part_size > PART_BYTES_LIMIT:
        raise TooManyParts(
            f"{size_bytes} bytes need more than {PART_LIMIT} parts", remedy="Cut the file into smaller ones."
        )
    return part_size


def split_parts(size_bytes: int, part_size: int) -> list[tuple[int, int]]:
    """Split a file into parts: `(offset, length)` pairs in bytes, contiguous, covering the file.

    `size_bytes`: 0 or more; an empty file is one empty part. Raises TooManyParts past the limit.
    """
    parts = [(offset, min(part_size, size_bytes - offset)) for offset in range(0, size_bytes, part_size)] or [(0, 0)]
    if len(parts) > PART_LIMIT:
        raise TooManyParts(f"the file needs {len(parts)} parts; {PART_LIMIT} is the most")
    return parts


@dataclass(frozen=True, slots=True)
class PartRequest:
    """One PUT. `url` is signed: it goes into no log."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Store:
    """What differs between stores. `parallel_parts`: parts of one file may overtake each other. `parts_of_empty`: what
    an empty file is finalized with, number → ETag; None where it needs a PUT like any other."""

    name: str
    parallel_parts: bool
    parts_of_empty: Mapping[int, str] | None

    def part_request(
        self, signed_url: str, *, number: int, offset: int, length: int, total: int, content_type: str
    ) -> PartRequest:
        """The request for part `number`, counted from 1."""
        headers = {"Content-Type": content_type, "Content-Length": str(length)}
        return PartRequest(signed_url, headers)

    def accepted(self, status: int, *, last: bool) -> bool:
        """Whether a status says that the store has the part."""
        return status == 200

    def etag(self, headers: Mapping[str, str]) -> str | None:
        """The ETag to finalize with, or None where the store owes one and gave none. Header names are small."""
        return ""


class S3Store(Store):
    """Source: Amazon S3 API, UploadPart."""

    def etag(self, headers: Mapping[str, str]) -> str | None:
        etag = headers.get("etag")
        return etag.strip('"') if etag else None


class GcsStore(Store):
    """One resumable session for all parts. Source: Cloud Storage, "Perform resumable uploads"."""

    def part_request(
        self, signed_url: str, *, number: int, offset: int, length: int, total: int, content_type: str
    ) -> PartRequest:
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(length),
            "Content-Range": f"bytes {offset}-{offset + length - 1}/{total}",
        }
        return PartRequest(signed_url, headers)

    def accepted(self, status: int, *, last: bool) -> bool:
        return status in (200, 201) if last else status == 308


class AzureStore(Store):
    """Each part is a staged block; the lake commits the list. Source: Azure REST API, Put Block.

    Azure refuses a block without bytes, so an empty file is an empty list of blocks.
    """

    def part_request(
        self, signed_url: str, *, number: int, offset: int, length: int, total: int, content_type: str
    ) -> PartRequest:
        block = base64.b64encode(base64.b64encode(f"{number - 1:06d}".encode())).decode("ascii")
        joint = "&" if "?" in signed_url else "?"
        url = f"{signed_url}{joint}comp=block&blockid={quote(block, safe='')}"
        return PartRequest(url, {"Content-Type": content_type, "Content-Length": str(length)})

    def accepted(self, status: int, *, last: bool) -> bool:
        return status == 201


_STORES: Mapping[StorageKind, Store] = {
    StorageKind.S3: S3Store("s3", parallel_parts=True, parts_of_empty=None),
    StorageKind.GCS: GcsStore("gcs", parallel_parts=False, parts_of_empty={1: ""}),
    StorageKind.AZURE: AzureStore("azure", parallel_parts=True, parts_of_empty={}),
}


def store_for(kind: StorageKind) -> Store:
    return _STORES[kind]
