"""Many at once, in one event loop: workers take items from one source, and their outcomes come as they are ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

ItemT = TypeVar("ItemT")
OutcomeT = TypeVar("OutcomeT")


async def run_workers(
    take: Callable[[], Awaitable[ItemT | None]], work: Callable[[ItemT], Awaitable[OutcomeT]], count: int
) -> AsyncIterator[OutcomeT]:
    """Give the outcome of each item. `take` returns None after the last one; `count`: workers.

    An error of `take` or `work` ends it, after the outcomes that were there before.
    """
    outcomes: asyncio.Queue[tuple[OutcomeT] | BaseException | None] = asyncio.Queue()

    async def run() -> None:
        try:
            while (item := await take()) is not None:
                outcomes.put_nowait((await work(item),))
        except BaseException as error:
            outcomes.put_nowait(error)
            raise
        outcomes.put_nowait(None)

    workers = [asyncio.create_task(run()) for _ in range(count)]
    try:
        running = count
        while running:
            outcome = await outcomes.get()
            if outcome is None:
                running -= 1
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                yield outcome[0]
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
