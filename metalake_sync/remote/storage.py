"""What differs between object stores: part sizes, the PUT of a part, and what its response means.

Owns: these differences, and the limits on parts that every store accepts. Must not: do I/O.

The lake names the store of an upload session. All other calls are the same for every store, so `file_upload` has one
loop.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import quote

from metalake_sync.errors import SignedUrlExpired, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol.wire import StorageKind

PART_BYTES = 16 << 20
"""The usual size of a part. A file of up to 160 GB stays within the limit of parts."""

PART_LIMIT = 10_000
"""The maximum number of parts per file. Source: Amazon S3 multipart upload limits."""

PART_BYTES_LIMIT = 4000 << 20
"""The largest part that every store accepts: Azure's largest block (4,000 MiB); S3 accepts 5 GiB."""

_ALIGNMENT = 1 << 20
"""Part sizes are multiples of 1 MiB. Google requires multiples of 256 KiB."""

EXPIRED_STATUSES = frozenset({400, 401, 403})
"""How stores reject an expired signature: S3 and Azure with 403, Google with 400 (ExpiredToken)."""

SIGNATURES_LIMIT = 5
"""How often the URLs of one file are signed again, without progress in a download, before the file fails."""


class TooManyParts(SyncError):
    """The file is larger than the store accepts."""


def choose_part_size(size_bytes: int) -> int:
    """Return the size of a file's parts in bytes. Raises TooManyParts for a file that is too large for any store."""
    needed = -(-size_bytes // PART_LIMIT)
    part_size = max(PART_BYTES, -(-needed // _ALIGNMENT) * _ALIGNMENT)
    if part_size > PART_BYTES_LIMIT:
        raise TooManyParts(
            f"{size_bytes} bytes need more than {PART_LIMIT} parts", remedy="Split the file into smaller ones."
        )
    return part_size


def split_parts(size_bytes: int, part_size: int) -> list[tuple[int, int]]:
    """Return the parts of a file as contiguous `(offset, length)` pairs in bytes.

    An empty file is one empty part. Raises TooManyParts beyond the limit.
    """
    parts = [(offset, min(part_size, size_bytes - offset)) for offset in range(0, size_bytes, part_size)] or [(0, 0)]
    if len(parts) > PART_LIMIT:
        raise TooManyParts(f"the file needs {len(parts)} parts, and the maximum is {PART_LIMIT}")
    return parts


@dataclass(frozen=True, slots=True)
class PartRequest:
    """One PUT."""

    url: str
    """Signed, so it must not be logged."""
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Store:
    """An object store with the behavior of most stores. Subclasses override what differs."""

    name: str
    parallel_parts: bool
    """Parts of one file may be sent at the same time and in any order."""
    parts_of_empty: Mapping[int, str] | None
    """Number → ETag to finalize an empty file with. None if an empty file needs a PUT like any other."""

    def part_request(
        self, signed_url: str, *, number: int, offset: int, length: int, total: int, content_type: str
    ) -> PartRequest:
        """Return the request for part `number`, counted from 1."""
        headers = {"Content-Type": content_type, "Content-Length": str(length)}
        return PartRequest(signed_url, headers)

    def accepted(self, status: int, *, last: bool) -> bool:
        """Return whether a status means that the store has the part."""
        return status == 200

    def etag(self, headers: Mapping[str, str]) -> str | None:
        """Return the ETag to finalize with, or None if a required one is missing. Header names are in lower case."""
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
    """Each part is a staged block, and the lake commits the list. Source: Azure REST API, Put Block.

    Azure rejects an empty block, so an empty file is an empty list of blocks.
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


def every_url_rejected(where: str) -> SignedUrlExpired:
    """Return the error of a file whose signed URLs the store rejected SIGNATURES_LIMIT times."""
    return SignedUrlExpired(
        "the store rejects every URL that the lake signs",
        where=where,
        remedy="Check the lake's storage settings and this machine's clock.",
    )
