"""One run of a plan: the stages of every collection in their order, batches overlapping.

Owns: the event loop and what overlaps. Must not: know how a stage does its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metalake_sync.core.actions import AdoptFile, Annotate, RemoveAnnotations, ReplaceFile
from metalake_sync.core.events import Resumed
from metalake_sync.core.facts import CollectionKey, Origin
from metalake_sync.core.metadata import NO_METADATA, metadata_set
from metalake_sync.core.plan import CollectionPlan, Plan
from metalake_sync.engine.desired import DesiredCollection
from metalake_sync.engine.downloads.plan import DownloadObserver
from metalake_sync.engine.execute.annotations import AnnotationStage
from metalake_sync.engine.execute.collections import Collections
from metalake_sync.engine.execute.downloads import DownloadStage, TrashRuleStage
from metalake_sync.engine.execute.metadata import MetadataStage, updates_after_upload
from metalake_sync.engine.execute.progress import ProgressMeter
from metalake_sync.engine.execute.recorder import Recorder
from metalake_sync.engine.execute.trash import TrashStage
from metalake_sync.engine.execute.uploads import OpenSession, UploadAction, Uploads, cut_batches
from metalake_sync.engine.options import IN_THE_MIDDLE_S, RunOptions
from metalake_sync.errors import LakeRefused, SourceChanged, SyncError
from metalake_sync.local.hashing import HashRequest, hash_files
from metalake_sync.protocol.wire import StorageKind
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.download import Downloads
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.transfer import Transfer, UploadSession
from metalake_sync.state.journal import JournalledSession
from metalake_sync.state.records import ConfirmedFile

BATCHES_UNDER_WAY = 4
"""How many batches may be under way: one on the wire, the others waiting for the lake's jobs."""


@dataclass(slots=True)
class Executor:
    """`lake`: what the state calls the lake."""

    client: LakeClient
    address: LakeAddress
    recorder: Recorder
    base_dir: Path
    lake: str
    options: RunOptions

    def execute(self, plan: Plan, desired: Mapping[CollectionKey, DesiredCollection]) -> None:
        """Do all that the plan says. Items that fail are told and left; what concerns the whole run is raised."""
        asyncio.run(self._execute(plan, desired))

    def resume(self, sessions: Sequence[JournalledSession]) -> None:
        """Finish the upload sessions that earlier runs left open, so that a listing shows what they sent."""
        asyncio.run(self._resume(sessions))

    # Running.

    async def _execute(self, plan: Plan, desired: Mapping[CollectionKey, DesiredCollection]) -> None:
        summary = plan.summary()
        progress = ProgressMeter(
            self.recorder.emit,
            files_total=summary.upload + summary.replace + summary.download,
            bytes_total=summary.bytes_to_send,
        )
        collections = Collections(self.client, self.recorder, self.lake)
        metadata = MetadataStage(self.client, self.recorder, self.options.parallelism)
        annotations = AnnotationStage(self.client, self.recorder, desired)
        trash = TrashStage(self.client, self.recorder)
        async with self._transfer() as transfer:
            uploads = Uploads(self.client, transfer, self.recorder, collections, self.base_dir, progress)
            with _told(progress):
                for collection in plan.collections:
                    progress.stage = f"{collection.key}"
                    await collections.prepare(collection)
                    self._adopt(collection)
                    await self._upload(collection, uploads, metadata, annotations, trash)
                    if collection.lake_id is not None:
                        await metadata.update(collection, collection.lake_id)
                    new = {upload.file.name for upload in collection.uploads}
                    await annotations.annotate(
                        collection, [action for action in collection.annotations if action.name not in new], {}
                    )
                    await trash.trash_pruned(collection)
                    self._bookkeeping(collection)
                await self._download(plan, progress)
                rules = TrashRuleStage(self.client, self.recorder)
                for rule in plan.trash_rules:
                    await rules.run(rule)
            progress.tell()

    async def _download(self, plan: Plan, progress: ProgressMeter) -> None:
        if not plan.downloads:
            return
        downloads = Downloads(
            self.address,
            retry=RetryPolicy(give_up_after_s=IN_THE_MIDDLE_S),
            parallelism=self.options.parallelism,
            tally=self.recorder.tally,
            rate_limit_bytes_s=self.options.bytes_per_second,
            received=progress.received,
        )
        observer = DownloadObserver(
            self.client, self.recorder.state.downloads, self.lake, self.base_dir, self.recorder.emit
        )
        async with downloads:
            stage = DownloadStage(observer, downloads, self.recorder, progress)
            for download in plan.downloads:
                await stage.run(download)

    def _transfer(self) -> Transfer:
        return Transfer(
            self.address,
            retry=RetryPolicy(give_up_after_s=IN_THE_MIDDLE_S),
            parallelism=self.options.parallelism,
            tally=self.recorder.tally,
            rate_limit_bytes_s=self.options.bytes_per_second,
        )

    async def _upload(
        self,
        collection: CollectionPlan,
        uploads: Uploads,
        metadata: MetadataStage,
        annotations: AnnotationStage,
        trash: TrashStage,
    ) -> None:
        """Send a collection's batches one after the other; what follows in the lake overlaps with the next ones."""
        by_name: dict[str, list[Annotate | RemoveAnnotations]] = {}
        for action in collection.annotations:
            by_name.setdefault(action.name, []).append(action)
        in_the_lake = asyncio.Semaphore(BATCHES_UNDER_WAY)

        async def finish(session: OpenSession, batch: Sequence[UploadAction]) -> None:
            try:
                found = await uploads.finish(session, batch)
                here = [action.file for action in batch if action.file.name in found]
                lake_id = session.wire.collection_id
                updates = updates_after_upload(session.common, [(file.name, file.metadata) for file in here])
                await metadata.write(collection, lake_id, updates)
                await annotations.annotate(
                    collection,
                    [action for file in here for action in by_name.get(file.name, ())],
                    {name: file.unique_name for name, file in found.items()},
                )
            finally:
                in_the_lake.release()

        with _first_error_alone():
            async with asyncio.TaskGroup() as finishing:
                for batch in cut_batches(
                    collection.uploads, max_files=self.options.batch_files, max_bytes=self.options.batch_bytes
                ):
                    ready = await self._make_room(collection, batch, trash)
                    if ready:
                        await in_the_lake.acquire()
                        session = await uploads.send(collection, ready)
                        finishing.create_task(finish(session, ready))

    async def _make_room(
        self, collection: CollectionPlan, batch: Sequence[UploadAction], trash: TrashStage
    ) -> list[UploadAction]:
        """Trash what the batch replaces; a file that can't be read now is not worth trashing anything for."""
        replaces = [action for action in batch if isinstance(action, ReplaceFile)]
        if not replaces:
            return list(batch)
        readable: list[ReplaceFile] = []
        requests = [self._hash_request(action) for action in replaces]
        outcomes = await asyncio.to_thread(lambda: list(hash_files(requests, self.options.hash_threads)))
        by_path = {outcome.path: outcome for outcome in outcomes}
        for action, request in zip(replaces, requests, strict=True):
            error = by_path[request.path].error
            if error is None:
                readable.append(action)
            else:
                self.recorder.fail([action], error, retryable=True)
        left = await trash.trash(collection, [action.replaced for action in readable]) if readable else set()
        refused = [action for action in readable if action.replaced.lake_id in left]
        if refused:
            error = LakeRefused("the lake did not trash the file that is to be replaced", status=200)
            self.recorder.fail(refused, error, retryable=True)
        out = {action.file.name for action in replaces} - {
            action.file.name for action in readable if action.replaced.lake_id not in left
        }
        return [action for action in batch if action.file.name not in out]

    def _hash_request(self, action: ReplaceFile | AdoptFile) -> HashRequest:
        return HashRequest(os.path.join(self.base_dir, action.file.path), action.file.fingerprint)

    def _adopt(self, collection: CollectionPlan) -> None:
        """Record what the lake has, with the hash of what stands here. No byte is sent."""
        if not collection.adopts:
            return
        requests = {self._hash_request(action): action for action in collection.adopts}
        hashed: list[tuple[AdoptFile, str]] = []
        for outcome in hash_files(requests, self.options.hash_threads):
            action = requests[HashRequest(outcome.path, outcome.expected)]
            if outcome.content_hash is None:
                self.recorder.fail([action], outcome.error or SourceChanged("it changed"), retryable=True)
            else:
                hashed.append((action, outcome.content_hash))
        row = self.recorder.row(collection.key)
        confirmed = [self._adopted(action, content_hash) for action, content_hash in hashed]
        self.recorder.confirm(
            [action for action, _ in hashed],
            lambda: self.recorder.state.records.record_files(row, confirmed, self.recorder.run_id),
        )

    def _adopted(self, action: AdoptFile, content_hash: str) -> ConfirmedFile:
        """A record of a file that the lake had; none of its metadata is ours. Where sizes differ ('on_change: keep')
        the lake's bytes are not these: an unknown hash lets every plan say so."""
        kept = action.remote.size_bytes != action.file.fingerprint.size_bytes
        return ConfirmedFile(
            action.file.name,
            action.file.path,
            self.recorder.trusted(action.file.fingerprint),
            "" if kept else content_hash,
            NO_METADATA,
            action.remote.lake_id,
            action.remote.unique_name,
            Origin.ADOPTED,
        )

    def _bookkeeping(self, collection: CollectionPlan) -> None:
        """Move our records where nothing has to be sent."""
        if not collection.bookkeeping:
            return
        row = self.recorder.row(collection.key)
        records = self.recorder.state.records
        with self.recorder.state.write():
            for rerecord in collection.rerecords:
                file = rerecord.file
                if rerecord.local:
                    records.record_local(row, file.name, file.path, self.recorder.trusted(file.fingerprint))
                if rerecord.metadata:
                    records.record_metadata(row, [(file.name, file.metadata)])
            records.forget_files(row, [forget.recorded.name for forget in collection.forgets])

    # Resuming.

    async def _resume(self, sessions: Iterable[JournalledSession]) -> None:
        by_row = {row: key for key, row in self.recorder.rows.items()}
        collections = self.recorder.state.records.collections(self.lake)
        progress = ProgressMeter(self.recorder.emit, stage="finishing what an earlier run began")
        async with self._transfer() as transfer:
            uploads = Uploads(
                self.client,
                transfer,
                self.recorder,
                Collections(self.client, self.recorder, self.lake),
                self.base_dir,
                progress,
            )
            with _told(progress):
                for session in sessions:
                    key = by_row[session.collection]
                    common = self.recorder.state.records.written_metadata(session.metadata_digest)
                    wire = UploadSession(
                        session.upload_id,
                        session.job_id,
                        collections[key][1].lake_id,
                        key.name,
                        StorageKind(session.storage),
                    )
                    opened = OpenSession(wire, key, session.collection, metadata_set(common or {}))
                    try:
                        finished = await uploads.resume(opened, session.files, session.completed)
                    except LakeRefused:
                        # The lake knows the session no more, so nothing of it can be finished: the plan that follows
                        # finds out by the listing what is there and what is not.
                        with self.recorder.state.write():
                            self.recorder.state.journal.close_session(session.upload_id)
                        continue
                    self.recorder.tell(Resumed(key.name, len(finished)))


@contextlib.contextmanager
def _told(progress: ProgressMeter) -> Iterator[None]:
    """Tell where the run stands while the block lasts."""
    teller = asyncio.get_running_loop().create_task(progress.keep_telling())
    try:
        yield
    finally:
        teller.cancel()


@contextlib.contextmanager
def _first_error_alone() -> Iterator[None]:
    """A task group raises a group; whoever waits wants the error that ended the run."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors: list[BaseException] = [error for error in group.exceptions if isinstance(error, SyncError)]
        raise (errors or list(group.exceptions))[0] from None
