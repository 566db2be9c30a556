"""The calls of a transfer on aiohttp: one event loop, one TLS context, kept connections.

Owns: retries of single requests. Credentials go with calls to the lake and never with a signed URL; redirects are never
followed. Answers are read by the same rules as the synchronous client's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
from pydantic import BaseModel
from yarl import URL

from metalake_sync.errors import LakeAnswerInvalid, LakeUnreachable, SyncError
from metalake_sync.protocol.routes import Effect, Route
from metalake_sync.protocol.wire import BASE_PATH
from metalake_sync.remote.address import USER_AGENT, LakeAddress
from metalake_sync.remote.answers import ANSWER_LIMIT_BYTES, read_answer
from metalake_sync.remote.pacing import Pace
from metalake_sync.remote.redaction import describe
from metalake_sync.remote.retry import (
    INVALID_ANSWERS_TAKEN,
    RETRY_STATUSES,
    RetryPolicy,
    delay_s,
    parse_retry_after,
)
from metalake_sync.remote.tally import RequestTally

AnswerT = TypeVar("AnswerT", bound=BaseModel)

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 120.0

Body = Callable[[], bytes | AsyncIterator[bytes]]
"""Makes the bytes of a PUT, anew for each attempt."""


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """What a store said to a PUT. Header names are in small letters: stores spell them as they like."""

    status: int
    headers: dict[str, str]


class StoreTrouble(Exception):
    """A store can't be reached or fails at a GET: another try may mend it. `reason` is a clause."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class StoreBody:
    """What a store says to a GET. Header names are in small letters."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = _small(response.headers)

    async def chunks(self, size_bytes: int) -> AsyncIterator[bytes]:
        """The body as it comes, in chunks of at most so many bytes."""
        async for chunk in self._response.content.iter_chunked(size_bytes):
            yield chunk


class Patience:
    """The retries of one request: how long they went on, and whether to go on."""

    def __init__(self, policy: RetryPolicy, address: str) -> None:
        self._policy = policy
        self._address = address
        self._started = time.monotonic()
        self._failures = 0

    async def pause(self, reason: str, retry_after_s: float | None = None) -> None:
        """Wait before the next try, or raise LakeUnreachable when patience is over."""
        self._failures += 1
        pause = delay_s(self._failures, self._policy, random.random(), retry_after_s)  # noqa: S311 - jitter
        waited = time.monotonic() - self._started
        if waited + pause > self._policy.give_up_after_s:
            raise LakeUnreachable(
                f"it could not be reached ({reason}), after {self._failures} tries in {waited:.0f} s",
                where=self._address,
                remedy="Check the network; what was finished is recorded, so apply again later.",
            )
        await asyncio.sleep(pause)


class AsyncCalls:
    """Calls to the lake and PUTs to its store. Used as an async context manager."""

    def __init__(self, address: LakeAddress, *, retry: RetryPolicy, connections: int, tally: RequestTally) -> None:
        self._address = address
        self._retry = retry
        self._connections = connections
        self._tally = tally
        self._pace = Pace(time.monotonic)
        self._store_pace = Pace(time.monotonic)
        self._headers = {"Authorization": address.authorization, "Content-Type": "application/json"}
        self._proxies = getproxies()
        self._lake_urls: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AsyncCalls:
        # aiohttp verifies with one context for the process, made when it is imported: a CA bundle takes 20 ms.
        connector = aiohttp.TCPConnector(limit=self._connections, ssl=True, keepalive_timeout=30, ttl_dns_cache=60)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, trust_env=False, headers={"User-Agent": USER_AGENT}
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
        patience = Patience(self._retry, self._address.url)
        invalid = 0
        while True:
            await self._keep_pace(self._pace)
            self._tally.asked(route.path, route.effect)
            retry_after = None
            try:
                async with self._request(route.method, url, data, self._headers) as response:
                    status = response.status
                    content = await _bounded(response)
                    retry_after_text = response.headers.get("Retry-After")
            except (aiohttp.ClientError, TimeoutError) as error:
                reason = describe(error)
            else:
                if status not in RETRY_STATUSES:
                    self._pace.went_well()
                    try:
                        return read_answer(route, status, content)
                    except LakeAnswerInvalid as error:
                        invalid += 1
                        if invalid >= INVALID_ANSWERS_TAKEN or 300 <= status < 400:
                            raise
                        reason = error.message
                else:
                    reason = f"it answered {status}"
                    retry_after = parse_retry_after(retry_after_text, datetime.now(UTC))
                    if status in (429, 503):
                        self._pace.too_many(retry_after)
            await patience.pause(reason, retry_after)

    async def put(self, url: str, headers: Mapping[str, str], body: Body, patience: Patience) -> StoreAnswer:
        """PUT a part to a signed URL, trying again while the store can't be reached or fails. The body is made anew for
        each try. Any other status is the caller's to judge."""
        # A signed URL is already encoded, and encoding it again would break its signature.
        signed = URL(url, encoded=True)
        while True:
            await self._keep_pace(self._store_pace)
            self._tally.asked("store", Effect.WRITES)
            retry_after = None
            try:
                async with self._request("PUT", signed, body(), headers) as response:
                    await _bounded(response)
                    answer = StoreAnswer(status=response.status, headers=_small(response.headers))
            except (aiohttp.ClientError, TimeoutError) as error:
                if isinstance(error.__cause__, SyncError):
                    # The body could not be read: aiohttp tells it as a lost connection.
                    raise error.__cause__ from None
                reason = f"the store: {describe(error)}"
            else:
                if answer.status not in RETRY_STATUSES:
                    self._store_pace.went_well()
                    return answer
                reason = f"the store answered {answer.status}"
                retry_after = parse_retry_after(answer.headers.get("retry-after"), datetime.now(UTC))
                if answer.status in (429, 503):
                    self._store_pace.too_many(retry_after)
            await patience.pause(reason, retry_after)

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[StoreBody]:
        """GET from a signed URL, once: how to go on after a break is the caller's. Raises StoreTrouble, also while the
        body is read, where another try may help; any other status is the caller's to judge."""
        await self._keep_pace(self._store_pace)
        self._tally.asked("store", Effect.READS)
        try:
            # A body that a store keeps compressed is what was uploaded: it is not unpacked on the way.
            async with self._request(
                "GET",
                URL(url, encoded=True),
                None,
                {"Accept-Encoding": "identity", **headers},
                auto_decompress=False,
            ) as response:
                if response.status in RETRY_STATUSES:
                    retry_after = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
                    if response.status in (429, 503):
                        self._store_pace.too_many(retry_after)
                    raise StoreTrouble(f"the store answered {response.status}", retry_after)
                self._store_pace.went_well()
                yield StoreBody(response)
        except aiohttp.InvalidURL:
            raise LakeAnswerInvalid("the lake gave an address that can't be used") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise StoreTrouble(f"the store: {describe(error)}") from None

    def patience(self) -> Patience:
        return Patience(self._retry, self._address.url)

    async def _keep_pace(self, pace: Pace) -> None:
        pause = pace.wait_s()
        if pause:
            await asyncio.sleep(pause)

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
        )

    def _proxy_for(self, url: URL) -> str | None:
        return None if proxy_bypass(url.host or "") else self._proxies.get(url.scheme)


def _small(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer to its end, within reason."""
    if response.content_length is not None and response.content_length <= ANSWER_LIMIT_BYTES:
        return await response.read()
    content = bytearray()
    async for chunk in response.content.iter_chunked(1 << 20):
        content += chunk
        if len(content) > ANSWER_LIMIT_BYTES:
            raise LakeAnswerInvalid(f"an answer is larger than {ANSWER_LIMIT_BYTES >> 20} MiB")
    return bytes(content)
