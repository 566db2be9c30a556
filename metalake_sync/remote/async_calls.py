"""The asynchronous driver of the retry flow: sends the requests of transfers with libcurl, many at once.

Owns: the rates of calls to the lake and to its store, and which addresses files may be sent to. Credentials go to the
lake only, never to a signed URL. Redirects are never followed. Must not: decide about attempts (`retry`).

Longer than 300 lines, because calls, PUTs and GETs share the driver and the rates.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel

from metalake_sync.errors import LakeAnswerInvalid
from metalake_sync.protocol.routes import Effect, Route
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.answers import ANSWER_LIMIT_BYTES
from metalake_sync.remote.classify import (
    RETRY_STATUSES,
    Done,
    Fail,
    Outcome,
    RawResponse,
    Retry,
    Server,
    classify_failure,
    classify_response,
    classify_status,
)
from metalake_sync.remote.http import limits
from metalake_sync.remote.http.async_http import Answer, AnswerTooLarge, AsyncHttp, Incoming, LocalAddress, lines
from metalake_sync.remote.http.bodies import BodyWatch, read_timed
from metalake_sync.remote.http.curl_loop import HttpBroken
from metalake_sync.remote.pacing import Pace
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import Attempt, Clock, Pause, RetryPolicy, RetryState, WaitForTurn, retry_flow

AnswerT = TypeVar("AnswerT", bound=BaseModel)
ResultT = TypeVar("ResultT")
ReceivedT = TypeVar("ReceivedT")

_ORIGIN = re.compile(r"https?://[^/?#]+", re.IGNORECASE)
_CONTROL_OR_SPACE = re.compile(r"[\x00-\x20\x7f]")

NO_WAIT_S = 0.001
"""A call that got its turn within this many seconds did not wait for it."""

Body = Callable[[], bytes | AsyncGenerator[bytes, None]]
"""Makes the bytes of a PUT, once for each attempt."""


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """A store's response to a PUT."""

    status: int
    headers: dict[str, str]
    """Names are in lower case, because stores differ in their spelling."""


class StoreFailure(Exception):
    """A GET at a store failed, and another attempt may succeed."""

    def __init__(self, retry: Retry) -> None:
        super().__init__(retry.reason)
        self.retry = retry


class StoreBody:
    """A store's response to a GET, whose body is still to be read."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self.status = incoming.status
        self.headers = incoming.headers
        """Names are in lower case."""

    async def chunks(self, size_bytes: int) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives, at most `size_bytes` at a time. Raises TimeoutError if it stalls."""
        async with aclosing(read_timed(self._incoming.chunks(size_bytes))) as chunks:
            async for chunk in chunks:
                yield chunk


class RateLimited(Exception):
    """A call would have to wait, because the lake or its store allows fewer calls than are made."""


class _PacedServer:
    """A server with its rate of calls, and the line of calls that wait for their turn."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.pace = Pace(time.monotonic)
        self.line = asyncio.Lock()


class Rates:
    """What is known about the rates that the lake and its store allow."""

    def __init__(self, *servers: _PacedServer) -> None:
        self._servers = servers

    @property
    def unlimited(self) -> bool:
        """Whether no limit of either is known."""
        return all(server.pace.free for server in self._servers)

    @property
    def unavoidable(self) -> tuple[float, ...]:
        """The shares of calls that each server refuses at any rate."""
        return tuple(server.pace.unavoidable for server in self._servers)

    def restart(self, unavoidable: tuple[float, ...]) -> None:
        """Forget known limits. `unavoidable`: shares that another process has found."""
        for server, share in zip(self._servers, unavoidable, strict=True):
            if not server.pace.free or share > server.pace.unavoidable:
                server.pace = Pace(time.monotonic, unavoidable=share)


def _ignore_failure() -> None:
    pass


def _ignore_time(_: float) -> None:
    pass


class AsyncCalls:
    """Calls to the lake, and PUTs and GETs at its store. Used as an async context manager.

    `connections`: how many to each of them are kept. `on_failure`: called for each failed attempt of a call or a PUT,
    except refusals (429, 503). `on_answer`: receives how long each successful call to the lake took, in seconds without
    pauses, unless it had to wait for the lake's rate. `stop_when_limited`: raise RateLimited where a call would wait
    for its turn.
    """

    def __init__(
        self,
        address: LakeAddress,
        *,
        retry: RetryPolicy,
        connections: int,
        counter: RequestCounter,
        on_failure: Callable[[], None] = _ignore_failure,
        on_answer: Callable[[float], None] = _ignore_time,
        stop_when_limited: bool = False,
    ) -> None:
        self._address = address
        self._lake = _PacedServer(Server("the lake", address.url))
        self._store = _PacedServer(Server("the store", address.url))
        self.rates = Rates(self._lake, self._store)
        self._stop_when_limited = stop_when_limited
        self._on_failure = on_failure
        self._on_answer = on_answer
        self._retry = retry
        self._counter = counter
        self._clock = Clock()
        self._headers = lines({"Authorization": address.authorization, "Content-Type": "application/json"})
        self._origins: set[str] = set()
        """Of the stores that passed the check of where files may be sent to."""
        # Each caller has at most one connection to the lake and one to the store.
        self._http = AsyncHttp(connections=2 * connections, ca_file=address.trust.ca_file, guards=address.guards)

    async def __aenter__(self) -> AsyncCalls:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.__aexit__()

    async def call(
        self, route: Route[AnswerT], body: BaseModel | None = None, query: Mapping[str, str] | None = None
    ) -> AnswerT | None:
        """Make a call to the lake. Raises what `Connection.call` raises."""
        url = self._address.url_of(route)
        if query:
            url = f"{url}?{urlencode(query)}"
        data = None if body is None else body.__pydantic_serializer__.to_json(body, by_alias=True)
        started = waited_s = 0.0

        async def send(attempt: Attempt) -> RawResponse | Exception:
            nonlocal started, waited_s
            started, waited_s = time.monotonic(), attempt.waited_s
            self._counter.count(route.path, writes=route.effect is Effect.WRITES)
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
                return error
            except AnswerTooLarge:
                raise _too_large() from None
            retry_after = answer.header("retry-after") if answer.status in RETRY_STATUSES else None
            return RawResponse(answer.status, answer.body, retry_after)

        def classify(received: RawResponse | Exception) -> Outcome[AnswerT | None]:
            if isinstance(received, Exception):
                return classify_failure(self._lake.server, received)
            return classify_response(route, received, self._clock.wall())

        state = RetryState(self._retry, self._clock, self._lake.server)
        result = await self._drive(self._lake, state, send, classify, self._on_failure)
        if waited_s < NO_WAIT_S:
            self._on_answer(time.monotonic() - started)
        return result

    async def put(self, url: str, headers: Mapping[str, str], body: Body, state: RetryState) -> StoreAnswer:
        """PUT a part to a signed URL; retries while the store is unreachable or fails.

        Returns every other response: the caller checks its status. Raises what `body` raises.
        """
        self._check_signed(url)

        async def send(_: Attempt) -> StoreAnswer | Exception:
            self._counter.count("store", writes=True)
            try:
                answer = await self._put_once(url, headers, body())
            except LocalAddress:
                raise self._address.local_store() from None
            except (HttpBroken, TimeoutError) as error:
                return error
            except AnswerTooLarge:
                raise _too_large() from None
            return StoreAnswer(answer.status, answer.headers())

        def classify(received: StoreAnswer | Exception) -> Outcome[StoreAnswer]:
            if isinstance(received, Exception):
                return classify_failure(self._store.server, received)
            retry = classify_status(received.status, received.headers.get("retry-after"), self._clock.wall())
            return retry or Done(received)

        return await self._drive(self._store, state, send, classify, self._on_failure)

    async def _put_once(
        self, url: str, headers: Mapping[str, str], body: bytes | AsyncGenerator[bytes, None]
    ) -> Answer:
        size = int(headers.get("Content-Length", -1))
        head = lines({name: value for name, value in headers.items() if name != "Content-Length"})
        if isinstance(body, bytes):
            within_s = limits.STALL_S + len(body) / limits.SLOWEST_BYTES_S
            return await self._http.ask("PUT", url, head, body, within_s=within_s, most_bytes=ANSWER_LIMIT_BYTES)
        async with BodyWatch() as watch, aclosing(watch(body)) as pieces:
            return await self._http.send("PUT", url, head, pieces, size, most_bytes=ANSWER_LIMIT_BYTES)

    async def receive(
        self,
        state: RetryState,
        send: Callable[[Attempt], Awaitable[ReceivedT | Exception]],
        classify: Callable[[ReceivedT | Exception], Outcome[ResultT]],
    ) -> ResultT:
        """Run GETs at the store under the retry flow. `send` makes one `get`, and `classify` decides by its result."""
        return await self._drive(self._store, state, send, classify, _ignore_failure)

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str], attempt: Attempt) -> AsyncIterator[StoreBody]:
        """GET from a signed URL, once, as an attempt of `receive`.

        Raises StoreFailure, also while the body is read, if another attempt may succeed. Any other status is given to
        the caller.
        """
        self._check_signed(url)
        self._counter.count("store", writes=False)
        try:
            # A body that a store keeps compressed was uploaded so: it is not decompressed.
            async with self._http.get(url, lines({"Accept-Encoding": "identity", **headers})) as incoming:
                body = StoreBody(incoming)
                retry = classify_status(body.status, body.headers.get("retry-after"), self._clock.wall())
                attempt.record(retry or Done(None))
                if retry is not None:
                    raise StoreFailure(retry)
                yield body
        except LocalAddress:
            raise self._address.local_store() from None
        except (HttpBroken, TimeoutError) as error:
            outcome = classify_failure(self._store.server, error)
            if isinstance(outcome, Fail):
                raise outcome.error from None
            raise StoreFailure(outcome) from None

    def store_retries(self) -> RetryState:
        """Return the retry state for all requests of one part or file at the store."""
        return RetryState(self._retry, self._clock, self._store.server)

    async def _drive(
        self,
        to: _PacedServer,
        state: RetryState,
        send: Callable[[Attempt], Awaitable[ReceivedT | Exception]],
        classify: Callable[[ReceivedT | Exception], Outcome[ResultT]],
        on_failure: Callable[[], None],
    ) -> ResultT:
        """Carry out the steps of the retry flow in the event loop."""
        steps = retry_flow(to.pace, state, self._clock, classify, on_failure)
        received: ReceivedT | Exception | None = None
        while True:
            try:
                step = steps.send(received)
            except StopIteration as finished:
                result: ResultT = finished.value
                return result
            received = None
            match step:
                case Attempt():
                    received = await send(step)
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case WaitForTurn() if self._stop_when_limited:
                    raise RateLimited
                case WaitForTurn():
                    async with to.line:
                        for seconds in step.pauses():
                            await asyncio.sleep(seconds)

    def _check_signed(self, url: str) -> None:
        """Raise LakeAnswerInvalid if files must not be sent to a URL, or if it is malformed."""
        if _CONTROL_OR_SPACE.search(url):
            raise self._malformed()
        origin = _ORIGIN.match(url)
        if origin is None:
            raise self._malformed()
        if origin[0] not in self._origins:
            self._address.check_store(origin[0])
            self._origins.add(origin[0])

    def _malformed(self) -> LakeAnswerInvalid:
        return LakeAnswerInvalid("the lake gave a malformed signed URL", where=self._address.url)


def _too_large() -> LakeAnswerInvalid:
    return LakeAnswerInvalid(f"an answer is larger than {ANSWER_LIMIT_BYTES >> 20} MiB")
