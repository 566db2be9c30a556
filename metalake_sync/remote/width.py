"""How many files are on the wire at once: found by watching what comes through, and held within bounds.

Arithmetic only, with the clock handed in. Must not: start or stop anything, or know what a file is.

It goes in rounds. A round is over when as many files came through as were on the wire when it began, so that what it
measures was sent at its width. At first the width grows by one with each file that comes through, so it doubles from
round to round, as long as the rate grows with it; where it no longer does, files only wait for each other. From then on
it tries a little more or a little less now and then, and keeps what pays. Trouble (the server says "too many", or a
connection breaks) halves it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

START = 32
NARROWEST = 4
WIDEST = 1024

WORTH_DOUBLING = 1.25
"""Twice the width must bring at least so much more; less is the noise of a machine, or the start of a queue."""

WORTH_MORE = 1.05
"""A step up must bring at least so much more."""

WORTH_LESS = 0.98
"""A step down may cost at most so much: fewer files on the wire take less memory and fewer connections."""

STEP = 1.25
SHORTEST_ROUND_S = 0.02
LONGEST_ROUND_S = 2.0
STEADY_ROUND_S = 0.5
ROUNDS_BETWEEN_PROBES = 3
MOST_BETWEEN_PROBES = 24

BYTES_LIKE_ONE_CALL = 64 << 10
"""What is measured is calls and bytes: a link is limited by the ones or by the others."""

CALLS_OF_A_FILE = 4


class _Phase(enum.Enum):
    DOUBLING = enum.auto()
    STEADY = enum.auto()
    TRYING = enum.auto()


@dataclass(slots=True)
class _Round:
    """One measurement. `files`: how many have to come through until it is over."""

    started: float
    files: int
    done: int = 0
    work: float = 0.0


class Width:
    """The present width, in files. `clock` gives seconds and never runs backwards; `widest` is never passed."""

    def __init__(self, clock: Callable[[], float], *, widest: int = WIDEST, start: int = START) -> None:
        self._clock = clock
        self._widest = max(1, widest)
        self._narrowest = min(NARROWEST, self._widest)
        self._width = min(max(start, self._narrowest), self._widest)
        self._phase = _Phase.DOUBLING
        self._round = _Round(clock(), self._width)
        self._rate = 0.0
        self._settled = self._width
        self._upwards = True
        self._pause = self._until_probe = ROUNDS_BETWEEN_PROBES
        self._settling = False
        self._halved_at: float | None = None

    @property
    def now(self) -> int:
        return self._width

    def moved(self, size_bytes: int) -> None:
        """Bytes of a file that is still on its way came through."""
        self._round.work += size_bytes / BYTES_LIKE_ONE_CALL

    def came_through(self, size_bytes: int = 0) -> None:
        """A file is through; `size_bytes`: what `moved` was not told of."""
        self._round.done += 1
        self._round.work += CALLS_OF_A_FILE + size_bytes / BYTES_LIKE_ONE_CALL
        if self._phase is _Phase.DOUBLING:
            self._width = min(self._widest, self._width + 1)
        if self._over():
            self._judge()

    def trouble(self) -> None:
        """A server asked for less, or a connection broke. A burst of it counts once."""
        now = self._clock()
        if self._halved_at is not None and now - self._halved_at < STEADY_ROUND_S:
            return
        self._halved_at = now
        self._width = max(self._narrowest, self._width // 2)
        self._rate = 0.0
        self._rest(self._width)

    # Rounds.

    def _over(self) -> bool:
        took = self._clock() - self._round.started
        if took >= LONGEST_ROUND_S:
            return True
        shortest = SHORTEST_ROUND_S if self._phase is _Phase.DOUBLING else STEADY_ROUND_S
        return self._round.done >= self._round.files and took >= shortest

    def _judge(self) -> None:
        now = self._clock()
        rate = self._round.work / max(now - self._round.started, 1e-9)
        files = self._round.files
        settling, self._settling = self._settling, False
        self._round = _Round(now, self._width)
        if settling:
            # What came through in this round was begun at another width.
            return
        match self._phase:
            case _Phase.DOUBLING:
                self._judge_doubling(rate, files)
            case _Phase.STEADY:
                self._rate = rate if not self._rate else (self._rate + rate) / 2
                self._until_probe -= 1
                if self._until_probe <= 0:
                    self._probe()
            case _Phase.TRYING:
                self._judge_trial(rate)

    def _judge_doubling(self, rate: float, files: int) -> None:
        if rate >= self._rate * WORTH_DOUBLING:
            self._rate, self._settled = rate, files
            if self._width < self._widest:
                return
            self._settled = self._width
        self._rest(self._settled)

    def _probe(self) -> None:
        """Try another width, up and down in turn."""
        wider = min(self._widest, max(self._width + 1, round(self._width * STEP)))
        narrower = max(self._narrowest, min(self._width - 1, round(self._width / STEP)))
        if self._width in (wider, narrower):
            self._upwards = self._width == narrower
        self._settled = self._width
        self._set(wider if self._upwards else narrower)
        self._phase = _Phase.TRYING if self._width != self._settled else _Phase.STEADY

    def _judge_trial(self, rate: float) -> None:
        if rate >= self._rate * (WORTH_MORE if self._upwards else WORTH_LESS):
            # It paid: the next step goes the same way, and soon.
            self._rate = rate
            self._pause = ROUNDS_BETWEEN_PROBES
            self._phase, self._until_probe = _Phase.STEADY, 1
            return
        self._upwards = not self._upwards
        self._pause = min(MOST_BETWEEN_PROBES, self._pause * 2)
        self._rest(self._settled)

    def _rest(self, width: int) -> None:
        """Stay at a width for a while."""
        self._phase = _Phase.STEADY
        self._until_probe = self._pause
        self._set(width)

    def _set(self, width: int) -> None:
        self._width = width
        self._round = _Round(self._clock(), width)
        self._settling = True
