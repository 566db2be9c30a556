"""The annotation sets of one operation: for each image a digest, a count of shapes, and its record.

Owns: reading what `index_builder` collected. Must not: read sources.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from metalake_sync.annotations.entries import Entry, SourceFile
from metalake_sync.annotations.frames import to_pixels
from metalake_sync.annotations.images import Size
from metalake_sync.annotations.parse_cache import RawSource
from metalake_sync.annotations.record_store import IndexedImage, RecordStore
from metalake_sync.annotations.shape_checks import ShapeChecks
from metalake_sync.annotations.spec import AnnotationSpec
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.errors import ManifestError

LabelTree = dict[str, dict[str, list[object]]]
"""Label → attribute → values."""


class UndecidableSource(ManifestError):
    """An error that only the user can resolve, or that concerns every entry. Skipping an entry can't solve it."""


class AnnotationIndex:
    """The sets of one operation, by the names of the images in the collection. Close it: until then its temporary file
    stays."""

    def __init__(self, specs: Sequence[AnnotationSpec], *, by_bucket: bool = False) -> None:
        first = specs[0]
        self.operation = first.operation
        self.kind = first.kind
        self.mode = first.mode
        self.normalized = first.normalized is True
        self.strict = any(spec.strict for spec in specs)
        self.declared_at = first.declared_at
        self.without_file: list[str] = []
        """Entries that match no image of the collection."""
        self.by_bucket = by_bucket
        self.checks = ShapeChecks(first.operation, first.kind)
        self.store = RecordStore(first.kind, self._finished_again)
        self.collected: list[Note] = []
        """Notes of the builder."""
        self.by_image: dict[str, IndexedImage] = {}
        self._labels: dict[str, dict[str, dict[str, None]]] = {}
        self._other_spellings: set[str] = set()
        self._spellings: set[str] | None = None

    # Reading.

    def images(self) -> Mapping[str, IndexedImage]:
        """Return the sets by the names of the images in the collection. With `by_bucket`, the name of an image whose
        bucket the source names begins with `BUCKET:`."""
        return self.by_image

    def in_its_bucket(self, image: str) -> str:
        """Return the name of an image without the bucket."""
        bucket = self.by_image[image].bucket if self.by_bucket else None
        return image if bucket is None else image.removeprefix(with_bucket(bucket, ""))

    def buckets(self, default: str) -> dict[str, AnnotationIndex]:
        """Split an index that was opened with `by_bucket`: bucket → the index of its images, by their names in it.

        Images without a bucket of their own are in `default`. All parts share one temporary file; the first part has
        the notes. Raises ManifestError for an image that has two entries.
        """
        images: dict[str, dict[str, IndexedImage]] = {}
        for name, image in self.by_image.items():
            own_name = self.in_its_bucket(name)
            before = images.setdefault(image.bucket or default, {}).setdefault(own_name, image)
            if before is not image:
                raise self.second_entry(own_name, before, image.place)
        if not images.keys() - {default}:
            return {default: self}
        parts: dict[str, AnnotationIndex] = {}
        for bucket, own in images.items():
            part = parts[bucket] = copy.copy(self)
            part.by_bucket, part.by_image = False, own
            if len(parts) > 1:
                part.collected, part.checks = [], ShapeChecks(self.operation, self.kind)
        return parts

    @property
    def has_shapes(self) -> bool:
        """Whether any set has a shape."""
        return self.store.has_shapes

    def record(self, image: str) -> ImageRecord:
        """Return the record of an image."""
        return self.store.get(image, self.by_image[image], normalized=self.normalized)

    def labels(self) -> LabelTree:
        """Return all labels in use, with their attributes and values."""
        return {
            label: {attribute: list(values) for attribute, values in attributes.items()}
            for label, attributes in self._labels.items()
        }

    def notes(self) -> Iterator[Note]:
        """Yield what was left out or repaired, and why."""
        yield from self.collected
        yield from self.checks.notes()

    def may_match(self, name: str, filename: str) -> bool:
        """Whether an entry may match an image that was added or changed after the sources were read, even if the entry
        matches another image now."""
        if self._spellings is None:
            own = (spelling for image in self.by_image for spelling in spellings(image))
            self._spellings = self._other_spellings.union(own)
        return not self._spellings.isdisjoint((*spellings(name), *spellings(filename)))

    def close(self) -> None:
        """Delete the temporary file."""
        self.store.close()

    # Filling, for `index_builder`.

    def add_spellings(self, found: set[str]) -> None:
        """Remember names of entries that are not the names of the images they match."""
        self._other_spellings.update(found)

    def add_labels(self, labels: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Add labels in use. `labels`: label → attribute → values."""
        for label, attributes in labels.items():
            known = self._labels.setdefault(label, {})
            for name, values in attributes.items():
                known.setdefault(name, {}).update(dict.fromkeys(values))

    def finished(
        self, spec: AnnotationSpec, entry: Entry, file: SourceFile, size: Size | None, checks: ShapeChecks
    ) -> ImageRecord:
        """Return the record of a parsed entry as it is sent: checked, in the unit of the operation."""
        record = replace(entry.record, shapes=tuple(checks.sendable(spec, entry, file, size)))
        return self._converted(record, size) if record.normalized and not self.normalized else record

    def second_entry(self, name: str, first: IndexedImage, here: str) -> UndecidableSource:
        """Return the error for an image with two entries."""
        return UndecidableSource(
            f"'{name}' has two entries for '{self.operation}': {first.place} and {here}",
            where=self.declared_at,
            remedy="Merge them into one.",
        )

    def _finished_again(self, raw: RawSource, entry: Entry, size: Size | None) -> ImageRecord:
        return self.finished(raw.spec, entry, raw.file, size, ShapeChecks(self.operation, self.kind))

    def _converted(self, record: ImageRecord, size: Size | None) -> ImageRecord:
        if size is not None:
            return to_pixels(record, size)
        if record.shapes:
            left_out = counted(len(record.shapes), "shape is", "shapes are")
            message = f"{self.operation}: the size of the image can't be read, so {left_out} left out"
            self.collected.append(Note(NoteCode.SHAPE_SKIPPED, message, record.image))
        return replace(record, shapes=(), normalized=False)


def with_bucket(bucket: str, path: str) -> str:
    """Return a storage path and its bucket as one name. Names of buckets have no colon."""
    return f"{bucket}:{path}"


def last_part(path: str) -> str:
    """Return the last part of a path as sources spell it."""
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def spellings(path: str) -> tuple[str, str]:
    """Return how an entry may name an image, without its folders: with and without the extension."""
    last = last_part(path)
    return last, os.path.splitext(last)[0]
