"""Objects in a bucket of a store of its own: what S3, Azure and Google Cloud Storage have in common.

Owns: threads (the stores' libraries block), keys below the lake's prefix, and what becomes of a store's errors. The
lake hands out the store's own signed URLs and never sees the bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from metalake_sync.embedded_lake.rejections import Rejection
from metalake_sync.embedded_lake.storage.address import BucketAddress, parse_storage
from metalake_sync.embedded_lake.storage.ports import FoundObject, PendingObject
from metalake_sync.errors import StateError, UsageError
from metalake_sync.protocol.uploads import FinishedPart
from metalake_sync.protocol.wire import StorageKind

T = TypeVar("T")

CALLS_AT_ONCE = 16
ERRORS_SHOWN = 300

_FOREIGN = "//"
"""Begins the name of an object in a bucket that is not the lake's own: `//bucket/key`."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object is."""

    bucket: str
    key: str


class PartsMissing(Exception):
    """The store does not have the parts that an object should be made of. The words say which."""


class BucketLibrary(Protocol):
    """One store's library, as far as a lake needs it. Every method blocks, from any thread, and raises what the library
    raises; `errors` are those exceptions."""

    errors: tuple[type[Exception], ...]

    def check(self) -> None:
        """Raise one of `errors` unless the bucket can be reached and is there."""
        ...

    def exists(self, place: Place) -> bool: ...

    def start(self, place: Place, content_type: str, ticket: str) -> str: ...

    def part_urls(self, place: Place, ticket: str, count: int) -> list[str]: ...

    def finish(self, place: Place, ticket: str, parts: Sequence[FinishedPart]) -> int:
        """Raises PartsMissing."""
        ...

    def remove(self, place: Place) -> None: ...

    def read_url(self, place: Place) -> str: ...

    def head(self, place: Place, length: int) -> bytes: ...

    def list(self, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys and sizes in bytes of all that begins with a prefix."""
        ...


class BucketStorage:
    """A bucket as the lake's store. Raises StateError if it can't be used."""

    keys_are_names = True

    def __init__(self, address: BucketAddress, library: BucketLibrary) -> None:
        self.kind: StorageKind = address.kind
        self.bucket = address.bucket
        self._address = address
        self._library = library
        self._threads = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="store")
        try:
            library.check()
        except library.errors as error:
            self.close()
            raise StateError(
                f"the bucket {address.bucket!r} can't be used ({_words(error)})",
                remedy="Check its name, the credentials in the environment and --storage-endpoint; make it if need be.",
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
        """The store kept them before it answered."""

    def discard(self, blobs: Iterable[str]) -> None:
        for blob in blobs:
            self._threads.submit(self._remove, blob)

    def object_url(self, blob: str, base_url: str) -> str:
        return self._library.read_url(self._place(blob))

    async def head(self, blob: str, length: int) -> bytes:
        return await self._call(lambda: self._library.head(self._place(blob), length))

    def crawl(self, folder: str) -> Iterator[FoundObject]:
        """`folder`: a path in the lake's own bucket, or the address of a folder in another bucket of the same store."""
        bucket, path = self._meant(folder)
        own = bucket == self._address.bucket
        try:
            for key, size_bytes in self._library.list(bucket, f"{path}/" if path else ""):
                # Stores show folders as empty objects whose key ends in a slash.
                if not key.endswith("/"):
                    yield FoundObject(None if own else bucket, key, size_bytes)
        except self._library.errors as error:
            raise StateError(f"the bucket {bucket!r} can't be listed ({_words(error)})") from None

    def take_in(self, found: FoundObject) -> str:
        return found.path if found.bucket is None else f"{_FOREIGN}{found.bucket}/{found.path}"

    def close(self) -> None:
        self._threads.shutdown(wait=True)

    def _meant(self, folder: str) -> tuple[str, str]:
        if "://" not in folder:
            return self._address.bucket, folder.strip("/")
        address = parse_storage(folder, self._address.endpoint)
        if address is None or address.kind is not self._address.kind:
            raise UsageError(f"{folder!r} is in another store than the lake's objects", remedy="Give a bucket of it.")
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
            logger.warning("an object that nobody needs could not be removed: %s", _words(error))

    async def _call(self, call: Callable[[], T]) -> T:
        """Run it in a thread; a store's error becomes the refusal that a client tries again."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except PartsMissing as missing:
            raise Rejection(400, "BadRequestError", str(missing)) from None
        except self._library.errors as error:
            logger.warning("the store failed: %s", _words(error))
            raise Rejection(503, "StorageUnavailable", "The lake's store failed; its log says why") from None


def _words(error: Exception) -> str:
    """One line of a library's error, without addresses: they may be signed."""
    words = (word for word in str(error).split() if "://" not in word and "?" not in word)
    return " ".join(words)[:ERRORS_SHOWN] or type(error).__name__
