"""Many at once, in one event loop: items are let in as there is room, and their outcomes come as they are ready.

Owns: waiting for room, and ending together. Must not: know what an item is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from metalake_sync.lazy_dataclass import dataclass

ItemT = TypeVar("ItemT")
OutcomeT = TypeVar("OutcomeT")


class WeightedSemaphore:
    """Room for so much at once, in whatever unit; first come, first in. `limit` may change while some wait.

    What is larger than the limit comes in alone.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, amount: int = 1) -> None:
        """Wait until there is room, and take it."""
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
    """A source of items. `take` returns None after the last one, and is never called twice at a time. `room` and
    `weigh`: what an item of this lane takes up besides its place among all."""

    take: Callable[[], Awaitable[ItemT | None]]
    room: WeightedSemaphore | None = None
    weigh: Callable[[ItemT], int] = _nothing


async def run_side_by_side(
    lanes: Sequence[Lane[ItemT]], work: Callable[[ItemT], Awaitable[OutcomeT]], places: WeightedSemaphore
) -> AsyncIterator[OutcomeT]:
    """Give the outcome of each item. `places`: how many may be worked on at once; lanes are served side by side.

    An error of `take` or `work` ends it, after the outcomes that were there before.
    """
    outcomes: asyncio.Queue[tuple[OutcomeT] | BaseException | None] = asyncio.Queue()
    working: set[asyncio.Task[None]] = set()
    begun = 0

    async def run(item: ItemT) -> None:
        try:
            outcomes.put_nowait((await work(item),))
        except BaseException as error:
            outcomes.put_nowait(error)
            raise

    async def serve(lane: Lane[ItemT]) -> None:
        nonlocal begun

        def leave(task: asyncio.Task[None], weight: int) -> None:
            # Also of a task that was cancelled before it began.
            working.discard(task)
            places.leave()
            if lane.room is not None:
                lane.room.leave(weight)

        try:
            while (item := await lane.take()) is not None:
                weight = lane.weigh(item)
                if lane.room is not None:
                    await lane.room.enter(weight)
                try:
                    await places.enter()
                except asyncio.CancelledError:
                    if lane.room is not None:
                        lane.room.leave(weight)
                    raise
                begun += 1
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
        while left or begun:
            outcome = await outcomes.get()
            if outcome is None:
                left -= 1
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                begun -= 1
                yield outcome[0]
    finally:
        tasks = [*serving, *working]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
