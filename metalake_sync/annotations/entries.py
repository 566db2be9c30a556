"""What readers of formats take and return: a block of the manifest and its files, and one entry for each image.

Owns: the types that readers pass to the index, with the counts of what they left out. Must not: read files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal

from metalake_sync.annotations.validation import InvalidPolicy
from metalake_sync.core.diff_sets import OnDrift
from metalake_sync.core.shapes import FormatName, ImageRecord, Shape
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class AnnotationSpec:
    """One annotation block of the manifest."""

    operation: str
    kind: AnnotationKind
    sources: tuple[str, ...]
    """Files, folders or globs, relative to `base_dir` or absolute."""
    base_dir: Path
    declared_at: str
    """The block's file:line:column in the manifest."""
    normalized: bool | Literal["convert"] = False
    mode: Literal["replace", "append"] = "replace"
    on_drift: OnDrift = "ask"
    strict: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label in the source → label in the lake."""
    allowed: frozenset[str] | None = None
    """The labels that are sent. None: all."""
    format: FormatName | None = None
    """None: detected for each file."""
    invalid: InvalidPolicy = field(default_factory=InvalidPolicy)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the block that only some formats take (`AnnotationFormat.options`), as far as the block has them."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source."""

    path: Path
    shown_as: str
    """The file's name in messages."""
    root: Path
    """The folder that the file's relative path starts from."""
    named: bool = True
    """Whether the manifest names this file. False: it was found in a folder, or by a glob."""
    index_file: Path | None = None
    """The index file, such as YOLO's data.yaml, that the manifest names and that led to this file."""
    declared_at: str = ""
    """The file:line:column in the manifest of the block that reads the file."""
    position: int = 0
    """Which source in the block's list this file belongs to."""

    def overrides(self, other: SourceFile) -> bool:
        """Whether entries of this file win over those of another one: it belongs to a later source of the same list."""
        return self.declared_at == other.declared_at and self.position > other.position


REASONS_KEPT = 20
"""How many different reasons of one file are reported, each with its first place."""


class NotAnnotations(ManifestError):
    """The file holds no annotations in the format. In a folder it is skipped, unless an image has its name."""


@dataclass(slots=True)
class ReadNotes:
    """What a reader reports besides entries."""

    counts: dict[str, int] = field(default_factory=dict)
    """Clause → how often. A message joins the clause to the name of the source."""
    first: dict[str, str] = field(default_factory=dict)
    """Clause → the first place that it applies to, such as annotations[7]."""
    unreadable: dict[str, int] = field(default_factory=dict)
    """Clause → how often, of annotations that can't be read and are left out."""
    incomplete: bool = False
    """Whether a part of the source was not found. Images that it may name keep their sets."""

    def count(self, what: str, times: int = 1, at: str = "") -> None:
        """Count something that the user should know of. `what`: a clause. `at`: its place."""
        self.counts[what] = self.counts.get(what, 0) + times
        if at:
            self.first.setdefault(what, at)

    def leave_out(self, what: str, at: str) -> None:
        """Count an annotation that can't be read. `what`: a clause with the reason. `at`: its place."""
        if what not in self.unreadable and len(self.unreadable) >= REASONS_KEPT:
            what = "annotations can't be read for other reasons"
        self.unreadable[what] = self.unreadable.get(what, 0) + 1
        self.first.setdefault(what, at)

    def add(self, other: ReadNotes) -> None:
        """Add the counts of another report."""
        for what, at in other.first.items():
            self.first.setdefault(what, at)
        for what, times in other.counts.items():
            self.count(what, times)
        for what, times in other.unreadable.items():
            self.unreadable[what] = self.unreadable.get(what, 0) + times
        self.incomplete |= other.incomplete

    def __bool__(self) -> bool:
        return bool(self.counts or self.unreadable or self.incomplete)


ImageSize = tuple[int, int] | None
"""Width and height in pixels, or None if they are unknown."""

ParsedShapes = tuple[tuple[Shape, ...], tuple[int, ...]]
"""Shapes, and the number of each in the source. Without numbers, the shapes are numbered from 0."""


@dataclass(frozen=True, slots=True)
class RawShapes:
    """The shapes of an entry as the source has them. Parsing them is most of the work of reading, so it is skipped for
    an entry whose raw shapes are those of an earlier run (`parse_cache`)."""

    raw: bytes
    """The shapes in the source's own form."""
    depends_on: Any
    """What else the result depends on, such as the categories of the file, as JSON values. It is the same object for
    all entries of a file."""
    parse: Callable[[ReadNotes, ImageSize], ParsedShapes]
    """Returns the shapes of an image of a size. Raises ManifestError."""
    parse_again: Callable[[bytes, ImageSize], tuple[Shape, ...]]
    """Returns the same shapes from `raw` later, without their numbers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a source contains of one image."""

    record: ImageRecord
    """`record.image` is the image's name as the source spells it. It may be empty if there is a `stem`."""
    place: str = ""
    """Where the entry is in its file, such as images[3]."""
    names: tuple[str, ...] = ()
    """Names that local images are tried with, in this order, instead of `record.image` alone: the first image that one
    of them names with all its folders, else the first match. `record.image` names an image that is only in the lake."""
    stem: str | None = None
    """The annotation file's relative path without its extension, for formats with a file for each image."""
    size: tuple[int, int] | None = None
    """Width and height of the image in pixels, as the source states them."""
    shape_form: str = "shape {}"
    """How the place of a shape is written."""
    shape_numbers: tuple[int, ...] = ()
    """The number of each shape in `shape_form`. Without numbers, the shapes are numbered from 0."""
    raw: RawShapes | None = None
    """Shapes that are still to be parsed. `record` has no shapes then."""

    def parsed(self, notes: ReadNotes, size: ImageSize) -> Entry:
        """Return the entry with its shapes in the record. `notes` takes what is left out. `size`: of the image. Raises
        ManifestError."""
        if self.raw is None:
            return self
        shapes, numbers = self.raw.parse(notes, size)
        return replace(self, record=replace(self.record, shapes=shapes), shape_numbers=numbers, raw=None)

    def place_of(self, shape: int) -> str:
        """Return where a shape of the record is in the file, such as annotations[7]."""
        return self.shape_form.format(self.shape_numbers[shape] if self.shape_numbers else shape)
