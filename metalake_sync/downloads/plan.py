"""Plans downloads and trash rules: compares the lake with the local folders, and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from metalake_sync.annotations.formats.registry import format_named
from metalake_sync.core.actions import DownloadAnnotations, Reason, TrashCollection, TrashMatched
from metalake_sync.core.downloads import DownloadedFile, DownloadPlan, DownloadSpec
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.plan import TrashRulePlan
from metalake_sync.core.selection import WHOLE_LAKE, ItemSelection
from metalake_sync.core.snapshots import CollectionKey, RemoteFile
from metalake_sync.downloads.annotation_files import AnnotationDownload, files_that_differ
from metalake_sync.downloads.walk import DownloadWalk
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.selections import Place, count_selection, find_place, list_selection
from metalake_sync.sources.scratch import scratch_folder
from metalake_sync.state.downloads import DownloadRecords


@dataclass(frozen=True, slots=True)
class ObservedDownload:
    """A download with its files compared. Its annotations need the classes of all downloads first."""

    plan: DownloadPlan
    annotations: AnnotationDownload | None = None

    def close(self) -> None:
        if self.annotations is not None:
            self.annotations.close()


@dataclass(frozen=True, slots=True)
class DownloadObserver:
    """Plans the downloads and trash rules of one manifest."""

    client: LakeClient
    records: DownloadRecords
    lake: str
    """The identity of the lake in the state."""
    base_dir: Path
    """What the folders of downloads are relative to."""
    emit: EventSink

    def find(self, spec: DownloadSpec) -> Place | None:
        """The collection of a download, or all of a type. None if the lake does not have the collection."""
        selection = spec.selection
        if selection.collection is None:
            return Place(selection.type, None)
        return find_place(self.client, selection.collection, selection.type)

    def walk(self, spec: DownloadSpec, place: Place, adopted: Iterable[DownloadedFile] = ()) -> DownloadWalk:
        """Walk through a download. `adopted`: files to treat as recorded."""
        known = {file.unique_name: file for file in adopted}
        return DownloadWalk(
            self.client,
            spec,
            place,
            root=self.base_dir / spec.to,
            recorded={**self.records.of_folder(self.lake, spec.to), **known},
            reserved=format_named(spec.annotations.format).output().file_names if spec.annotations else (),
        )

    def observe(self, spec: DownloadSpec) -> ObservedDownload:
        """Compare the files of a folder with the lake, and read the annotations. Close the result."""
        plan = DownloadPlan(spec)
        place = self.find(spec)
        if place is None:
            plan.missing = True
            return ObservedDownload(plan)
        walk = self.walk(spec, place)
        for page in walk.pages(self._seen(f"listing {_shown(spec.key)} for {spec.to}")):
            plan.files += (wanted.action for wanted in page.wanted)
            plan.unchanged += page.unchanged
            plan.adopted += page.adopted
        plan.stale = tuple(walk.stale_files())
        annotations = self.annotations(spec, place, walk, to_come=spec.media)
        if annotations is not None:
            try:
                annotations.read(self._seen(f"reading annotations of {_shown(spec.key)}"))
            except BaseException:
                annotations.close()
                raise
            plan.labels = annotations.labels
        return ObservedDownload(plan, annotations)

    def finish(self, observed: ObservedDownload, classes: Sequence[str]) -> DownloadPlan:
        """Compare the annotation files of a folder with the lake. `classes`: of all downloads, in the order of ids."""
        plan, annotations = observed.plan, observed.annotations
        if annotations is not None:
            spec = plan.spec
            with scratch_folder() as folder:
                annotations.write(folder, classes, self._seen(f"reading annotations of {_shown(spec.key)}"))
                plan.annotations += self.compare_annotations(spec, annotations, folder)
                plan.stale = (*plan.stale, *annotations.stale_labels(folder))
            plan.losses = annotations.losses
            plan.nothing_drawn = not annotations.drawn
        return plan

    def annotations(
        self, spec: DownloadSpec, place: Place, walk: DownloadWalk, *, to_come: bool = False
    ) -> AnnotationDownload | None:
        """The annotations of a download. None if it has none."""
        if spec.annotations is None or place.collection_id is None:
            return None
        return AnnotationDownload(
            self.client,
            place.collection_id,
            spec.annotations,
            walk.filenames,
            self.base_dir / spec.to,
            to_come=to_come,
        )

    def compare_annotations(
        self, spec: DownloadSpec, annotations: AnnotationDownload, written: Path
    ) -> Iterator[DownloadAnnotations]:
        """One action for each annotation file that is missing in the folder or differs from the written one."""
        root = self.base_dir / spec.to
        for path in files_that_differ(written, root):
            reason = Reason.ANNOTATIONS_CHANGED if (root / path).exists() else Reason.NEW
            yield DownloadAnnotations(spec.key, os.path.join(spec.to, path), annotations.images, reason)

    def plan_trash(self, selection: ItemSelection) -> TrashRulePlan:
        """List the items that a trash rule matches."""
        place = Place(selection.type, None)
        if selection.collection is not None:
            found = find_place(self.client, selection.collection, selection.type)
            if found is None:
                return TrashRulePlan(selection, ())
            place = found
        if selection.whole:
            assert place.collection_id is not None, "cross checks of the manifest require 'collection'"
            items = count_selection(self.client, selection, place)
            return TrashRulePlan(selection, (TrashCollection(selection.key, place.collection_id, items),))
        matched = [
            TrashMatched(selection.key, RemoteFile(item.name, item.id, item.unique_name or item.name))
            for page in list_selection(self.client, selection, place)
            for item in page
        ]
        return TrashRulePlan(selection, tuple(matched))

    def _seen(self, what: str) -> Callable[[int], None]:
        return lambda count: self.emit(Observing(what, count))


def _shown(key: CollectionKey) -> str:
    return f"all {key.type.value} items" if key.name == WHOLE_LAKE else str(key)
