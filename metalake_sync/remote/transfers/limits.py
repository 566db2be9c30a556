"""Limits of a transfer: how many files are in flight, and how many bytes move per second.

Must not: start or stop transfers, or know what a file is.
"""

from __future__ import annotations

import asyncio
import enum
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import field

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.http.limits import PIECE_BYTES

HELD_S = 0.1
"""The bucket holds the bytes of this many seconds: enough for the timer's precision, too little for bursts."""

SMALLEST_PIECE_BYTES = 1024


class Bandwidth:
    """A token bucket that fills at `bytes_per_second`. None means no limit.

    Bytes are taken in pieces that fit into the bucket, so that a low rate is a steady flow. Bursts with long pauses
    would make the other side time out.
    """

    def __init__(
        self,
        bytes_per_second: float | None,
        *,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = bytes_per_second
        self._now_s = now_s
        self._sleep = sleep
        self._free_at = now_s()

    @property
    def limited(self) -> bool:
        return self._rate is not None

    @property
    def piece_bytes(self) -> int:
        """How many bytes to take at once."""
        if self._rate is None:
            return PIECE_BYTES
        return max(SMALLEST_PIECE_BYTES, min(PIECE_BYTES, int(self._rate * HELD_S)))

    def change(self, bytes_per_second: float | None) -> None:
        """Use another rate from now on."""
        self._rate = bytes_per_second

    async def take(self, size_bytes: int) -> None:
        """Wait until `size_bytes` may be transferred."""
        if self._rate is None:
            return
        now = self._now_s()
        self._free_at = max(self._free_at, now - HELD_S) + size_bytes / self._rate
        if self._free_at > now:
            await self._sleep(self._free_at - now)

    async def pieces(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Yield the chunks at the allowed rate, split into pieces if they are too large. Closes `chunks`."""
        async with aclosing(chunks):
            async for chunk in chunks:
                if self._rate is None:
                    yield chunk
                    continue
                for start in range(0, len(chunk), self.piece_bytes):
                    piece = chunk[start : start + self.piece_bytes]
                    await self.take(len(piece))
                    yield piece


START_FILES = 64
MOST_FILES = 1024

FEWEST_FILES = 4
"""Failures do not reduce the limit below this."""

FEWEST_WHEN_WAITING = 16
"""Waiting does not reduce the limit below this: with so few files, calls wait for this process only."""

LITTLE_WAITING = 1.5
MUCH_WAITING = 2.5
"""Multiples of the quickest call's time. Below the first, the limit grows; above the second, it shrinks."""

SLACK_S = 0.004
"""Calls up to this much slower than the quickest one do not count as waiting: this process is working."""

SHORTEST_ROUND_S = 0.02
LONGEST_ROUND_S = 2.0
STEADY_ROUND_S = 0.1

FAILURE_BURST_S = 0.5
"""Failures within this time halve the limit once."""

LEAST_FAILURES, FAILED_SHARE = 4, 0.2
"""The number of failed calls, and their share of a round's calls, that halve the limit."""

QUICKEST_VALID_S = 20.0
"""The quickest time is measured again after this many seconds."""

STILL_AS_QUICK = 1.1
"""A call within this multiple of the quickest time confirms that time."""

FEWEST_CALLS = 8
"""A round with fewer calls is not evaluated."""


class _Phase(enum.Enum):
    OPENING = enum.auto()
    GROWING = enum.auto()
    STEADY = enum.auto()
    MEASURING = enum.auto()


@dataclass(slots=True)
class _Round:
    started: float
    files: int
    """How many files have to finish until the round ends."""
    done: int = 0
    call_times: list[float] = field(default_factory=list)
    """In seconds."""
    failures: int = 0


class ConcurrencyController:
    """The present limit of files in flight, found by measuring how long calls take. Arithmetic only.

    While the link has capacity left, a call takes as long with many files in flight as with few. When calls take
    longer, they wait for each other: in this process, on the link, or in the lake. More files in flight do not help
    then. So the limit grows while the median call takes less than LITTLE_WAITING times the quickest one, and
    shrinks above MUCH_WAITING times. The throughput itself is a worse signal: on a machine with other work, it
    varies by half within moments.

    Measuring goes in rounds. A round ends when as many files finished as were in flight when it began. At first the
    limit doubles from round to round; once calls begin to wait, it changes in small steps. Failed calls and broken
    connections halve the limit if they are a considerable share of the round's calls. The rate that a server allows
    is separate (`pacing`). Links change, so the quickest time is measured again from time to time, at half the
    limit.

    `clock`: seconds that never decrease. `most`: an upper bound.
    """

    def __init__(self, clock: Callable[[], float], *, most: int = MOST_FILES, start: int = START_FILES) -> None:
        self._clock = clock
        self._most = max(1, most)
        self._fewest = min(FEWEST_FILES, self._most)
        self._limit = self._bounded(start)
        self._before_measuring = self._limit
        self._phase = _Phase.OPENING
        self._round = _Round(clock(), self._limit)
        self._quickest_s = float("inf")
        self._measured_at = clock()
        self._halved_at = float("-inf")

    def lower_most_to(self, most: int) -> None:
        """Use a smaller upper bound from now on."""
        self._most = max(1, min(most, self._most))
        self._fewest = min(FEWEST_FILES, self._most)
        self._limit = self._bounded(self._limit)

    @property
    def limit(self) -> int:
        """How many files may be in flight now."""
        return self._limit

    def record_call(self, seconds: float) -> None:
        """Record how long a call to the lake took."""
        self._round.call_times.append(seconds)

    def record_file(self) -> None:
        """Record that a file finished, successfully or not."""
        self._round.done += 1
        if self._phase is _Phase.GROWING:
            self._limit = self._bounded(self._limit + 1)
        took = self._clock() - self._round.started
        shortest = STEADY_ROUND_S if self._phase is _Phase.STEADY else SHORTEST_ROUND_S
        if took >= LONGEST_ROUND_S or (self._round.done >= self._round.files and took >= shortest):
            self._evaluate(self._round)
            self._round = _Round(self._clock(), self._limit)

    def record_failure(self) -> None:
        """Record a failed call or a broken connection. A burst of them counts once."""
        now = self._clock()
        self._round.failures += 1
        if self._round.failures < max(LEAST_FAILURES, FAILED_SHARE * len(self._round.call_times)):
            return
        if now - self._halved_at < FAILURE_BURST_S:
            return
        self._halved_at = now
        self._limit = self._bounded(self._limit // 2)
        self._phase = _Phase.STEADY
        self._round = _Round(now, self._limit)

    def _evaluate(self, ended: _Round) -> None:
        if len(ended.call_times) < FEWEST_CALLS:
            return
        usual = statistics.median(ended.call_times)
        quickest = min(ended.call_times)
        if self._phase is _Phase.MEASURING:
            self._quickest_s, self._measured_at = quickest, self._clock()
            self._limit, self._phase = self._before_measuring, _Phase.STEADY
            return
        if quickest <= self._quickest_s * STILL_AS_QUICK:
            self._measured_at = self._clock()
        self._quickest_s = min(self._quickest_s, quickest)
        waits_little = usual <= self._quickest_s * LITTLE_WAITING + SLACK_S
        waits_much = usual > self._quickest_s * MUCH_WAITING + SLACK_S
        match self._phase:
            case _Phase.OPENING:
                # These calls also opened their connections, so their times do not show waiting.
                self._phase = _Phase.GROWING
            case _Phase.GROWING:
                if not waits_little:
                    self._phase = _Phase.STEADY
                    if waits_much:
                        self._limit = self._bounded(max(ended.files, self._limit // 2))
            case _Phase.STEADY:
                if self._clock() - self._measured_at > QUICKEST_VALID_S:
                    self._phase, self._before_measuring = _Phase.MEASURING, self._limit
                    self._limit = self._bounded(self._limit // 2)
                elif waits_little:
                    self._limit = self._bounded(self._limit + max(1, self._limit // 4))
                elif waits_much:
                    self._limit = self._bounded(max(min(FEWEST_WHEN_WAITING, self._limit), self._limit * 7 // 8))

    def _bounded(self, limit: int) -> int:
        return max(self._fewest, min(self._most, limit))
