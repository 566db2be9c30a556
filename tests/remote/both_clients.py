"""Runs the same call with the synchronous and the asynchronous client, which must behave alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from metalake_sync.protocol import routes
from metalake_sync.protocol.items import ValidateTags
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.async_calls import AsyncCalls, StoreAnswer
from metalake_sync.remote.connection import Connection
from metalake_sync.remote.pacing import Pace
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import Attempt, Clock, RetryPolicy

API_KEY, SECRET = "key_of_tests", "secret_of_tests"

Call = Callable[[LakeAddress, RetryPolicy], Any]


def call_sync(address: LakeAddress, retry: RetryPolicy, body: Any = None) -> Any:
    """Make a call as `LakeClient` does."""
    connection = Connection(address, retry=retry, counter=RequestCounter(), pool_size=1, clock=Clock())
    try:
        return connection.call(routes.VALIDATE_TAGS, body=body or {"tags": ["a"]})
    finally:
        connection.close()


def call_async(address: LakeAddress, retry: RetryPolicy) -> Any:
    """Make a call as transfers do."""

    async def run() -> Any:
        async with AsyncCalls(address, retry=retry, connections=2, counter=RequestCounter()) as calls:
            return await calls.call(routes.VALIDATE_TAGS, ValidateTags(tags=["a"]))

    return asyncio.run(run())


BOTH = (call_sync, call_async)


@dataclass
class Store:
    """PUTs and GETs at a store, as in transfers. A GET is one attempt without retries."""

    address: LakeAddress
    retry: RetryPolicy

    def put(self, url: str, body: bytes | Callable[[], AsyncGenerator[bytes, None]]) -> StoreAnswer:
        async def run() -> StoreAnswer:
            async with self._calls() as calls:
                make = (lambda: body) if isinstance(body, bytes) else body
                return await calls.put(url, {"Content-Type": "image/png"}, make, calls.store_retries())

        return asyncio.run(run())

    def get(self, url: str) -> tuple[int, bytes]:
        async def run() -> tuple[int, bytes]:
            async with self._calls() as calls, calls.get(url, {}, Attempt(Pace(time.monotonic))) as body:
                return body.status, b"".join([chunk async for chunk in body.chunks(1 << 16)])

        return asyncio.run(run())

    def _calls(self) -> AsyncCalls:
        return AsyncCalls(self.address, retry=self.retry, connections=2, counter=RequestCounter())
