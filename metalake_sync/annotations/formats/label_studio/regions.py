"""Makes shapes of the results of one annotation of Label Studio.

Results with one `id` belong to one region: one has the geometry, others have labels and answers. Coordinates are
percentages of the image. Each label of a region is a shape of its own. Answers as text are attributes, numbers are
metadata. Must not: choose among annotations, or check shapes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import field
from typing import Any

from metalake_sync.annotations.entries import ImageSize, ReadNotes
from metalake_sync.annotations.formats.geometry import ellipse_outline, rotated_box
from metalake_sync.annotations.formats.label_studio.brush import brush_outlines
from metalake_sync.annotations.formats.mask_images import decode_mask
from metalake_sync.annotations.formats.masks import BrokenMask, MaskOutlines, outlines_of_lines
from metalake_sync.annotations.formats.values import image_size, number, shortened
from metalake_sync.core.shapes import AttributeValue, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass

_Geometry = list[tuple[ShapeType, tuple[Point, ...]]]

_ANSWERS = ("choices", "text", "taxonomy", "rating", "number", "datetime")
"""Keys of a value that hold answers."""


@dataclass(slots=True)
class _Region:
    """The results of one region."""

    at: int
    """The number of the first result."""
    drawn: dict[str, Any] | None = None
    """The result that has the geometry."""
    drawn_at: int = 0
    labels: dict[str, None] = field(default_factory=dict)
    score: Any = None
    attributes: dict[str, tuple[AttributeValue, ...]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


class RegionParser:
    """Makes the shapes of one image of one annotation."""

    def __init__(self, place: str, score: Any, size: ImageSize, notes: ReadNotes) -> None:
        """`score`: of the whole prediction, or None. `size`: of the image, for results that do not state it."""
        self._place = place
        self._score = score
        self._size = size
        self._notes = notes

    def shapes(self, results: list[list[Any]]) -> Iterator[tuple[int, Shape]]:
        """Yield the number of the result and the shape for each shape of numbered results."""
        regions: dict[Any, _Region] = {}
        for at, result in results:
            where = f"{self._place}.result[{at}]"
            if not isinstance(result, dict):
                self._notes.leave_out(f"results are {shortened(result)}, not objects", where)
            elif result.get("type") == "relation":
                self._notes.count("relations between regions are not read", at=where)
            elif not isinstance(result.get("value"), dict):
                self._notes.leave_out("results have no 'value'", where)
            else:
                key = result.get("id")
                region = regions.setdefault(key if isinstance(key, str | int) else ("no id", at), _Region(at))
                self._take(region, result, at)
        for region in regions.values():
            yield from self._shapes_of(region)

    def _take(self, region: _Region, result: dict[str, Any], at: int) -> None:
        """Add a result to its region."""
        value = result["value"]
        if region.drawn is None and _is_drawn(value):
            region.drawn, region.drawn_at = result, at
        for key, labels in value.items():
            if key.endswith("labels") and isinstance(labels, list):
                region.labels |= {str(one): None for one in labels if isinstance(one, str | int | float)}
        if result.get("score") is not None:
            region.score = result["score"]
        name = result.get("from_name")
        if isinstance(name, str) and name:
            self._take_answers(region, name, value)
        meta = result.get("meta")
        if isinstance(meta, dict) and isinstance(meta.get("text"), list):
            text = "\n".join(str(line) for line in meta["text"])
            if text:
                region.metadata["description"] = text
        if isinstance(result.get("parentID"), str):
            region.metadata["parentID"] = result["parentID"]

    def _take_answers(self, region: _Region, name: str, value: dict[str, Any]) -> None:
        answers: list[str] = []
        for key in _ANSWERS:
            found = value.get(key)
            if found is None:
                continue
            if isinstance(found, bool | int | float):
                region.metadata[name] = found
            else:
                answers += _texts(found, taxonomy=key == "taxonomy")
        if answers:
            before = region.attributes.get(name, ())
            region.attributes[name] = (*before, *map(AttributeValue, dict.fromkeys(answers)))

    def _shapes_of(self, region: _Region) -> Iterator[tuple[int, Shape]]:
        where = f"{self._place}.result[{region.at}]"
        if region.drawn is None:
            what = "answers are for whole images, and are not read as shapes"
            if region.labels or not (region.attributes or region.metadata):
                what = "regions are of texts, sounds or videos, and are not read"
            self._notes.count(what, at=where)
            return
        try:
            confidence = None if region.score is None else number(region.score, "")
            geometry = self._geometry(region.drawn, where)
        except ManifestError as error:
            self._notes.leave_out(f"regions can't be read: {error.message}", where)
            return
        except BrokenMask as problem:
            self._notes.leave_out(f"masks can't be read: {problem}", where)
            return
        metadata = dict(region.metadata)
        if region.score is None and self._score is not None:
            metadata["prediction_score"] = self._score
        for label in region.labels or ("",):
            for part, (shape_type, points) in enumerate(geometry, start=1):
                about = {"part": f"{part}/{len(geometry)}"} if len(geometry) > 1 else {}
                shape = Shape(shape_type, points, label, confidence, {**metadata, **about}, region.attributes)
                yield region.drawn_at, shape

    def _geometry(self, result: dict[str, Any], where: str) -> _Geometry:
        value = result["value"]
        if result.get("image_rotation"):
            self._notes.count("regions were drawn on a rotated image, so they may be in the wrong place", at=where)
        if "rle" in value:
            width, height = self._stated(result)
            found = brush_outlines(value["rle"], width, height)
            return self._outlines(found, where)
        if "imageDataURL" in value:
            return self._outlines(_bitmask(value["imageDataURL"], where), where)
        width, height = self._stated(result)
        across, down = width / 100, height / 100
        if isinstance(value.get("points"), list):
            points = tuple(_point(pair, across, down) for pair in value["points"])
            return [(ShapeType.POLYGON, points)]
        if isinstance(value.get("vertices"), list):
            points = tuple(_point(pair, across, down) for pair in value["vertices"])
            return [(ShapeType.POLYGON if value.get("closed") else ShapeType.LINE, points)]
        x, y = number(value.get("x"), "") * across, number(value.get("y"), "") * down
        degrees = number(value.get("rotation") or 0, "")
        if "radiusX" in value:
            radii = number(value.get("radiusX"), "") * across, number(value.get("radiusY"), "") * down
            return [(ShapeType.POLYGON, ellipse_outline(x, y, *radii, degrees))]
        if "height" not in value:
            return [(ShapeType.POINTS, ((x, y),))]
        size = number(value.get("width"), "") * across, number(value.get("height"), "") * down
        if degrees % 360:
            return [(ShapeType.POLYGON, rotated_box(x, y, *size, degrees, (x, y)))]
        return [(ShapeType.RECTANGLE, ((x, y), size))]

    def _stated(self, result: dict[str, Any]) -> tuple[int, int]:
        """Return the size of the image that the percentages are of. Raises ManifestError."""
        size = image_size(result.get("original_width"), result.get("original_height")) or self._size
        if size is None:
            remedy = "Add 'original_width' and 'original_height'."
            raise ManifestError("the size of the image is unknown", remedy=remedy)
        return size

    def _outlines(self, found: MaskOutlines, where: str) -> _Geometry:
        return [(ShapeType.POLYGON, outline) for outline in found.drawn(self._notes, where)]


def _is_drawn(value: dict[str, Any]) -> bool:
    """Whether a value has the geometry of a region of an image."""
    if any(key in value for key in ("points", "vertices", "rle", "imageDataURL")):
        return True
    return "x" in value and "y" in value


def _point(pair: Any, across: float, down: float) -> Point:
    if isinstance(pair, dict):
        pair = [pair.get("x"), pair.get("y")]
    if not isinstance(pair, list) or len(pair) != 2:
        raise ManifestError(f"{shortened(pair)} is not a point", remedy="Write [x, y].")
    return number(pair[0], "") * across, number(pair[1], "") * down


def _bitmask(address: Any, where: str) -> MaskOutlines:
    """Return the outlines of a mask that is a PNG in a data URL."""
    _, comma, content = address.partition("base64,") if isinstance(address, str) else ("", "", "")
    if not comma:
        raise BrokenMask("its 'imageDataURL' does not hold an image")
    try:
        decoded = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise BrokenMask("its 'imageDataURL' is not base64") from None
    return outlines_of_lines(decode_mask(decoded, where).set_pixels())


def _texts(answers: Any, *, taxonomy: bool) -> list[str]:
    """Return answers as texts. A choice of a taxonomy is a path."""
    found: list[str] = []
    for one in answers if isinstance(answers, list) else [answers]:
        if taxonomy and isinstance(one, list):
            found.append("/".join(str(part) for part in one))
        elif isinstance(one, str | int | float) and str(one):
            found.append(str(one))
    return found
