"""The layout of a shared state in its key store, and which objects of it count.

    state.json                      which state this is, and after which sequence number it begins
    log/000000000413                one segment of the log
    snapshot/000000000412-1f2e…     the state as of a sequence number, with the id of the state
    lease/00000007                  who may write
    fence/000000000413              marks a segment that must stay, see `FENCES`
    backup/000000000412-1f2e…       a state that another one replaced, see `BACKUPS`

Sequence numbers and epochs only grow, also when another state takes the place of this one. So no key is created twice,
and a holder that was paused meanwhile is noticed.

Owns: `state.json`, and the choice of the snapshot and the segments that make up the present state.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence

from metalake_sync.errors import StateError
from metalake_sync.key_stores.base import KeyStore
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.shared.changes import damaged
from metalake_sync.state.shared.log import FORMAT, LOG, newer_version, segment_key, sequences

STATE = "state.json"
SNAPSHOTS = "snapshot/"
FENCES = "fence/"
"""Marks of segments that a run created when it took over the lease of another that had not released it.

That holder may be paused, and would create the same segment next. So such a segment is never deleted.
"""


BACKUPS = "backup/"
"""Copies of states that `state push` or `state rebuild` replaced, in the form of snapshots. The newest are kept."""

BACKUPS_KEPT = 3


def backup_key(sequence: int, state_id: str) -> str:
    return f"{BACKUPS}{sequence:012d}-{state_id}"


@dataclass(frozen=True, slots=True)
class StateId:
    """The content of `state.json`."""

    id: str
    """Random."""
    begins_after: int = 0
    """The sequence number after which the log belongs to this state."""
    has_snapshot: bool = False
    """Whether the state began as a snapshot (`state push`), and not empty."""
    keeps_old: bool = False
    """Whether what was there before could not be read. Then it is never deleted."""

    def encode(self) -> bytes:
        values = {name: getattr(self, name) for name in ("id", "begins_after", "has_snapshot", "keeps_old")}
        return json.dumps({"format": FORMAT, **values}).encode()


def read_id(store: KeyStore) -> StateId | None:
    """Return which state is here, or None if no state was created yet. Raises StateError and StateUnreachable."""
    body = store.get(STATE)
    if body is None:
        if any(key.startswith((LOG, SNAPSHOTS)) for key in store.keys("")):
            raise damaged(f"{STATE} is missing", store.location)
        return None
    try:
        found = json.loads(body)
        form, state_id, begins_after = found["format"], found["id"], found["begins_after"]
        has_snapshot, keeps_old = found.get("has_snapshot", False), found.get("keeps_old", False)
        if not (isinstance(state_id, str) and isinstance(begins_after, int)):
            raise TypeError("values of another kind")
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(f"{STATE} cannot be read ({error})", store.location) from None
    if form != FORMAT:
        raise newer_version(STATE, store.location)
    return StateId(state_id, begins_after, has_snapshot is True, keeps_old is True)


def last_sequence(store: KeyStore) -> int:
    """Return the highest sequence number that was ever used, as far as the store shows, whichever state has it."""
    keys = store.keys("")
    begins_after = 0
    with contextlib.suppress(StateError):
        found = read_id(store)
        begins_after = found.begins_after if found is not None else 0
    return max([begins_after, *_of(keys, LOG), *_of(keys, SNAPSHOTS)])


def snapshot_key(sequence: int, state_id: str) -> str:
    return f"{SNAPSHOTS}{sequence:012d}-{state_id}"


@dataclass(frozen=True, slots=True)
class Contents:
    """What makes up the present state."""

    id: StateId
    snapshot: int | None
    """The sequence number of the newest snapshot. None: the state began empty."""
    segments: Sequence[int]
    """The sequence numbers of the segments after the snapshot, without a gap."""
    stale: Sequence[str]
    """Keys of segments and snapshots that are not needed any more."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written since the state began."""
        return self.snapshot is None and self.head == self.id.begins_after

    @property
    def start(self) -> int:
        """The sequence number before the first segment."""
        return self.id.begins_after if self.snapshot is None else self.snapshot

    @property
    def head(self) -> int:
        """The sequence number of the present state."""
        return self.segments[-1] if self.segments else self.start


SNAPSHOTS_KEPT = 2


def read_contents(store: KeyStore, state_id: StateId) -> Contents:
    """List the snapshots and the log. Raises StateError if segments are missing, and StateUnreachable."""
    keys = store.keys("")
    log = [number for number in _of(keys, LOG) if number > state_id.begins_after]
    of_states = [key for key in keys if key.startswith(SNAPSHOTS)]
    own = [key for key in of_states if key.endswith(f"-{state_id.id}")]
    made = [number for number in sequences(own, SNAPSHOTS) if number >= state_id.begins_after]
    snapshot = made[-1] if made else None
    if snapshot is None and state_id.has_snapshot:
        raise damaged(f"{snapshot_key(state_id.begins_after, state_id.id)} is missing", store.location)
    start = state_id.begins_after if snapshot is None else snapshot
    after = [number for number in log if number > start]
    if after and after[-1] - start != len(after):
        present = set(after)
        missing = next(number for number in range(start + 1, after[-1]) if number not in present)
        raise damaged(f"{segment_key(missing)} of its log is missing", store.location)
    kept = made[-SNAPSHOTS_KEPT:]
    # A later snapshot of another id may belong to a state that takes the place of this one at this moment.
    older = {key for key in of_states if sequences([key], SNAPSHOTS) and sequences([key], SNAPSHOTS)[0] <= start}
    stale = sorted(older - {snapshot_key(number, state_id.id) for number in kept})
    fences = set(_of(keys, FENCES))
    oldest = kept[0] if len(kept) == SNAPSHOTS_KEPT else state_id.begins_after
    stale += [segment_key(number) for number in _of(keys, LOG) if number <= oldest and number not in fences]
    return Contents(state_id, snapshot, after, [] if state_id.keeps_old else stale)


def _of(keys: Sequence[str], prefix: str) -> list[int]:
    return sequences([key for key in keys if key.startswith(prefix)], prefix)


def fence_key(sequence: int) -> str:
    return f"{FENCES}{sequence:012d}"
