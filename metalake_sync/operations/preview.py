"""`annotations preview`: draws the shapes of a sample of images before they are sent, and one page with all of them.

Owns: which images are drawn. Must not: ask a lake, or write the state.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from functools import partial
from pathlib import Path

from metalake_sync.annotations.drawing import (
    DrawnImage,
    ImageUnreadable,
    contact_sheet,
    draw_record,
    label_colors,
    need_pillow,
)
from metalake_sync.core.actions import Annotate, RemoveAnnotations
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.engine import Engine
from metalake_sync.errors import UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.operations.preview_folder import PAGE, PreviewFolder
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.file_sources import walk_files
from metalake_sync.planning.open_sources import open_sources

SetKey = tuple[CollectionKey, str, str]
"""Collection, operation and name of a file."""


@dataclass(frozen=True, slots=True)
class PreviewSpec:
    """What to draw."""

    to: Path
    sample: int = 24
    """How many images with shapes to draw per collection and operation, evenly spread over the sorted names."""
    images: frozenset[str] = frozenset()
    """Draw the images of these names instead of a sample."""
    operations: frozenset[str] = frozenset()
    """Empty means all operations."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What was drawn, and notes on what could not be drawn."""

    page: Path
    """The contact sheet."""
    images: tuple[DrawnImage, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Chosen:
    collection: DesiredCollection
    operation: str
    name: str
    path: str

    def record(self) -> ImageRecord:
        return self.collection.record(self.operation, self.name)


def draw_preview(manifest: LoadedManifest, spec: PreviewSpec) -> Preview:
    """Draw into a folder, which is created. Files of an earlier preview are removed from it.

    Raises ManifestErrors, and UsageError if there is nothing to draw.
    """
    need_pillow()
    notes: list[str] = []
    collections: list[DesiredCollection] = []
    try:
        chosen: list[_Chosen] = []
        for collection in open_sources(manifest):
            collections.append(collection)
            chosen += _choose(collection, spec, None)
            notes += [str(note) for index in collection.annotations.values() for note in index.notes()]
        notes += _notes_on_unmanaged(manifest)
        if not chosen:
            raise UsageError(
                "no image has shapes to draw",
                where=manifest.source,
                remedy="Check 'annotations' with 'metalake-sync validate', or the names that you gave.",
            )
        return _draw(manifest, chosen, spec.to, notes)
    finally:
        for collection in collections:
            collection.close()


def draw_changes(engine: Engine, spec: PreviewSpec) -> Preview:
    """Draw only annotation sets that differ from what the state recorded, as `draw_preview` does.

    The options must not refresh from the lake. Without any change, the page says so. Raises ManifestErrors.
    """
    need_pillow()
    with engine.plan() as planned:
        actions = [action for part in planned.plan.collections for action in part.annotations]
        changed = {
            (action.collection, action.annotations.operation, action.at.name)
            for action in actions
            if isinstance(action, Annotate)
        }
        cleared = sum(isinstance(action, RemoveAnnotations) for action in actions)
        notes = [str(note) for note in planned.plan.notes]
        if cleared:
            notes.append(f"{cleared} annotation sets are cleared, so nothing of them is drawn")
        notes += _notes_on_unmanaged(engine.manifest)
        chosen: list[_Chosen] = []
        for collection in planned.desired.values():
            chosen += _choose(collection, spec, changed)
        if not chosen:
            notes.append("no annotation set changes, as far as the state knows")
        elif len(chosen) < len(changed) and not (spec.images or spec.operations):
            notes.append(f"{len(chosen)} of {len(changed)} changed annotation sets are drawn; --sample draws more")
        return _draw(engine.manifest, chosen, spec.to, notes)


def _notes_on_unmanaged(manifest: LoadedManifest) -> Iterator[str]:
    if manifest.model.annotations:
        yield "the manifest's top-level annotations are not drawn, because their images are in the lake"


def _choose(collection: DesiredCollection, spec: PreviewSpec, changed: Container[SetKey] | None) -> Iterator[_Chosen]:
    """Yield the images to draw. `changed`: draw only these sets. None: draw all sets."""
    operations = [one for one in collection.annotations if not spec.operations or one in spec.operations]
    by_operation: dict[str, list[tuple[str, str]]] = {operation: [] for operation in operations}
    for name, _, path in walk_files([*collection.folders, *collection.files]) if operations else ():
        for operation, wanted in collection.annotation_sets(name).items():
            is_wanted = name in spec.images if spec.images else wanted.shape_count > 0
            if changed is not None and (collection.key, operation, name) not in changed:
                continue
            if operation in by_operation and is_wanted:
                by_operation[operation].append((name, path))
    for operation, found in by_operation.items():
        for name, path in found if spec.images else _spread(sorted(found), spec.sample):
            yield _Chosen(collection, operation, name, path)


def _spread(found: Sequence[tuple[str, str]], sample: int) -> Sequence[tuple[str, str]]:
    """Every n-th item of a list, including the first and the last."""
    if len(found) <= sample:
        return found
    if sample == 1:
        return found[:1]
    return [found[number * (len(found) - 1) // (sample - 1)] for number in range(sample)]


def _draw(manifest: LoadedManifest, chosen: Sequence[_Chosen], to: Path, notes: list[str]) -> Preview:
    names = [f"{number:04d}-{_slug(one.operation)}-{_slug(one.name)}.png" for number, one in enumerate(chosen, start=1)]
    folder = PreviewFolder(to, [*names, PAGE])
    # A label has the same color on every image, so all labels are read before the first image is drawn.
    colors = label_colors(shape.label for one in chosen for shape in one.record().shapes)
    images: list[DrawnImage] = []
    for png, one in zip(names, chosen, strict=True):
        record = one.record()
        try:
            folder.write(png, partial(draw_record, one.path, record, colors))
        except ImageUnreadable as error:
            notes.append(str(error))
            continue
        kind = one.collection.annotations[one.operation].kind.value
        labels = Counter(shape.label for shape in record.shapes)
        images.append(DrawnImage(one.collection.key.name, one.operation, kind, one.name, png, labels))
    labels_drawn = {label for image in images for label in image.labels}
    html = contact_sheet(f"Annotations of {manifest.name}", images, label_colors(labels_drawn), notes)

    def write_page(path: Path) -> None:
        path.write_text(html, "utf-8")

    folder.write(PAGE, write_page)
    folder.finish()
    return Preview(to / PAGE, tuple(images), tuple(notes))


def _slug(text: str) -> str:
    """A part of a file name that is valid on every system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:60].strip(".") or "_"
