"""Changes the records of files that need no call to the lake.

Owns: these changes: adopted and recovered files, moved and forgotten records, dropped sessions. Must not: call the
lake.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import AdoptFile, Reason
from metalake_sync.core.events import Resumed
from metalake_sync.core.metadata import NO_METADATA, MetadataSet
from metalake_sync.core.plan import AddressedPlan, CollectionPlan
from metalake_sync.core.snapshots import CollectionKey, Origin
from metalake_sync.errors import SourceChanged
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.interrupted_runs import SessionDecision
from metalake_sync.sources.hashing import HashRequest, hash_files
from metalake_sync.state.files import ConfirmedFile
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.runs import ActionRow


@dataclass(frozen=True, slots=True)
class RecordStage:
    """Changes records that need no call."""

    recorder: Recorder
    base_dir: Path
    hash_threads: int
    desired: Mapping[CollectionKey, DesiredCollection]

    def _hash_request(self, action: AdoptFile) -> HashRequest:
        return HashRequest(os.path.join(self.base_dir, action.file.path), action.file.fingerprint)

    def adopt(self, collection: CollectionPlan) -> None:
        """Record files that the lake already has, with the hash of the local file. No byte is sent."""
        if not collection.adopts:
            return
        requests = {self._hash_request(action): action for action in collection.adopts}
        hashed: list[tuple[AdoptFile, str]] = []
        with contextlib.closing(hash_files(requests, self.hash_threads)) as outcomes:
            for outcome in outcomes:
                action = requests[HashRequest(outcome.path, outcome.expected)]
                if outcome.content_hash is None:
                    self.recorder.fail([action], outcome.error or SourceChanged("it changed"), retryable=True)
                else:
                    hashed.append((action, outcome.content_hash))
        handle = self.recorder.handle(collection.key)
        confirmed = [self._adopted(action, content_hash) for action, content_hash in hashed]
        self.recorder.confirm(
            [action for action, _ in hashed],
            lambda: self._record_adopted(collection.key, handle, confirmed, [action for action, _ in hashed]),
        )

    def _record_adopted(
        self,
        key: CollectionKey,
        handle: CollectionHandle,
        confirmed: Sequence[ConfirmedFile],
        actions: Sequence[AdoptFile],
    ) -> None:
        state = self.recorder.state
        state.files.record(handle, confirmed, self.recorder.run_id)
        found = [(action.file.name, annotations) for action in actions for annotations in action.sets]
        state.annotation_sets.record(handle, found, self.desired[key].shapes_of)
        state.annotation_sets.keep(handle, [(action.file.name, kept) for action in actions for kept in action.kept])

    def _adopted(self, action: AdoptFile, content_hash: str) -> ConfirmedFile:
        """The record of a file that the lake already had. We wrote none of its metadata.

        If the lake's bytes differ ('on_change: keep'), the record has no hash, and a fingerprint that matches no file.
        So every plan compares the bytes and follows 'on_change' as it is by then.
        """
        fingerprint = self.recorder.trusted(action.file.fingerprint)
        kept = action.remote.same_bytes is False or action.remote.size_bytes != fingerprint.size_bytes
        return ConfirmedFile(
            action.file.name,
            action.file.path,
            replace(fingerprint, ctime_ns=0) if kept else fingerprint,
            "" if kept else content_hash,
            NO_METADATA,
            action.remote.lake_id,
            action.remote.unique_name,
            Origin.ADOPTED,
        )

    def move_records(self, collection: CollectionPlan) -> None:
        """Update records whose files need no call."""
        if not collection.bookkeeping:
            return
        handle = self.recorder.handle(collection.key)
        state = self.recorder.state
        with self.recorder.state.write():
            for rerecord in collection.rerecords:
                file = rerecord.file
                if rerecord.local:
                    state.files.record_local(handle, file.name, file.path, self.recorder.trusted(file.fingerprint))
                if rerecord.metadata:
                    state.files.record_metadata(handle, [(file.name, file.metadata)])
                found = [(file.name, annotations) for annotations in rerecord.sets]
                state.annotation_sets.record(handle, found, self.desired[collection.key].shapes_of)
                state.annotation_sets.keep(handle, [(file.name, kept) for kept in rerecord.kept])
            gone = [forget.recorded.name for forget in collection.forgets]
            state.files.forget(handle, gone)
            self.recorder.state.pending_replacements.forget(handle, gone)

    def settle(self, part: AddressedPlan) -> None:
        """Update records of unmanaged files that need no call."""
        if not part.only_records:
            return
        state = self.recorder.state
        records = state.of_address(self.recorder.lake, part.address)
        with state.write():
            records.record_metadata(part.settled)
            records.keep_sets(part.kept)
            if part.operation is None:
                records.forget_metadata(part.forgotten)
            else:
                records.forget_sets(part.operation, part.forgotten)

    # Interrupted runs.

    def forget_replacements(self, collection: CollectionPlan) -> None:
        """Forget unfinished replacements of files that have no record and that the plan does not upload.

        No run will complete them. Call it only if the plan covers the whole collection.
        """
        pending = self.recorder.state.pending_replacements
        handle = self.recorder.handles.get(collection.key)
        if handle is None:
            return
        sent = {action.file.name for action in collection.uploads} | collection.held
        names = [name for name in pending.without_record(handle) if name not in sent]
        if names:
            with self.recorder.state.write():
                pending.forget(handle, names)

    def record_recovered(self, collection: CollectionPlan) -> None:
        """Record files that an interrupted run uploaded and that the lake has."""
        if not collection.recovered:
            return
        recorder = self.recorder
        state = recorder.state
        handle = recorder.handle(collection.key)
        confirmed = [
            ConfirmedFile(
                known.name,
                known.path,
                recorder.trusted(known.fingerprint),
                known.content_hash,
                MetadataSet(state.metadata_sets.values(known.metadata_digest) or {}, known.metadata_digest),
                known.lake_id,
                known.unique_name,
                known.origin,
            )
            for known in collection.recovered
        ]
        history = [
            ActionRow("upload", str(collection.key), known.name, Reason.NEW.value, None, known.content_hash)
            for known in collection.recovered
        ]
        with recorder.state.write():
            state.files.record(handle, confirmed, recorder.run_id)
            recorder.state.runs.record_actions(recorder.run_id, history)
        recorder.done.upload += len(confirmed)
        recorder.report(Resumed(collection.key.name, len(confirmed)))

    def forget_sessions(self, sessions: Sequence[SessionDecision]) -> None:
        """Remove sessions from the journal. The lake does not list files of a session that is never completed."""
        if not sessions:
            return
        with self.recorder.state.write():
            for one in sessions:
                self.recorder.state.journal.close_session(one.session.upload_id)
