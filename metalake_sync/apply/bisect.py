"""One bad item must not take a thousand good ones with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from metalake_sync.errors import LakeRefused

ItemT = TypeVar("ItemT")


async def send_in_halves(
    items: Sequence[ItemT], send: Callable[[Sequence[ItemT]], Awaitable[None]]
) -> list[tuple[ItemT, LakeRefused]]:
    """Send a page; where the lake refuses it, send its halves, until the items that it refuses are alone.

    Returns those with the refusals. A page of n items with one bad one costs about 2 log2 n calls more.
    """
    try:
        await send(items)
    except LakeRefused as refusal:
        if len(items) == 1:
            return [(items[0], refusal)]
        middle = len(items) // 2
        return await send_in_halves(items[:middle], send) + await send_in_halves(items[middle:], send)
    return []
