"""The webhook: told when watching fails, and when it has recovered.

Owns: signing, and a thread of its own, so that a slow receiver holds nothing up. Must not: send or log a secret, nor
log the address, which may hold a token.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import requests

from metalake_sync.errors import UsageError
from metalake_sync.remote.http.proxies import SCHEMES, proxy_for

TURNS_KEPT = 20
TRIES = 3
TIMEOUT_S = (5.0, 10.0)

log = logging.getLogger("metalake_sync.watch")

Turn = Literal["failed", "recovered"]


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """`sha256=…` in hex over the timestamp, a dot and the body: a receiver can refuse what is forged or old."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Webhook:
    """Sends turns, in order, each tried three times and at most some 50 seconds long. Keeps the last few while a
    receiver is away. `turns`: those that are wanted. `always`: facts in every message. `secret`: read anew for each
    message, so that it can be rotated; None sends without signature."""

    def __init__(
        self,
        url: str,
        secret: Callable[[], bytes | None],
        *,
        turns: frozenset[Turn] = frozenset(("failed", "recovered")),
        always: Mapping[str, str] | None = None,
        pause_s: float = 2.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._wanted = turns
        self._always = dict(always or {})
        self._secret = secret
        self._pause_s = pause_s
        self._wall = wall
        self._turns: queue.Queue[dict[str, Any] | None] = queue.Queue(TURNS_KEPT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    def tell(self, turn: Turn, **facts: Any) -> None:
        """Queue a turn, if it is wanted; where too many wait, the oldest is dropped. Never blocks."""
        while turn in self._wanted:
            try:
                self._turns.put_nowait({"event": turn, "time": self._wall(), **self._always, **facts})
                return
            except queue.Full:
                try:
                    self._turns.get_nowait()
                except queue.Empty:
                    continue

    def close(self, timeout_s: float = 5.0) -> None:
        """Give what waits a moment to go out."""
        if not self._turns.full():
            self._turns.put_nowait(None)
        self._thread.join(timeout_s)
        self._stop.set()

    def _run(self) -> None:
        while (turn := self._turns.get()) is not None:
            body = json.dumps(turn, ensure_ascii=False).encode("utf-8", "replace")
            for attempt in range(1, TRIES + 1):
                if self._send(body):
                    break
                if self._stop.wait(self._pause_s * attempt):
                    return
            else:
                log.warning("the webhook did not take '%s' in %d tries", turn["event"], TRIES)

    def _send(self, body: bytes) -> bool:
        timestamp = str(int(self._wall()))
        headers = {"Content-Type": "application/json", "X-Metalake-Sync-Timestamp": timestamp}
        try:
            secret = self._secret()
        except OSError:
            log.warning("the webhook's secret_file can't be read; nothing is sent")
            return False
        if secret is not None:
            headers["X-Metalake-Sync-Signature"] = sign(secret, timestamp, body)
        try:
            # A redirect is not followed: the signed message is for the address in the manifest alone.
            answer = requests.post(
                self._url,
                data=body,
                headers=headers,
                timeout=TIMEOUT_S,
                allow_redirects=False,
                stream=True,
                proxies=dict.fromkeys((*SCHEMES, "all"), proxy_for(self._url)),
            )
        except UsageError as error:
            log.warning("the webhook is not sent: %s", error.message)
            return False
        except requests.RequestException as error:
            log.info("the webhook can't be reached (%s)", type(error).__name__)
            return False
        answer.close()
        return answer.status_code < 300
