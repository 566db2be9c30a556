"""The upload stage: sends a batch of files through one upload session, from the first call to the record.

Owns: the order of calls in a session. A session is journalled before its first file is begun. The lake lists a file
only when its session is completed and the lake's job is done. Only then is the file recorded. Must not: know where or
how files are sent (`session_files`, `upload_executors`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from metalake_sync.apply.collections import CollectionStage
from metalake_sync.apply.jobs import wait_for_job
from metalake_sync.apply.progress import ProgressMeter
from metalake_sync.apply.recorder import Recorder
from metalake_sync.apply.session_files import OpenSession, SentFile, SessionFiles
from metalake_sync.apply.trash import (
    UploadAction,
    refuses_name,
    rejected_name_error,
    sends_trashed_name,
)
from metalake_sync.apply.upload_executors.base import UploadExecutor
from metalake_sync.core.actions import UploadFile
from metalake_sync.core.events import Resumed, SessionOpened
from metalake_sync.core.metadata import MetadataSet
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import Origin, RemoteFile
from metalake_sync.errors import LakeRejected, SyncError
from metalake_sync.planning.interrupted_runs import SessionDecision, compare_sent, is_untouched
from metalake_sync.planning.run_options import CALLS_AT_ONCE
from metalake_sync.protocol.uploads import OpenUpload
from metalake_sync.protocol.wire import StorageKind
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.listings import find_newest
from metalake_sync.remote.selections import media_kind
from metalake_sync.remote.transfers.upload_files import UploadSession
from metalake_sync.state.files import ConfirmedFile
from metalake_sync.state.journal import JournalledFile, JournalledSession


class UploadStage:
    """Sends batches and finishes sessions."""

    def __init__(
        self,
        client: LakeClient,
        executor: UploadExecutor,
        recorder: Recorder,
        collections: CollectionStage,
        base_dir: Path,
        progress: ProgressMeter,
    ) -> None:
        self._client = client
        self._threads = executor.parallelism or CALLS_AT_ONCE
        self._recorder = recorder
        self._collections = collections
        self._base_dir = base_dir
        self._state = recorder.state
        self._progress = progress
        self._files = SessionFiles(executor, recorder.state, base_dir, progress)

    async def send(
        self, collection: CollectionPlan, batch: Sequence[UploadAction], last_files_started: Callable[[], None]
    ) -> OpenSession:
        """Open a session and send a batch. Files that fail are reported and left out; an unreachable lake is raised.

        `last_files_started`: called when the last files start, so that the caller can prepare the next batch.
        """
        answer = await asyncio.to_thread(
            self._client.open_upload,
            OpenUpload(
                collection_type=media_kind(collection.key.type),
                collection_name=collection.key.name,
                meta_data_object=dict(collection.common_metadata.values),
                storage_prefix_path=collection.storage_prefix,
                object_key_list=[action.file.name for action in batch],
            ),
        )
        handle = await self._collections.opened(collection, answer.collection_id)
        wire = UploadSession(
            answer.upload_id,
            answer.job_id,
            answer.collection_id,
            collection.key.name,
            StorageKind(answer.storage_type),
        )
        session = OpenSession(wire, collection.key, handle, collection.common_metadata)
        files = tuple(JournalledFile(action.file.name, action.file.path, action.file.fingerprint) for action in batch)
        with self._state.write():
            self._state.metadata_sets.remember([session.common])
            self._state.journal.open_session(
                JournalledSession(
                    wire.upload_id, handle, wire.job_id, wire.storage.value, session.common.digest, False, files
                )
            )
        self._recorder.report(SessionOpened(collection.key.name, wire.job_id))
        by_name = {action.file.name: action for action in batch}

        def failed(name: str, error: SyncError, retryable: bool) -> None:
            action = by_name[name]
            if sends_trashed_name(action) and refuses_name(error):
                session.names_refused = True
                error = rejected_name_error(error)
            self._recorder.fail([action], error, retryable=retryable)

        await self._files.send(session, files, failed, frozenset(), last_files_started)
        return session

    async def resume(
        self, collection: CollectionPlan, decision: SessionDecision, actions: Mapping[str, UploadAction]
    ) -> tuple[OpenSession, dict[str, RemoteFile]]:
        """Finish a session that an interrupted run left open. Returns it with the files that the lake lists, by name.

        Only the wanted files of an open session are sent. All files of a completed session are in the lake or will be,
        so all of them are recorded. `actions`: of the plan, by file name. Raises LakeRejected if the lake does not know
        the session any more, or if its job failed.
        """
        self._progress.sent_before(sum(file.sent for file in decision.wanted))
        journalled = decision.session
        wire = UploadSession(
            journalled.upload_id,
            journalled.job_id,
            collection.lake_id or "",
            collection.key.name,
            StorageKind(journalled.storage),
        )
        common = self._state.metadata_sets.values(journalled.metadata_digest) or {}
        session = OpenSession(
            wire, collection.key, journalled.collection, MetadataSet(common, journalled.metadata_digest)
        )
        files = journalled.files if journalled.completed else decision.wanted
        session.sent += [_as_sent(file) for file in files if file.sent and file.content_hash is not None]
        left = [file for file in files if not file.sent]
        begun = {file.name: file.content_hash for file in left if file.content_hash is not None}
        if not journalled.completed:
            await self._files.send(
                session,
                [file for file in left if is_untouched(file, self._base_dir)],
                lambda _name, _error, _retryable: None,
                ours=begun,
            )
        sent = {file.name for file in session.sent}
        # The call that finalizes them was sent, but not answered.
        session.sent += [_as_sent(file) for file in left if file.name in begun and file.name not in sent]
        listed = await self._completed(session)
        by_name = {file.name: file for file in files}
        to_prove = [(by_name[name], remote) for name, remote in listed.items()]
        proofs = await asyncio.to_thread(compare_sent, self._client, to_prove, self._base_dir, self._threads)
        found = {name: remote for name, remote in listed.items() if proofs[name] is not False}
        wanted = {file.name for file in decision.wanted}
        done = [
            replace(action, file=replace(action.file, content_hash=file.content_hash))
            for file in session.sent
            if file.name in found and file.name in wanted and (action := actions.get(file.name))
        ]
        self._recorder.confirm(done, lambda: self._record_files(session, found))
        self._send_again((file for file in decision.wanted if file.name not in found), actions)
        self._recorder.report(Resumed(collection.key.name, len(found)))
        return session, found

    def forget(self, decision: SessionDecision, actions: Mapping[str, UploadAction]) -> None:
        """Remove a session from the journal. Its files are sent again. `actions`: of the plan, by file name."""
        with self._state.write():
            self._state.journal.close_session(decision.session.upload_id)
        self._send_again(decision.wanted, actions)

    def _send_again(self, files: Iterable[JournalledFile], actions: Mapping[str, UploadAction]) -> None:
        """Count files of a session that the lake does not have after all."""
        again = [file for file in files if file.name in actions]
        uploads = [action for file in again if isinstance(action := actions[file.name], UploadFile)]
        self._progress.send_again(sum(file.sent for file in again), sum(one.sent_before for one in uploads))

    async def finish(self, session: OpenSession, batch: Sequence[UploadAction]) -> dict[str, RemoteFile]:
        """Complete a session, wait for the lake's job, find the new files and record them. Returns them by name."""
        try:
            found = await self._completed(session)
        except SyncError as error:
            if isinstance(error, LakeRejected):
                names = {file.name for file in session.sent}
                if all(map(sends_trashed_name, batch)) and refuses_name(error):
                    session.names_refused = True
                    error = rejected_name_error(error)
                self._recorder.fail([a for a in batch if a.file.name in names], error, retryable=True)
                return {}
            raise
        by_name = {action.file.name: action for action in batch}
        sent = [file for file in session.sent if file.name in found]
        actions = [
            replace(action, file=replace(action.file, content_hash=file.content_hash))
            for file in sent
            for action in [by_name[file.name]]
        ]
        self._recorder.confirm(actions, lambda: self._record_files(session, found))
        unlisted = [by_name[file.name] for file in session.sent if file.name not in found]
        if unlisted:
            missing = LakeRejected("the lake confirmed the upload but does not list the file", status=200)
            self._recorder.fail(unlisted, missing, retryable=True)
        return found

    # One session.

    async def _completed(self, session: OpenSession) -> dict[str, RemoteFile]:
        """Complete the session, wait for the lake's job, and return the new files by name."""
        complete = partial(self._client.complete_upload, session.wire.upload_id, False)
        await asyncio.to_thread(complete)
        with self._state.write():
            self._state.journal.session_completed(session.wire.upload_id)
        await wait_for_job(self._client, session.wire.job_id, ask_again=complete)
        names = {file.name for file in session.sent}
        if not names:
            return {}
        return await asyncio.to_thread(find_newest, self._client, session.wire.collection_id, session.key.type, names)

    def _record_files(self, session: OpenSession, found: Mapping[str, RemoteFile]) -> None:
        confirmed = [
            ConfirmedFile(
                file.name,
                file.path,
                self._recorder.trusted(file.fingerprint),
                file.content_hash,
                session.common,
                found[file.name].lake_id,
                found[file.name].unique_name,
                Origin.UPLOADED,
            )
            for file in session.sent
            if file.name in found
        ]
        self._state.files.record(session.handle, confirmed, self._recorder.run_id)
        # If another client trashes these files, the collection has the same count and newest file as before.
        self._state.collections.forget_listed(session.handle)
        self._state.journal.close_session(session.wire.upload_id)


def _as_sent(file: JournalledFile) -> SentFile:
    return SentFile(file.name, file.path, file.fingerprint, file.content_hash or "")
