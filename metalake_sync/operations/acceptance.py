"""`annotations accept`: writes annotation sets of the lake that another client changed into a source of the manifest.

Owns: the written files, and the check that the manifest reads them back as the lake has them. Must not: change the
manifest, the state or the lake.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.frames import to_fractions
from metalake_sync.annotations.image_matching import LocalImages
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.annotations.readback import is_as_sent
from metalake_sync.core.notes import some_of
from metalake_sync.core.set_changes import SetChanges
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.engine import Engine
from metalake_sync.errors import ManifestErrors, UsageError
from metalake_sync.lake_access import lake_identity
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.operations.accepted_files import (
    is_same,
    paths_of,
    put_entries,
    read_document,
    shown_path,
    write_checked,
)
from metalake_sync.operations.sets_of_others import CollectionSets, SetOfOthers
from metalake_sync.planning.annotation_specs import annotation_spec
from metalake_sync.planning.desired import key_of
from metalake_sync.planning.open_sources import open_sources
from metalake_sync.planning.unmanaged_sources import operations_elsewhere
from metalake_sync.state.store import StateStore


@dataclass(frozen=True, slots=True)
class AcceptSpec:
    """Which sets to accept, and where to write them."""

    operations: frozenset[str] = frozenset()
    """Empty means all operations."""
    files: tuple[str, ...] = ()
    """Names in a collection, COLLECTION/NAME or paths. Empty means all files."""
    output: Path | None = None
    """The file to write. None: `accepted.json` beside the source of the operation."""


@dataclass(frozen=True, slots=True)
class AcceptedSet:
    """A set of the lake that was written."""

    file: str
    """The name in the collection."""
    shapes: int
    changes: SetChanges
    """How the lake's set differs from the source's."""


@dataclass(frozen=True, slots=True)
class AcceptedFile:
    """A file that was written for one block of the manifest."""

    path: str
    """Relative to the current folder, if the file is inside it."""
    collection: str
    operation: str
    declared_at: str
    """The file:line:column of the block's `source`."""
    sets: tuple[AcceptedSet, ...]
    source: tuple[str, ...] | None
    """What `source` must be for the manifest to use the file. None: the file is the last one of the list already."""
    format: str | None
    """The block's `format`, which must be removed, so that the format of each file is detected."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The files that were written, and notes on sets that could not be accepted."""

    files: tuple[AcceptedFile, ...]
    notes: tuple[str, ...]


def accept(engine: Engine, spec: AcceptSpec) -> Accepted:
    """Write the sets of the lake that differ from the sources because another client changed them.

    Raises UsageError for an unknown operation or file, and what the sources and the lake raise.
    """
    manifest = engine.manifest
    blocks = _blocks(manifest)
    known = {block.operation for own in blocks.values() for block in own}
    if unknown := spec.operations - known:
        raise UsageError(
            f"no collection has annotations of the operation '{min(unknown)}'",
            where=manifest.source,
            remedy=f"Use one of: {', '.join(sorted(known))}." if known else "Add 'annotations' to a collection.",
        )
    paths = paths_of(blocks)
    lake = lake_identity(manifest)
    with contextlib.ExitStack() as stack:
        state = stack.enter_context(StateStore(engine.state_backend))
        client = stack.enter_context(engine.reach(state))
        elsewhere = operations_elsewhere(manifest, state, lake)
        recorded = state.collections.of_lake(lake)
        opened: list[CollectionSets] = []
        for desired in open_sources(manifest, state=state, spelling=state.spelling(lake)):
            stack.callback(desired.close)
            handle = recorded[desired.key][0] if desired.key in recorded else None
            opened.append(CollectionSets(desired, state, client, handle, manifest.base_dir, elsewhere))
        chosen = _chosen_files(spec.files, opened) if spec.files else {}
        notes: list[str] = []
        writers: list[_Writer] = []
        for collection in opened:
            own = [block for block in blocks[collection.desired.key] if block.operation in (spec.operations or known)]
            for operation in dict.fromkeys(block.operation for block in own):
                found = list(collection.changed_by_others(operation, chosen.get(collection.desired.key), notes))
                writers += _writers(collection, [one for one in own if one.operation == operation], found, paths)
        if spec.output is not None and len(writers) > 1:
            several = ", ".join(dict.fromkeys(writer.block.operation for writer in writers))
            raise UsageError(
                f"--output names one file, and sets of several blocks differ: {several}",
                remedy="Choose one with --operation, or leave out --output.",
            )
        written = tuple(writer.write(spec.output, notes) for writer in writers)
    return Accepted(written, tuple(notes))


# What the command line names.


def _blocks(manifest: LoadedManifest) -> dict[CollectionKey, list[AnnotationSpec]]:
    """The annotation blocks of each collection."""
    return {
        key_of(collection): [
            annotation_spec(
                block,
                manifest.base_dir,
                str(manifest.where("collections", collection.index, "annotations", number, "source")),
            )
            for number, block in enumerate(collection.annotations)
        ]
        for collection in manifest.collections
    }


def _chosen_files(files: Sequence[str], collections: Sequence[CollectionSets]) -> dict[CollectionKey, set[str]]:
    """The names of the given files, by collection. Raises UsageError for an unknown file."""
    chosen: dict[CollectionKey, set[str]] = {collection.desired.key: set() for collection in collections}
    for file in files:
        found = {collection.desired.key: collection.named(file) for collection in collections}
        if not any(found.values()):
            raise UsageError(
                f"'{file}' is not a file of a collection with annotations",
                remedy="Give the name of a file in a collection, or its path.",
            )
        for key, names in found.items():
            chosen[key] |= names
    return chosen


# Writing.


def _writers(
    collection: CollectionSets,
    blocks: Sequence[AnnotationSpec],
    found: Sequence[SetOfOthers],
    paths: Mapping[str, Path],
) -> Iterator[_Writer]:
    """One writer for each block of an operation that has such sets. A set belongs to the block that has its entry."""
    if not found:
        return
    index = collection.desired.annotations[blocks[0].operation]
    by_block: dict[str, list[SetOfOthers]] = {}
    for one in found:
        entry = index.images().get(one.name)
        by_block.setdefault(entry.source.declared_at if entry is not None else blocks[0].declared_at, []).append(one)
    for block in blocks:
        if block.declared_at in by_block:
            yield _Writer(collection, index, block, blocks, by_block[block.declared_at], paths[block.declared_at])


@dataclass(slots=True)
class _Writer:
    """Writes the sets of one block."""

    collection: CollectionSets
    index: AnnotationIndex
    """What the sources of the operation have now."""
    block: AnnotationSpec
    blocks: Sequence[AnnotationSpec]
    """All blocks of the operation in the collection."""
    found: Sequence[SetOfOthers]
    path: Path

    def write(self, output: Path | None, notes: list[str]) -> AcceptedFile:
        """Write the file as a whole or not at all. Entries of other images in it stay. `output`: another path."""
        path = output or self.path
        accepted: dict[str, ImageRecord] = {}
        for one in self.found:
            if one.size is None and self.block.normalized is not False:
                notes.append(
                    f"{self.collection.desired.key}/{one.name}: the size of the image can't be read, so the"
                    " lake's set is not accepted"
                )
                continue
            accepted[one.name] = self._as_in_source(one)
        document = read_document(path)
        others = put_entries(document, accepted, LocalImages(self.collection.files))
        write_checked(document, path, lambda draft: self._check(draft, path, accepted.keys() | others, notes))
        sets = [
            AcceptedSet(one.name, len(one.theirs.shapes), one.changes) for one in self.found if one.name in accepted
        ]
        return AcceptedFile(
            shown_path(path),
            self.collection.desired.key.name,
            self.block.operation,
            self.block.declared_at,
            tuple(sets),
            self._source_with(path),
            self.block.format if self.block.format not in (None, "metalake") else None,
        )

    def _as_in_source(self, one: SetOfOthers) -> ImageRecord:
        """The lake's set in the unit and with the labels of the block's sources."""
        record = one.theirs
        if self.block.normalized is not False and one.size is not None:
            record = to_fractions(record, one.size)
        back = {sent: label for label, sent in self.block.labels.items()}
        shapes = tuple(
            replace(shape, label=back.get(shape.label, shape.label)) if shape.label in self.block.labels else shape
            for shape in record.shapes
        )
        return replace(record, shapes=shapes)

    def _check(self, draft: Path, path: Path, written: Collection[str], notes: list[str]) -> None:
        """Check that the manifest, with the file, has the lake's sets, and the sets of other images as before."""
        last = str(draft.absolute())
        block = replace(
            self.block,
            sources=(*(one for one in self.block.sources if not is_same(self.block.base_dir / one, path)), last),
            format=None if self.block.format != "metalake" else "metalake",
        )
        blocks = [block if one is self.block else one for one in self.blocks]
        try:
            after = open_index(blocks, LocalImages(self.collection.files, self.collection.state.readings))
        except ManifestErrors as errors:
            raise UsageError(
                f"the manifest cannot read the accepted sets with its other sources: {errors.errors[0].message}",
                where=self.block.declared_at,
                remedy="Correct the block, or edit the source by hand.",
            ) from None
        with contextlib.closing(after):
            before = self.index.images()
            lost = [
                name
                for name, image in before.items()
                if name not in written and (name not in after.images() or after.images()[name].digest != image.digest)
            ]
            if lost:
                raise UsageError(
                    f"with the accepted sets as the last source, sets of other images would change: {some_of(lost)}",
                    where=self.block.declared_at,
                    remedy="Edit the source by hand, or choose the files to accept.",
                )
            notes += [
                f"{self.collection.desired.key}/{one.name}: the manifest would not send the accepted set as the lake"
                f" has it; check 'labels', 'invalid' and 'old_form' at {self.block.declared_at}"
                for one in self.found
                if one.name in written and not self._has_theirs(after, one)
            ]

    def _has_theirs(self, after: AnnotationIndex, one: SetOfOthers) -> bool:
        if one.name not in after.images():
            return False
        return is_as_sent(after.record(one.name), after.kind, one.theirs, self.collection.paths[one.name])

    def _source_with(self, path: Path) -> tuple[str, ...] | None:
        """The block's `source` with the file as the last one. None: it is the last one already."""
        base_dir, sources = self.block.base_dir, self.block.sources
        if is_same(base_dir / sources[-1], path):
            return None
        relative = os.path.relpath(path, base_dir).replace(os.sep, "/")
        shown = relative if not relative.startswith("../") else os.path.abspath(path)
        return (*(one for one in sources if not is_same(base_dir / one, path)), shown)
