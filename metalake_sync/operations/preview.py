"""`annotations preview`: draws the shapes of a sample of images before they are sent, and one page with all of them.

Owns: which images are drawn. Must not: ask a lake, or read or write the state.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from metalake_sync.annotations.drawing import (
    DrawnImage,
    ImageUnreadable,
    contact_sheet,
    draw_record,
    label_colors,
    need_pillow,
)
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.errors import UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.open_collections import open_collections
from metalake_sync.planning.open_sources import walk_files

PAGE = "index.html"


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
    """Draw into a folder, which is created. Raises ManifestErrors, and UsageError if there is nothing to draw."""
    need_pillow()
    notes: list[str] = []
    collections: list[DesiredCollection] = []
    try:
        chosen: list[_Chosen] = []
        for collection in open_collections(manifest):
            collections.append(collection)
            chosen += _choose(collection, spec)
            notes += [str(note) for index in collection.annotations.values() for note in index.notes()]
        if manifest.model.annotations:
            notes.append("the manifest's top-level annotations are not drawn, because their images are in the lake")
        if not chosen:
            raise UsageError(
                "no image has shapes to draw",
                where=manifest.source,
                remedy="Check 'annotations' with 'metalake-sync validate', or the names that you gave.",
            )
        images = _draw(chosen, spec.to, notes)
    finally:
        for collection in collections:
            collection.close()
    page = spec.to / PAGE
    labels = {label for image in images for label in image.labels}
    page.write_text(contact_sheet(f"Annotations of {manifest.name}", images, label_colors(labels), notes), "utf-8")
    return Preview(page, tuple(images), tuple(notes))


def _choose(collection: DesiredCollection, spec: PreviewSpec) -> Iterator[_Chosen]:
    operations = [one for one in collection.annotations if not spec.operations or one in spec.operations]
    by_operation: dict[str, list[tuple[str, str]]] = {operation: [] for operation in operations}
    for name, _, path in walk_files([*collection.folders, *collection.files]) if operations else ():
        for operation, wanted in collection.annotation_sets(name).items():
            is_wanted = name in spec.images if spec.images else wanted.shape_count > 0
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


def _draw(chosen: Sequence[_Chosen], to: Path, notes: list[str]) -> list[DrawnImage]:
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot create '{to}' ({error.strerror})", remedy="Choose another folder with --to."
        ) from None
    # A label has the same color on every image, so all labels are read before the first image is drawn.
    colours = label_colors(shape.label for one in chosen for shape in one.record().shapes)
    images: list[DrawnImage] = []
    for number, one in enumerate(chosen, start=1):
        record = one.record()
        png = f"{number:04d}-{_slug(one.operation)}-{_slug(one.name)}.png"
        try:
            draw_record(one.path, record, colours, to / png)
        except ImageUnreadable as error:
            notes.append(str(error))
            continue
        kind = one.collection.annotations[one.operation].kind.value
        labels = Counter(shape.label for shape in record.shapes)
        images.append(DrawnImage(one.collection.key.name, one.operation, kind, one.name, png, labels))
    return images


def _slug(text: str) -> str:
    """A part of a file name that is valid on every system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:60].strip(".") or "_"
