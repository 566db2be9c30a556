"""One HTTP connection pool to a lake, with retries: the ground of the synchronous client.

Owns: the requests session, patience and pace. TLS is always verified; redirects are never followed, so that credentials
go to the lake and nowhere else.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from metalake_sync.errors import LakeAnswerInvalid, LakeRefused
from metalake_sync.protocol.routes import Effect, Route
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.answers import ANSWER_LIMIT_BYTES, Differs
from metalake_sync.remote.http.limits import PIECE_BYTES
from metalake_sync.remote.pacing import Pace
from metalake_sync.remote.request_counter import RequestTally
from metalake_sync.remote.retry import (
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
    judge_status_alone,
)

if TYPE_CHECKING:
    import requests

AnswerT = TypeVar("AnswerT", bound=BaseModel)
ResultT = TypeVar("ResultT")

READ_BYTES = 64 << 10
"""What is read, and unpacked, at once."""


class Connection:
    """Makes calls. Safe to use from several threads.

    Every call of the protocol is safe to repeat: reads change nothing; an upload session that is opened twice leaves
    one that nobody completes, and that shows nothing; metadata, annotation sets and references are written to the same
    values again; completing and finalizing twice is completing and finalizing.
    """

    def __init__(
        self,
        address: LakeAddress,
        *,
        retry: RetryPolicy,
        tally: RequestTally,
        pool_size: int,
        clock: Clock,
    ) -> None:
        # Only who calls a lake pays for it: 50 ms.
        from metalake_sync.remote.http.sync_http import TIMEOUTS_S, session_for

        self.address = address
        self._lake = Server("the lake", address.url)
        self._retry = retry
        self._tally = tally
        self._clock = clock
        self._pace = Pace(clock.now_s)
        self._turnstile = threading.Lock()
        self._session: requests.Session = session_for(address.url, address, pool_size=pool_size, bounded=True)
        self._session.headers.update({"Authorization": address.authorization, "Accept": "application/json"})
        self._timeouts = TIMEOUTS_S
        self.lake_date: str | None = None
        self.differences: dict[str, str] = {}
        """Call → what in its answers is unlike the form that we know."""
        self._moved: frozenset[str] = frozenset()
        """Paths of the calls that this lake has under the other generation's base."""
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
        """Make a call and return its answer, or None where there is nothing.

        `differs`: receives what is unlike the form that we know of this answer. Tries again while that can help, as
        long as the policy's patience lasts. Raises LakeUnreachable when it is over,
        and what `read_answer` raises.
        """
        moved = route.path in self._moved
        try:
            return self._call_at(self._address(moved), route, parts, query, body, differs)
        except LakeRefused as refusal:
            if not route.either_base or refusal.status != 404 or refusal.explained:
                raise
            # A gateway does not pass on this path. The lake may have the call under the other generation's base.
            try:
                answer = self._call_at(self._address(not moved), route, parts, query, body, differs)
            except (LakeRefused, LakeAnswerInvalid):
                raise refusal from None
            self._moved = self._moved - {route.path} if moved else self._moved | {route.path}
            return answer

    def probe(self, route: Route[Any], url: str) -> RawResponse:
        """Send a GET of a route to a URL and return the answer, whatever it says. Tries again as `call` does."""
        return self._exchange(route, url, None, None, lambda heard: judge_status_alone(heard, self._clock.wall()))

    def tries(self) -> RetryState:
        """The tries of one call to the lake."""
        return RetryState(self._retry, self._clock, self._lake)

    def pause(self, seconds: float) -> None:
        self._clock.sleep(seconds)

    def _address(self, moved: bool) -> LakeAddress:
        """The address of a call. `moved`: the lake has it under the other generation's base."""
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
        def unlike(clause: str) -> None:
            self.differences.setdefault(f"{route.method} {route.path}", clause)
            differs(clause)

        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        url = address.url_of(route, **(parts or {}))
        return self._exchange(
            route, url, query, data, lambda heard: judge_answer(route, heard, self._clock.wall(), unlike)
        )

    def _exchange(
        self,
        route: Route[Any],
        url: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        judge: Callable[[RawResponse], Done[ResultT] | Again | GiveUp],
    ) -> ResultT:
        from requests import exceptions

        tries = self.tries()
        verdict: Done[ResultT] | Again | GiveUp
        while True:
            self._keep_pace(tries)
            number = self._pace.set_out()
            self._tally.asked(route.path, writes=route.effect is Effect.WRITES)
            try:
                heard = self._send(route.method, url, query, data)
            except exceptions.RequestException as error:
                verdict = judge_break(self._lake, error)
            else:
                verdict = judge(heard)
                self._pace.heard(number, verdict)
            if isinstance(verdict, Done):
                return verdict.answer
            self._clock.sleep(tries.pause_s(verdict))

    def _keep_pace(self, tries: RetryState) -> None:
        if self._pace.free:
            return
        # One waits for the next turn, the others for the one: nobody is passed by.
        with self._turnstile:
            while pause := self._pace.wait_s():
                tries.hold(pause)
                self._clock.sleep(pause)

    def _send(self, method: str, url: str, query: Mapping[str, str] | None, data: bytes | None) -> RawResponse:
        with self._session.request(
            method,
            url,
            params=query,
            # A large body goes out in blocks, each of which may take its time.
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
