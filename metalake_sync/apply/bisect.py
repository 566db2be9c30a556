"""Isolates the items that the lake rejects, so that one bad item does not fail a page of a thousand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from metalake_sync.errors import LakeRefused

ItemT = TypeVar("ItemT")


async def send_in_halves(
    items: Sequence[ItemT], send: Callable[[Sequence[ItemT]], Awaitable[None]]
) -> list[tuple[ItemT, LakeRefused]]:
    """Send a page. If the lake rejects it, send its halves, until the rejected items are isolated.

    Returns these items with their errors. A page of n items with one bad item costs about 2 log2 n more calls.
    """
    try:
        await send(items)
    except LakeRefused as refusal:
        if len(items) == 1:
            return [(items[0], refusal)]
        middle = len(items) // 2
        return await send_in_halves(items[:middle], send) + await send_in_halves(items[middle:], send)
    return []
