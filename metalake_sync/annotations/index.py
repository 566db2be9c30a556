"""The annotation sets of one operation: for each image a digest, a count of shapes, and its record.

The records are in a temporary file, so that memory grows with images and not with shapes. Owns: reading what
`index_builder` collected, the canonical bytes and the digest of each record, and parsing the raw shapes of an entry
that an earlier run has parsed already. Must not: read sources, or decide which entries are used.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from metalake_sync.annotations.entries import AnnotationSpec, Entry, SourceFile
from metalake_sync.annotations.frames import to_pixels
from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.parse_cache import RawSource, packed, unpacked
from metalake_sync.annotations.shape_checks import ShapeChecks
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.shapes import (
    EMPTY_SET_DIGEST,
    ImageRecord,
    KnownSet,
    decode_record,
    digest_of_shapes,
    encode_record,
)
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.metadata_entries import HALF_A_CHARACTER, WRITE_IT_WHOLE, is_sendable_text
from metalake_sync.sources.scratch import Spool

Finish = Callable[[RawSource, Entry, Size | None], ImageRecord]
"""Returns the record of a parsed entry as it is sent."""


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """The annotation set of one image, and where its record is in the temporary file."""

    digest: str
    shape_count: int
    offset: int
    length: int
    """0 for a set without shapes, which is not in the file."""
    source: SourceFile
    entry: str
    """The place of the entry in the source."""
    raw: RawSource | None = None
    """Where the file holds the raw shapes of the entry: how to parse them."""
    bucket: str | None = None
    """The bucket that the source names for the image."""

    @property
    def place(self) -> str:
        return place_of(self.source, self.entry)


def place_of(file: SourceFile, entry: str) -> str:
    """Return the place of an entry for messages."""
    return f"{file.shown_as}: {entry}" if entry else file.shown_as


class RecordStore:
    """Records of one operation. Close it."""

    def __init__(self, kind: AnnotationKind, finish: Finish) -> None:
        self._kind = kind
        self._finish = finish
        self._spool = Spool()

    @property
    def has_shapes(self) -> bool:
        """Whether any record has a shape."""
        return bool(self._spool.size_bytes)

    def put(self, record: ImageRecord, entry: Entry, file: SourceFile) -> IndexedImage:
        """Store a record. Raises ManifestError for text that can't be sent."""
        if not record.shapes:
            return IndexedImage(EMPTY_SET_DIGEST, 0, 0, 0, file, entry.place, bucket=record.bucket)
        # The digest covers what the lake stores, so not the spelling of the image's name in the source.
        data = encode_record(replace(record, image=""))
        if not is_sendable_text(data.decode("utf-8", "surrogatepass")):
            raise ManifestError(HALF_A_CHARACTER, where=place_of(file, entry.place), remedy=WRITE_IT_WHOLE)
        digest = digest_of_shapes(self._kind.value.encode() + data)
        offset = self._spool.append(data)
        return IndexedImage(digest, len(record.shapes), offset, len(data), file, entry.place, bucket=record.bucket)

    def put_known(
        self, entry: Entry, file: SourceFile, size: Size | None, known: KnownSet, raw: RawSource
    ) -> IndexedImage:
        """Store an entry with its raw shapes. `known`: what an earlier run made of the same raw shapes."""
        data = packed(entry, size)
        offset, bucket = self._spool.append(data), entry.record.bucket
        return IndexedImage(known.digest, known.shape_count, offset, len(data), file, entry.place, raw, bucket)

    def get(self, image: str, indexed: IndexedImage, *, normalized: bool) -> ImageRecord:
        """Return the record of an image."""
        if not indexed.length:
            return ImageRecord(image, (), normalized, indexed.bucket)
        data = self._spool.read(indexed.offset, indexed.length)
        if indexed.raw is None:
            return replace(decode_record(data), image=image, bucket=indexed.bucket)
        entry, size = unpacked(image, indexed.raw, data)
        return replace(self._finish(indexed.raw, entry, size), bucket=indexed.bucket)

    def close(self) -> None:
        """Delete the temporary file."""
        self._spool.close()


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
        self.on_drift = first.on_drift
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
        """Return the record of an image. It has no shapes if no entry matches the image: a merged set may have shapes
        of another client alone."""
        indexed = self.by_image.get(image)
        if indexed is None:
            return ImageRecord(image, (), self.normalized)
        return self.store.get(image, indexed, normalized=self.normalized)

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
