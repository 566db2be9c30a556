"""How many files are on the wire at once, on links of every kind; all of it in made-up time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from metalake_sync.remote.transfers.width import NARROW_ENOUGH, NARROWEST, START, WIDEST, Width

CALLS = 4


@dataclass
class Link:
    """A link with a lake behind it that answers one call after the other. `latency_s`: of each call. `service_s`: how
    long the lake works on one. `stumbles`: moments at which everything stands still for a tenth of a second."""

    latency_s: float
    service_s: float
    widest: int = WIDEST
    stumbles: tuple[float, ...] = ()
    clock: float = 0.0
    sent: int = 0
    widths: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.width = Width(lambda: self.clock, widest=self.widest)
        self._free_at = 0.0
        self._order = iter(range(1 << 40))
        self._answers: list[tuple[float, int, float, int]] = []
        self._on_the_wire = 0
        self._stumbling: Iterator[float] = iter(self.stumbles)
        self._next_stumble = next(self._stumbling, float("inf"))

    def run(self, seconds: float) -> None:
        """Send files for so long."""
        end = self.clock + seconds
        while self.clock < end:
            while self._on_the_wire < self.width.now:
                self._on_the_wire += 1
                self._call(CALLS - 1)
            answered_at, _, called_at, left = heapq.heappop(self._answers)
            self.clock = max(self.clock, answered_at)
            if self.clock >= self._next_stumble:
                self.clock += 0.1
                self._next_stumble = next(self._stumbling, float("inf"))
            if left != 1:
                # The third call is the PUT, whose time depends on the size of the file.
                self.width.answered(self.clock - called_at)
            if left:
                self._call(left - 1)
            else:
                self._on_the_wire -= 1
                self.sent += 1
                self.width.came_through()
                self.widths.append(self.width.now)

    def _call(self, left: int) -> None:
        reached = self.clock + self.latency_s / 2
        self._free_at = max(self._free_at, reached) + self.service_s
        heapq.heappush(self._answers, (self._free_at + self.latency_s / 2, next(self._order), self.clock, left))

    def rate(self, seconds: float) -> float:
        """Files per second from now on."""
        before = self.sent
        self.run(seconds)
        return (self.sent - before) / seconds


def test_where_the_link_answers_at_once_it_does_not_grow() -> None:
    link = Link(latency_s=0.0, service_s=0.000_25)
    link.run(10)
    assert max(link.widths) <= 2 * START
    assert NARROW_ENOUGH <= link.width.now <= START
    assert link.rate(2) == pytest.approx(1000, rel=0.05)


def test_latency_makes_it_as_wide_as_it_takes_to_fill_the_link() -> None:
    link = Link(latency_s=0.020, service_s=0.000_1)
    link.run(5)
    assert 256 < link.width.now < WIDEST / 1.5
    assert link.rate(2) > 0.95 * 2500


def test_a_long_way_is_filled_within_the_first_rounds() -> None:
    link = Link(latency_s=0.020, service_s=0.000_05)
    link.run(1)
    assert max(link.widths) > 256
    assert link.sent > 1500


def test_it_never_passes_what_it_was_allowed() -> None:
    link = Link(latency_s=0.200, service_s=0.000_01, widest=48)
    link.run(20)
    assert max(link.widths) == 48
    alone = Link(latency_s=0.200, service_s=0.000_01, widest=1)
    alone.run(20)
    assert set(alone.widths) == {1}


def test_a_machine_that_stumbles_keeps_its_width() -> None:
    stumbles = tuple(moment / 10 for moment in range(3, 100, 4))
    link = Link(latency_s=0.020, service_s=0.000_1, stumbles=stumbles)
    link.run(3)
    link.widths.clear()
    link.run(6)
    assert min(link.widths) > 64


def test_it_follows_a_lake_that_becomes_slow_and_quick_again() -> None:
    link = Link(latency_s=0.020, service_s=0.000_1)
    link.run(3)
    wide = link.width.now
    link.service_s = 0.002
    link.run(20)
    narrow = link.width.now
    assert narrow < wide / 3
    assert link.rate(5) == pytest.approx(125, rel=0.1)
    link.service_s = 0.000_1
    link.run(5)
    assert link.width.now > 2 * narrow


def test_a_link_that_became_longer_is_measured_anew() -> None:
    link = Link(latency_s=0.010, service_s=0.000_1)
    link.run(3)
    link.latency_s = 0.100
    link.run(60)
    # 2,500 files a second, four calls of a tenth of a second each.
    assert link.width.now > 500
    assert link.rate(5) > 0.8 * 2500


def test_trouble_halves_it_once_for_each_burst() -> None:
    link = Link(latency_s=0.020, service_s=0.000_1)
    link.run(3)
    before = link.width.now
    for _ in range(before):
        link.width.trouble()
    assert link.width.now == before // 2
    for _ in range(20):
        link.clock += 1
        for _ in range(link.width.now):
            link.width.trouble()
    assert link.width.now == NARROWEST


def test_a_few_failed_calls_leave_it_as_it_is() -> None:
    link = Link(latency_s=0.020, service_s=0.000_1)
    link.run(3)
    before = link.width.now
    for _ in range(200):
        link.run(0.02)
        link.width.trouble()
    assert link.width.now >= 0.7 * before


def test_after_trouble_it_comes_back() -> None:
    link = Link(latency_s=0.020, service_s=0.000_1)
    link.run(3)
    before = link.width.now
    for _ in range(20):
        link.clock += 1
        for _ in range(link.width.now):
            link.width.trouble()
    link.run(5)
    assert link.width.now > before / 2


def test_files_that_make_no_calls_say_nothing() -> None:
    now = 0.0
    width = Width(lambda: now)
    for _ in range(1000):
        now += 0.01
        width.came_through()
    assert width.now == START
