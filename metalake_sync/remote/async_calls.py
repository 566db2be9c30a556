"""The calls of a transfer, many at once in one event loop.

Owns: retries of single requests. Credentials go with calls to the lake and never with a signed URL; redirects are never
followed. Answers are read by the same rules as the synchronous client's.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel

from metalake_sync.errors import LakeAnswerInvalid
from metalake_sync.protocol.routes import Effect, Route
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.answers import ANSWER_LIMIT_BYTES
from metalake_sync.remote.http import limits
from metalake_sync.remote.http.async_http import Answer, AnswerTooLarge, AsyncHttp, Incoming, LocalAddress, lines
from metalake_sync.remote.http.curl_loop import HttpBroken
from metalake_sync.remote.http.stalls import BodyWatch, read_timed
from metalake_sync.remote.pacing import Pace
from metalake_sync.remote.request_counter import RequestTally
from metalake_sync.remote.retry import (
    RETRY_STATUSES,
    Again,
    Clock,
    Done,
    GiveUp,
    RawResponse,
    RetryPolicy,
    RetryState,
    Server,
    judge_answer,
    judge_break,
    judge_status,
)

AnswerT = TypeVar("AnswerT", bound=BaseModel)

_ORIGIN = re.compile(r"https?://[^/?#]+", re.IGNORECASE)
_CONTROL_OR_SPACE = re.compile(r"[\x00-\x20\x7f]")

NO_WAIT_S = 0.001
"""A call that got its turn within this time did not wait for it."""

Body = Callable[[], bytes | AsyncIterator[bytes]]
"""Makes the bytes of a PUT, anew for each attempt."""


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """What a store said to a PUT. Header names are in small letters: stores spell them as they like."""

    status: int
    headers: dict[str, str]


class StoreTrouble(Exception):
    """A store can't be reached or fails at a GET: another try may mend it, after `again`."""

    def __init__(self, again: Again) -> None:
        super().__init__(again.reason)
        self.again = again


class StoreBody:
    """What a store says to a GET. Header names are in small letters."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self.status = incoming.status
        self.headers = incoming.headers

    async def chunks(self, size_bytes: int) -> AsyncIterator[bytes]:
        """The body as it comes, in chunks of at most so many bytes. Raises TimeoutError where it hardly comes."""
        async with aclosing(read_timed(self._incoming.chunks(size_bytes))) as chunks:
            async for chunk in chunks:
                yield chunk


class AsyncCalls:
    """Calls to the lake, and PUTs and GETs at its store. `connections`: to each of them. `troubled` is called for each
    request that failed and has to be tried again; refusals (429, 503) do not count. `answered` gets the
    seconds that each call to the lake took, pauses not counted; it gets none of those that had to wait for the lake's
    rate. Used as an async context manager."""

    def __init__(
        self,
        address: LakeAddress,
        *,
        retry: RetryPolicy,
        connections: int,
        tally: RequestTally,
        troubled: Callable[[], None] = lambda: None,
        answered: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._address = address
        self._lake = Server("the lake", address.url)
        self._store = Server("the store", address.url)
        self._troubled = troubled
        self._answered = answered
        self._retry = retry
        self._tally = tally
        self._clock = Clock()
        self._lake_turns = _Turns(Pace(time.monotonic))
        self._store_turns = _Turns(Pace(time.monotonic))
        self._headers = lines({"Authorization": address.authorization, "Content-Type": "application/json"})
        # Each caller has one to the lake and one to the store at most.
        self._origins: set[str] = set()
        """Of stores, where we may send files to."""
        self._http = AsyncHttp(connections=2 * connections, ca_file=address.trust.ca_file, guards=address.guards)

    async def __aenter__(self) -> AsyncCalls:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.__aexit__()

    async def call(
        self, route: Route[AnswerT], body: BaseModel | None = None, query: Mapping[str, str] | None = None
    ) -> AnswerT | None:
        """Make a call to the lake; raises as `Connection.call` does."""
        url = self._address.url_of(route)
        if query:
            url = f"{url}?{urlencode(query)}"
        data = None if body is None else body.__pydantic_serializer__.to_json(body, by_alias=True)
        tries = RetryState(self._retry, self._clock, self._lake)
        verdict: Done[AnswerT | None] | Again | GiveUp
        while True:
            ready = time.monotonic()
            number = await self._lake_turns.take(tries)
            set_out = time.monotonic()
            self._tally.asked(route.path, writes=route.effect is Effect.WRITES)
            try:
                answer = await self._http.ask(
                    route.method,
                    url,
                    self._headers,
                    data,
                    within_s=limits.ANSWER_TIME_S,
                    most_bytes=ANSWER_LIMIT_BYTES,
                )
            except HttpBroken as error:
                verdict = judge_break(self._lake, error)
            except AnswerTooLarge:
                raise _too_large() from None
            else:
                retry_after = answer.header("retry-after") if answer.status in RETRY_STATUSES else None
                verdict = judge_answer(route, RawResponse(answer.status, answer.body, retry_after), self._clock.wall())
                self._lake_turns.pace.heard(number, verdict)
            if isinstance(verdict, Done):
                if set_out - ready < NO_WAIT_S:
                    self._answered(time.monotonic() - set_out)
                return verdict.answer
            self._is_troubled(verdict)
            await asyncio.sleep(tries.pause_s(verdict))

    async def put(self, url: str, headers: Mapping[str, str], body: Body, tries: RetryState) -> StoreAnswer:
        """PUT a part to a signed URL, trying again while the store can't be reached or fails. The body is made anew for
        each try. Any other status is the caller's to judge; what the body raises is raised."""
        self._check_signed(url)
        verdict: Done[StoreAnswer] | Again | GiveUp
        while True:
            number = await self._store_turns.take(tries)
            self._tally.asked("store", writes=True)
            try:
                answer = await self._put_once(url, headers, body())
            except LocalAddress:
                raise self._address.local_store() from None
            except (HttpBroken, TimeoutError) as error:
                verdict = judge_break(self._store, error)
            except AnswerTooLarge:
                raise _too_large() from None
            else:
                told = StoreAnswer(answer.status, answer.headers())
                again = judge_status(told.status, told.headers.get("retry-after"), self._clock.wall())
                verdict = again or Done(told)
                self._store_turns.pace.heard(number, verdict)
            if isinstance(verdict, Done):
                return verdict.answer
            self._is_troubled(verdict)
            await asyncio.sleep(tries.pause_s(verdict))

    async def _put_once(self, url: str, headers: Mapping[str, str], body: bytes | AsyncIterator[bytes]) -> Answer:
        size = int(headers.get("Content-Length", -1))
        head = lines({name: value for name, value in headers.items() if name != "Content-Length"})
        if isinstance(body, bytes):
            within_s = limits.STALL_S + len(body) / limits.SLOWEST_BYTES_S
            return await self._http.ask("PUT", url, head, body, within_s=within_s, most_bytes=ANSWER_LIMIT_BYTES)
        async with BodyWatch() as watch, aclosing(watch(body)) as pieces:
            return await self._http.send("PUT", url, head, pieces, size, most_bytes=ANSWER_LIMIT_BYTES)

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str], tries: RetryState) -> AsyncIterator[StoreBody]:
        """GET from a signed URL, once: how to go on after a break is the caller's. Raises StoreTrouble, also while the
        body is read, where another try may help; any other status is the caller's to judge."""
        self._check_signed(url)
        number = await self._store_turns.take(tries)
        self._tally.asked("store", writes=False)
        try:
            # A body that a store keeps compressed is what was uploaded: it is not unpacked on the way.
            async with self._http.get(url, lines({"Accept-Encoding": "identity", **headers})) as incoming:
                body = StoreBody(incoming)
                again = judge_status(body.status, body.headers.get("retry-after"), self._clock.wall())
                self._store_turns.pace.heard(number, again or Done(None))
                if again is not None:
                    raise StoreTrouble(again)
                yield body
        except LocalAddress:
            raise self._address.local_store() from None
        except (HttpBroken, TimeoutError) as error:
            verdict = judge_break(self._store, error)
            if isinstance(verdict, GiveUp):
                raise verdict.error from None
            raise StoreTrouble(verdict) from None

    def _is_troubled(self, verdict: Again | GiveUp) -> None:
        """A refusal for the rate is the pace's matter."""
        if not (isinstance(verdict, Again) and verdict.slow_down):
            self._troubled()

    def retry_timeout(self) -> RetryState:
        """With the requests of one part or file at the store."""
        return RetryState(self._retry, self._clock, self._store)

    def _check_signed(self, url: str) -> None:
        """Raises LakeAnswerInvalid for an address that can't be used."""
        if _CONTROL_OR_SPACE.search(url):
            raise self._unusable()
        origin = _ORIGIN.match(url)
        if origin is None:
            raise self._unusable()
        if origin[0] not in self._origins:
            self._address.check_store(origin[0])
            self._origins.add(origin[0])

    def _unusable(self) -> LakeAnswerInvalid:
        return LakeAnswerInvalid("the lake gave an address that can't be used", where=self._address.url)


class _Turns:
    """Waiting for a server's pace. One waits for the next turn, the others for the one: nobody is passed by."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._turnstile = asyncio.Lock()

    async def take(self, tries: RetryState) -> int:
        """Returns the call's number, which the pace takes with the answer."""
        if not self.pace.free:
            async with self._turnstile:
                while pause := self.pace.wait_s():
                    tries.hold(pause)
                    await asyncio.sleep(pause)
        return self.pace.set_out()


def _too_large() -> LakeAnswerInvalid:
    return LakeAnswerInvalid(f"an answer is larger than {ANSWER_LIMIT_BYTES >> 20} MiB")
