"""The synchronous driver of the retry flow: sends calls to one lake with requests.

Owns: the requests session and its connection pool, and the rate of calls to the lake. TLS is always verified. Redirects
are never followed, so credentials go to the lake and to no other server. Must not: decide about attempts (`retry`).
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from metalake_sync.errors import LakeAnswerInvalid, LakeRejected
from metalake_sync.protocol.routes import Effect, Route
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.answers import ANSWER_LIMIT_BYTES, Differs
from metalake_sync.remote.classify import (
    Done,
    Outcome,
    RawResponse,
    Server,
    classify_failure,
    classify_response,
    classify_status,
)
from metalake_sync.remote.http.limits import PIECE_BYTES
from metalake_sync.remote.pacing import Pace
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import Attempt, Clock, Pause, RetryPolicy, RetryState, WaitForTurn, retry_flow

if TYPE_CHECKING:
    import requests

AnswerT = TypeVar("AnswerT", bound=BaseModel)
ResultT = TypeVar("ResultT")
ReceivedT = TypeVar("ReceivedT")

READ_BYTES = 64 << 10
"""How much of a response is read and decompressed at a time."""


class Connection:
    """Makes calls to a lake. Safe to use from several threads.

    Every call of the protocol may be repeated. Reads change nothing. A second upload session leaves the first one
    uncompleted, which has no visible effect. Metadata, annotation sets and references are overwritten with the same
    values. Completing and finalizing are idempotent.
    """

    def __init__(
        self,
        address: LakeAddress,
        *,
        retry: RetryPolicy,
        counter: RequestCounter,
        pool_size: int,
        clock: Clock,
    ) -> None:
        # Importing requests takes 50 ms, so only a run that calls a lake does.
        from metalake_sync.remote.http.sync_http import TIMEOUTS_S, session_for

        self.address = address
        self._lake = Server("the lake", address.url)
        self._retry = retry
        self._counter = counter
        self._clock = clock
        self._pace = Pace(clock.now_s)
        self._line = threading.Lock()
        self._session: requests.Session = session_for(address.url, address, pool_size=pool_size, bounded=True)
        self._session.headers.update({"Authorization": address.authorization, "Accept": "application/json"})
        self._timeouts = TIMEOUTS_S
        self.lake_date: str | None = None
        self.differences: dict[str, str] = {}
        """Call → how its answers deviate from the known form."""
        self._moved: frozenset[str] = frozenset()
        """Paths of the calls that this lake serves under the other generation's base."""
        self._close_lock = threading.Lock()

    def close(self) -> None:
        with self._close_lock:
            self._session.close()

    def call(
        self,
        route: Route[AnswerT],
        *,
        parts: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        differs: Differs = lambda _: None,
    ) -> AnswerT | None:
        """Make a call and return its answer, or None if the answer is empty.

        `differs` receives each deviation from the known form of the answer. Retries until the policy's retry timeout;
        then raises LakeUnreachable. Also raises what `read_answer` raises.
        """
        moved = route.path in self._moved
        try:
            return self._call_at(self._address(moved), route, parts, query, body, differs)
        except LakeRejected as rejection:
            if not route.either_base or rejection.status != 404 or rejection.explained:
                raise
            # A gateway does not route this path. The lake may serve the call under the other generation's base.
            try:
                answer = self._call_at(self._address(not moved), route, parts, query, body, differs)
            except (LakeRejected, LakeAnswerInvalid):
                raise rejection from None
            self._moved = self._moved - {route.path} if moved else self._moved | {route.path}
            return answer

    def probe(self, route: Route[Any], url: str) -> RawResponse:
        """Send a GET of a route to a URL and return the response, whatever its status is. Retries like `call`."""

        def classify(response: RawResponse) -> Outcome[RawResponse]:
            return classify_status(response.status, response.retry_after, self._clock.wall()) or Done(response)

        return self._exchange(route, url, None, None, classify)

    def repeat(
        self, look: Callable[[], ReceivedT], classify: Callable[[ReceivedT | Exception], Outcome[ResultT]]
    ) -> ResultT:
        """Retry a group of calls as one. `classify` decides by what `look` returns.

        The group has no rate of its own: each of its calls waits for the lake's.
        """
        return self._drive(Pace(self._clock.now_s), classify, lambda _: look())

    def _address(self, moved: bool) -> LakeAddress:
        """The address of a call. `moved`: the lake serves it under the other generation's base."""
        return replace(self.address, generation=self.address.generation.other) if moved else self.address

    def _call_at(
        self,
        address: LakeAddress,
        route: Route[AnswerT],
        parts: Mapping[str, str] | None,
        query: Mapping[str, str] | None,
        body: Any,
        differs: Differs,
    ) -> AnswerT | None:
        def note_difference(clause: str) -> None:
            self.differences.setdefault(f"{route.method} {route.path}", clause)
            differs(clause)

        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        url = address.url_of(route, **(parts or {}))
        return self._exchange(
            route,
            url,
            query,
            data,
            lambda response: classify_response(route, response, self._clock.wall(), note_difference),
        )

    def _exchange(
        self,
        route: Route[Any],
        url: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        classify: Callable[[RawResponse], Outcome[ResultT]],
    ) -> ResultT:
        from requests import exceptions

        def send(_: Attempt) -> RawResponse | Exception:
            self._counter.count(route.path, writes=route.effect is Effect.WRITES)
            try:
                return self._send(route.method, url, query, data)
            except exceptions.RequestException as error:
                return error

        def classify_received(received: RawResponse | Exception) -> Outcome[ResultT]:
            if isinstance(received, Exception):
                return classify_failure(self._lake, received)
            return classify(received)

        return self._drive(self._pace, classify_received, send)

    def _drive(
        self,
        pace: Pace,
        classify: Callable[[ReceivedT | Exception], Outcome[ResultT]],
        send: Callable[[Attempt], ReceivedT | Exception],
    ) -> ResultT:
        """Carry out the steps of the retry flow in this thread."""
        steps = retry_flow(pace, RetryState(self._retry, self._clock, self._lake), self._clock, classify)
        received: ReceivedT | Exception | None = None
        while True:
            try:
                step = steps.send(received)
            except StopIteration as finished:
                answer: ResultT = finished.value
                return answer
            received = None
            match step:
                case Attempt():
                    received = send(step)
                case Pause(seconds):
                    self._clock.sleep(seconds)
                case WaitForTurn():
                    with self._line:
                        for seconds in step.pauses():
                            self._clock.sleep(seconds)

    def _send(self, method: str, url: str, query: Mapping[str, str] | None, data: bytes | None) -> RawResponse:
        with self._session.request(
            method,
            url,
            params=query,
            # A large body is sent in blocks, and the timeout applies to each block.
            data=io.BytesIO(data) if data and len(data) > PIECE_BYTES else data,
            headers={} if data is None else {"Content-Type": "application/json"},
            timeout=self._timeouts,
            allow_redirects=False,
            stream=True,
        ) as response:
            self.lake_date = response.headers.get("Date")
            body = bytearray()
            for chunk in response.iter_content(READ_BYTES):
                body += chunk
                if len(body) > ANSWER_LIMIT_BYTES:
                    raise LakeAnswerInvalid(f"the lake's answer is larger than {ANSWER_LIMIT_BYTES >> 20} MiB")
            return RawResponse(response.status_code, bytes(body), response.headers.get("Retry-After"))
