"""Processing many items at once: admission, waiting, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest

from metalake_sync.remote.transfers.workers import Lane, WeightedSemaphore, run_side_by_side


def take_from(items: Iterable[int]) -> Callable[[], Awaitable[int | None]]:
    left = iter(items)

    async def take() -> int | None:
        return next(left, None)

    return take


class Watch:
    """Work that takes a moment, and records how many items were processed at once."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.order: list[int] = []

    async def work(self, item: int) -> int:
        self.now += 1
        self.most = max(self.most, self.now)
        self.order.append(item)
        await asyncio.sleep(0.001)
        self.now -= 1
        return item


async def everything(
    lanes: list[Lane[int]], work: Callable[[int], Awaitable[int]], places: WeightedSemaphore
) -> list[int]:
    return [outcome async for outcome in run_side_by_side(lanes, work, places)]


def test_every_item_of_every_lane_is_processed_within_the_limit() -> None:
    watch = Watch()
    lanes = [Lane(take_from(range(50))), Lane(take_from(range(50, 60)))]
    outcomes = asyncio.run(everything(lanes, watch.work, WeightedSemaphore(lambda: 7)))
    assert sorted(outcomes) == list(range(60))
    assert watch.most == 7


def test_lanes_without_items_end_at_once() -> None:
    assert (
        asyncio.run(everything([Lane(take_from([])), Lane(take_from([]))], Watch().work, WeightedSemaphore(lambda: 1)))
        == []
    )


def test_more_items_start_when_the_limit_grows() -> None:
    watch = Watch()
    limit = 1

    async def work(item: int) -> int:
        nonlocal limit
        limit = 5
        return await watch.work(item)

    asyncio.run(everything([Lane(take_from(range(40)))], work, WeightedSemaphore(lambda: limit)))
    assert watch.most == 5


def test_the_capacity_of_a_lane_limits_the_weight_of_its_items() -> None:
    weights: list[int] = []
    under_way = 0

    async def work(item: int) -> int:
        nonlocal under_way
        under_way += item
        weights.append(under_way)
        await asyncio.sleep(0.001)
        under_way -= item
        return item

    lane = Lane(take_from([4, 4, 4, 30, 1, 1, 1]), WeightedSemaphore(lambda: 10), lambda item: item)
    assert sorted(asyncio.run(everything([lane], work, WeightedSemaphore(lambda: 100)))) == [1, 1, 1, 4, 4, 4, 30]
    # An item above the limit is processed alone.
    assert max(weight for weight in weights if weight != 30) <= 10


def test_a_full_lane_does_not_stop_the_other() -> None:
    watch = Watch()
    heavy = Lane(take_from([100, 101, 102]), WeightedSemaphore(lambda: 1), lambda _: 1)
    asyncio.run(everything([heavy, Lane(take_from(range(5)))], watch.work, WeightedSemaphore(lambda: 4)))
    assert watch.order.index(4) < watch.order.index(102)


def test_an_error_is_raised_after_earlier_outcomes_and_frees_all_places() -> None:
    places = WeightedSemaphore(lambda: 2)
    room = WeightedSemaphore(lambda: 2)

    async def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        if item > 3:
            await asyncio.sleep(60)
        return item

    async def run() -> list[int]:
        outcomes = []
        with pytest.raises(ValueError, match="three"):
            async for outcome in run_side_by_side([Lane(take_from(range(10)), room, lambda _: 1)], work, places):
                outcomes.append(outcome)  # noqa: PERF401
        # All places are free again: two more are admitted at once.
        async with asyncio.timeout(5):
            for _ in range(2):
                await places.enter()
                await room.enter()
        return outcomes

    assert asyncio.run(run()) == [0, 1, 2]


def test_an_error_of_the_source_is_raised() -> None:
    async def take() -> int | None:
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        asyncio.run(everything([Lane(take)], Watch().work, WeightedSemaphore(lambda: 1)))


def test_a_waiter_that_is_cancelled_does_not_block_the_next() -> None:
    async def run() -> None:
        room = WeightedSemaphore(lambda: 1)
        await room.enter()
        first, second = (asyncio.create_task(room.enter()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        room.leave()
        async with asyncio.timeout(5):
            await second

    asyncio.run(run())


def test_a_waiter_that_is_cancelled_after_admission_gives_its_place_back() -> None:
    async def run() -> None:
        room = WeightedSemaphore(lambda: 1)
        await room.enter()
        first = asyncio.create_task(room.enter())
        await asyncio.sleep(0)
        room.leave()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        async with asyncio.timeout(5):
            await room.enter()

    asyncio.run(run())
