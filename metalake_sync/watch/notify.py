"""The webhook: sends a message when watching fails, when it recovers, and when actions wait for approval.

Owns: signing, and a thread, so that a slow receiver does not block the loop. Must not: send or log a secret, or log the
address, which may contain a token.
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
from metalake_sync.remote.http.environment import SCHEMES, proxy_for

EVENTS_KEPT = 20
ATTEMPTS = 3
TIMEOUT_S = (5.0, 10.0)

log = logging.getLogger("metalake_sync.watch")

WebhookEvent = Literal["failed", "recovered", "held"]


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return `sha256=…` over the timestamp, a dot and the body. A receiver can refuse forged and old messages."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Webhook:
    """Sends events in order, with three attempts that take about 50 seconds at most. Keeps the latest events while the
    receiver is unreachable.

    `events`: the events to send. `common`: facts in every message. `secret`: read for each message, so that it can be
    rotated; None sends without a signature.
    """

    def __init__(
        self,
        url: str,
        secret: Callable[[], bytes | None],
        *,
        events: frozenset[WebhookEvent] = frozenset(("failed", "recovered", "held")),
        common: Mapping[str, str] | None = None,
        pause_s: float = 2.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._wanted = events
        self._common = dict(common or {})
        self._secret = secret
        self._pause_s = pause_s
        self._wall = wall
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(EVENTS_KEPT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    def send(self, event: WebhookEvent, **facts: Any) -> None:
        """Queue an event, if it is in `events`. Drops the oldest event if too many wait. Never blocks."""
        while event in self._wanted:
            try:
                self._queue.put_nowait({"event": event, "time": self._wall(), **self._common, **facts})
                return
            except queue.Full:
                try:
                    self._queue.get_nowait()
                except queue.Empty:
                    continue

    def close(self, timeout_s: float = 5.0) -> None:
        """Wait up to `timeout_s` seconds for queued events to be sent."""
        if not self._queue.full():
            self._queue.put_nowait(None)
        self._thread.join(timeout_s)
        self._stop.set()

    def _run(self) -> None:
        while (message := self._queue.get()) is not None:
            body = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")
            for attempt in range(1, ATTEMPTS + 1):
                if self._send(body):
                    break
                if self._stop.wait(self._pause_s * attempt):
                    return
            else:
                log.warning("the webhook did not accept '%s' in %d attempts", message["event"], ATTEMPTS)

    def _send(self, body: bytes) -> bool:
        timestamp = str(int(self._wall()))
        headers = {"Content-Type": "application/json", "X-Metalake-Sync-Timestamp": timestamp}
        try:
            secret = self._secret()
        except OSError:
            log.warning("the webhook's secret_file cannot be read; nothing is sent")
            return False
        if secret is not None:
            headers["X-Metalake-Sync-Signature"] = sign(secret, timestamp, body)
        try:
            # Redirects are not followed, because the signed message is only for the address in the manifest.
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
            log.info("the webhook cannot be reached (%s)", type(error).__name__)
            return False
        answer.close()
        return answer.status_code < 300
