"""Runs the stages of a plan in their order, collection by collection.

Owns: the event loop, and the order of stages. Must not: know how a stage does its work.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.apply.annotations import AnnotationStage, Indexes
from metalake_sync.apply.batches import Stages, upload_collection
from metalake_sync.apply.collections import CollectionStage
from metalake_sync.apply.metadata import MetadataStage
from metalake_sync.apply.pages import AddressLookup
from metalake_sync.apply.progress import ProgressMeter
from metalake_sync.apply.recorder import Recorder
from metalake_sync.apply.records import RecordStage
from metalake_sync.apply.trash import ReplaceStage, TrashStage
from metalake_sync.apply.upload_executors.base import UploadExecutor
from metalake_sync.apply.upload_executors.choosing import WorkerChoice, open_executor
from metalake_sync.apply.uploads import UploadStage
from metalake_sync.core.actions import Annotate, RemoveAnnotations, UpdateFileMetadata
from metalake_sync.core.addresses import Place
from metalake_sync.core.events import Waiting
from metalake_sync.core.plan import CollectionPlan, Plan
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.errors import Interrupted
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.interrupted_runs import SessionDecision
from metalake_sync.planning.run_options import RUN_RETRY_TIMEOUT_S, RunOptions
from metalake_sync.planning.unmanaged_sources import UnmanagedSources
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.transfers.upload import Transfer

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex


@dataclass(slots=True)
class Executor:
    """Carries out one plan."""

    client: LakeClient
    address: LakeAddress
    recorder: Recorder
    base_dir: Path
    lake: str
    """The identity of the lake in the state."""
    in_manifest: Set[CollectionKey]
    """The collections of the manifest."""
    options: RunOptions
    workers: WorkerChoice | None = None
    """Who else sends files. None: this process only."""

    def execute(
        self,
        plan: Plan,
        desired: Mapping[CollectionKey, DesiredCollection],
        addressed: UnmanagedSources,
        left_open: Mapping[CollectionKey, Sequence[SessionDecision]],
    ) -> None:
        """Carry out all actions. Failures of single items are reported; errors that concern the run are raised.

        `left_open`: the decisions about upload sessions of interrupted runs. Raises Interrupted if the options cancel
        the run.
        """
        try:
            asyncio.run(self._execute(plan, desired, addressed, left_open))
        except asyncio.CancelledError:
            raise Interrupted.by_program() from None

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
        async with self._transfer() as transfer, self._uploads(plan, transfer) as uploads:
            stages = self._stages(plan, desired, addressed, uploads, progress)
            with _reporting(progress, self.options.is_cancelled):
                planned = {collection.key for collection in plan.collections}
                stages.records.forget_sessions(
                    [one for key, found in left_open.items() if key not in planned for one in found]
                )
                # Before all others, because another block may name the same image.
                unmanaged = [action for part in plan.addressed for action in part.actions]
                await stages.annotations.send(one for one in unmanaged if isinstance(one, RemoveAnnotations))
                for collection in self._ordered(plan.collections):
                    progress.stage = f"{collection.key}"
                    await self._carry_out(collection, stages, left_open.get(collection.key, ()))
                for part in plan.addressed:
                    progress.stage = str(part.address)
                    await stages.annotations.send(one for one in part.actions if isinstance(one, Annotate))
                    described = [one for one in part.actions if isinstance(one, UpdateFileMetadata)]
                    await stages.metadata.update(part.address, described)
                    stages.records.settle(part)
                await self._download(plan, progress)
                await self._trash(plan)
                await self._attach(plan)
            progress.finished()
            progress.report()

    def _stages(
        self,
        plan: Plan,
        desired: Mapping[CollectionKey, DesiredCollection],
        addressed: UnmanagedSources,
        uploads: UploadExecutor,
        progress: ProgressMeter,
    ) -> Stages:
        client, recorder, options = self.client, self.recorder, self.options
        collections = CollectionStage(client, recorder, self.lake)
        addresses = AddressLookup(client)
        trash = TrashStage(client, recorder)
        forgotten = {(part.key, forget.recorded.name) for part in plan.collections for forget in part.forgets}
        return Stages(
            collections,
            RecordStage(recorder, self.base_dir, options.hash_threads, desired),
            UploadStage(client, uploads, recorder, collections, self.base_dir, progress),
            MetadataStage(client, recorder, options.calls_at_once, addresses),
            AnnotationStage(client, recorder, _indexes(desired, addressed), addresses),
            ReplaceStage(
                client,
                recorder,
                trash,
                self.base_dir,
                self.lake,
                options.calls_at_once,
                options.hash_threads,
                self.in_manifest,
                forgotten,
            ),
            trash,
        )

    async def _carry_out(self, collection: CollectionPlan, stages: Stages, sessions: Sequence[SessionDecision]) -> None:
        """Carry out the actions of one collection. `sessions`: those that interrupted runs left open in it."""
        await stages.collections.prepare(collection)
        stages.records.record_recovered(collection)
        stages.records.forget_sessions([one for one in sessions if not one.resume])
        if not self.options.partial:
            stages.records.forget_replacements(collection)
        stages.records.adopt(collection)
        await upload_collection(collection, stages, self.options, [one for one in sessions if one.resume])
        if collection.lake_id is not None:
            await stages.metadata.update(
                collection.key, collection.metadata, collection.policy.tags, collection.lake_id
            )
            await stages.metadata.restore_tags(collection, collection.lake_id)
        new = {upload.file.name for upload in collection.uploads}
        await stages.annotations.send(action for action in collection.annotations if action.at.name not in new)
        await stages.trash.trash_pruned(collection)
        stages.records.move_records(collection)

    def _ordered(self, collections: Sequence[CollectionPlan]) -> list[CollectionPlan]:
        """Collections with an unfinished replacement come first: the others wait for it (`upload_collection`)."""
        handles, unfinished = self.recorder.handles, self.recorder.state.pending_replacements
        return sorted(
            collections,
            key=lambda part: not (part.uploads and part.key in handles and unfinished.lost(handles[part.key])),
        )

    async def _download(self, plan: Plan, progress: ProgressMeter) -> None:
        if not plan.downloads:
            return
        # Imported here, because few runs download: saves 14 ms.
        from metalake_sync.apply.downloads import DownloadStage
        from metalake_sync.downloads.plan import DownloadObserver
        from metalake_sync.remote.transfers.download import Downloads

        def received(size_bytes: int) -> None:
            progress.received(size_bytes)
            self.recorder.tally.add_received_bytes(size_bytes)

        downloads = Downloads(
            self.address,
            retry=RetryPolicy(give_up_after_s=RUN_RETRY_TIMEOUT_S),
            parallelism=self.options.calls_at_once,
            counter=self.recorder.tally,
            rate_limit_bytes_s=self.options.bytes_per_second,
            received=received,
        )
        observer = DownloadObserver(
            self.client,
            self.recorder.state.downloads,
            self.lake,
            self.base_dir,
            self.recorder.emit,
            self.recorder.state.metadata_sets.field_names,
        )
        async with downloads:
            await DownloadStage(observer, downloads, self.recorder, progress).run(plan.downloads)

    async def _trash(self, plan: Plan) -> None:
        if not plan.trash_rules:
            return
        from metalake_sync.apply.trash_rules import TrashRuleStage

        rules = TrashRuleStage(self.client, self.recorder, self.lake)
        for rule in plan.trash_rules:
            await rules.run(rule)

    async def _attach(self, plan: Plan) -> None:
        if not plan.attachments:
            return
        from metalake_sync.apply.annotations import AttachmentStage

        await AttachmentStage(self.client, self.recorder, self.lake).run(plan.attachments)

    def _uploads(self, plan: Plan, transfer: Transfer) -> contextlib.AbstractAsyncContextManager[UploadExecutor]:
        return open_executor(
            transfer,
            self.workers,
            plan,
            self.address,
            self.recorder.tally,
            lambda clause: self.recorder.emit(Waiting(clause)),
            self.options.bytes_per_second,
        )

    def _transfer(self) -> Transfer:
        return Transfer(
            self.address,
            retry=RetryPolicy(give_up_after_s=RUN_RETRY_TIMEOUT_S),
            parallelism=self.options.parallelism,
            counter=self.recorder.tally,
            rate_limit_bytes_s=self.options.bytes_per_second,
        )


def _indexes(desired: Mapping[CollectionKey, DesiredCollection], addressed: UnmanagedSources) -> Indexes:
    indexes: dict[tuple[Place, str], AnnotationIndex] = {
        (key, operation): index
        for key, collection in desired.items()
        for operation, index in collection.annotations.items()
    }
    indexes.update(addressed.annotations.items())
    return indexes


@contextlib.contextmanager
def _reporting(progress: ProgressMeter, is_cancelled: Callable[[], bool] | None) -> Iterator[None]:
    """Emit progress events while the block lasts. Cancels the current task once `is_cancelled` returns True."""
    task = asyncio.current_task()
    assert task is not None
    reporter = asyncio.get_running_loop().create_task(progress.keep_reporting(is_cancelled, task.cancel))
    try:
        yield
    finally:
        reporter.cancel()
