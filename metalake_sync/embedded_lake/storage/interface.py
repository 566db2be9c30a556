"""What an object storage is: its interface, and its address as the value of `--storage`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from metalake_sync.errors import UsageError
from metalake_sync.key_stores.addresses import AZURE, GCS, S3, BucketAddress, parse_bucket
from metalake_sync.protocol.uploads import FinishedPart
from metalake_sync.protocol.wire import StorageKind


@dataclass(frozen=True, slots=True)
class PendingObject:
    """An object during its upload."""

    file_id: str
    blob: str
    """Its name in the store."""
    ticket: str = field(default="", repr=False)
    """The store's id of the upload (an upload id or a session URL): a credential. Empty before `start`."""


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object found by a crawl."""

    bucket: str | None
    """None is the lake's own."""
    path: str
    """The storage path in the bucket."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that a crawl skips."""

    path: str
    reason: str
    """A clause."""


class ObjectStorage(Protocol):
    """Stores objects. Methods that wait are coroutines, except for crawls, which have no event loop.

    Raises Rejection if the store rejects a call.
    """

    @property
    def kind(self) -> StorageKind: ...

    @property
    def bucket(self) -> str:
        """The name of the lake's own bucket."""
        ...

    @property
    def keys_are_names(self) -> bool:
        """Whether an object's name is its key in a bucket, so that storage paths are unique."""
        ...

    def key_for(self, path: str) -> str:
        """Return the storage path for a path of the lake."""
        ...

    async def is_taken(self, key: str) -> bool:
        """Return whether the bucket already has an object with this key."""
        ...

    async def start(self, pending: PendingObject, content_type: str) -> str:
        """Start the upload of an object. Returns its ticket, the present one if that is still valid."""
        ...

    async def part_urls(self, pending: PendingObject, count: int, base_url: str) -> list[str]:
        """Return the URL to PUT each part. `base_url`: the address of the lake that the client uses."""
        ...

    async def finish(self, pending: PendingObject, parts: Sequence[FinishedPart]) -> int:
        """Assemble an object from its parts, numbered from 1 without gaps. Returns its size in bytes. Idempotent.

        Rejects parts that the store does not have.
        """
        ...

    def finished(self, file_id: str) -> Callable[[], None]:
        """Forget the parts of a finalized object, in its transaction. Call the returned function after the commit."""
        ...

    async def flush(self, blobs: Iterable[str]) -> None:
        """Make these objects survive a power failure."""
        ...

    def discard(self, blobs: Iterable[str]) -> None:
        """Remove objects that are not needed, without waiting for completion."""
        ...

    def object_url(self, blob: str, base_url: str) -> str:
        """Return a signed URL to read an object."""
        ...

    async def head(self, blob: str, length: int) -> bytes:
        """Return an object's first `length` bytes; fewer if it is shorter, none if it does not exist."""
        ...

    def crawl(self, folder: str) -> Iterator[FoundObject | LeftOut]:
        """Yield the objects in a folder of a bucket. Raises UsageError."""
        ...

    def take_in(self, found: FoundObject) -> str:
        """Import an object into the lake. Returns its name. Raises OSError."""
        ...

    def close(self) -> None: ...


FILE = "file"

_KINDS = {S3: StorageKind.S3, AZURE: StorageKind.AZURE, GCS: StorageKind.GCS}


def kind_of(address: BucketAddress) -> StorageKind:
    return _KINDS[address.scheme]


def parse_storage(storage: str, endpoint: str | None) -> BucketAddress | None:
    """Parse the value of `--storage`. Returns None for `file`. Raises UsageError."""
    if storage == FILE:
        if endpoint:
            raise UsageError(
                "--storage-endpoint requires a bucket", remedy="Remove it, or use --storage s3://, azure:// or gs://."
            )
        return None
    address = parse_bucket(storage, endpoint)
    if address is None:
        raise UsageError(
            f"the storage {storage!r} is invalid",
            remedy="Use file, s3://bucket/prefix, azure://container/prefix or gs://bucket/prefix.",
        )
    if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
        raise UsageError(
            f"the storage endpoint {endpoint!r} is not a URL", remedy="Use a URL that starts with http:// or https://."
        )
    return address
