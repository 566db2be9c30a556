"""Object storage in a bucket: the common part of S3, Azure and Google Cloud Storage, and opening one of them.

Owns: threads (the stores' libraries block), keys below the lake's prefix, and the handling of a store's errors. Clients
use the store's own signed URLs, so the bytes do not pass through the lake. The libraries are optional extras.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, TypeVar

from metalake_sync.embedded_lake.rejections import Rejection
from metalake_sync.embedded_lake.storage.interface import FoundObject, PendingObject, kind_of, parse_storage
from metalake_sync.errors import StateError, UsageError
from metalake_sync.key_stores.addresses import BucketAddress
from metalake_sync.key_stores.failures import describe_sdk_error
from metalake_sync.key_stores.limits import CALLS_AT_ONCE
from metalake_sync.key_stores.opening import library_missing
from metalake_sync.protocol.uploads import FinishedPart
from metalake_sync.protocol.wire import StorageKind

T = TypeVar("T")

_FOREIGN = "//"
"""The start of an object's name in a bucket other than the lake's: `//bucket/key`."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """The address of an object."""

    bucket: str
    key: str


class PartsMissing(Exception):
    """The store does not have all parts of an object. The message says which are missing."""


class BucketLibrary(Protocol):
    """The calls to one store's library. Methods block, may be called from any thread, and raise `errors`."""

    errors: tuple[type[Exception], ...]

    def check(self) -> None:
        """Raise one of `errors` if the bucket does not exist or is unreachable."""
        ...

    def exists(self, place: Place) -> bool: ...

    def start(self, place: Place, content_type: str, ticket: str) -> str: ...

    def part_urls(self, place: Place, ticket: str, count: int) -> list[str]: ...

    def finish(self, place: Place, ticket: str, parts: Sequence[FinishedPart]) -> int:
        """Assemble an object, and return its size in bytes. Raises PartsMissing."""
        ...

    def remove(self, place: Place) -> None: ...

    def read_url(self, place: Place) -> str: ...

    def head(self, place: Place, length: int) -> bytes: ...

    def list(self, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield keys and sizes in bytes of all objects with a prefix."""
        ...


class BucketStorage:
    """Stores objects in a bucket. Raises StateError if the bucket is unusable."""

    keys_are_names = True

    def __init__(self, address: BucketAddress, library: BucketLibrary) -> None:
        self.kind = kind_of(address)
        self.bucket = address.bucket
        self._address = address
        self._library = library
        self._threads = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="store")
        try:
            library.check()
        except library.errors as error:
            self.close()
            raise StateError(
                f"the bucket {address.bucket!r} cannot be used ({describe_sdk_error(error)})",
                remedy="Check that it exists, the credentials in the environment, and --storage-endpoint.",
            ) from None

    def key_for(self, path: str) -> str:
        return self._address.key(path)

    async def is_taken(self, key: str) -> bool:
        return await self._call(lambda: self._library.exists(self._place(key)))

    async def start(self, pending: PendingObject, content_type: str) -> str:
        return await self._call(lambda: self._library.start(self._place(pending.blob), content_type, pending.ticket))

    async def part_urls(self, pending: PendingObject, count: int, base_url: str) -> list[str]:
        return await self._call(lambda: self._library.part_urls(self._place(pending.blob), pending.ticket, count))

    async def finish(self, pending: PendingObject, parts: Sequence[FinishedPart]) -> int:
        return await self._call(lambda: self._library.finish(self._place(pending.blob), pending.ticket, parts))

    def finished(self, file_id: str) -> Callable[[], None]:
        return lambda: None

    async def flush(self, blobs: Iterable[str]) -> None:
        """Do nothing, because the store answers only after it has stored an object."""

    def discard(self, blobs: Iterable[str]) -> None:
        for blob in blobs:
            self._threads.submit(self._remove, blob)

    def object_url(self, blob: str, base_url: str) -> str:
        return self._library.read_url(self._place(blob))

    async def head(self, blob: str, length: int) -> bytes:
        return await self._call(lambda: self._library.head(self._place(blob), length))

    def crawl(self, folder: str) -> Iterator[FoundObject]:
        """Yield the objects of a folder: a path in the lake's bucket, or the address of another bucket of the store."""
        bucket, path = self._bucket_and_path(folder)
        own = bucket == self._address.bucket
        try:
            for key, size_bytes in self._library.list(bucket, f"{path}/" if path else ""):
                # Stores list folders as empty objects whose key ends in a slash.
                if not key.endswith("/"):
                    yield FoundObject(None if own else bucket, key, size_bytes)
        except self._library.errors as error:
            raise StateError(f"the bucket {bucket!r} cannot be listed ({describe_sdk_error(error)})") from None

    def take_in(self, found: FoundObject) -> str:
        return found.path if found.bucket is None else f"{_FOREIGN}{found.bucket}/{found.path}"

    def close(self) -> None:
        self._threads.shutdown(wait=True)

    def _bucket_and_path(self, folder: str) -> tuple[str, str]:
        if "://" not in folder:
            return self._address.bucket, folder.strip("/")
        address = parse_storage(folder, self._address.endpoint)
        if address is None or address.scheme != self._address.scheme:
            raise UsageError(
                f"{folder!r} is not in the store of the lake's objects", remedy="Use a bucket of that store."
            )
        return address.bucket, address.prefix

    def _place(self, blob: str) -> Place:
        if blob.startswith(_FOREIGN):
            bucket, _, key = blob.removeprefix(_FOREIGN).partition("/")
            return Place(bucket, key)
        return Place(self._address.bucket, blob)

    def _remove(self, blob: str) -> None:
        try:
            self._library.remove(self._place(blob))
        except self._library.errors as error:
            logger.warning("an unused object could not be removed: %s", describe_sdk_error(error))

    async def _call(self, call: Callable[[], T]) -> T:
        """Run a call in a thread. Errors of the store become 503, which clients retry."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except PartsMissing as missing:
            raise Rejection(400, "BadRequestError", str(missing)) from None
        except self._library.errors as error:
            logger.warning("the store failed: %s", describe_sdk_error(error))
            raise Rejection(503, "StorageUnavailable", "The lake's store failed; see the lake's log") from None


_LIBRARIES = {
    StorageKind.S3: ("s3", "S3Library"),
    StorageKind.AZURE: ("azure", "AzureLibrary"),
    StorageKind.GCS: ("gcs", "GcsLibrary"),
}
"""Module and class. The extra has the name of the module."""


def open_bucket(address: BucketAddress, url_lifetime_s: float) -> BucketStorage:
    """Open a bucket. Raises UsageError for a missing library or credentials, StateError for an unusable bucket."""
    return BucketStorage(address, open_library(address, url_lifetime_s))


def open_library(address: BucketAddress, url_lifetime_s: float) -> BucketLibrary:
    """Create the library of a store, without calling the store. Raises UsageError."""
    extra, name = _LIBRARIES[kind_of(address)]
    try:
        module = import_module(f"metalake_sync.embedded_lake.storage.{extra}")
    except ImportError as error:
        raise library_missing(error, extra) from None
    library: BucketLibrary = getattr(module, name)(address, url_lifetime_s)
    return library
