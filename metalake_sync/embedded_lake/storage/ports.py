"""What the lake asks of a store of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from metalake_sync.protocol.uploads import FinishedPart
from metalake_sync.protocol.wire import StorageKind


@dataclass(frozen=True, slots=True)
class PendingObject:
    """An object that is being uploaded. `blob`: its name in the store. `ticket`: what the store gave when it was told
    of the object (an upload id, a session URL), so a credential; empty before that."""

    file_id: str
    blob: str
    ticket: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object that a crawl met. `bucket`: None is the lake's own. `path`: its storage path in there."""

    bucket: str | None
    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a crawl met and does not take in: a file, or a folder with all that is in it. `reason`: a clause."""

    path: str
    reason: str


class ObjectStorage(Protocol):
    """Methods that wait are coroutines, except those of a crawl, which has no event loop. Raises Refusal where the
    store refuses."""

    @property
    def kind(self) -> StorageKind: ...

    @property
    def bucket(self) -> str:
        """The name of the lake's own bucket."""
        ...

    @property
    def keys_are_names(self) -> bool:
        """Whether an object's name is its key in a bucket, so that no two objects can have one storage path."""
        ...

    def key_for(self, path: str) -> str:
        """The storage path of what stands under this path of the lake."""
        ...

    async def is_taken(self, key: str) -> bool:
        """Whether the bucket has something under this key already."""
        ...

    async def start(self, pending: PendingObject, content_type: str) -> str:
        """Have the store expect an object. Returns its ticket; the same one where it has one that still serves."""
        ...

    async def part_urls(self, pending: PendingObject, count: int, base_url: str) -> list[str]:
        """Where each part may be put. `base_url`: under which the client reached the lake."""
        ...

    async def finish(self, pending: PendingObject, parts: Sequence[FinishedPart]) -> int:
        """Make one object of its parts, numbered from 1 without gaps, and return its size in bytes. Asked again, it
        does no harm. Raises the refusal of parts that the store does not have."""
        ...

    def finished(self, file_id: str) -> Callable[[], None]:
        """Inside the transaction that marks the object as whole: forget its parts. Call what it returns afterwards."""
        ...

    async def flush(self, blobs: Iterable[str]) -> None:
        """Have these objects outlast a power failure."""
        ...

    def discard(self, blobs: Iterable[str]) -> None:
        """Remove objects that nobody needs. It does not wait until they are gone."""
        ...

    def object_url(self, blob: str, base_url: str) -> str:
        """A signed URL to read an object."""
        ...

    async def head(self, blob: str, length: int) -> bytes:
        """An object's first bytes: fewer where it is shorter, none where it is gone."""
        ...

    def crawl(self, folder: str) -> Iterator[FoundObject | LeftOut]:
        """What is in a folder of a bucket. Raises UsageError."""
        ...

    def take_in(self, found: FoundObject) -> str:
        """Make an object of the lake of it, and return its name. Raises OSError."""
        ...

    def close(self) -> None: ...
