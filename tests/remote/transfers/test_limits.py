"""Limits of a transfer, in simulated time: how many files are in flight, and how many bytes move per second."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field

import pytest

from metalake_sync.remote.transfers.limits import (
    FEWEST_FILES,
    FEWEST_WHEN_WAITING,
    MOST_FILES,
    START_FILES,
    Bandwidth,
    ConcurrencyController,
)

CALLS = 4


@dataclass
class Link:
    """A link to a lake that answers one call after the other."""

    latency_s: float
    """Of each call."""
    service_s: float
    """How long the lake works on one call."""
    most: int = MOST_FILES
    stumbles: tuple[float, ...] = ()
    """Times at which everything stops for a tenth of a second."""
    clock: float = 0.0
    sent: int = 0
    limits: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files = ConcurrencyController(lambda: self.clock, most=self.most)
        self._free_at = 0.0
        self._order = iter(range(1 << 40))
        self._answers: list[tuple[float, int, float, int]] = []
        self._in_flight = 0
        self._stumbling: Iterator[float] = iter(self.stumbles)
        self._next_stumble = next(self._stumbling, float("inf"))

    def run(self, seconds: float) -> None:
        """Send files for this many seconds."""
        end = self.clock + seconds
        while self.clock < end:
            while self._in_flight < self.files.limit:
                self._in_flight += 1
                self._call(CALLS - 1)
            answered_at, _, called_at, left = heapq.heappop(self._answers)
            self.clock = max(self.clock, answered_at)
            if self.clock >= self._next_stumble:
                self.clock += 0.1
                self._next_stumble = next(self._stumbling, float("inf"))
            if left != 1:
                # The third call is the PUT, whose time depends on the size of the file.
                self.files.record_call(self.clock - called_at)
            if left:
                self._call(left - 1)
            else:
                self._in_flight -= 1
                self.sent += 1
                self.files.record_file()
                self.limits.append(self.files.limit)

    def _call(self, left: int) -> None:
        reached = self.clock + self.latency_s / 2
        self._free_at = max(self._free_at, reached) + self.service_s
        heapq.heappush(self._answers, (self._free_at + self.latency_s / 2, next(self._order), self.clock, left))

    def rate(self, seconds: float) -> float:
        """Return the files per second from now on."""
        before = self.sent
        self.run(seconds)
        return (self.sent - before) / seconds


def test_the_limit_does_not_grow_where_the_link_answers_at_once() -> None:
    link = Link(latency_s=0.0, service_s=0.000_25)
    link.run(10)
    assert max(link.limits) <= 2 * START_FILES
    assert FEWEST_WHEN_WAITING <= link.files.limit <= START_FILES
    assert link.rate(2) == pytest.approx(1000, rel=0.05)


def test_latency_raises_the_limit_until_the_link_is_full() -> None:
    link = Link(latency_s=0.020, service_s=0.000_1)
    link.run(5)
    assert 256 < link.files.limit < MOST_FILES / 1.5
    assert link.rate(2) > 0.95 * 2500


def test_a_link_with_latency_is_filled_within_the_first_rounds() -> None:
    link = Link(latency_s=0.020, service_s=0.000_05)
    link.run(1)
    assert max(link.limits) > 256
    assert link.sent > 1500


def test_the_limit_never_exceeds_its_bound() -> None:
    link = Link(latency_s=0.200, service_s=0.000_01, most=48)
    link.run(20)
    assert max(link.limits) == 48
    alone = Link(latency_s=0.200, service_s=0.000_01, most=1)
    alone.run(20)
    assert set(alone.limits) == {1}


def test_a_machine_that_stops_for_moments_keeps_its_limit() -> None:
    stumbles = tuple(moment / 10 for moment in range(3, 100, 4))
    link = Link(latency_s=0.020, service_s=0.000_1, stumbles=stumbles)
    link.run(3)
    link.limits.clear()
    link.run(6)
    assert min(link.limits) > 64


def test_the_limit_follows_a_lake_that_becomes_slow_and_quick_again() -> None:
    link = Link(latency_s=0.020, service_s=0.000_1)
    link.run(3)
    wide = link.files.limit
    link.service_s = 0.002
    link.run(20)
    narrow = link.files.limit
    assert narrow < wide / 3
    assert link.rate(5) == pytest.approx(125, rel=0.1)
    link.service_s = 0.000_1
    link.run(5)
    assert link.files.limit > 2 * narrow


def test_a_link_whose_latency_grew_is_measured_again() -> None:
    link = Link(latency_s=0.010, service_s=0.000_1)
    link.run(3)
    link.latency_s = 0.100
    link.run(60)
    # 2,500 files a second, four calls of a tenth of a second each.
    assert link.files.limit > 500
    assert link.rate(5) > 0.8 * 2500


def test_failures_halve_the_limit_once_for_each_burst() -> None:
    link = Link(latency_s=0.020, service_s=0.000_1)
    link.run(3)
    before = link.files.limit
    for _ in range(before):
        link.files.record_failure()
    assert link.files.limit == before // 2
    for _ in range(20):
        link.clock += 1
        for _ in range(link.files.limit):
            link.files.record_failure()
    assert link.files.limit == FEWEST_FILES


def test_a_few_failed_calls_do_not_change_the_limit() -> None:
    link = Link(latency_s=0.020, service_s=0.000_1)
    link.run(3)
    before = link.files.limit
    for _ in range(200):
        link.run(0.02)
        link.files.record_failure()
    assert link.files.limit >= 0.7 * before


def test_the_limit_recovers_after_failures() -> None:
    link = Link(latency_s=0.020, service_s=0.000_1)
    link.run(3)
    before = link.files.limit
    for _ in range(20):
        link.clock += 1
        for _ in range(link.files.limit):
            link.files.record_failure()
    link.run(5)
    assert link.files.limit > before / 2


def test_files_without_calls_do_not_change_the_limit() -> None:
    now = 0.0
    files = ConcurrencyController(lambda: now)
    for _ in range(1000):
        now += 0.01
        files.record_file()
    assert files.limit == START_FILES


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


async def chunks(count: int, size: int) -> AsyncGenerator[bytes, None]:
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
