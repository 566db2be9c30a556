"""Makes shapes of COCO's annotations, and keys of its ids.

An annotation becomes one polygon for each part of its segmentation (with `part: "1/2"` in the metadata if there are
several), or else its box; and points for its keypoints. The box is taken where the segmentation has no area or can't be
read. An id is a key, because a number in one list may be a text in another. Must not: check shapes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from metalake_sync.annotations.entries import ImageSize, ParsedShapes, ReadNotes, SourceFile
from metalake_sync.annotations.formats.coco.panoptic import segments_of
from metalake_sync.annotations.formats.coco.parts import (
    UnreadablePart,
    box_of,
    is_nothing,
    keypoints_of,
    polygons_of,
    triples_of,
)
from metalake_sync.annotations.formats.metalake.reading import read_attributes
from metalake_sync.annotations.formats.values import box_around, number, raw_bytes, raw_value, shortened
from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import AttributeValue, Shape, ShapeType
from metalake_sync.errors import ManifestError

COCO_KEYS = frozenset(
    {
        "id",
        "image_id",
        "category_id",
        "area",
        "bbox",
        "segmentation",
        "keypoints",
        "num_keypoints",
        "score",
        "iscrowd",
        "attributes",
        "metadata",
    }
)
"""Keys of an annotation that have a meaning in COCO or CVAT. All others are metadata."""

_PLAIN_KEYS = frozenset({"id", "image_id", "category_id", "area", "bbox", "segmentation", "iscrowd"})
"""The keys of an annotation that may be nothing but a box."""


def with_place(error: ManifestError, place: str) -> ManifestError:
    """Return an error from inside an element with the element's place in front. A place is made only for an error,
    because a file may have a million elements."""
    return ManifestError(error.message, where=f"{place}{error.where or ''}", remedy=error.remedy)


class RawImage(NamedTuple):
    """The annotations of an image as the file has them, for keys and for parsing later."""

    size: Size | None
    """The size that the file states for the image."""
    stamps: tuple[Any, ...]
    """What stands for the pixels of each panoptic annotation."""
    body: bytes
    """The list of annotations, as `raw_bytes` wrote it."""

    def to_bytes(self) -> bytes:
        head = raw_bytes((self.size, self.stamps))
        return b"%d\n%b%b" % (len(head), head, self.body)

    @classmethod
    def of_bytes(cls, raw: bytes) -> RawImage:
        length, _, rest = raw.partition(b"\n")
        size, stamps = raw_value(rest)
        return cls(size, stamps, rest[int(length) :])


class ShapeParser:
    """Makes the shapes of the annotations of one file."""

    def __init__(self, source: SourceFile, categories: dict[int | str, dict[str, Any]]) -> None:
        self._source = source
        self._categories = categories
        self._labels: dict[int, str] = {}
        """The labels of categories, by `category_id`, as far as boxes had them."""

    def parse(self, raw: bytes, places: Sequence[int], notes: ReadNotes, size: ImageSize) -> ParsedShapes:
        """Return the shapes of an image. `raw`: a RawImage as bytes. `places`: the number of each annotation in the
        file. `size`: of the image itself."""
        stated, _, body = RawImage.of_bytes(raw)
        sizes = [one for one in (stated, size) if one is not None]
        shapes = [
            (at, shape)
            for at, annotation in zip(places, raw_value(body), strict=True)
            for shape in self._shapes(annotation, at, sizes, notes)
        ]
        return tuple(shape for _, shape in shapes), tuple(at for at, _ in shapes)

    def parse_again(self, raw: bytes, size: ImageSize) -> tuple[Shape, ...]:
        """Return the same shapes once more, without notes."""
        annotations = raw_value(RawImage.of_bytes(raw).body)
        shapes, _ = self.parse(raw, [0] * len(annotations), ReadNotes(), size)
        return shapes

    def _shapes(
        self, annotation: dict[str, Any], position: int, sizes: Sequence[Size], notes: ReadNotes
    ) -> list[Shape]:
        """Return the shapes of one annotation. `sizes`: the known sizes of its image."""
        if annotation.keys() <= _PLAIN_KEYS:
            plain = self._plain_box(annotation)
            if plain is not None:
                return [plain]
        place = f"annotations[{position}]"
        try:
            return self._parsed(annotation, place, sizes, notes)
        except UnreadablePart as problem:
            notes.leave_out(f"annotations have {problem}", f"{place}: {shortened(problem.found)}")
            return []
        except ManifestError as error:
            raise with_place(error, f"{self._source.shown_as}: {place}") from None

    def _plain_box(self, annotation: dict[str, Any]) -> Shape | None:
        """Return the rectangle of an annotation that is nothing but a box of numbers, as most are. None: it may be more
        or less than that."""
        box, category = annotation.get("bbox"), annotation.get("category_id")
        if annotation.get("segmentation") or annotation.get("iscrowd") or type(box) is not list or len(box) != 4:
            return None
        for one in box:
            if type(one) is not float and (type(one) is not int or not -LARGEST_ID <= one < LARGEST_ID):
                return None
        if type(category) is not int or not math.isfinite(sum(box)):
            return None
        label = self._labels.get(category)
        if label is None:
            known = self._categories.get(category)
            if known is None:
                return None
            label = self._labels[category] = known["name"]
        x, y, width, height = map(float, box)
        return Shape(ShapeType.RECTANGLE, ((x, y), (width, height)), label, None, {}, {})

    def _parsed(self, annotation: dict[str, Any], place: str, sizes: Sequence[Size], notes: ReadNotes) -> list[Shape]:
        if "segments_info" in annotation:
            return list(self._segments(annotation, place, sizes, notes))
        box, broken_box = None, None
        try:
            box = box_of(annotation.get("bbox"))
        except UnreadablePart as problem:
            broken_box = problem
        has_other = box is not None or not is_nothing(annotation.get("keypoints"))
        polygons = polygons_of(annotation.get("segmentation"), place, sizes, notes, has_other=has_other)
        triples = triples_of(annotation.get("keypoints"), place, notes, alone=box is None and not polygons)
        if box is None and not polygons and triples is None:
            if broken_box is not None:
                raise broken_box
            what = "neither box nor mask nor keypoints"
            if isinstance(annotation.get("caption"), str):
                what = "a caption, which is a text for the whole image, and no shape"
            notes.count(f"annotations have {what}; they are left out", at=place)
            return []
        if broken_box is not None:
            what = f"annotations have {broken_box}; only their other shapes are taken"
            notes.count(what, at=f"{place}: {shortened(broken_box.found)}")
        category = self._category(annotation.get("category_id"))
        label = category["name"]
        confidence = _confidence(annotation.get("score"), place, notes)
        metadata, attributes = _extras(annotation, place, notes)
        keypoints = keypoints_of(triples, category) if triples is not None else None
        if keypoints is not None and annotation.get("bbox") == box_around(keypoints[0]):
            # The box is computed from the points, so it adds nothing.
            box = None
        shapes: list[Shape] = []
        if polygons:
            shapes = [
                Shape(
                    ShapeType.POLYGON,
                    points,
                    label,
                    confidence,
                    {**metadata, "part": f"{part}/{len(polygons)}"} if len(polygons) > 1 else metadata,
                    attributes,
                )
                for part, points in enumerate(polygons, start=1)
            ]
        elif box is not None:
            x, y, width, height = box
            shapes = [Shape(ShapeType.RECTANGLE, ((x, y), (width, height)), label, confidence, metadata, attributes)]
        if keypoints is not None:
            points, about = keypoints
            shapes.append(Shape(ShapeType.POINTS, points, label, confidence, {**metadata, **about}, attributes))
        return shapes

    def _segments(
        self, annotation: dict[str, Any], place: str, sizes: Sequence[Size], notes: ReadNotes
    ) -> Iterator[Shape]:
        """Yield the polygons of a panoptic annotation."""
        for segment, outlines in segments_of(self._source, annotation, place, sizes, notes):
            try:
                label = self._category(segment.get("category_id"))["name"]
            except UnreadablePart as problem:
                notes.leave_out(f"segments have {problem}", f"{place}: {shortened(problem.found)}")
                continue
            metadata = {"iscrowd": segment["iscrowd"]} if segment.get("iscrowd") else {}
            for part, points in enumerate(outlines, start=1):
                about = {**metadata, "part": f"{part}/{len(outlines)}"} if len(outlines) > 1 else metadata
                yield Shape(ShapeType.POLYGON, points, label, None, about)

    def _category(self, found: Any) -> dict[str, Any]:
        key = id_key(found)
        if key is None:
            raise UnreadablePart("a 'category_id' that is neither a whole number nor a text", found)
        category = self._categories.get(key)
        if category is None:
            # As with images: a text in one list may be a number in the other.
            other = other_form(key)
            category = self._categories.get(other) if other is not None else None
        if category is None:
            raise ManifestError(
                f"category {shortened(found)} is not in 'categories'",
                remedy="Add the category, or correct 'category_id'.",
            )
        return category


def _confidence(score: Any, place: str, notes: ReadNotes) -> float | None:
    if score is None:
        return None
    if isinstance(score, int | float) and not isinstance(score, bool):
        return number(score, "")
    notes.count("annotations have a 'score' that is not a number; it is left out", at=f"{place}: {shortened(score)}")
    return None


def _extras(
    annotation: dict[str, Any], place: str, notes: ReadNotes
) -> tuple[dict[str, Any], dict[str, tuple[AttributeValue, ...]]]:
    """Return metadata and attributes. Keys that COCO does not define are metadata.

    `attributes` has CVAT's form (name: value) or the MetaLake's (name: list of values). Of CVAT's, texts are attributes
    of the label, flags and numbers are metadata.
    """
    metadata = {key: annotation[key] for key in annotation if key not in COCO_KEYS}
    if annotation.get("iscrowd"):
        metadata["iscrowd"] = annotation["iscrowd"]
    own = annotation.get("metadata")
    if isinstance(own, dict):
        metadata.update(own)
    elif own is not None:
        metadata["metadata"] = own
    attributes = annotation.get("attributes")
    found: dict[str, tuple[AttributeValue, ...]] = {}
    if isinstance(attributes, dict):
        for name, value in attributes.items():
            if isinstance(value, list) and value and all(isinstance(one, dict) and "value" in one for one in value):
                try:
                    found.update(read_attributes({name: value}, ""))
                except ManifestError as error:
                    what = f"attributes can't be read and are left out: {error.message}"
                    notes.count(what, at=f"{place}.attributes")
            elif isinstance(value, str) and value:
                found[name] = (AttributeValue(value),)
            else:
                metadata[name] = value
    elif attributes not in (None, []):
        metadata["attributes"] = attributes
    return metadata, found


LARGEST_ID = 1 << 63
"""SQLite's integers are smaller than this. Larger ids, as of unsigned 64 bits, are kept as texts of digits."""

LONGEST_ID_DIGITS = 20
_WHOLE_NUMBER = re.compile("0|-?[1-9][0-9]*")


def id_key(found: Any) -> int | str | None:
    """Return an id as a key: equal ids have equal keys, and texts differ from numbers. None if it is not an id."""
    if type(found) is float and found.is_integer():
        # Tables of numbers hold floats: pandas writes 1.0.
        found = int(found)
    if type(found) is int:
        return found if -LARGEST_ID <= found < LARGEST_ID else str(found)
    # As JSON, because SQLite's texts can't hold surrogates.
    return json.dumps(found) if isinstance(found, str) else None


def other_form(key: int | str | None) -> int | str | None:
    """Return the key of the same id as a text instead of a number, or as a number instead of a text; None if there is
    no other form."""
    if isinstance(key, str) and key.startswith('"'):
        text = json.loads(key)
        if len(text) > LONGEST_ID_DIGITS or not _WHOLE_NUMBER.fullmatch(text):
            return None
        return id_key(int(text))
    return None if key is None else json.dumps(str(key))
