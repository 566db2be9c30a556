"""The bandwidth limit, in simulated time: how many bytes moved by when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from metalake_sync.remote.transfers.limits import Bandwidth


@dataclass
class Virtual:
    """Simulated time, which advances when all tasks sleep. `moved`: (when, bytes)."""

    now: float = 1000.0
    sleepers: list[tuple[float, int, asyncio.Event]] = field(default_factory=list)
    moved: list[tuple[float, int]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def now_s(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self.pauses.append(seconds)
        self.sleepers.append((self.now + seconds, len(self.pauses), woken))
        await woken.wait()

    async def run(self, senders: list[asyncio.Task[None]]) -> None:
        while not all(sender.done() for sender in senders):
            for _ in range(5):
                await asyncio.sleep(0)
            if self.sleepers:
                self.sleepers.sort(key=lambda sleeper: sleeper[:2])
                self.now, _, woken = self.sleepers.pop(0)
                woken.set()
        for sender in senders:
            sender.result()

    def in_second(self, second: int) -> int:
        begin = 1000.0 + second
        return sum(size for when, size in self.moved if begin <= when < begin + 1)


async def chunks(count: int, size: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(size)


def moved(rate: float, *, senders: int, count: int, size: int) -> Virtual:
    """Let senders move chunks of this size through one limit."""
    virtual = Virtual()

    async def main() -> None:
        bandwidth = Bandwidth(rate, now_s=virtual.now_s, sleep=virtual.sleep)

        async def send() -> None:
            async for piece in bandwidth.pieces(chunks(count, size)):
                virtual.moved.append((virtual.now, len(piece)))

        await virtual.run([asyncio.create_task(send()) for _ in range(senders)])

    asyncio.run(main())
    return virtual


@pytest.mark.parametrize("rate", [20_000, 300_000, 10_000_000])
@pytest.mark.parametrize("senders", [1, 8])
def test_a_limit_holds_within_ten_percent_from_the_first_second_on(rate: int, senders: int) -> None:
    seconds = 5
    size = 1 << 20 if rate > 1_000_000 else rate
    virtual = moved(rate, senders=senders, count=-(-rate * (seconds + 1) // (size * senders)), size=size)
    for second in range(seconds):
        assert 0.9 * rate <= virtual.in_second(second) <= 1.1 * rate, (second, virtual.in_second(second))
    total = sum(size for _, size in virtual.moved)
    assert total / (virtual.now - 1000) == pytest.approx(rate, rel=0.1)


def test_a_low_rate_is_a_steady_flow_without_long_pauses() -> None:
    virtual = moved(10_000, senders=1, count=1, size=1 << 20)
    assert max(virtual.pauses) <= 0.2
    assert sum(size for _, size in virtual.moved) == 1 << 20


def test_idle_time_does_not_allow_a_later_burst() -> None:
    virtual = Virtual()
    bandwidth = Bandwidth(1000.0, now_s=virtual.now_s, sleep=virtual.sleep)
    virtual.now += 3600

    async def main() -> None:
        async def send() -> None:
            async for piece in bandwidth.pieces(chunks(1, 5000)):
                virtual.moved.append((virtual.now - 3600, len(piece)))

        await virtual.run([asyncio.create_task(send())])

    asyncio.run(main())
    assert virtual.in_second(0) <= 1200


def test_without_a_limit_nothing_waits_and_chunks_stay_whole() -> None:
    async def main() -> list[bytes]:
        return [piece async for piece in Bandwidth(None).pieces(chunks(3, 1 << 20))]

    assert [len(piece) for piece in asyncio.run(main())] == [1 << 20] * 3
