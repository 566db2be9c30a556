"""The stage for downloads, after all collections.

Owns: the order of the steps, fetching, and what is recorded of fetched files. Must not: write or remove other files
(`download_output`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import field, replace
from functools import partial
from pathlib import Path

from metalake_sync.apply.download_output import (
    RECORDED_AT_ONCE,
    DownloadOutput,
    FilledDownload,
    all_annotations,
    path_in,
)
from metalake_sync.apply.progress import ProgressMeter
from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import (
    DownloadFile,
)
from metalake_sync.core.downloads import DownloadedFile, DownloadPlan, DownloadSpec
from metalake_sync.downloads.annotation_files import AnnotationDownload
from metalake_sync.downloads.classes import default_order, labels_not_in, order_of, refusal
from metalake_sync.downloads.plan import DownloadObserver, writes_files
from metalake_sync.downloads.walk import DownloadWalk, Wanted
from metalake_sync.errors import LakeRejected, StateLocked, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.transfers.download import Downloads, FetchFailed
from metalake_sync.remote.transfers.file_download import FileFetched, FileToFetch
from metalake_sync.remote.transfers.partial import PartialFiles, partial_files


@dataclass(slots=True)
class _Folder:
    """One download in progress."""

    spec: DownloadSpec
    in_transfer: dict[Path, Wanted] = field(default_factory=dict)
    """By the path that the file is written to."""
    adopted: list[DownloadedFile] = field(default_factory=list)
    fetched: list[tuple[DownloadFile, DownloadedFile]] = field(default_factory=list)


class DownloadStage:
    """Carries out downloads.

    Lists the lake again, to get valid URLs and the files that this run uploaded. What the planner has proven is not
    proven again.
    """

    def __init__(
        self, observer: DownloadObserver, downloads: Downloads, recorder: Recorder, progress: ProgressMeter
    ) -> None:
        self._observer = observer
        self._downloads = downloads
        self._recorder = recorder
        self._progress = progress
        self._output = DownloadOutput(observer, recorder, progress)
        self._failed: set[str] = set()
        """The blocks of downloads in which anything failed."""
        self._refused: set[str] = set()
        """Those with labels that have no class id."""

    @contextlib.contextmanager
    def _watching(self, spec: DownloadSpec) -> Iterator[None]:
        """Remember the block of a download if anything fails meanwhile."""
        before = len(self._recorder.failures)
        yield
        if len(self._recorder.failures) > before:
            self._failed.add(spec.block)

    async def run(self, plans: Sequence[DownloadPlan]) -> None:
        """Carry out all downloads. They share class ids, so annotations are written after all were read."""
        with contextlib.ExitStack() as stack:
            filled: list[FilledDownload] = []
            labelled: list[DownloadPlan] = []
            for plan in plans:
                # A download that cannot be read keeps its classes, so that the class ids of others stay.
                labelled.append(plan)
                if plan.refused_labels:
                    continue
                with self._watching(plan.spec):
                    found = await self._get(plan)
                if found is None:
                    continue
                if found.annotations is not None:
                    stack.callback(found.annotations.close)
                    with self._watching(plan.spec):
                        was_read = await self._read(plan, found.annotations)
                    if not was_read:
                        continue
                    labelled[-1] = replace(plan, labels=frozenset(found.annotations.labels))
                filled.append(found)
            default = default_order(labelled)
            for one in filled:
                classes = order_of(one.plan, default)
                if one.annotations is not None and (refused := labels_not_in(classes, one.annotations.written_labels)):
                    self._fail(one.plan, refusal(refused), retryable=False)
                    self._refused.add(one.plan.spec.block)
            for one in filled:
                if one.plan.spec.block not in self._refused:
                    await self._finish(one, order_of(one.plan, default))

    async def _finish(self, filled: FilledDownload, classes: Sequence[str]) -> None:
        """Write the annotations of a download, and remove what it no longer writes."""
        plan, annotations = filled.plan, filled.annotations
        if not (writes_files(plan.spec, annotations) or plan.removals or plan.vanished):
            return
        with contextlib.ExitStack() as stack:
            root = self._observer.base_dir / plan.spec.to
            partials = self._open(plan, stack)
            if partials is None:
                return
            if writes_files(plan.spec, annotations):
                with self._watching(plan.spec):
                    await self._output.write(filled, root, partials, classes)
            if plan.spec.block in self._failed:
                if plan.removals:
                    left = SyncError("it is not removed, because something in this download failed")
                    self._recorder.fail(plan.removals, left, retryable=True)
            else:
                await self._output.remove_stale(filled)

    async def _get(self, plan: DownloadPlan) -> FilledDownload | None:
        """Fetch the files of a download. Returns None if that is not possible."""
        spec = plan.spec
        place = await asyncio.to_thread(self._observer.find, spec)
        if place is None:
            return None
        root = self._observer.base_dir / spec.to
        self._progress.stage = f"downloading into {spec.to}"
        walk = self._observer.walk(spec, place, plan.adopted)
        with contextlib.ExitStack() as stack:
            partials = self._open(plan, stack)
            if partials is None:
                return None
            with self._recorder.state.write():
                paths = [path_in(spec, action) for action in plan.files]
                self._observer.records.begin(self._observer.lake, spec.records_folder, paths)
            await self._fetch(_Folder(spec, adopted=list(plan.adopted)), walk, root, partials)
        self._observer.walked(walk, spec)
        return FilledDownload(plan, walk, self._observer.annotations(spec, place, walk))

    def _open(self, plan: DownloadPlan, stack: contextlib.ExitStack) -> PartialFiles | None:
        """The folder of a download. None if it cannot be used: the other downloads continue."""
        try:
            folder = self._observer.base_dir / plan.spec.block
            return stack.enter_context(partial_files(folder, plan.spec.split or ""))
        except StateLocked:
            raise
        except SyncError as error:
            self._recorder.fail(plan.files or [all_annotations(plan.spec)], error, retryable=False)
            return None

    async def _read(self, plan: DownloadPlan, annotations: AnnotationDownload) -> bool:
        """Read the annotations of a download. Returns whether that succeeded."""
        try:
            await asyncio.to_thread(annotations.read)
        except LakeRejected as rejection:
            self._fail(plan, rejection, retryable=rejection.status >= 500)
            return False
        except OSError as error:
            self._fail(plan, SyncError(f"the annotations can't be stored ({error.strerror})"), retryable=False)
            return False
        return True

    def _fail(self, plan: DownloadPlan, error: SyncError, *, retryable: bool) -> None:
        self._recorder.fail([all_annotations(plan.spec)], error, retryable=retryable)

    async def _fetch(self, folder: _Folder, walk: DownloadWalk, root: Path, partials: PartialFiles) -> None:
        async with aclosing(self._downloads.fetch(self._to_fetch(folder, walk, root), partials)) as outcomes:
            async for outcome in outcomes:
                wanted = folder.in_transfer.pop(outcome.file.path)
                self._progress.files_done += 1
                match outcome:
                    case FileFetched():
                        remote = wanted.action.file
                        done = DownloadedFile(
                            remote.lake_id, remote.unique_name, wanted.filename, outcome.fingerprint, written=True
                        )
                        folder.fetched.append((wanted.action, done))
                    case FetchFailed():
                        self._recorder.fail([wanted.action], outcome.error, retryable=outcome.retryable)
                if len(folder.fetched) >= RECORDED_AT_ONCE:
                    self._record(folder)
        self._record(folder)

    @staticmethod
    def _to_fetch(folder: _Folder, walk: DownloadWalk, root: Path) -> Iterator[FileToFetch]:
        """Yield the files to fetch, page by page. Runs in its own thread, while earlier files are in transfer."""
        for page in walk.pages():
            folder.adopted += page.adopted
            for wanted in page.wanted:
                path = root / wanted.filename
                folder.in_transfer[path] = wanted
                remote = wanted.action.file
                yield FileToFetch(remote.unique_name, path, remote.lake_id, wanted.url)

    def _record(self, folder: _Folder) -> None:
        fetched, folder.fetched = folder.fetched, []
        adopted, folder.adopted = folder.adopted, []
        records = self._observer.records
        files = [*adopted, *(file for _, file in fetched)]
        write = partial(records.record, self._observer.lake, folder.spec.records_folder, files)
        self._recorder.confirm([action for action, _ in fetched], write)
