"""Isolates the items that the lake rejects, so that one bad item does not fail a page of a thousand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import Action
from metalake_sync.core.addresses import Address, Place
from metalake_sync.errors import LakeRejected

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
