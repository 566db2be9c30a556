"""What a download writes and removes beside the lake's files: annotations, metadata, and files that are stale.

Owns: the order of record and change, so that a kill leaves no file that the state does not know of. Must not: fetch
files (`downloads`), or decide what is stale (`metalake_sync.downloads.stale`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from metalake_sync.apply.progress import ProgressMeter
from metalake_sync.apply.recorder import Recorder
from metalake_sync.core.actions import DownloadAnnotations, DownloadFile, Reason, RemoveDownloaded
from metalake_sync.core.downloads import DownloadPlan, DownloadSpec
from metalake_sync.core.events import LossesFound
from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.downloads.annotation_files import AnnotationDownload
from metalake_sync.downloads.plan import DownloadObserver
from metalake_sync.downloads.stale import remove_file, unsettled
from metalake_sync.downloads.walk import DownloadWalk
from metalake_sync.errors import LakeRejected, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.transfers.partial import PartialFiles

RECORDED_AT_ONCE = 100
"""Files of a download that are recorded in one commit."""


@dataclass(slots=True)
class FilledDownload:
    """A download whose files were fetched."""

    plan: DownloadPlan
    walk: DownloadWalk
    annotations: AnnotationDownload | None
    written: tuple[str, ...] = ()
    """The paths of the annotation and metadata files below the folder. Known after writing."""


class DownloadOutput:
    """Writes and removes the files of downloads that were fetched."""

    def __init__(self, observer: DownloadObserver, recorder: Recorder, progress: ProgressMeter) -> None:
        self._observer = observer
        self._recorder = recorder
        self._progress = progress

    async def write(self, filled: FilledDownload, root: Path, partials: PartialFiles, classes: Sequence[str]) -> None:
        """Write and compare the annotation and metadata files of a download.

        What the format cannot express is reported, as far as the plan did not show it: images that this run uploaded
        were not in the lake then. Any other loss that the plan did not show, such as the annotations of a whole image,
        is a failure.
        """
        plan, annotations, filenames = filled.plan, filled.annotations, filled.walk.filenames
        spec = plan.spec
        action = all_annotations(spec)
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
            stated = annotations.stated_losses if annotations is not None else ()
            if new := [line for line in losses if line in stated and line not in plan.losses]:
                self._recorder.report(LossesFound(spec.to, tuple(new)))
            unexpected = [line for line in losses if line not in stated and line not in plan.losses]
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
        differing = [path_in(spec, action) for action in actions]
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
                moved[action] = partials.move_in(scratch, path_in(spec, action))
        finally:
            self._progress.files_done += len(moved)
            files = {path_in(spec, action): found for action, found in moved.items()}
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

    async def remove_stale(self, filled: FilledDownload) -> None:
        """Remove the files that the plan showed, as far as the download still does not write them."""
        plan, spec = filled.plan, filled.plan.spec
        current = {*filled.walk.filenames.values(), *filled.written}
        paths = {action: path_in(spec, action) for action in plan.removals}
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


def path_in(spec: DownloadSpec, action: DownloadFile | DownloadAnnotations | RemoveDownloaded) -> str:
    """The path of a file below the folder of its download."""
    return os.path.relpath(action.path, spec.to)


def all_annotations(spec: DownloadSpec) -> DownloadAnnotations:
    """The action to report if the annotations of a download fail as a whole."""
    return DownloadAnnotations(spec.key, spec.to, 0, Reason.ANNOTATIONS_CHANGED)
