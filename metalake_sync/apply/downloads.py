"""The stages for downloads and trash rules, after all collections.

Owns: what is recorded of them. Trash rules run after the downloads, and only if nothing failed in the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import field, replace
from functools import partial
from pathlib import Path

from metalake_sync.apply.progress import ProgressMeter
from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import (
    DownloadAnnotations,
    DownloadFile,
    Reason,
    RemoveDownloaded,
    TrashCollection,
    TrashMatched,
)
from metalake_sync.core.downloads import DownloadedFile, DownloadPlan, DownloadSpec
from metalake_sync.core.plan import TrashRulePlan
from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.downloads.annotation_files import AnnotationDownload
from metalake_sync.downloads.classes import default_order, labels_not_in, order_of, refusal
from metalake_sync.downloads.plan import DownloadObserver, writes_files
from metalake_sync.downloads.stale import remove_file, unsettled
from metalake_sync.downloads.walk import DownloadWalk, Wanted
from metalake_sync.errors import LakeRejected, StateLocked, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.selections import object_kind, trash_collection, trash_files
from metalake_sync.remote.transfers.download import Downloads, FetchFailed
from metalake_sync.remote.transfers.file_download import FileFetched, FileToFetch
from metalake_sync.remote.transfers.partial import PartialFiles, partial_files

RECORDED_AT_ONCE = 100


@dataclass(slots=True)
class _Folder:
    """One download in progress."""

    spec: DownloadSpec
    in_transfer: dict[Path, Wanted] = field(default_factory=dict)
    """By the path that the file is written to."""
    adopted: list[DownloadedFile] = field(default_factory=list)
    fetched: list[tuple[DownloadFile, DownloadedFile]] = field(default_factory=list)


@dataclass(slots=True)
class _Filled:
    """A download whose files were fetched."""

    plan: DownloadPlan
    walk: DownloadWalk
    annotations: AnnotationDownload | None
    written: tuple[str, ...] = ()
    """The paths of the annotation and metadata files below the folder. Known after writing."""


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
            filled: list[_Filled] = []
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

    async def _finish(self, filled: _Filled, classes: Sequence[str]) -> None:
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
                    await self._write_files(filled, root, partials, classes)
            if plan.spec.block in self._failed:
                if plan.removals:
                    left = SyncError("it is not removed, because something in this download failed")
                    self._recorder.fail(plan.removals, left, retryable=True)
            else:
                await self._remove_stale(filled)

    async def _remove_stale(self, filled: _Filled) -> None:
        """Remove the files that the plan showed, as far as the download still does not write them."""
        plan, spec = filled.plan, filled.plan.spec
        current = {*filled.walk.filenames.values(), *filled.written}
        paths = {action: _path_in(spec, action) for action in plan.removals}
        planned = [action for action in plan.removals if paths[action] not in current]
        for start in range(0, len(planned), RECORDED_AT_ONCE):
            chunk = planned[start : start + RECORDED_AT_ONCE]
            gone: list[RemoveDownloaded] = []
            for action in chunk:
                error = await asyncio.to_thread(self._remove, action, spec)
                if error is None:
                    gone.append(action)
                else:
                    self._recorder.fail([action], error, retryable=False)
            names = [paths[action] for action in gone]
            self._recorder.confirm(gone, partial(self._observer.forget, spec, names))
        vanished = [path for path in plan.vanished if path not in current]
        if vanished:
            with self._recorder.state.write():
                self._observer.forget(spec, vanished)

    def _remove(self, action: RemoveDownloaded, spec: DownloadSpec) -> SyncError | None:
        """Remove one file. Returns the error if that failed."""
        base = self._observer.base_dir
        backup_dir = base / spec.backup_dir if spec.backup_dir is not None else None
        # From the folder of the whole download, so that a link in place of a split is not followed.
        path = os.path.relpath(action.path, spec.block)
        try:
            removed = remove_file(base / spec.block, path, action.fingerprint, backup_dir)
        except OSError as error:
            return SyncError(f"the file can't be removed ({error.strerror})", where=action.path)
        if not removed:
            return SyncError("the file changed since the plan was made, and is kept", where=action.path)
        return None

    async def _get(self, plan: DownloadPlan) -> _Filled | None:
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
                paths = [_path_in(spec, action) for action in plan.files]
                self._observer.records.begin(self._observer.lake, spec.records_folder, paths)
            await self._fetch(_Folder(spec, adopted=list(plan.adopted)), walk, root, partials)
        self._observer.walked(walk, spec)
        return _Filled(plan, walk, self._observer.annotations(spec, place, walk))

    def _open(self, plan: DownloadPlan, stack: contextlib.ExitStack) -> PartialFiles | None:
        """The folder of a download. None if it cannot be used: the other downloads continue."""
        try:
            folder = self._observer.base_dir / plan.spec.block
            return stack.enter_context(partial_files(folder, plan.spec.split or ""))
        except StateLocked:
            raise
        except SyncError as error:
            self._recorder.fail(plan.files or [_all_annotations(plan.spec)], error, retryable=False)
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
        self._recorder.fail([_all_annotations(plan.spec)], error, retryable=retryable)

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

    async def _write_files(self, filled: _Filled, root: Path, partials: PartialFiles, classes: Sequence[str]) -> None:
        """Write and compare the annotation and metadata files of a download.

        The plan has shown what the format cannot express. Any other loss, such as an unreadable image, is a failure.
        """
        plan, annotations, filenames = filled.plan, filled.annotations, filled.walk.filenames
        spec = plan.spec
        action = _all_annotations(spec)
        try:
            with partials.scratch() as scratch:
                filled.written = await asyncio.to_thread(
                    self._observer.write_files, spec, filenames, annotations, scratch, classes
                )
                actions = list(self._observer.compare_files(spec, len(filenames), scratch))
                self._record_written(spec, filled.written, root, actions)
                for start in range(0, len(actions), RECORDED_AT_ONCE):
                    self._move_in(spec, actions[start : start + RECORDED_AT_ONCE], scratch, partials)
            self._record_classes(spec, annotations, classes)
            losses = annotations.losses if annotations is not None else ()
            unexpected = [line for line in losses if line not in plan.losses]
            if unexpected:
                lost = SyncError(
                    f"not all annotations could be written ({'; '.join(unexpected)})",
                    where=spec.to,
                    remedy="Check these images, or choose another format.",
                )
                self._recorder.fail([action], lost, retryable=False)
        except LakeRejected as rejection:
            self._recorder.fail([action], rejection, retryable=rejection.status >= 500)
        except OSError as error:
            message = f"the annotations can't be written ({error.strerror})"
            self._recorder.fail([action], SyncError(message, where=str(root)), retryable=False)

    def _record_written(
        self, spec: DownloadSpec, written: Sequence[str], root: Path, actions: Sequence[DownloadAnnotations]
    ) -> None:
        """Record files that are right already, and that the others are about to be written."""
        records, lake = self._observer.records, self._observer.lake
        differing = [_path_in(spec, action) for action in actions]
        right = set(written).difference(differing)
        with self._recorder.state.write():
            others = records.other_files(lake, spec.records_folder)
            records.record_others(lake, spec.records_folder, unsettled(root, others, right))
            records.begin(lake, spec.records_folder, differing)

    def _move_in(
        self, spec: DownloadSpec, actions: Sequence[DownloadAnnotations], scratch: Path, partials: PartialFiles
    ) -> None:
        """Move written files into the folder, and record them, also if one of them can't be moved."""
        moved: dict[DownloadAnnotations, Fingerprint] = {}
        try:
            for action in actions:
                moved[action] = partials.move_in(scratch, _path_in(spec, action))
        finally:
            self._progress.files_done += len(moved)
            files = {_path_in(spec, action): found for action, found in moved.items()}
            records = self._observer.records
            write = partial(records.record_others, self._observer.lake, spec.records_folder, files)
            self._recorder.confirm(list(moved), write)

    def _record_classes(
        self, spec: DownloadSpec, annotations: AnnotationDownload | None, classes: Sequence[str]
    ) -> None:
        records, lake, folder = self._observer.records, self._observer.lake, spec.records_folder
        if annotations is None or not annotations.numbers_classes:
            return
        if records.classes(lake, folder) != tuple(classes):
            with self._recorder.state.write():
                records.record_classes(lake, folder, classes)


def _path_in(spec: DownloadSpec, action: DownloadFile | DownloadAnnotations | RemoveDownloaded) -> str:
    """The path of a file below the folder of its download."""
    return os.path.relpath(action.path, spec.to)


def _all_annotations(spec: DownloadSpec) -> DownloadAnnotations:
    """The action to report if the annotations of a download fail as a whole."""
    return DownloadAnnotations(spec.key, spec.to, 0, Reason.ANNOTATIONS_CHANGED)


class TrashRuleStage:
    """Carries out trash rules: exactly the items or the collection in the plan.

    `lake`: the identity of the lake in the state.
    """

    def __init__(self, client: LakeClient, recorder: Recorder, lake: str) -> None:
        self._client = client
        self._recorder = recorder
        self._lake = lake

    async def run(self, rule: TrashRulePlan) -> None:
        if rule.items and self._recorder.failures:
            error = LakeRejected(
                "no trash rule is applied, because something in this run failed",
                status=200,
                remedy="Fix the failures first.",
            )
            self._recorder.fail(rule.items, error, retryable=True)
            return
        for collection in rule.items:
            if isinstance(collection, TrashCollection):
                await self._trash_whole(collection)
        kind = object_kind(rule.selection.type)
        items = [item for item in rule.items if isinstance(item, TrashMatched)]
        for start in range(0, len(items), PAGE_SIZE_LIMIT):
            page = items[start : start + PAGE_SIZE_LIMIT]
            await asyncio.to_thread(self._recorder.state.sync)
            try:
                left = await asyncio.to_thread(trash_files, self._client, kind, [item.file for item in page])
            except LakeRejected as rejection:
                self._recorder.fail(page, rejection, retryable=False)
                return
            self._recorder.confirm([item for item in page if item.file.lake_id not in left], lambda: None)
            stay = [item for item in page if item.file.lake_id in left]
            if stay:
                self._recorder.fail(stay, LakeRejected("the lake did not trash it", status=200), retryable=True)

    async def _trash_whole(self, action: TrashCollection) -> None:
        await asyncio.to_thread(self._recorder.state.sync)
        try:
            gone = await asyncio.to_thread(trash_collection, self._client, action.collection, action.lake_id)
        except LakeRejected as rejection:
            self._recorder.fail([action], rejection, retryable=False)
            return
        if gone:
            self._recorder.confirm([action], lambda: self._forget(action))
        else:
            error = LakeRejected("the lake did not trash the collection", status=200, where=str(action.collection))
            self._recorder.fail([action], error, retryable=True)

    def _forget(self, action: TrashCollection) -> None:
        recorded = self._recorder.state.collections.of_lake(self._lake).get(action.collection)
        if recorded is not None and recorded[1].lake_id == action.lake_id:
            self._recorder.forget_collection(action.collection)
