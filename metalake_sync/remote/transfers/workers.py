"""Processes many items at once in one event loop, and yields their outcomes as they finish.

Owns: limits on the number of items, and ending all tasks together. Must not: know what an item is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from metalake_sync.lazy_dataclass import dataclass

ItemT = TypeVar("ItemT")
OutcomeT = TypeVar("OutcomeT")


class WeightedSemaphore:
    """Admits a limited total weight at once, first come, first served. `limit` may change at any time.

    A weight above the limit is admitted alone.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, amount: int = 1) -> None:
        """Wait until the weight is admitted."""
        if not self._waiting and self._fits(amount):
            self._taken += amount
            return
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, admitted))
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():
                self.leave(amount)
            raise

    def leave(self, amount: int = 1) -> None:
        self._taken -= amount
        while self._waiting:
            wanted, admitted = self._waiting[0]
            if admitted.cancelled():
                self._waiting.popleft()
            elif self._fits(wanted):
                self._waiting.popleft()
                self._taken += wanted
                admitted.set_result(None)
            else:
                return

    def _fits(self, amount: int) -> bool:
        return not self._taken or self._taken + amount <= self._limit()


def _nothing(_: object) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Lane(Generic[ItemT]):
    """A source of items."""

    take: Callable[[], Awaitable[ItemT | None]]
    """Returns the next item, or None after the last one. Never called concurrently."""
    capacity: WeightedSemaphore | None = None
    """Limits the items of this lane, in addition to the limit for all lanes."""
    weigh: Callable[[ItemT], int] = _nothing
    """Returns the weight of an item in `capacity`."""


async def run_side_by_side(
    lanes: Sequence[Lane[ItemT]], work: Callable[[ItemT], Awaitable[OutcomeT]], places: WeightedSemaphore
) -> AsyncGenerator[OutcomeT, None]:
    """Yield the outcome of each item. `places` limits the items of all lanes; lanes are served concurrently.

    An error of `take` or `work` is raised after the outcomes that precede it.
    """
    outcomes: asyncio.Queue[tuple[OutcomeT] | BaseException | None] = asyncio.Queue()
    working: set[asyncio.Task[None]] = set()
    running = 0

    async def run(item: ItemT) -> None:
        try:
            outcomes.put_nowait((await work(item),))
        except BaseException as error:
            outcomes.put_nowait(error)
            raise

    async def serve(lane: Lane[ItemT]) -> None:
        nonlocal running

        def leave(task: asyncio.Task[None], weight: int) -> None:
            # Also called for a task that was cancelled before it started.
            working.discard(task)
            places.leave()
            if lane.capacity is not None:
                lane.capacity.leave(weight)

        try:
            while (item := await lane.take()) is not None:
                weight = lane.weigh(item)
                if lane.capacity is not None:
                    await lane.capacity.enter(weight)
                try:
                    await places.enter()
                except asyncio.CancelledError:
                    if lane.capacity is not None:
                        lane.capacity.leave(weight)
                    raise
                running += 1
                task = asyncio.create_task(run(item))
                working.add(task)
                task.add_done_callback(partial(leave, weight=weight))
        except BaseException as error:
            outcomes.put_nowait(error)
            raise
        outcomes.put_nowait(None)

    serving = [asyncio.create_task(serve(lane)) for lane in lanes]
    try:
        left = len(serving)
        while left or running:
            outcome = await outcomes.get()
            if outcome is None:
                left -= 1
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                running -= 1
                yield outcome[0]
    finally:
        tasks = [*serving, *working]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
