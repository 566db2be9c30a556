"""The lease of a shared state: who may write, until when.

Each holder creates an object with the next epoch number, and renews it while it runs. A lease ends when its holder
releases it, or when it was not renewed for `EXPIRES_S` by the clock of the run that waits: clocks of machines differ.
The lease alone does not keep a paused holder from writing. The log does (`log`).

Owns: epochs, and the words about a holder. Must not: know the log. Longer than 300 lines, because a lease is created,
renewed, lost and released by one object.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Event, Lock, Thread
from typing import Any

from metalake_sync.errors import StateLocked, SyncError
from metalake_sync.key_stores.base import KeyStore
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.process_owner import ci_url, user_name

LEASES = "lease/"

RENEW_EVERY_S = 20.0
EXPIRES_S = 60.0
"""How long a lease stays valid without a renewal."""

KEPT = 8
"""How many old leases are kept, for a person who looks into the store."""

LOOK_EVERY_S = 1.0
JOIN_S = 5.0

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class LeaseBody:
    """The content of a lease."""

    id: str
    """Random, one for each holder."""
    holder: dict[str, Any]
    """Who holds it: command, pid, user, host, the URL of the CI job, and since when in seconds since the epoch."""
    renewals: int = 0
    renewed_at: float = 0.0
    """By the holder's clock, in seconds since the epoch."""
    released: bool = False
    forced: bool = False
    """Released by `state unlock`, so that the holder may still be alive."""
    manual: bool = False
    """Taken by `state lock`: it does not expire."""

    def encode(self) -> bytes:
        values = {name: getattr(self, name) for name in _FIELDS}
        return json.dumps(values, sort_keys=True).encode()

    def describe(self, now: float) -> str:
        """Who holds the lease, for a message."""
        holder = self.holder
        user = f"{holder['user']}@" if holder.get("user") else ""
        since = max(0, round(now - float(holder.get("since") or now)))
        words = f"'{holder.get('command')}' with pid {holder.get('pid')} on {user}{holder.get('host')}, since {since} s"
        if holder.get("ci_url"):
            words += f", {holder['ci_url']}"
        if self.manual:
            return f"{words} (locked by hand)"
        silent_s = now - self.renewed_at
        return f"{words}, not renewed for {round(silent_s)} s" if silent_s > EXPIRES_S else words


_FIELDS = ("id", "holder", "renewals", "renewed_at", "released", "forced", "manual")


def _decode(body: bytes) -> LeaseBody:
    """Read a lease. One that cannot be read counts as held by an unknown run, until it expires."""
    try:
        found = json.loads(body)
        holder = {str(key): value for key, value in dict(found["holder"]).items()}
        return LeaseBody(
            str(found["id"]),
            holder,
            int(found["renewals"]),
            float(found["renewed_at"]),
            found["released"] is True,
            found["forced"] is True,
            found["manual"] is True,
        )
    except (ValueError, KeyError, TypeError):
        return LeaseBody("", {"command": "unknown", "pid": "unknown", "host": "an unknown host"})


def _key(epoch: int) -> str:
    return f"{LEASES}{epoch:08d}"


def _epochs(store: KeyStore) -> list[int]:
    numbers = (key.removeprefix(LEASES) for key in store.keys(LEASES))
    return sorted(int(number) for number in numbers if number.isascii() and number.isdigit())


def newest_lease(store: KeyStore) -> tuple[int, LeaseBody] | None:
    """Return the epoch and the content of the newest lease, or None if there was none yet."""
    while epochs := _epochs(store):
        body = store.get(_key(epochs[-1]))
        if body is not None:
            return epochs[-1], _decode(body)
    return None


def this_holder(command: str) -> dict[str, Any]:
    """Return who would hold a lease of this process."""
    return {
        "command": command,
        "pid": os.getpid(),
        "user": user_name(),
        "host": socket.gethostname(),
        "ci_url": ci_url(os.environ),
        "since": time.time(),
    }


class Lease:
    """Holds the lease of a shared state while used as a context manager, and renews it in a thread.

    `location`: of the state, for messages. `timeout_s`: how long entering waits for another holder. A holder that seems
    to be dead is watched for `EXPIRES_S`, also without a timeout, because only that shows that it is dead. Raises
    StateLocked and StateUnreachable.
    """

    def __init__(
        self,
        store: KeyStore,
        location: str,
        *,
        command: str,
        timeout_s: float = 0.0,
        manual: bool = False,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._location = location
        self._timeout_s = timeout_s
        self._waiting = waiting
        self._body = LeaseBody(secrets.token_hex(8), this_holder(command), manual=manual)
        self._manual = manual
        self._lost: SyncError | None = None
        self._ended = Event()
        self._writing = Lock()
        self._renewer: Thread | None = None
        self.epoch = 0
        self.took_over = False
        """Whether the holder before may still be alive."""
        self.fenced = False
        """Whether a segment of this holder keeps earlier ones from writing."""

    def __enter__(self) -> Lease:
        self._acquire()
        if not self._manual:
            self._renewer = Thread(target=self._renew, name="state-lease", daemon=True)
            self._renewer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._renewer is not None:
            # While the store is away, a renewal may take minutes.
            self._renewer.join(JOIN_S)
        stuck = self._renewer is not None and self._renewer.is_alive()
        if self._lost is None and not stuck:
            # A release that does not arrive costs the next run `EXPIRES_S`.
            with contextlib.suppress(SyncError):
                self._put(released=True)
                self._delete_old()

    def check(self) -> None:
        """Raise StateLocked if another run took over the lease."""
        if self._lost is not None:
            raise self._lost

    def lose(self) -> SyncError:
        """Note that another run took over, and return the error that says so."""
        if self._lost is None:
            found = None
            with contextlib.suppress(SyncError):
                found = newest_lease(self._store)
            other = found is not None and found[1].id != self._body.id and not found[1].released
            who = f": {found[1].describe(time.time())}" if found is not None and other else ""
            self._lost = StateLocked(
                f"another run took over the state while this one was paused or cut off from it{who}",
                where=self._location,
                remedy="Run the command again. What the lake confirmed before is recorded or will be adopted.",
            )
        return self._lost

    def _acquire(self) -> None:
        started = time.monotonic()
        seen: tuple[int, LeaseBody] | None = None
        seen_at = started
        told = False
        while True:
            found = newest_lease(self._store)
            now = time.monotonic()
            if found is None or found[1].released:
                if self._create((found[0] if found else 0) + 1):
                    self.took_over = found is not None and found[1].forced
                    return
                continue
            if found != seen:
                seen, seen_at = found, now
            epoch, body = found
            if not body.manual and now - seen_at >= EXPIRES_S:
                if self._create(epoch + 1):
                    self.took_over = True
                    return
                continue
            seems_dead = not body.manual and time.time() - body.renewed_at > EXPIRES_S
            if now - started >= max(self._timeout_s, 2 * EXPIRES_S if seems_dead else 0.0):
                raise self._refusal(body)
            if not told and self._waiting is not None:
                watched = "; it is watched to see whether it is dead" if seems_dead else ""
                self._waiting(f"the lock of {self._location}: {body.describe(time.time())}{watched}")
            told = True
            time.sleep(LOOK_EVERY_S)

    def _refusal(self, body: LeaseBody) -> StateLocked:
        end = (
            "Release it with 'metalake-sync state unlock MANIFEST'."
            if body.manual
            else "Wait for it to end, or wait here with --lock-timeout SECONDS. If you are sure that it is dead, free"
            " the lock with 'state unlock'."
        )
        return StateLocked(
            f"another run holds the state: {body.describe(time.time())}", where=self._location, remedy=end
        )

    def _create(self, epoch: int) -> bool:
        """Create the lease of an epoch. False if another run was faster."""
        body = LeaseBody(self._body.id, self._body.holder, 0, time.time(), manual=self._manual)
        if not self._store.create(_key(epoch), body.encode()):
            return False
        if _epochs(self._store)[-1] != epoch:
            # Other runs created later ones since the keys were listed, and deleted this one as old.
            self._store.delete([_key(epoch)])
            return False
        self._body, self.epoch = body, epoch
        return True

    def _put(self, *, released: bool = False) -> None:
        with self._writing:
            old = self._body
            self._body = LeaseBody(
                old.id, old.holder, old.renewals + 1, time.time(), released=released, manual=self._manual
            )
            if released and self.took_over and not self.fenced:
                # The next holder must fence off what this one did not.
                self._body = replace(self._body, forced=True)
            self._store.put(_key(self.epoch), self._body.encode())

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_EVERY_S):
            # While the store is away, the next append raises. So a renewal that fails is only repeated.
            with contextlib.suppress(SyncError):
                found = newest_lease(self._store)
                if found is None or found[1].id != self._body.id or found[1].released:
                    self.lose()
                    return
                self._put()

    def _delete_old(self) -> None:
        old = [epoch for epoch in _epochs(self._store) if epoch <= self.epoch - KEPT]
        if old:
            self._store.delete([_key(epoch) for epoch in old])


def _died_here(body: LeaseBody) -> bool:
    """Whether the holder was a process of this host that does not exist any more."""
    pid = body.holder.get("pid")
    if body.holder.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def release(store: KeyStore, location: str, *, force: bool) -> str | None:
    """Release the newest lease. Returns who held it, or None if it was free.

    Without `force`, raises StateLocked for a holder that renewed its lease within `EXPIRES_S` by the clocks of both
    machines. A run that is still alive stops at its next write after another run took the lease.
    """
    found = newest_lease(store)
    if found is None or found[1].released:
        return None
    epoch, body = found
    words = body.describe(time.time())
    if not force and not body.manual and time.time() - body.renewed_at <= EXPIRES_S and not _died_here(body):
        raise StateLocked(
            f"another run holds the state: {words}",
            where=location,
            remedy="Stop that run. If you are sure that it is dead, add --force.",
        )
    store.put(_key(epoch), replace(body, released=True, forced=True).encode())
    return words
