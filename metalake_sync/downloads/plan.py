"""Plans downloads and trash rules: compares what they select in the lake with the local folders.

Owns: the order: annotation files are compared when the classes of all downloads are known. Must not: read the
manifest (`blocks`), decide about a single file (`core.downloads`), or change anything. Longer than 300 lines, because
planning and carrying out a download compare by the same methods.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from metalake_sync.annotations.formats import format_named
from metalake_sync.core.actions import (
    DownloadAnnotations,
    Reason,
    RemoveDownloaded,
    TrashCollection,
    TrashMatched,
)
from metalake_sync.core.downloads import (
    DownloadedFile,
    DownloadPlan,
    DownloadSpec,
    folder_of_split,
)
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.plan import TrashRulePlan
from metalake_sync.core.selection import WHOLE_LAKE, ItemSelection
from metalake_sync.core.snapshots import CollectionKey, RemoteFile
from metalake_sync.downloads.annotation_files import AnnotationDownload, files_below, files_that_differ
from metalake_sync.downloads.classes import default_order, labels_not_in, order_of
from metalake_sync.downloads.metadata_file import FILES as METADATA_FILES
from metalake_sync.downloads.metadata_file import fields_to_read, metadata_file_for, write_metadata
from metalake_sync.downloads.stale import StaleFiles, find_stale, unsettled
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
    walk: DownloadWalk | None = None
    """None if the lake does not have the collection."""

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
    known_fields: Callable[[], Collection[str]]
    """Returns the metadata fields that the manifest ever wrote into the lake."""
    _split_of: dict[str, dict[str, str]] = field(default_factory=dict)
    """The folder of each file by unique name, of the downloads that were walked through so far."""

    def find(self, spec: DownloadSpec) -> Place | None:
        """The collection of a download, or all of a type. None if the lake does not have the collection."""
        selection = spec.selection
        if selection.collection is None:
            return Place(selection.type, None)
        return find_place(self.client, selection.collection, selection.type)

    def walk(self, spec: DownloadSpec, place: Place, adopted: Iterable[DownloadedFile] = ()) -> DownloadWalk:
        """Walk through a download. `adopted`: files to treat as recorded."""
        known = {file.unique_name: file for file in adopted}
        others = self.records.other_files(self.lake, spec.records_folder)
        return DownloadWalk(
            self.client,
            spec,
            place,
            root=self.base_dir / spec.to,
            recorded={**self.records.of_folder(self.lake, spec.records_folder), **known},
            others=others,
            reserved=_reserved_names(spec),
            taken=self._split_of.setdefault(spec.block, {}),
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
        self.walked(walk, spec)
        plan.in_other_splits = tuple(walk.in_other_splits)
        if spec.counts_unassigned:
            selected = count_selection(self.client, spec.selection, place)
            plan.unassigned = max(0, selected - len(self._split_of[spec.block]))
        annotations = self.annotations(spec, place, walk, to_come=spec.media)
        if annotations is not None:
            try:
                annotations.read(self._seen(f"reading annotations of {_shown(spec.key)}"))
            except BaseException:
                annotations.close()
                raise
            plan.labels = frozenset(annotations.labels)
        return ObservedDownload(plan, annotations, walk)

    def walked(self, walk: DownloadWalk, spec: DownloadSpec) -> None:
        """Take the files of a split, so that no later split of the download gets them too."""
        self._split_of.setdefault(spec.block, {}).update(dict.fromkeys(walk.filenames, spec.to))

    def finish_all(self, observed: Sequence[ObservedDownload]) -> Iterator[DownloadPlan]:
        """Compare the annotation files of all folders with the lake, when the labels of all downloads are known.

        A download with labels that have no class id gets no actions, in any of its splits.
        """
        default_classes = default_order(one.plan for one in observed)
        refused: dict[str, set[str]] = {}
        for one in observed:
            if one.annotations is not None:
                classes = order_of(one.plan, default_classes)
                unknown = labels_not_in(classes, one.annotations.written_labels)
                refused.setdefault(one.plan.spec.block, set()).update(unknown)
        for one in observed:
            if labels := refused.get(one.plan.spec.block):
                one.plan.refused_labels = tuple(sorted(labels))
                one.plan.files, one.plan.adopted = [], []
                yield one.plan
            else:
                yield self._finish(one, default_classes)

    def _finish(self, observed: ObservedDownload, default_classes: Sequence[str]) -> DownloadPlan:
        """Compare the annotation files of a folder with the lake."""
        plan, annotations, walk, spec = observed.plan, observed.annotations, observed.walk, observed.plan.spec
        if walk is None:
            return plan
        classes = order_of(plan, default_classes)
        if annotations is not None and annotations.numbers_classes:
            plan.classes = classes
            plan.recorded_classes = self.records.classes(self.lake, spec.records_folder)
        plan.fields_unknown = spec.metadata == () and not self.known_fields()
        written: tuple[str, ...] = ()
        stale_labels: list[str] = []
        if writes_files(spec, annotations):
            with scratch_folder() as folder:
                written = self.write_files(spec, walk.filenames, annotations, folder, classes)
                plan.annotations += self.compare_files(spec, len(walk.filenames), folder)
                if annotations is not None:
                    stale_labels = annotations.stale_labels(folder)
        if annotations is not None:
            plan.losses = annotations.losses
            plan.nothing_drawn = not annotations.drawn
        self._find_stale(plan, walk, written, stale_labels)
        return plan

    def write_files(
        self,
        spec: DownloadSpec,
        filenames: Mapping[str, str],
        annotations: AnnotationDownload | None,
        folder: Path,
        classes: Sequence[str],
    ) -> tuple[str, ...]:
        """Write the annotations and the metadata of a download into an empty folder. Returns the paths below it.

        `filenames`: unique name → file name. Raises LakeRejected and OSError.
        """
        if annotations is not None:
            annotations.write(folder, classes, self._seen(f"reading annotations of {_shown(spec.key)}"))
        if spec.annotations is not None:
            output = format_named(spec.annotations.format).output()
            if spec.splits:
                output.write_index(folder, spec.splits, classes)
            elif spec.split is not None and output.index_file is not None:
                (folder / output.index_file).unlink(missing_ok=True)
        if spec.metadata is not None:
            fields = fields_to_read(spec.metadata, self.known_fields())
            seen = self._seen(f"reading metadata of {_shown(spec.key)}")
            for name in _metadata_files(spec):
                write_metadata(self.client, filenames, fields, folder / name, seen)
        return tuple(files_below(folder))

    def _find_stale(
        self, plan: DownloadPlan, walk: DownloadWalk, written: Sequence[str], stale_labels: Sequence[str]
    ) -> None:
        """Find the files in the folder that the download does not write, and plan their removal."""
        spec = plan.spec
        root = self.base_dir / spec.to
        differing = {os.path.relpath(action.path, spec.to) for action in plan.annotations}
        plan.unsettled = len(unsettled(root, walk.others, set(written) - differing))
        found = find_stale(root, walk.recorded.values(), walk.others, {*walk.filenames.values(), *written})
        plan.recorded = len(walk.recorded) + len(walk.others.keys() - {one.filename for one in walk.recorded.values()})
        if spec.split is None:
            for split in self.records.splits(self.lake, spec.to):
                if split not in spec.splits:
                    old, files = self._stale_split(spec, split)
                    found = found.with_those_of(split, old)
                    plan.recorded += files
        plan.vanished = found.vanished
        plan.nothing_matches = not self._split_of.get(spec.block)
        removed = found.removable if spec.prune and not plan.nothing_matches else {}
        plan.removals = [
            RemoveDownloaded(spec.key, os.path.join(spec.to, path), fingerprint)
            for path, fingerprint in removed.items()
        ]
        media = {one.filename for one in walk.recorded.values()}
        stale = {*found.kept, *found.removable, *stale_labels} - removed.keys()
        plan.stale = (*sorted(stale & media), *sorted(stale - media))

    def _stale_split(self, spec: DownloadSpec, split: str) -> tuple[StaleFiles, int]:
        """Return the stale files of a split that the download does not have any more, and how many are recorded."""
        folder = folder_of_split(spec.to, split)
        downloaded = self.records.of_folder(self.lake, folder)
        others = self.records.other_files(self.lake, folder)
        found = find_stale(self.base_dir / spec.to, downloaded.values(), others, (), subfolder=split)
        return found, len(downloaded.keys() | others.keys())

    def forget(self, spec: DownloadSpec, paths: Sequence[str]) -> None:
        """Remove the records of files that are not in the folder of a download any more, nor in its earlier splits."""
        splits = set(self.records.splits(self.lake, spec.to)) if spec.split is None else set()
        folders: dict[str, list[str]] = {}
        for path in paths:
            split, _, rest = path.partition("/")
            inside = bool(rest) and split in splits
            folder = folder_of_split(spec.to, split) if inside else spec.records_folder
            folders.setdefault(folder, []).append(rest if inside else path)
        for folder, inner in folders.items():
            self.records.forget(self.lake, folder, inner)

    def annotations(
        self, spec: DownloadSpec, place: Place, walk: DownloadWalk, *, to_come: bool = False
    ) -> AnnotationDownload | None:
        """The annotations of a download. None if it has none."""
        if spec.annotations is None or spec.splits or place.collection_id is None:
            return None
        return AnnotationDownload(
            self.client,
            place.collection_id,
            spec.annotations,
            walk.filenames,
            self.base_dir / spec.to,
            to_come=to_come,
            reserved=_metadata_files(spec),
        )

    def compare_files(self, spec: DownloadSpec, images: int, written: Path) -> Iterator[DownloadAnnotations]:
        """One action for each file that is missing in the folder or differs from the written one.

        `images`: how many files of the lake it is about.
        """
        root = self.base_dir / spec.to
        for path in files_that_differ(written, root):
            changed = Reason.METADATA_CHANGED if path in METADATA_FILES else Reason.ANNOTATIONS_CHANGED
            reason = changed if (root / path).exists() else Reason.NEW
            yield DownloadAnnotations(spec.key, os.path.join(spec.to, path), images, reason)

    def plan_trash(self, selection: ItemSelection) -> TrashRulePlan:
        """List the items that a trash rule matches."""
        place = Place(selection.type, None)
        if selection.collection is not None:
            found = find_place(self.client, selection.collection, selection.type)
            if found is None:
                return TrashRulePlan(selection, (), missing=True)
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


def _reserved_names(spec: DownloadSpec) -> tuple[str, ...]:
    of_format = format_named(spec.annotations.format).output().file_names if spec.annotations else ()
    return (*of_format, *_metadata_files(spec))


def _metadata_files(spec: DownloadSpec) -> tuple[str, ...]:
    """Return the name of the metadata file of a download, if it has one."""
    if spec.metadata is None:
        return ()
    return (metadata_file_for(spec.annotations.format if spec.annotations is not None else None),)


def writes_files(spec: DownloadSpec, annotations: AnnotationDownload | None) -> bool:
    """Whether a download writes other files than those of the lake."""
    with_index = spec.splits and spec.annotations is not None
    return annotations is not None or spec.metadata is not None or bool(with_index)


def _shown(key: CollectionKey) -> str:
    return f"all {key.type.value} items" if key.name == WHOLE_LAKE else str(key)
