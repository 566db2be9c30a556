"""The calls of a transfer on aiohttp: one event loop, one TLS context, kept connections.

Owns: retries of single requests. Credentials go with calls to the lake and never with a signed URL; redirects are never
followed. Answers are read by the same rules as the synchronous client's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
from pydantic import BaseModel
from yarl import URL

from metalake_sync.errors import LakeAnswerInvalid, SyncError
from metalake_sync.protocol.routes import Effect, Route
from metalake_sync.protocol.wire import BASE_PATH
from metalake_sync.remote import limits
from metalake_sync.remote.address import USER_AGENT, LakeAddress
from metalake_sync.remote.answers import ANSWER_LIMIT_BYTES
from metalake_sync.remote.pacing import Pace
from metalake_sync.remote.retry import (
    Again,
    Clock,
    Done,
    GiveUp,
    Heard,
    RetryPolicy,
    Server,
    Tries,
    judge_answer,
    judge_break,
    judge_status,
)
from metalake_sync.remote.stalls import BodyWatch, read_timed
from metalake_sync.remote.tally import RequestTally
from metalake_sync.remote.tls import tls_context

AnswerT = TypeVar("AnswerT", bound=BaseModel)

READ_BYTES = 64 << 10

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

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = _small(response.headers)

    async def chunks(self, size_bytes: int) -> AsyncIterator[bytes]:
        """The body as it comes, in chunks of at most so many bytes. Raises TimeoutError where it hardly comes."""
        async for chunk in read_timed(self._response.content.iter_chunked(size_bytes)):
            yield chunk


class AsyncCalls:
    """Calls to the lake, and PUTs and GETs at its store. `connections`: to each of them. `troubled` is told of each
    request that has to be tried again. Used as an async context manager."""

    def __init__(
        self,
        address: LakeAddress,
        *,
        retry: RetryPolicy,
        connections: int,
        tally: RequestTally,
        troubled: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = address
        self._lake = Server("the lake", address.url)
        self._store = Server("the store", address.url)
        self._troubled = troubled
        self._retry = retry
        self._connections = connections
        self._tally = tally
        self._clock = Clock()
        self._lake_turns = _Turns(Pace(time.monotonic))
        self._store_turns = _Turns(Pace(time.monotonic))
        # Whoever waits here does not wait inside aiohttp, where the time of the request would run already.
        self._store_slots = asyncio.Semaphore(connections)
        self._headers = {"Authorization": address.authorization, "Content-Type": "application/json"}
        self._proxies = getproxies()
        self._lake_urls: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AsyncCalls:
        # Each caller has a connection to the lake and one to the store at most, so that nobody waits for one.
        connector = aiohttp.TCPConnector(limit=2 * self._connections, keepalive_timeout=30, ttl_dns_cache=60)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=_timeout(None),
            trust_env=False,
            headers={"User-Agent": USER_AGENT},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def call(
        self, route: Route[AnswerT], body: BaseModel | None = None, query: Mapping[str, str] | None = None
    ) -> AnswerT | None:
        """Make a call to the lake; raises as `Connection.call` does."""
        url = self._lake_url(route.path)
        if query:
            url = url.with_query(query)
        data = None if body is None else body.__pydantic_serializer__.to_json(body, by_alias=True)
        tries = Tries(self._retry, self._clock, self._lake)
        verdict: Done[AnswerT | None] | Again | GiveUp
        while True:
            set_out_in = await self._lake_turns.take(tries)
            self._tally.asked(route.path, writes=route.effect is Effect.WRITES)
            try:
                async with self._request(
                    route.method, url, data, self._headers, timeout=_timeout(limits.ANSWER_TIME_S)
                ) as response:
                    heard = Heard(response.status, await _bounded(response), response.headers.get("Retry-After"))
            except (aiohttp.ClientError, TimeoutError) as error:
                verdict = judge_break(self._lake, error)
            else:
                verdict = judge_answer(route, heard, self._clock.wall())
                self._lake_turns.pace.heard(set_out_in, verdict)
            if isinstance(verdict, Done):
                return verdict.answer
            self._troubled()
            await asyncio.sleep(tries.pause_s(verdict))

    async def put(self, url: str, headers: Mapping[str, str], body: Body, tries: Tries) -> StoreAnswer:
        """PUT a part to a signed URL, trying again while the store can't be reached or fails. The body is made anew for
        each try. Any other status is the caller's to judge."""
        signed = self._signed(url)
        verdict: Done[StoreAnswer] | Again | GiveUp
        while True:
            async with self._store_slots:
                set_out_in = await self._store_turns.take(tries)
                self._tally.asked("store", writes=True)
                try:
                    async with (
                        BodyWatch() as watch,
                        self._request("PUT", signed, watch(body()), headers, timeout=_WATCHED) as response,
                    ):
                        await _bounded(response)
                        answer = StoreAnswer(status=response.status, headers=_small(response.headers))
                except (aiohttp.ClientError, TimeoutError) as error:
                    if isinstance(error.__cause__, SyncError):
                        # The body could not be read: aiohttp tells it as a lost connection.
                        raise error.__cause__ from None
                    verdict = judge_break(self._store, error)
                else:
                    retry_after = answer.headers.get("retry-after")
                    again = judge_status(answer.status, retry_after, self._clock.wall())
                    verdict = again or Done(answer)
                    self._store_turns.pace.heard(set_out_in, verdict)
            if isinstance(verdict, Done):
                return verdict.answer
            self._troubled()
            await asyncio.sleep(tries.pause_s(verdict))

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str], tries: Tries) -> AsyncIterator[StoreBody]:
        """GET from a signed URL, once: how to go on after a break is the caller's. Raises StoreTrouble, also while the
        body is read, where another try may help; any other status is the caller's to judge."""
        signed = self._signed(url)
        set_out_in = await self._store_turns.take(tries)
        self._tally.asked("store", writes=False)
        try:
            # A body that a store keeps compressed is what was uploaded: it is not unpacked on the way.
            async with self._request(
                "GET", signed, None, {"Accept-Encoding": "identity", **headers}, auto_decompress=False
            ) as response:
                retry_after = response.headers.get("Retry-After")
                again = judge_status(response.status, retry_after, self._clock.wall())
                self._store_turns.pace.heard(set_out_in, again or Done(None))
                if again is not None:
                    raise StoreTrouble(again)
                yield StoreBody(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            verdict = judge_break(self._store, error)
            if isinstance(verdict, GiveUp):
                raise verdict.error from None
            raise StoreTrouble(verdict) from None

    def patience(self) -> Tries:
        """With the requests of one part or file at the store."""
        return Tries(self._retry, self._clock, self._store)

    def _signed(self, url: str) -> URL:
        """Raises LakeAnswerInvalid for an address that can't be used."""
        try:
            # A signed URL is already encoded, and encoding it again would break its signature.
            signed = URL(url, encoded=True)
        except ValueError:
            signed = URL()
        if signed.scheme not in ("http", "https") or not signed.host:
            raise LakeAnswerInvalid("the lake gave an address that can't be used", where=self._address.url)
        if self._address.forbids(signed.scheme, signed.host):
            raise LakeAnswerInvalid(
                "the lake gave an address of its store that is plain HTTP to another machine",
                where=self._address.url,
                remedy="Give the store TLS, or allow it with 'remote.allow_insecure: true'.",
            )
        return signed

    def _lake_url(self, path: str) -> URL:
        url = self._lake_urls.get(path)
        if url is None:
            url = self._lake_urls[path] = URL(f"{self._address.url}{BASE_PATH}{path}", encoded=True)
        return url

    def _request(
        self,
        method: str,
        url: URL,
        data: bytes | AsyncIterator[bytes] | None,
        headers: Mapping[str, str],
        *,
        auto_decompress: bool | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        assert self._session is not None
        proxy = self._proxy_for(url) if self._proxies else None
        return self._session.request(
            method,
            url,
            data=data,
            headers=headers,
            allow_redirects=False,
            proxy=proxy,
            auto_decompress=auto_decompress,
            timeout=timeout or self._session.timeout,
            ssl=tls_context(self._address.trust.ca_file) if url.scheme == "https" else True,
        )

    def _proxy_for(self, url: URL) -> str | None:
        return None if proxy_bypass(url.host or "") else self._proxies.get(url.scheme)


class _Turns:
    """Waiting for a server's pace. One waits for the next turn, the others for the one: nobody is passed by."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._turnstile = asyncio.Lock()

    async def take(self, tries: Tries) -> int:
        """Returns what the pace wants to hear with the answer."""
        if not self.pace.free:
            async with self._turnstile:
                while pause := self.pace.wait_s():
                    tries.hold(pause)
                    await asyncio.sleep(pause)
        return self.pace.round


def _timeout(total_s: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total_s, sock_connect=limits.CONNECT_TIMEOUT_S, sock_read=limits.STALL_S)


_WATCHED = aiohttp.ClientTimeout(total=None, sock_connect=limits.CONNECT_TIMEOUT_S)
"""aiohttp begins to wait for an answer when it has handed over the last byte, and not when that is gone."""


def _small(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer to its end, within reason. What counts is what it is unpacked, not what it says it is."""
    content = bytearray()
    async for chunk in response.content.iter_chunked(READ_BYTES):
        content += chunk
        if len(content) > ANSWER_LIMIT_BYTES:
            raise LakeAnswerInvalid(f"an answer is larger than {ANSWER_LIMIT_BYTES >> 20} MiB")
    return bytes(content)
