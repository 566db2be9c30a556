"""One run of a plan: the stages of every collection in their order, batches overlapping.

Owns: the event loop and what overlaps. Must not: know how a stage does its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from metalake_sync.core.actions import AdoptFile, ReplaceFile
from metalake_sync.core.events import Resumed
from metalake_sync.core.facts import CollectionKey, Origin
from metalake_sync.core.metadata import NO_METADATA, metadata_set
from metalake_sync.core.plan import CollectionPlan, Plan
from metalake_sync.engine.addressed import AddressedSources
from metalake_sync.engine.desired import DesiredCollection
from metalake_sync.engine.execute.addressed import AddressedStage
from metalake_sync.engine.execute.annotations import AnnotationStage
from metalake_sync.engine.execute.batches import Stages, upload_collection
from metalake_sync.engine.execute.collections import Collections
from metalake_sync.engine.execute.labels import LabelBook
from metalake_sync.engine.execute.metadata import MetadataStage
from metalake_sync.engine.execute.progress import ProgressMeter
from metalake_sync.engine.execute.recorder import Recorder
from metalake_sync.engine.execute.replace import Replacing
from metalake_sync.engine.execute.trash import TrashStage
from metalake_sync.engine.execute.uploads import OpenSession, Uploads
from metalake_sync.engine.options import IN_THE_MIDDLE_S, RunOptions
from metalake_sync.errors import LakeRefused, SourceChanged
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.local.hashing import HashRequest, hash_files
from metalake_sync.protocol.wire import StorageKind
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.transfer import Transfer, UploadSession
from metalake_sync.state.journal import JournalledSession
from metalake_sync.state.records import ConfirmedFile


@dataclass(slots=True)
class Executor:
    """`lake`: what the state calls the lake."""

    client: LakeClient
    address: LakeAddress
    recorder: Recorder
    base_dir: Path
    lake: str
    options: RunOptions

    def execute(
        self, plan: Plan, desired: Mapping[CollectionKey, DesiredCollection], addressed: AddressedSources
    ) -> None:
        """Do all that the plan says. Items that fail are told and left; what concerns the whole run is raised."""
        asyncio.run(self._execute(plan, desired, addressed))

    def resume(self, sessions: Sequence[JournalledSession]) -> None:
        """Finish the upload sessions that earlier runs left open, so that a listing shows what they sent."""
        asyncio.run(self._resume(sessions))

    # Running.

    async def _execute(
        self, plan: Plan, desired: Mapping[CollectionKey, DesiredCollection], addressed: AddressedSources
    ) -> None:
        summary = plan.summary()
        progress = ProgressMeter(
            self.recorder.emit,
            files_total=summary.upload + summary.replace + summary.download,
            bytes_total=summary.bytes_to_send,
        )
        collections = Collections(self.client, self.recorder, self.lake)
        at_home = [index for collection in desired.values() for index in collection.annotations.values()]
        labels = LabelBook(self.client, [*at_home, *addressed.annotations.values()])
        elsewhere = AddressedStage(self.client, self.recorder, addressed, labels, self.lake, self.options.calls_at_once)
        trash = TrashStage(self.client, self.recorder)
        async with self._transfer() as transfer:
            stages = Stages(
                Uploads(self.client, transfer, self.recorder, collections, self.base_dir, progress),
                MetadataStage(self.client, self.recorder, self.options.calls_at_once),
                AnnotationStage(self.client, self.recorder, desired, labels),
                Replacing(
                    self.client,
                    self.recorder,
                    trash,
                    self.base_dir,
                    self.lake,
                    self.options.calls_at_once,
                    self.options.hash_threads,
                    frozenset(_not_lost(plan)),
                ),
            )
            with _told(progress):
                await elsewhere.clear(plan.addressed)
                for collection in plan.collections:
                    progress.stage = f"{collection.key}"
                    await collections.prepare(collection)
                    self._adopt(collection)
                    await upload_collection(collection, stages, self.options)
                    if collection.lake_id is not None:
                        await stages.metadata.update(collection, collection.lake_id)
                        await stages.metadata.give_back(collection, collection.lake_id)
                    new = {upload.file.name for upload in collection.uploads}
                    await stages.annotations.annotate(
                        collection, [action for action in collection.annotations if action.name not in new], {}
                    )
                    await trash.trash_pruned(collection)
                    self._bookkeeping(collection)
                for part in plan.addressed:
                    progress.stage = str(part.address)
                    await elsewhere.send(part)
                await self._download(plan, progress)
                await self._trash(plan)
                await self._attach(plan)
            progress.finished()
            progress.tell()

    async def _download(self, plan: Plan, progress: ProgressMeter) -> None:
        if not plan.downloads:
            return
        # Few runs download, and this takes 14 ms.
        from metalake_sync.engine.downloads.plan import DownloadObserver
        from metalake_sync.engine.execute.downloads import DownloadStage
        from metalake_sync.remote.download import Downloads

        downloads = Downloads(
            self.address,
            retry=RetryPolicy(give_up_after_s=IN_THE_MIDDLE_S),
            parallelism=self.options.calls_at_once,
            tally=self.recorder.tally,
            rate_limit_bytes_s=self.options.bytes_per_second,
            received=progress.received,
        )
        observer = DownloadObserver(
            self.client, self.recorder.state.downloads, self.lake, self.base_dir, self.recorder.emit
        )
        async with downloads:
            await DownloadStage(observer, downloads, self.recorder, progress).run(plan.downloads)

    async def _trash(self, plan: Plan) -> None:
        if not plan.trash_rules:
            return
        from metalake_sync.engine.execute.downloads import TrashRuleStage

        rules = TrashRuleStage(self.client, self.recorder, self.lake)
        for rule in plan.trash_rules:
            await rules.run(rule)

    async def _attach(self, plan: Plan) -> None:
        if not plan.attachments:
            return
        from metalake_sync.engine.execute.attachments import AttachmentStage

        await AttachmentStage(self.client, self.recorder, self.lake).run(plan.attachments)

    def _transfer(self) -> Transfer:
        return Transfer(
            self.address,
            retry=RetryPolicy(give_up_after_s=IN_THE_MIDDLE_S),
            parallelism=self.options.parallelism,
            tally=self.recorder.tally,
            rate_limit_bytes_s=self.options.bytes_per_second,
        )

    def _hash_request(self, action: AdoptFile) -> HashRequest:
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
            lambda: self._record_adopted(row, confirmed, [action for action, _ in hashed]),
        )

    def _record_adopted(self, row: int, confirmed: Sequence[ConfirmedFile], actions: Sequence[AdoptFile]) -> None:
        records = self.recorder.state.records
        records.record_files(row, confirmed, self.recorder.run_id)
        records.record_sets(row, [(action.file.name, found) for action in actions for found in action.sets])

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
                records.record_sets(row, [(file.name, found) for found in rerecord.sets])
            gone = [forget.recorded.name for forget in collection.forgets]
            records.forget_files(row, gone)
            self.recorder.state.made_room.forget(row, gone)

    # Resuming.

    async def _resume(self, sessions: Sequence[JournalledSession]) -> None:
        by_row = {row: key for key, row in self.recorder.rows.items()}
        collections = self.recorder.state.records.collections(self.lake)
        left = [file for session in sessions for file in session.files if not (file.sent or session.completed)]
        progress = ProgressMeter(
            self.recorder.emit,
            files_total=len(left),
            bytes_total=sum(file.fingerprint.size_bytes for file in left),
            stage="finishing what an earlier run began",
        )
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
                    self.recorder.done.upload += len(finished)
                    self.recorder.tell(Resumed(key.name, len(finished)))


def _not_lost(plan: Plan) -> Iterator[tuple[CollectionKey, str]]:
    """Files that are not in the trash for a replacement that failed, whatever the state says: the lake lists them, or
    the manifest wants them no more."""
    for part in plan.collections:
        yield from ((part.key, action.file.name) for action in part.uploads if isinstance(action, ReplaceFile))
        yield from ((part.key, forget.recorded.name) for forget in part.forgets)


@contextlib.contextmanager
def _told(progress: ProgressMeter) -> Iterator[None]:
    """Tell where the run stands while the block lasts."""
    teller = asyncio.get_running_loop().create_task(progress.keep_telling())
    try:
        yield
    finally:
        teller.cancel()
