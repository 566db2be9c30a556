"""One run of a plan: the stages of every collection in their order, batches overlapping.

Owns: the event loop and what overlaps. Must not: know how a stage does its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from metalake_sync.apply.annotations import AnnotationStage
from metalake_sync.apply.batches import Stages, upload_collection
from metalake_sync.apply.collections import Collections
from metalake_sync.apply.labels import LabelBook
from metalake_sync.apply.metadata import MetadataStage
from metalake_sync.apply.progress import ProgressMeter
from metalake_sync.apply.recorder import Recorder
from metalake_sync.apply.replace import Replacing
from metalake_sync.apply.trash import TrashStage
from metalake_sync.apply.unmanaged_files import AddressedStage
from metalake_sync.apply.uploads import Uploads
from metalake_sync.core.actions import AdoptFile, Reason, ReplaceFile
from metalake_sync.core.events import Resumed
from metalake_sync.core.metadata import NO_METADATA, MetadataSet
from metalake_sync.core.plan import CollectionPlan, Plan
from metalake_sync.core.snapshots import CollectionKey, Origin
from metalake_sync.errors import SourceChanged
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.open_sessions import SessionDecision
from metalake_sync.planning.run_options import RUN_RETRY_TIMEOUT_S, RunOptions
from metalake_sync.planning.unmanaged_sources import UnmanagedSources
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.transfers.transfer import Transfer
from metalake_sync.sources.hashing import HashRequest, hash_files
from metalake_sync.state.files import ConfirmedFile
from metalake_sync.state.handles import CollectionHandle
from metalake_sync.state.runs import ActionRow


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
        self,
        plan: Plan,
        desired: Mapping[CollectionKey, DesiredCollection],
        addressed: UnmanagedSources,
        left_open: Mapping[CollectionKey, Sequence[SessionDecision]],
    ) -> None:
        """Do all that the plan says. Items that fail are told and left; what concerns the whole run is raised.

        `left_open`: what becomes of the upload sessions of earlier runs.
        """
        asyncio.run(self._execute(plan, desired, addressed, left_open))

    # Running.

    async def _execute(
        self,
        plan: Plan,
        desired: Mapping[CollectionKey, DesiredCollection],
        addressed: UnmanagedSources,
        left_open: Mapping[CollectionKey, Sequence[SessionDecision]],
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
                planned = {collection.key for collection in plan.collections}
                self._forget_sessions([one for key, found in left_open.items() if key not in planned for one in found])
                await elsewhere.clear(plan.addressed)
                for collection in plan.collections:
                    progress.stage = f"{collection.key}"
                    await collections.prepare(collection)
                    sessions = left_open.get(collection.key, ())
                    self._record_recovered(collection)
                    self._forget_sessions([one for one in sessions if not one.resume])
                    self._adopt(collection)
                    resumable = [one for one in sessions if one.resume]
                    await upload_collection(collection, stages, self.options, resumable)
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
        from metalake_sync.apply.downloads import DownloadStage
        from metalake_sync.downloads.plan import DownloadObserver
        from metalake_sync.remote.transfers.download import Downloads

        downloads = Downloads(
            self.address,
            retry=RetryPolicy(give_up_after_s=RUN_RETRY_TIMEOUT_S),
            parallelism=self.options.calls_at_once,
            counter=self.recorder.tally,
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
        from metalake_sync.apply.downloads import TrashRuleStage

        rules = TrashRuleStage(self.client, self.recorder, self.lake)
        for rule in plan.trash_rules:
            await rules.run(rule)

    async def _attach(self, plan: Plan) -> None:
        if not plan.attachments:
            return
        from metalake_sync.apply.attachments import AttachmentStage

        await AttachmentStage(self.client, self.recorder, self.lake).run(plan.attachments)

    def _transfer(self) -> Transfer:
        return Transfer(
            self.address,
            retry=RetryPolicy(give_up_after_s=RUN_RETRY_TIMEOUT_S),
            parallelism=self.options.parallelism,
            counter=self.recorder.tally,
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
        with contextlib.closing(hash_files(requests, self.options.hash_threads)) as outcomes:
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
            lambda: self._record_adopted(handle, confirmed, [action for action, _ in hashed]),
        )

    def _record_adopted(
        self, handle: CollectionHandle, confirmed: Sequence[ConfirmedFile], actions: Sequence[AdoptFile]
    ) -> None:
        state = self.recorder.state
        state.files.record(handle, confirmed, self.recorder.run_id)
        state.annotation_sets.record(handle, [(action.file.name, found) for action in actions for found in action.sets])

    def _adopted(self, action: AdoptFile, content_hash: str) -> ConfirmedFile:
        """A record of a file that the lake had; none of its metadata is ours. Where sizes differ ('on_change: keep')
        the lake's bytes are not these: an unknown hash lets every plan say so."""
        kept = action.remote.same_bytes is False or action.remote.size_bytes != action.file.fingerprint.size_bytes
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
        handle = self.recorder.handle(collection.key)
        state = self.recorder.state
        with self.recorder.state.write():
            for rerecord in collection.rerecords:
                file = rerecord.file
                if rerecord.local:
                    state.files.record_local(handle, file.name, file.path, self.recorder.trusted(file.fingerprint))
                if rerecord.metadata:
                    state.files.record_metadata(handle, [(file.name, file.metadata)])
                state.annotation_sets.record(handle, [(file.name, found) for found in rerecord.sets])
            gone = [forget.recorded.name for forget in collection.forgets]
            state.files.forget(handle, gone)
            self.recorder.state.pending_replacements.forget(handle, gone)

    # What earlier runs left behind.

    def _record_recovered(self, collection: CollectionPlan) -> None:
        """Record files that an interrupted run sent and that the lake has."""
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
        recorder.tell(Resumed(collection.key.name, len(confirmed)))

    def _forget_sessions(self, sessions: Sequence[SessionDecision]) -> None:
        """Drop sessions from the journal; the lake shows nothing of a session that is never completed."""
        if not sessions:
            return
        with self.recorder.state.write():
            for one in sessions:
                self.recorder.state.journal.close_session(one.session.upload_id)


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
