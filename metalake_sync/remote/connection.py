"""One HTTP connection pool to a lake, with retries: the ground of the synchronous client.

Owns: the requests session, patience and pace. TLS is always verified; redirects are never followed, so that credentials
go to the lake and nowhere else.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from metalake_sync.errors import LakeAnswerInvalid, LakeUnreachable
from metalake_sync.protocol.routes import Route
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

if TYPE_CHECKING:
    import requests

AnswerT = TypeVar("AnswerT", bound=BaseModel)

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, replaced in tests."""

    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    unit_random: Callable[[], float] = random.random


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
        import requests
        import requests.adapters

        self.address = address
        self._retry = retry
        self._tally = tally
        self._clock = clock
        self._pace = Pace(clock.now_s)
        self._session: requests.Session = requests.Session()
        # Proxies are read once: looking for them at every request costs a quarter of the speed.
        self._session.proxies = requests.utils.get_environ_proxies(address.url)
        self._session.trust_env = False
        adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=pool_size, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._session.headers.update(
            {"Authorization": address.authorization, "User-Agent": USER_AGENT, "Accept": "application/json"}
        )
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
    ) -> AnswerT | None:
        """Make a call and return its answer, or None where there is nothing.

        Tries again while that can help, as long as the policy's patience lasts. Raises LakeUnreachable when it is over,
        and what `read_answer` raises.
        """
        from requests import exceptions

        url = self.address.url + route.at(**(parts or {}))
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        started = self._clock.now_s()
        failures = invalid = 0
        while True:
            pause = self._pace.wait_s()
            if pause:
                self._clock.sleep(pause)
            retry_after = None
            self._tally.asked(route.path, route.effect)
            try:
                status, answer, retry_after_text = self._send(route.method, url, query, data, headers)
            except exceptions.SSLError as error:
                raise LakeUnreachable(
                    f"the lake's certificate is not accepted ({describe(error)})",
                    where=self.address.url,
                    remedy="Check the address and the machine's CA certificates.",
                ) from None
            except exceptions.InvalidURL:
                raise LakeUnreachable(
                    "the lake's address can't be used", where=self.address.url, remedy="Correct 'remote.url'."
                ) from None
            except exceptions.RequestException as error:
                reason = describe(error)
            else:
                if status not in RETRY_STATUSES:
                    self._pace.went_well()
                    try:
                        return read_answer(route, status, answer)
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
            failures += 1
            pause = delay_s(failures, self._retry, self._clock.unit_random(), retry_after)
            waited = self._clock.now_s() - started
            if waited + pause > self._retry.give_up_after_s:
                raise LakeUnreachable(
                    f"the lake could not be reached ({reason}), after {failures} tries in {waited:.0f} s",
                    where=self.address.url,
                    remedy="Check the address and the network; what was finished is recorded, so apply again later.",
                )
            self._clock.sleep(pause)

    def _send(
        self, method: str, url: str, query: Mapping[str, str] | None, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, str | None]:
        with self._session.request(
            method,
            url,
            params=query,
            data=data,
            headers=dict(headers),
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            allow_redirects=False,
            stream=True,
        ) as response:
            body = bytearray()
            for chunk in response.iter_content(1 << 20):
                body += chunk
                if len(body) > ANSWER_LIMIT_BYTES:
                    raise LakeAnswerInvalid(f"the lake's answer is larger than {ANSWER_LIMIT_BYTES >> 20} MiB")
            return response.status_code, bytes(body), response.headers.get("Retry-After")
