"""The run that is reverted: its changes by place, and what later runs did to the same files.

Owns: which changes of a run can be reverted at all. Must not: ask the lake, or decide what becomes of a change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from metalake_sync.core.addresses import Address, Place
from metalake_sync.core.snapshots import CollectionKey, MediaType
from metalake_sync.core.targets import Target
from metalake_sync.errors import SyncError, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.state.runs import LaterAction, RunChange
from metalake_sync.state.store import StateStore


@dataclass(slots=True)
class RevertedRun:
    """A run of the history."""

    run_id: str
    state: StateStore
    lake: str
    """The identity of the lake in the state."""
    targets: Sequence[Target]
    """What the revert is limited to. Empty: nothing."""
    leave_out: Callable[[str, str, str], None]
    """Receives why, what and where, for a change that cannot be reverted."""
    _later: dict[tuple[Place, str | None], list[LaterAction]] = field(default_factory=dict)

    def check(self) -> None:
        """Raise UsageError if the history does not have the run, or it changed another lake."""
        try:
            lake = self.state.runs.lake_of(self.run_id)
        except KeyError:
            raise UsageError(
                f"there is no run '{self.run_id}'", remedy="Run 'metalake-sync history MANIFEST' to list all runs."
            ) from None
        if lake not in (None, self.lake):
            raise UsageError(
                f"run '{self.run_id}' changed another lake: {lake}",
                remedy="Use the manifest with the 'remote' that the run had.",
            )

    def check_values(self, changes: Sequence[RunChange]) -> None:
        """Raise SyncError if the run changed sets or metadata, and the history has none of the values before."""
        changing = list(filter(changes_values, changes))
        if changing and not any(one.operation or one.row.action == "update_metadata" for one in changing):
            raise SyncError(
                f"the history has no values before run '{self.run_id}': an earlier version recorded it",
                remedy="Restore the sources from a backup or from their repository, and apply.",
            )

    def by_place(self, changes: Sequence[RunChange]) -> dict[Place, list[RunChange]]:
        """The changes of the run by place, limited to the targets."""
        targets = self.targets
        recorded = self.state.collections.of_lake(self.lake)
        places: dict[Place, list[RunChange]] = {}
        matched: set[Target] = set()
        for change in changes:
            row = change.row
            place = _place(row.type, row.collection, row.address, recorded)
            if targets:
                taking = [one for one in targets if row.address is None and one.takes(row.collection, row.file)]
                matched.update(taking)
                if not taking:
                    continue
            if changes_values(change) and row.action != "update_metadata" and change.operation is None:
                self.leave_out("the history does not have the shapes before the run", row.file or "*", row.collection)
            elif place is None:
                self.leave_out("an earlier version recorded it without its address", row.file or "*", row.collection)
            else:
                places.setdefault(place, []).append(change)
        missing = [target for target in targets if target not in matched]
        if missing:
            raise UsageError(
                f"'--target {missing[0]}' matches nothing that run '{self.run_id}' changed",
                remedy=f"Run 'metalake-sync history MANIFEST --run {self.run_id}' to list its files.",
            )
        return places

    def read_later(self, places: Mapping[Place, Sequence[RunChange]]) -> None:
        """Read the actions of later runs on the same files."""
        recorded = self.state.collections.of_lake(self.lake)
        own = {(place, change.row.file) for place, changes in places.items() for change in changes}
        for action in self.state.runs.later(self.run_id):
            place = _place(action.type, action.collection, action.address, recorded)
            if place is not None and (place, action.file) in own:
                self._later.setdefault((place, action.file), []).append(action)

    def later_run(self, place: Place, file: str | None, wanted: Callable[[LaterAction], bool]) -> str | None:
        return next((one.run_id for one in reversed(self._later.get((place, file), [])) if wanted(one)), None)


def changes_values(change: RunChange) -> bool:
    """Return whether a change is one of metadata or of an annotation set."""
    return change.row.action in ("update_metadata", "annotate", "remove_annotations")


def _place(
    media_type: str | None,
    collection: str,
    address: str | None,
    recorded: Mapping[CollectionKey, object],
) -> Place | None:
    """The place of a recorded action. None: an earlier version recorded it, without enough to find the place."""
    if address is not None:
        return Address.from_key(address)
    if media_type is not None:
        return CollectionKey(MediaType(media_type), collection)
    named = [key for key in recorded if key.name == collection]
    return named[0] if len(named) == 1 else None
