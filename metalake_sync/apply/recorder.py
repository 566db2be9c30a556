"""The recorder: the only writer of the state during a run. It commits what the lake confirmed, then emits events.

Owns: transactions, counts, failures and events of a run. Must not: call the lake. Longer than 300 lines, because every
record of success and failure, with its rows in the history, is written here.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, field, replace

from metalake_sync.core.actions import (
    Action,
    Annotate,
    RemoveAnnotations,
    ReplaceFile,
    UpdateFileMetadata,
    UpdateHead,
    UploadFile,
)
from metalake_sync.core.addresses import Address, Place
from metalake_sync.core.changes import Reason
from metalake_sync.core.events import ActionDone, ActionFailed, Event, EventSink, RunFinished
from metalake_sync.core.metadata import NO_METADATA, TAGS, metadata_set
from metalake_sync.core.snapshots import CollectionKey, Fingerprint
from metalake_sync.core.summary import Summary
from metalake_sync.errors import SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.sources.hashing import is_racy
from metalake_sync.state.annotation_bases import NO_SET
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.records_by_place import PlaceRecords
from metalake_sync.state.runs import ActionRow, SentSet
from metalake_sync.state.store import StateStore


@dataclass(slots=True)
class Recorder:
    """Records one run."""

    state: StateStore
    run_id: str
    lake: str
    """The identity of the lake in the state."""
    handles: dict[CollectionKey, CollectionHandle]
    emit: EventSink
    tally: RequestCounter
    started_at_ns: int
    """When the scan began, in nanoseconds since the epoch. The next run hashes files modified after that."""
    done: Summary = field(default_factory=Summary.empty)
    failures: list[ActionFailed] = field(default_factory=list)
    failed_collections: set[CollectionKey] = field(default_factory=set)
    _trashed_for: dict[tuple[CollectionKey, str], str] = field(default_factory=dict)
    keep_failures: frozenset[str] | None = frozenset()
    """As in `RunOptions`."""
    looked: bool = False
    """Whether the plan read the sets in the lake, so that a set without a record did not exist."""
    _started: float = field(default_factory=time.monotonic)

    def handle(self, key: CollectionKey) -> CollectionHandle:
        """The handle of a collection. The collection stage records it before its files are."""
        return self.handles[key]

    def records_at(self, place: Place) -> PlaceRecords:
        """The records of the files of one place."""
        if isinstance(place, Address):
            return self.state.of_address(self.lake, place)
        return self.state.of_collection(self.handle(place))

    def trusted(self, fingerprint: Fingerprint) -> Fingerprint:
        """The fingerprint to record.

        A file modified so recently that it could change again within the same timestamp gets a fingerprint that never
        matches. So the next run hashes it, like git's racy entries.
        """
        return replace(fingerprint, ctime_ns=0) if is_racy(fingerprint, self.started_at_ns) else fingerprint

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of the context, in which a user decides, as time of the run."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._started += time.monotonic() - began

    def count_untouched(self, planned: Summary) -> None:
        """Count unchanged and unmanaged files, because the run's summary has them too."""
        self.done.unchanged = planned.unchanged
        self.done.unmanaged = planned.unmanaged

    def confirm(self, actions: Sequence[Action], write: Callable[[], None]) -> None:
        """Commit what the lake confirmed in one transaction, then emit events."""
        with self.state.write():
            recorded = self._base_ids(actions)
            before = self._sets_before(actions, recorded)
            write()
            sets = self._sent_sets(actions, before, recorded)
            self.state.runs.record_actions(self.run_id, map(self._history_row, actions), sets)
            for key, names in _names_by_collection(actions).items():
                if key in self.handles:
                    self.state.failures.clear(self.handles[key], names)
        for action in actions:
            self.done.count(action)
            self.emit(ActionDone(action))

    def _sets_before(self, actions: Sequence[Action], known: Mapping[int, int | None]) -> dict[int, int | None]:
        """Return the base of the set that the lake has before each action that sends one, by the action's number.

        `known`: the recorded bases before the actions.
        """
        found: dict[int, int | None] = {}
        for number, action in enumerate(actions):
            if isinstance(action, Annotate) and action.was_absent:
                found[number] = NO_SET
            elif isinstance(action, Annotate | RemoveAnnotations) and action.theirs is not None:
                (found[number],) = self.state.bases.put([action.theirs])
            elif isinstance(action, Annotate | RemoveAnnotations):
                foreign = action.reason is Reason.DRIFTED or (isinstance(action, Annotate) and action.overwrites)
                is_new = self.looked or (action.at.managed and action.at.unique_name is None)
                found[number] = None if foreign else known.get(number, NO_SET if is_new else None)
        self.state.bases.keep_for_history([*found.values(), *known.values()])
        return found

    def _sent_sets(
        self, actions: Sequence[Action], before: Mapping[int, int | None], recorded: Mapping[int, int | None]
    ) -> dict[int, SentSet]:
        """Return the sets that actions sent, by the action's number.

        `before`: as `_sets_before` returned them. `recorded`: the recorded bases before the actions.
        """
        known = self._base_ids(actions)
        found: dict[int, SentSet] = {}
        for number, base in before.items():
            action = actions[number]
            after: int | None = NO_SET
            if isinstance(action, Annotate):
                after = known.get(number)
                if action.merge is not None:
                    (after,) = self.state.bases.put([action.merge.shapes])
            assert isinstance(action, Annotate | RemoveAnnotations), "other actions send no set"
            own = recorded.get(number, NO_SET)
            confirmed = own if base != own else None
            if base not in (None, NO_SET) and base == recorded.get(number) and not (action.compared or self.looked):
                confirmed = base
            wanted = action.annotations
            found[number] = SentSet(wanted.operation, base, after, wanted.kind.value, confirmed)
        self.state.bases.keep_for_history(one.after for one in found.values())
        return found

    def _base_ids(self, actions: Sequence[Action]) -> dict[int, int | None]:
        """Return the ids of the recorded bases of the sets that actions send, by the action's number."""
        groups: dict[tuple[Place, str], dict[str, int]] = {}
        for number, action in enumerate(actions):
            if isinstance(action, Annotate | RemoveAnnotations):
                groups.setdefault((action.at.place, action.annotations.operation), {})[action.at.name] = number
        found: dict[int, int | None] = {}
        for (place, operation), numbers in groups.items():
            bases = self.records_at(place).base_ids(operation, numbers)
            found.update((numbers[name], base) for name, base in bases.items())
        return found

    def _history_row(self, action: Action) -> ActionRow:
        """An action with what an undo needs: the digest, hash or id before and after."""
        before, after = action.history()
        confirmed: str | None = None
        if isinstance(action, UpdateFileMetadata | UpdateHead) and action.record is not None:
            self.state.metadata_sets.remember([action.metadata_written])
        if isinstance(action, UpdateFileMetadata | UpdateHead):
            before, confirmed = self._metadata_before(action)
            if action.tags is not None:
                in_lake = metadata_set({**action.metadata_written.values, TAGS: list(action.tags)})
                self.state.metadata_sets.remember([in_lake])
                after = in_lake.digest
        place = action.at.place if isinstance(action, UpdateFileMetadata | Annotate | RemoveAnnotations) else None
        return ActionRow(
            action.action_name,
            str(action.collection),
            action.file_name,
            action.reason.value,
            before,
            after,
            action.collection.type.value,
            place.key if isinstance(place, Address) else None,
            confirmed,
        )

    def _metadata_before(self, action: UpdateFileMetadata | UpdateHead) -> tuple[str | None, str | None]:
        """The digests of the lake's metadata before an update, and of the record if another client had changed it.

        Both are the same if the lake's was not read.
        """
        if action.lake is None:
            return action.before, action.before
        known = self.state.metadata_sets
        ours = (known.values(action.before) if action.before is not None else None) or {}
        fields = {**ours, **action.metadata_written.values}
        seen = metadata_set({name: action.lake[name] for name in fields if name in action.lake})
        known.remember([seen, NO_METADATA])
        own = NO_METADATA.digest if action.before is None else action.before
        return seen.digest, own if own != seen.digest else None

    def about_to_trash(self, actions: Sequence[ReplaceFile], tags_of_others: Mapping[str, Sequence[str]]) -> None:
        """Record the ids of files before they are trashed for a replacement, because no call restores them.

        All actions belong to one collection. `tags_of_others`: tags of other clients, by file name.
        """
        handle = self.handle(actions[0].collection)
        rows = [
            ActionRow("trash", str(action.collection), action.file.name, action.reason.value, action.replaced.lake_id)
            for action in actions
        ]
        trashed = [
            (action.file.name, action.replaced.lake_id, tags_of_others.get(action.file.name, ())) for action in actions
        ]
        with self.state.write():
            self.state.runs.record_actions(self.run_id, rows)
            self.state.pending_replacements.put(handle, trashed)
        for action in actions:
            self._trashed_for[action.collection, action.file.name] = action.replaced.lake_id

    def not_trashed(self, actions: Sequence[ReplaceFile]) -> None:
        """Undo `about_to_trash` for files that the lake did not trash."""
        with self.state.write():
            self.state.runs.forget_actions(self.run_id, "trash", [action.replaced.lake_id for action in actions])
            self.state.pending_replacements.forget(
                self.handle(actions[0].collection), [action.file.name for action in actions]
            )
        for action in actions:
            self._trashed_for.pop((action.collection, action.file.name), None)

    def trashed_for(self, action: ReplaceFile) -> str | None:
        """The id that this run trashed to replace a file, or None."""
        return self._trashed_for.get((action.collection, action.file.name))

    def _lost_in_trash(self, action: Action) -> str:
        """A sentence on the old file, if its replacement failed in this run or an earlier one. Otherwise empty."""
        lake_id = None
        if isinstance(action, ReplaceFile):
            lake_id = self.trashed_for(action)
        elif isinstance(action, UploadFile) and action.collection in self.handles:
            lost = {
                file.name: file.lake_id for file in self.state.pending_replacements.lost(self.handle(action.collection))
            }
            lake_id = lost.get(action.file.name)
        if lake_id is None:
            return ""
        return (
            f" Lost in trash: the old file is in the lake's trash (id {lake_id}), and no call restores it."
            " The new file is not in the lake."
        )

    def fail(self, actions: Iterable[Action], error: SyncError, *, retryable: bool) -> None:
        """Record failed actions. The run continues."""
        failed = [ActionFailed(action, f"{error}{self._lost_in_trash(action)}", retryable) for action in actions]
        with self.state.write():
            for failure in failed:
                key = failure.action.collection
                if key in self.handles:
                    item = (failure.action.file_name or "", failure.action.action_name, failure.error, retryable)
                    self.state.failures.record(self.run_id, self.handles[key], [item])
        for failure in failed:
            self.failed_collections.add(failure.action.collection)
            self.failures.append(failure)
            self.report(failure)

    def forget_collection(self, key: CollectionKey) -> None:
        """Remove the records of a collection that the lake no longer has. Call it inside a transaction."""
        handle = self.handles.pop(key, None)
        if handle is not None:
            self.state.collections.forget(handle)

    def report(self, event: Event) -> None:
        self.emit(event)

    def finish(self) -> RunFinished:
        """Clear failures that did not repeat, and return the result of the run."""
        self.done.bytes_to_send = 0
        for key, handle in self.handles.items():
            if key not in self.failed_collections and self.keep_failures is not None:
                with self.state.write():
                    self.state.failures.clear_others(handle, self.run_id, self.keep_failures)
        return RunFinished(
            run_id=self.run_id,
            done=self.done,
            failed=tuple(self.failures),
            bytes_sent=self.tally.bytes_sent,
            requests=self.tally.requests,
            writes=self.tally.writes,
            seconds=time.monotonic() - self._started,
            bytes_received=self.tally.bytes_received,
        )

    def summary(self) -> dict[str, object]:
        """The counts that the history keeps of the run."""
        return {**asdict(self.done), "failed": len(self.failures), "bytes_sent": self.tally.bytes_sent}


def _names_by_collection(actions: Iterable[Action]) -> dict[CollectionKey, list[str]]:
    names: dict[CollectionKey, list[str]] = {}
    for action in actions:
        names.setdefault(action.collection, []).append(action.file_name or "")
    return names
