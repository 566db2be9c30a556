"""How many files are on the wire at once: found by watching how long calls take, and held within bounds.

Arithmetic only, with the clock handed in. Must not: start or stop anything, or know what a file is.

While the link has room, a call takes as long with many files on the wire as with few. Where calls begin to take longer,
they wait for each other, somewhere: in this process, on the link, or in the lake; more of them bring nothing. So the
width grows while the usual call takes less than twice the time of the quickest ones, and goes down where it takes more.
The rate itself says less: on a machine that does other work, too, it varies by half from one moment to the next.

It goes in rounds. A round is over when as many files came through as were on the wire when it began. At first the width
doubles from round to round; when calls begin to wait, it changes in small steps. Trouble (failing servers, broken
connections) halves it when it is a considerable share of the round's calls: a few errors are no reason to crawl. The
rate that a server allows is another matter (`pacing`). The quickest time is measured anew now and then, at half the
width: links change.
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Callable
from dataclasses import field

from metalake_sync.lazy_dataclass import dataclass

START = 64
WIDEST = 1024
NARROWEST = 4
"""Trouble does not bring it below."""

NARROW_ENOUGH = 16
"""Waiting does not bring it below: so few wait for this process alone."""

LITTLE_WAITING = 1.5
MUCH_WAITING = 2.5
"""Times the quickest call: below the one the width grows, above the other it shrinks."""

SLACK_S = 0.004
"""Calls that take no longer than so much above the quickest do not count as waiting: that is this process at work."""

SHORTEST_ROUND_S = 0.02
LONGEST_ROUND_S = 2.0
STEADY_ROUND_S = 0.1
TROUBLE_IS_ONE_FOR_S = 0.5
LEAST_TROUBLES, TROUBLED_SHARE = 4, 0.2
"""So many failed calls, and such a share of a round's calls, halve the width."""

QUICKEST_HOLDS_S = 20.0
STILL_AS_QUICK = 1.1
FEWEST_CALLS = 8
"""A round with fewer calls says nothing."""


class _Phase(enum.Enum):
    OPENING = enum.auto()
    GROWING = enum.auto()
    STEADY = enum.auto()
    MEASURING = enum.auto()


@dataclass(slots=True)
class _Round:
    """`files`: how many have to come through until it is over. `calls`: how long each took, in seconds. `troubles`:
    calls that failed."""

    started: float
    files: int
    done: int = 0
    calls: list[float] = field(default_factory=list)
    troubles: int = 0


class Width:
    """The present width, in files. `clock` gives seconds and never runs backwards; `widest` is never passed."""

    def __init__(self, clock: Callable[[], float], *, widest: int = WIDEST, start: int = START) -> None:
        self._clock = clock
        self._widest = max(1, widest)
        self._narrowest = min(NARROWEST, self._widest)
        self._width = self._within(start)
        self._before_measuring = self._width
        self._phase = _Phase.OPENING
        self._round = _Round(clock(), self._width)
        self._quickest_s = float("inf")
        self._measured_at = clock()
        self._halved_at = float("-inf")

    @property
    def now(self) -> int:
        return self._width

    def answered(self, seconds: float) -> None:
        """A call to the lake took so long."""
        self._round.calls.append(seconds)

    def came_through(self) -> None:
        """A file is through, well or not."""
        self._round.done += 1
        if self._phase is _Phase.GROWING:
            self._width = self._within(self._width + 1)
        took = self._clock() - self._round.started
        shortest = STEADY_ROUND_S if self._phase is _Phase.STEADY else SHORTEST_ROUND_S
        if took >= LONGEST_ROUND_S or (self._round.done >= self._round.files and took >= shortest):
            self._judge(self._round)
            self._round = _Round(self._clock(), self._width)

    def trouble(self) -> None:
        """A call failed, or its connection broke. A burst of it counts once."""
        now = self._clock()
        self._round.troubles += 1
        if self._round.troubles < max(LEAST_TROUBLES, TROUBLED_SHARE * len(self._round.calls)):
            return
        if now - self._halved_at < TROUBLE_IS_ONE_FOR_S:
            return
        self._halved_at = now
        self._width = self._within(self._width // 2)
        self._phase = _Phase.STEADY
        self._round = _Round(now, self._width)

    def _judge(self, over: _Round) -> None:
        if len(over.calls) < FEWEST_CALLS:
            return
        usual = statistics.median(over.calls)
        quickest = min(over.calls)
        if self._phase is _Phase.MEASURING:
            self._quickest_s, self._measured_at = quickest, self._clock()
            self._width, self._phase = self._before_measuring, _Phase.STEADY
            return
        if quickest <= self._quickest_s * STILL_AS_QUICK:
            self._measured_at = self._clock()
        self._quickest_s = min(self._quickest_s, quickest)
        waits_little = usual <= self._quickest_s * LITTLE_WAITING + SLACK_S
        waits_much = usual > self._quickest_s * MUCH_WAITING + SLACK_S
        match self._phase:
            case _Phase.OPENING:
                # Its calls opened their connections first: what they took says nothing about waiting.
                self._phase = _Phase.GROWING
            case _Phase.GROWING:
                if not waits_little:
                    self._phase = _Phase.STEADY
                    if waits_much:
                        self._width = self._within(max(over.files, self._width // 2))
            case _Phase.STEADY:
                if self._clock() - self._measured_at > QUICKEST_HOLDS_S:
                    self._phase, self._before_measuring = _Phase.MEASURING, self._width
                    self._width = self._within(self._width // 2)
                elif waits_little:
                    self._width = self._within(self._width + max(1, self._width // 4))
                elif waits_much:
                    self._width = self._within(max(min(NARROW_ENOUGH, self._width), self._width * 7 // 8))

    def _within(self, width: int) -> int:
        return max(self._narrowest, min(self._widest, width))
