"""Plans the updates of metadata that a revert makes: reads the lake's values, and notes what stays.

Owns: the actions. Must not: decide about fields (`revert_metadata`), or send anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from metalake_sync.core.actions import RerecordHead, UpdateFileMetadata, UpdateHead
from metalake_sync.core.addresses import FileAt, Place
from metalake_sync.core.changes import Reason
from metalake_sync.core.metadata import TAGS, MetadataSet, MetadataValues, metadata_set, same_json
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionPolicy, RecordedCollection
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.operations.revert_metadata import ChangedMetadata, MetadataReverted, revert_metadata
from metalake_sync.operations.reverted_run import RevertedRun
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import fields_in, remote_details
from metalake_sync.state.runs import LaterAction, RunChange
from metalake_sync.state.store import StateStore

VALUES_LOST = "what another client had written by then does not come back"


@dataclass(slots=True)
class MetadataReverts:
    """Plans the metadata of files and heads."""

    run: RevertedRun
    state: StateStore
    client: LakeClient
    calls_at_once: int
    notes: list[Note]
    """Receives notes."""

    def updates(
        self,
        place: Place,
        changed: Mapping[str | None, RunChange],
        files: Mapping[str, FileAt],
        recorded: Mapping[str, str],
        policy: CollectionPolicy,
        settled: set[str],
        rerecord: Callable[[FileAt, MetadataSet], None],
    ) -> Iterator[UpdateFileMetadata]:
        """Yield the updates of files.

        `recorded`: the digests of what was written last. `settled`: receives the names of files whose metadata is as
        before the run. `rerecord`: receives the metadata to record as ours, where nothing is sent.
        """
        runs = {
            name: run
            for name, change in changed.items()
            if name is not None and name in files and (run := self._values(change, str(place))) is not None
        }
        asked = [
            (files[name].unique_name or "", list(run.after)) for name, run in runs.items() if files[name].unique_name
        ]
        details = remote_details(self.client, asked, self.calls_at_once)
        unverified: list[str] = []
        not_compared: list[str] = []
        for name, run in runs.items():
            at = files[name]
            before = recorded.get(name)
            ours = (self.state.metadata_sets.values(before) if before is not None else None) or {}
            there = details.get(at.unique_name or "")
            found = self._reverted(place, name, run, ours, there.metadata if there is not None else ours, policy)
            if there is None:
                unverified.append(name)
            if found.update:
                if not run.compared:
                    not_compared.append(name)
                yield UpdateFileMetadata(
                    at,
                    found.wanted,
                    before,
                    Reason.REQUESTED,
                    found.lake if there is not None else None,
                    found.changes,
                    found.overwrites,
                    record=found.record if found.record.digest != found.wanted.digest else None,
                )
                continue
            if found.record.digest != metadata_set(ours).digest:
                rerecord(at, found.record)
            if not (found.changed_later or found.stay or found.tags_unknown):
                settled.add(name)
        if not_compared:
            what = counted(len(not_compared), "file", "files")
            clause = f"the run did not read the metadata of {what} before it wrote it; {VALUES_LOST}"
            self.notes.append(Note.naming(NoteCode.METADATA_UNVERIFIED, clause, not_compared, str(place)))
        if unverified:
            self.notes.append(
                Note.naming(
                    NoteCode.SETS_UNVERIFIED,
                    f"the metadata of {counted(len(unverified), 'file', 'files')} was not compared with the lake, which"
                    " does not tell it for this address",
                    unverified,
                    str(place),
                )
            )

    def _values(self, change: RunChange, where: str) -> ChangedMetadata | None:
        """The metadata before and after a change of the run. None: the history does not have it."""
        values = self.state.runs.values_of(change)
        # Without values before, the run may have found what it wrote: after a lost state, or in files of other clients.
        if values.metadata_after is None or values.metadata_before is None:
            self.run.leave_out("the history does not have the metadata before the run", change.row.file or "*", where)
            return None
        return ChangedMetadata(
            values.metadata_before, values.metadata_after, values.metadata_confirmed, values.compared
        )

    def _reverted(
        self,
        place: Place,
        name: str | None,
        run: ChangedMetadata,
        recorded: MetadataValues,
        lake: MetadataValues,
        policy: CollectionPolicy,
    ) -> MetadataReverted:
        later = {
            field: run_id for field in (*run.fields(), TAGS) if (run_id := self._run_that_wrote(place, name, field))
        }
        found = revert_metadata(run, recorded, lake, policy.tags, changed_later=later)
        where = f"{place}/{name}" if name is not None else str(place)
        for run_id in dict.fromkeys(later[field] for field in found.changed_later):
            names = ", ".join(field for field in found.changed_later if later[field] == run_id)
            self.run.leave_out(f"run {run_id} changed the field again", names, where)
        if found.tags_unknown:
            clause = "the history does not have the Tags that the lake had before the run"
            self.run.leave_out(clause, name or "*", str(place))
        if found.stay:
            fields = ", ".join(map(repr, found.stay))
            message = f"keeps {fields} in the lake: no call removes a metadata field"
            self.notes.append(Note(NoteCode.FIELD_LEFT, message, where))
        return found

    def _run_that_wrote(self, place: Place, name: str | None, field: str) -> str | None:
        """The last later run that wrote a field. A run of which the history does not have the values counts too."""
        written = self.state.metadata_sets.values

        def wrote(one: LaterAction) -> bool:
            if one.action != "update_metadata":
                return False
            after = written(one.after) if one.after is not None else None
            before = (written(one.before) if one.before is not None else None) or {}
            if after is not None and field == TAGS:
                return set(before.get(TAGS, ())) != set(after.get(TAGS, ()))
            return after is None or (
                field in after and (field not in before or not same_json(before[field], after[field]))
            )

        return self.run.later_run(place, name, wrote)

    def plan_head(self, plan: CollectionPlan, known: RecordedCollection, change: RunChange) -> None:
        run = self._values(change, str(plan.key))
        if run is None or plan.lake_id is None:
            return
        recorded = self.state.metadata_sets.values(known.head_digest) if known.head_digest is not None else None
        fields = dict.fromkeys((*run.after, TAGS), True)
        lake = fields_in(self.client.collection_details(plan.lake_id, fields), fields)
        found = self._reverted(plan.key, None, run, recorded or {}, lake, plan.policy)
        if found.update:
            if not run.compared:
                clause = f"the run did not read the metadata of the collection before it wrote it; {VALUES_LOST}"
                self.notes.append(Note(NoteCode.METADATA_UNVERIFIED, clause, str(plan.key)))
            plan.update_head = UpdateHead(
                plan.key,
                found.wanted,
                known.head_digest,
                Reason.REQUESTED,
                found.lake,
                found.changes,
                found.overwrites,
                found.record if found.record.digest != found.wanted.digest else None,
            )
        elif found.record.digest != metadata_set(recorded or {}).digest:
            plan.rerecord_head = RerecordHead(plan.key, found.record)
