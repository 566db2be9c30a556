"""One operation's sources as one index: for each image a digest, a count, and where its record lies.

Owns: finding the sources, merging them, leaving out what can't be sent, and telling what was left out. Records are
spooled to a temporary file as they are read, so that memory grows with images and not with shapes.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from metalake_sync.annotations.metalake_format import FormatNotes, looks_like_metalake, read_metalake
from metalake_sync.annotations.pixels import picture_size, to_pixels
from metalake_sync.annotations.validation import shape_problem
from metalake_sync.core.facts import AnnotationKind
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.shapes import (
    EMPTY_SET_DIGEST,
    ImageRecord,
    Shape,
    decode_record,
    digest_of_shapes,
    encode_record,
)
from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.local.metadata_json import read_json

LabelTree = dict[str, dict[str, list[object]]]
"""Label → attribute → values."""


@dataclass(frozen=True, slots=True)
class AnnotationSpec:
    """One annotation block of the manifest. `sources`: files, folders or globs from `base_dir`. `labels`: renames;
    `allowed`: None is every label. `declared_at`: the manifest's file:line:column."""

    operation: str
    kind: AnnotationKind
    sources: tuple[str, ...]
    base_dir: Path
    declared_at: str
    normalized: bool | Literal["convert"] = False
    mode: Literal["replace", "append"] = "replace"
    strict: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    allowed: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """`offset` and `length` find the record in the spool; a set without shapes has none."""

    digest: str
    shape_count: int
    offset: int
    length: int
    place: str


class AnnotationIndex:
    """The sets of one operation. Close it, or its spool stays until the process ends."""

    def __init__(self, specs: Sequence[AnnotationSpec], find_picture: Callable[[str], str | None]) -> None:
        first = specs[0]
        self.operation = first.operation
        self.kind = first.kind
        self.mode = first.mode
        self.normalized = first.normalized is True
        self.strict = any(spec.strict for spec in specs)
        self.declared_at = first.declared_at
        self._find_picture = find_picture
        self._images: dict[str, IndexedImage] = {}
        self._labels: dict[str, dict[str, dict[object, None]]] = {}
        self._notes: list[Note] = []
        self._spool = tempfile.TemporaryFile(prefix="metalake-sync-")  # noqa: SIM115 - closed by `close`
        self._end = 0

    def images(self) -> Mapping[str, IndexedImage]:
        """By the name that the sources call them."""
        return self._images

    def record(self, image: str) -> ImageRecord:
        """Read a record back."""
        indexed = self._images[image]
        if not indexed.length:
            return ImageRecord(image, (), self.normalized)
        data = os.pread(self._spool.fileno(), indexed.length, indexed.offset)
        return replace(decode_record(data), image=image)

    def labels(self) -> LabelTree:
        """All labels in use, with their attributes and values."""
        return {
            label: {attribute: list(values) for attribute, values in attributes.items()}
            for label, attributes in self._labels.items()
        }

    def notes(self) -> Iterator[Note]:
        """What was left out, and why."""
        yield from self._notes

    def close(self) -> None:
        self._spool.close()

    # Filling.

    def read(self, spec: AnnotationSpec) -> None:
        """Read one block's sources. Raises ManifestErrors."""
        mistakes: list[ManifestError] = []
        for path, shown_as in expand_sources(spec):
            format_notes = FormatNotes()
            try:
                document = read_json(path, shown_as)
                if not looks_like_metalake(document):
                    raise ManifestError(
                        "its format is not known",
                        where=shown_as,
                        remedy="This version reads 'metalake' annotation JSON.",
                    )
                for number, record in enumerate(
                    read_metalake(document, shown_as, spec.normalized is not False, format_notes)
                ):
                    self._add(spec, record, f"{shown_as}: images[{number}]")
            except ManifestError as error:
                mistakes.append(error)
            for key, count in format_notes.unknown_keys.items():
                message = f"'{key}' is not part of the format and is not sent ({count} times)"
                self._notes.append(Note(NoteCode.SOURCE_NOTE, message, shown_as))
        self._spool.flush()
        if mistakes:
            raise ManifestErrors(mistakes)

    def _add(self, spec: AnnotationSpec, record: ImageRecord, place: str) -> None:
        before = self._images.get(record.image)
        if before is not None:
            raise ManifestError(
                f"'{record.image}' has two entries for '{self.operation}': {before.place} and {place}",
                where=self.declared_at,
                remedy="Merge them into one.",
            )
        record = replace(record, shapes=tuple(self._sendable(spec, record)))
        if spec.normalized == "convert":
            record = self._converted(record)
        if not record.shapes:
            self._images[record.image] = IndexedImage(EMPTY_SET_DIGEST, 0, 0, 0, place)
            return
        # The digest is of what the lake will have: not of how the source spells the name.
        data = encode_record(replace(record, image=""))
        self._spool.write(data)
        digest = digest_of_shapes(self.kind.value.encode() + data)
        self._images[record.image] = IndexedImage(digest, len(record.shapes), self._end, len(data), place)
        self._end += len(data)
        self._note_labels(record.shapes)

    def _sendable(self, spec: AnnotationSpec, record: ImageRecord) -> Iterator[Shape]:
        """The shapes that can be sent; each one that can't leaves a line in the report."""
        for number, original in enumerate(record.shapes):
            shape = replace(original, label=spec.labels.get(original.label, original.label))
            problem = shape_problem(shape, normalized=record.normalized)
            if problem is not None:
                why = problem.value
            elif spec.allowed is not None and shape.label not in spec.allowed:
                why = "has a label that the manifest does not allow"
            else:
                yield shape
                continue
            message = f"{self.operation}: {shape.type} {number} '{shape.label}' {why}; it is left out"
            self._notes.append(Note(NoteCode.SHAPE_SKIPPED, message, record.image))

    def _converted(self, record: ImageRecord) -> ImageRecord:
        path = self._find_picture(record.image)
        size = picture_size(path) if path is not None else None
        if size is not None:
            return to_pixels(record, size)
        if path is not None and record.shapes:
            message = f"{self.operation}: its size can't be read, so {len(record.shapes)} shapes are left out"
            self._notes.append(Note(NoteCode.SHAPE_SKIPPED, message, record.image))
        return replace(record, shapes=(), normalized=False)

    def _note_labels(self, shapes: Sequence[Shape]) -> None:
        for shape in shapes:
            attributes = self._labels.setdefault(shape.label, {})
            for name, values in shape.attributes.items():
                attributes.setdefault(name, {}).update(dict.fromkeys(str(value.value) for value in values))


def open_index(specs: Sequence[AnnotationSpec], find_picture: Callable[[str], str | None]) -> AnnotationIndex:
    """Read all blocks of one operation. `find_picture`: the path of the file that an entry names, if there is one.

    Raises ManifestErrors with every mistake of every source.
    """
    index = AnnotationIndex(specs, find_picture)
    mistakes: list[ManifestError] = []
    for spec in specs:
        try:
            index.read(spec)
        except ManifestErrors as errors:
            mistakes += errors.errors
        except ManifestError as error:
            mistakes.append(error)
    if mistakes:
        index.close()
        raise ManifestErrors(mistakes)
    return index


def expand_sources(spec: AnnotationSpec) -> Iterator[tuple[Path, str]]:
    """The files behind a block's sources, each once, with the name that users know them by. A folder gives its JSON
    files. Raises ManifestError for a source that is not there."""
    seen: set[Path] = set()
    for source in spec.sources:
        path = spec.base_dir / source
        if path.is_dir():
            found = sorted(path.glob("*.json"))
        elif path.exists():
            found = [path]
        else:
            found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if os.path.isfile(name))
        if not found:
            raise ManifestError(
                f"annotation source '{source}' does not exist",
                where=spec.declared_at,
                remedy="Create it, or correct 'source'.",
            )
        for file in found:
            if file not in seen:
                seen.add(file)
                yield file, os.path.relpath(file, spec.base_dir) if file.is_relative_to(spec.base_dir) else str(file)
