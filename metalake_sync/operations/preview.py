"""A look at annotations before they are sent: a sample of pictures with their shapes, and one page of all of them.

Owns: which pictures are taken. Must not: ask a lake, or touch the state.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from metalake_sync.annotations.contact_sheet import DrawnImage, contact_sheet
from metalake_sync.annotations.drawing import ImageUnreadable, draw_record, label_colours, need_pillow
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
    """What is to be seen. `sample`: pictures of each collection and operation; those with shapes, evenly spread over
    the names. `images`: these names and no others. `operations`: none is all of them."""

    to: Path
    sample: int = 24
    images: frozenset[str] = frozenset()
    operations: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Preview:
    """What was drawn, and what could not be. `page`: the contact sheet."""

    page: Path
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
    """Draw into a folder, which is made. Raises ManifestErrors, and UsageError where nothing is to be drawn."""
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
            notes.append("the manifest's top-level annotations: their pictures are in the lake, not here")
        if not chosen:
            raise UsageError(
                "no picture has shapes to draw",
                where=manifest.source,
                remedy="Check 'annotations' with 'metalake-sync validate', or the names that were asked for.",
            )
        images = _draw(chosen, spec.to, notes)
    finally:
        for collection in collections:
            collection.close()
    page = spec.to / PAGE
    labels = {label for image in images for label in image.labels}
    page.write_text(contact_sheet(f"Annotations of {manifest.name}", images, label_colours(labels), notes), "utf-8")
    return Preview(page, tuple(images), tuple(notes))


def _choose(collection: DesiredCollection, spec: PreviewSpec) -> Iterator[_Chosen]:
    operations = [one for one in collection.annotations if not spec.operations or one in spec.operations]
    by_operation: dict[str, list[tuple[str, str]]] = {operation: [] for operation in operations}
    for name, _, path in walk_files([*collection.folders, *collection.files]) if operations else ():
        for operation, wanted in collection.annotation_sets(name).items():
            asked_for = name in spec.images if spec.images else wanted.shape_count > 0
            if operation in by_operation and asked_for:
                by_operation[operation].append((name, path))
    for operation, found in by_operation.items():
        for name, path in found if spec.images else _spread(sorted(found), spec.sample):
            yield _Chosen(collection, operation, name, path)


def _spread(found: Sequence[tuple[str, str]], sample: int) -> Sequence[tuple[str, str]]:
    """Every n-th of a list, the first and the last among them."""
    if len(found) <= sample:
        return found
    if sample == 1:
        return found[:1]
    return [found[number * (len(found) - 1) // (sample - 1)] for number in range(sample)]


def _draw(chosen: Sequence[_Chosen], to: Path, notes: list[str]) -> list[DrawnImage]:
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"'{to}' can't be made ({error.strerror})", remedy="Name another folder with --to.") from None
    # The colours of a label are the same on every picture, so all labels are known before the first is drawn.
    colours = label_colours(shape.label for one in chosen for shape in one.record().shapes)
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
    """A part of a file name that every system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:60].strip(".") or "_"
