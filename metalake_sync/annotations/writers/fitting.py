"""What of a record a format can hold. Pure: what comes back from a written file is the record that `fit` gives.

Owns: the losses, counted, each with the first image that has it. Must not: write.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import field, replace
from pathlib import PurePosixPath

from metalake_sync.annotations.images import Size
from metalake_sync.annotations.pixels import to_fractions, to_pixels
from metalake_sync.annotations.writers.coco import is_plain
from metalake_sync.core.shapes import FormatName, ImageRecord, Shape, ShapeType
from metalake_sync.lazy_dataclass import dataclass

_HELD = {
    "metalake": frozenset(ShapeType),
    "coco": frozenset({ShapeType.RECTANGLE, ShapeType.POLYGON, ShapeType.POINTS}),
    "yolo": frozenset({ShapeType.RECTANGLE, ShapeType.POLYGON}),
    "voc": frozenset({ShapeType.RECTANGLE, ShapeType.POLYGON}),
}
_ONE_FILE_EACH = ("yolo", "voc")
_NAME_BYTES = 200

VOC_WORDS = frozenset({"truncated", "difficult", "occluded", "pose"})
"""Metadata that VOC has elements for; all other goes into `attributes`."""


@dataclass(slots=True)
class WriteReport:
    """`images` and `shapes`: written. `losses`: what the format can't hold → how often; `examples`: the first image."""

    images: int = 0
    shapes: int = 0
    losses: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def lose(self, what: str, image: str, times: int = 1) -> None:
        if times:
            self.losses[what] = self.losses.get(what, 0) + times
            self.examples.setdefault(what, image)

    def lines(self) -> Iterator[str]:
        """One line for each kind of loss."""
        for what, count in self.losses.items():
            yield f"{what}: {count}, first in {self.examples[what]}"


@dataclass(slots=True)
class Fitting:
    """Makes records fit one format. `size_of`: a picture's size by its name."""

    format: FormatName
    size_of: Callable[[str], Size | None]
    report: WriteReport = field(default_factory=WriteReport)
    _stems: dict[str, str] = field(default_factory=dict)

    def fit(self, record: ImageRecord) -> ImageRecord | None:
        """The record as the format holds it, in the format's unit; None where it can't be written at all."""
        if self.format in _ONE_FILE_EACH and not self._has_a_place(record.image):
            return None
        fitted = self._in_unit(record)
        if fitted is None:
            return None
        shapes = tuple(kept for shape in fitted.shapes if (kept := self._shape(shape, record.image)) is not None)
        if self.format == "yolo":
            shapes = self._one_kind(shapes, record.image)
        self.report.images += 1
        self.report.shapes += len(shapes)
        return replace(fitted, shapes=shapes)

    def _has_a_place(self, image: str) -> bool:
        """Whether a file can be called as the image is, inside the folder, and no other one is."""
        path = PurePosixPath(image)
        parts = path.parts
        if (
            path.is_absolute()
            or any(part in (".", "..") or len(part.encode("utf-8", "surrogatepass")) > _NAME_BYTES for part in parts)
            or not is_single_line(image)
            or not path.stem.strip(". ")
            or str(path) != image
        ):
            self.report.lose("images whose name can't be that of a file; they are left out", image)
            return False
        stem = str(path.with_suffix(""))
        other = self._stems.setdefault(stem.casefold(), image)
        if other != image:
            self.report.lose("images that differ from another one in their extension alone; they are left out", image)
            return False
        return True

    def _in_unit(self, record: ImageRecord) -> ImageRecord | None:
        wants_fractions = self.format == "yolo"
        if record.normalized == wants_fractions or not record.shapes:
            return replace(record, normalized=wants_fractions)
        size = self.size_of(record.image)
        if size is None:
            unit = "fractions" if wants_fractions else "pixels"
            self.report.lose(f"images whose size is not known, to turn their shapes to {unit}; left out", record.image)
            return None
        return to_fractions(record, size) if wants_fractions else to_pixels(record, size)

    def _shape(self, shape: Shape, image: str) -> Shape | None:
        lose = self.report.lose
        if shape.type not in _HELD[self.format]:
            lose(f"shapes of type {shape.type}; they are left out", image)
            return None
        match self.format:
            case "metalake":
                return shape
            case "coco":
                return self._coco(shape, image)
            case "yolo":
                if not is_single_line(shape.label):
                    lose("shapes whose label is no single line; they are left out", image)
                    return None
                lose("metadata fields", image, len(shape.metadata))
                lose("attributes", image, len(shape.attributes))
                return replace(shape, metadata={}, attributes={})
            case "voc":
                return self._voc(shape, image)

    def _coco(self, shape: Shape, image: str) -> Shape:
        """The lake keeps 1 for whoever gave no confidence, and COCO has a plain value where there is none."""
        sure = {
            name: tuple(replace(value, confidence=None) for value in values)
            for name, values in shape.attributes.items()
            if values and values[0].confidence == 1 and is_plain([replace(one, confidence=None) for one in values])
        }
        self.report.lose("attribute values with a confidence of 1; they are written without it", image, len(sure))
        return replace(shape, attributes={**shape.attributes, **sure}) if sure else shape

    def _voc(self, shape: Shape, image: str) -> Shape | None:
        lose = self.report.lose
        if not is_single_line(shape.label):
            lose("shapes whose label is no single line; they are left out", image)
            return None
        lose("attributes", image, len(shape.attributes))
        kept: dict[str, str] = {}
        for name, value in shape.metadata.items():
            if not isinstance(value, str) or not is_single_line(value) or not is_single_line(name):
                lose("metadata values that are no single line of text", image)
            elif name == "pose" and value == "Unspecified":
                lose("'pose: Unspecified', which says nothing in VOC", image)
            else:
                kept[name] = value
        return replace(shape, metadata=kept, attributes={})

    def _one_kind(self, shapes: tuple[Shape, ...], image: str) -> tuple[Shape, ...]:
        """YOLO's trainers read a file as boxes or as polygons, not as both: then boxes become polygons."""
        boxes = sum(shape.type is ShapeType.RECTANGLE for shape in shapes)
        if not boxes or boxes == len(shapes):
            return shapes
        self.report.lose("boxes beside polygons; they are written as polygons", image, boxes)
        return tuple(_as_polygon(shape) if shape.type is ShapeType.RECTANGLE else shape for shape in shapes)


def _as_polygon(box: Shape) -> Shape:
    (x, y), (width, height) = box.points
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return replace(box, type=ShapeType.POLYGON, points=corners)


def is_single_line(text: str) -> bool:
    """One line without blanks around it, and without characters that XML or a text file can't carry."""
    return (
        bool(text)
        and text == text.strip()
        and len(text.splitlines()) == 1
        and not any(unicodedata.category(char) in ("Cc", "Cs", "Cn") for char in text)
    )
