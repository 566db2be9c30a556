"""Pages of items for one place: how the place is written in a call, and which items the lake rejects.

Owns: the lookups that calls need and that the planner did not make, and the bisection that isolates rejected items, so
that one bad item does not fail a page of a thousand. Must not: know what the items are, or record anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import Action
from metalake_sync.core.addresses import DEFAULT_BUCKET, Address, By, FileAt, Place
from metalake_sync.core.snapshots import CollectionKey, MediaType
from metalake_sync.errors import LakeRejected
from metalake_sync.planning.lake_listing import LakeCollections, LakeView
from metalake_sync.remote.annotation_objects import ImageAddress
from metalake_sync.remote.client import LakeClient


class AddressLookup:
    """Looks up the collections of addresses, each at most once in a run."""

    def __init__(self, client: LakeClient) -> None:
        self._collections = LakeCollections(client)

    async def unique_names(self, address: Address, files: Iterable[FileAt]) -> dict[str, str]:
        """Unique names by entry, as far as the address needs and has them."""
        files = list(files)
        if address.by is By.UNIQUE_NAME:
            return {at.name: at.name for at in files}
        names = {at.name: at.unique_name for at in files if at.unique_name is not None}
        if address.by is By.COLLECTION and len(names) < len(files):
            view = await asyncio.to_thread(self._collection, address)
            listing = await asyncio.to_thread(view.listed)
            found = ((at.name, listing.get(at.name)) for at in files) if listing is not None else ()
            names |= {name: file.unique_name for name, file in found if file is not None}
        return names

    async def metadata_place(self, address: Address) -> dict[str, str]:
        """The parameters of a metadata call that say where its files are."""
        match address.by:
            case By.COLLECTION:
                return {"collection_id": (await asyncio.to_thread(self._collection, address)).lake_id or ""}
            case By.JOB:
                return {"job_id": address.within}
            case By.STORAGE_PATH:
                return {"bucket_name": address.within or DEFAULT_BUCKET}
            case By.UNIQUE_NAME:
                return {}

    def _collection(self, address: Address) -> LakeView:
        """The collection that an address names. Without a type, the first one of any type."""
        for media_type in [address.type] if address.type else list(MediaType):
            view = self._collections.named(CollectionKey(media_type, address.within))
            if view is not None:
                return view
        raise LakeRejected(f"the lake does not have the collection '{address.within}'", status=200)


def has_image_address(at: FileAt, unique_names: Mapping[str, str]) -> bool:
    """Whether an annotation call can name the image."""
    by_unique_name = not isinstance(at.place, Address) or at.place.by in (By.UNIQUE_NAME, By.COLLECTION)
    return not by_unique_name or at.name in unique_names or at.unique_name is not None


def image_address(at: FileAt, unique_names: Mapping[str, str]) -> ImageAddress:
    """The address of an image in an annotation call. `unique_names`: of images whose address lacks it, by name."""
    if isinstance(at.place, Address):
        match at.place.by:
            case By.STORAGE_PATH:
                return ImageAddress.at_path(at.name, at.place.within)
            case By.JOB:
                return ImageAddress(job_id=at.place.within, file_name=at.name)
            case By.UNIQUE_NAME | By.COLLECTION:
                pass
    return ImageAddress(unique_name=at.unique_name or unique_names[at.name])


def metadata_name(at: FileAt) -> str:
    """The name of a file in a metadata call."""
    by_path = isinstance(at.place, Address) and at.place.by is By.STORAGE_PATH
    return at.name.lstrip("/") if by_path else at.name


ItemT = TypeVar("ItemT")

REJECTED_IN_A_ROW = 20


async def send_in_halves(
    items: Sequence[ItemT], send: Callable[[Sequence[ItemT]], Awaitable[None]]
) -> list[tuple[ItemT, LakeRejected]]:
    """Send a page. If the lake rejects it, send its halves, until the rejected items are isolated.

    Returns these items with their errors. A page of n items with one bad item costs about 2 log2 n more calls.
    """
    try:
        await send(items)
    except LakeRejected as rejection:
        if len(items) == 1:
            return [(items[0], rejection)]
        middle = len(items) // 2
        return await send_in_halves(items[:middle], send) + await send_in_halves(items[middle:], send)
    return []


class PageSender:
    """Sends the pages of one place, and reports rejected items.

    If the lake rejects a number of entries of an address in a row and has accepted none, the address itself is wrong,
    and the rest fails without a call.
    """

    def __init__(self, recorder: Recorder, place: Place) -> None:
        self._recorder = recorder
        self._proven = not isinstance(place, Address)
        self._alone: list[LakeRejected] = []

    async def send(
        self,
        page: Sequence[ItemT],
        send: Callable[[Sequence[ItemT]], Awaitable[None]],
        action_of: Callable[[ItemT], Action],
    ) -> list[ItemT]:
        """Send a page. Returns the rejected items."""

        async def attempt(part: Sequence[ItemT]) -> None:
            if not self._proven and len(self._alone) >= REJECTED_IN_A_ROW:
                raise self._alone[-1]
            try:
                await send(part)
            except LakeRejected as rejection:
                if len(part) == 1:
                    self._alone.append(rejection)
                raise
            self._proven = True

        rejected = await send_in_halves(page, attempt)
        for item, rejection in rejected:
            self._recorder.fail([action_of(item)], rejection, retryable=False)
        return [item for item, _ in rejected]
