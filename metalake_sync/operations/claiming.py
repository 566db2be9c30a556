"""`import --claim`: records adopted files as uploaded by the manifest, so that `prune` covers them again.

After a lost state, files that the manifest uploaded are adopted, and adopted files are never pruned.

Owns: which records change, and their run in the history. Must not: ask for approval, or change the lake.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, field
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.apply.provenance import find_provenance
from metalake_sync.core.changes import Reason
from metalake_sync.core.snapshots import CollectionKey, Origin
from metalake_sync.core.summary import Summary
from metalake_sync.core.targets import Target, check_matched, parse_targets
from metalake_sync.engine import Engine, new_run_id
from metalake_sync.lake_access import lake_identity
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import key_of
from metalake_sync.planning.lake_listing import view_lake
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.runs import ActionRow
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.remote.client import LakeClient

NAMES_SHOWN = 10

ORIGINS = (Origin.ADOPTED.value, Origin.UPLOADED.value)
"""What the record of a claimed file says before and after."""

ROWS_AT_ONCE = 10_000


@dataclass(slots=True)
class Claim:
    """The adopted files of one collection that would be recorded as uploaded."""

    collection: CollectionKey
    names: list[str] = field(default_factory=list)
    """The first NAMES_SHOWN names in the collection, or all."""
    without_source: int = 0
    """How many of them have no local file any more. `prune` would trash them."""
    prune: bool = False
    rows: array[int] = field(default_factory=lambda: array("q"))
    """Their ids in the state."""
    only_in_lake: list[str] = field(default_factory=list)
    """Matching files of the lake that the state does not have, because they were not on this disk when the others were
    adopted. They are not claimed: another client may have uploaded them."""

    @property
    def files(self) -> int:
        return len(self.rows)


def claim(
    engine: Engine,
    targets: Sequence[str],
    approve: Callable[[Sequence[Claim]], None],
    *,
    lock_timeout_s: float = 0.0,
    all_names: bool = False,
    command: str = "import --claim",
) -> tuple[list[Claim], Path | None]:
    """Record the adopted files that the targets match as uploaded.

    `approve`: called with the claims before anything changes; raises to stop. `all_names`: collect every name.
    `command`: for the history. Returns the claims, and the path of a backup of the state if something changed. Raises
    UsageError for a target that matches no collection of the manifest or no recorded file.
    """
    with (
        engine.state_backend.lock(command="import --claim", timeout_s=lock_timeout_s),
        StateStore(engine.state_backend) as state,
    ):
        recorded = {key: row[0] for key, row in state.collections.of_lake(lake_identity(engine.manifest)).items()}
        names = [key.name for one in engine.manifest.collections if (key := key_of(one)) in recorded]
        parsed = parse_targets(targets, names, "the manifest has no collection with records for '--claim {}'")
        claims = []
        for collection in engine.manifest.collections:
            key = key_of(collection)
            own = [target for target in parsed if target.collection == key.name]
            if own and key in recorded:
                found = Claim(key, prune=collection.prune)
                _find(state, recorded[key], own, found, str(engine.manifest.base_dir), all_names=all_names)
                claims.append(found)
        with engine.reach(state) as client:
            for one in claims:
                own = [target for target in parsed if target.collection == one.collection.name]
                _find_only_in_lake(client, state, recorded[one.collection], own, one)
        matchable = {
            one.collection: chain(state.files.names(recorded[one.collection]), one.only_in_lake) for one in claims
        }
        check_matched(parsed, matchable, "in the state or in the lake", "--claim")
        if not any(one.files for one in claims):
            return claims, None
        approve(claims)
        copy = state.back_up()
        with state.write():
            _record(engine, state, claims, recorded, command)
            state.advance_serial()
        return claims, copy


def _record(
    engine: Engine,
    state: StateStore,
    claims: Sequence[Claim],
    recorded: Mapping[CollectionKey, CollectionHandle],
    command: str,
) -> None:
    """Record the files as uploaded, and the run that did so in the history."""
    run_id, started = new_run_id(), _now()
    provenance = find_provenance(engine.manifest.base_dir, engine.command_line)
    state.runs.begin(run_id, command, started, provenance, lake_identity(engine.manifest))
    for one in claims:
        key, rows = one.collection, set(one.rows)
        claimed = (row.name for row in state.files.adopted(recorded[key]) if row.row_id in rows)
        history = (
            ActionRow("claim", str(key), name, Reason.REQUESTED.value, *ORIGINS, type=key.type.value)
            for name in list(claimed)
        )
        while page := list(islice(history, ROWS_AT_ONCE)):
            state.runs.record_actions(run_id, page)
        ids = iter(one.rows)
        while numbers := list(islice(ids, ROWS_AT_ONCE)):
            state.files.claim(numbers)
    files = sum(one.files for one in claims)
    state.runs.finish(run_id, _now(), "done", {**asdict(Summary.empty()), "claim": files})


def _find_only_in_lake(
    client: LakeClient, state: StateStore, handle: CollectionHandle, targets: Sequence[Target], found: Claim
) -> None:
    """Find the files of the lake that match and that the state does not have."""
    view = view_lake(client, found.collection, None, full=True)
    listed = view.listing.names() if view.listing is not None else ()
    names = [name for name in listed if any(target.takes(found.collection.name, name) for target in targets)]
    known = state.files.named(handle, names)
    found.only_in_lake = sorted(name for name in names if name not in known)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _find(
    state: StateStore,
    handle: CollectionHandle,
    targets: Sequence[Target],
    found: Claim,
    base_dir: str,
    *,
    all_names: bool,
) -> None:
    for row in state.files.adopted(handle):
        if not any(target.takes(found.collection.name, row.name) for target in targets):
            continue
        found.rows.append(row.row_id)
        found.without_source += not os.path.exists(os.path.join(base_dir, row.path))
        if all_names or len(found.names) < NAMES_SHOWN:
            found.names.append(row.name)
