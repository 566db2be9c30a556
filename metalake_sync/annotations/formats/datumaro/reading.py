"""Reads Datumaro's JSON item by item.

`score` among the attributes is the confidence. Other attributes are attributes of the label if they are texts, else
metadata, as are `group` and `z_order`. Labels and captions are of the whole image, and counted. Must not: check shapes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.elements import Elements, Place, a_dict, a_list
from metalake_sync.annotations.formats.geometry import ellipse_outline, rotated_box
from metalake_sync.annotations.formats.masks import BrokenMask, outlines_of
from metalake_sync.annotations.formats.values import box_around, image_size, number, point_pairs, shortened
from metalake_sync.annotations.json_stream import members
from metalake_sync.core.shapes import AttributeValue, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass

_Drawn = tuple[ShapeType, tuple[Point, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Categories:
    """The names of a file."""

    labels: tuple[str, ...]
    points: dict[int, tuple[str, ...]]
    """Label id → the names of its points."""


class DatumaroReader(FormatReader):
    """Reads files item by item."""

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each item. Raises ManifestError."""
        elements: Elements | None = None
        has_items = False
        for key, position, value in members(file.path, file.shown_as, {"items"}):
            if key == "categories":
                elements = _elements(_categories(value, file))
            if key != "items":
                continue
            has_items = True
            if position is None:
                continue
            if elements is None:
                # The categories come after the items.
                elements = _elements(_find_categories(file))
            yield _entry(value, position, elements, file, notes)
        if not has_items:
            raise NotAnnotations(
                "the file is not a Datumaro file: it has no 'items'",
                where=file.shown_as,
                remedy='Write {"categories": {"label": {"labels": []}}, "items": []}.',
            )


def _elements(categories: _Categories) -> Elements:
    depends_on = ["datumaro", list(categories.labels), [[key, *names] for key, names in categories.points.items()]]
    return Elements("annotations", "", functools.partial(_shapes, categories), depends_on)


def _find_categories(file: SourceFile) -> _Categories:
    for key, _, value in members(file.path, file.shown_as, {"items"}):
        if key == "categories":
            return _categories(value, file)
    return _Categories((), {})


def _categories(value: Any, file: SourceFile) -> _Categories:
    """Return the names of labels and points. Raises ManifestError."""
    try:
        value = a_dict(value, "'categories'")
        found = a_list(a_dict(value.get("label") or {}, "'categories.label'").get("labels") or [], "'labels'")
        labels = [one.get("name") if isinstance(one, dict) else one for one in found]
        points: dict[int, tuple[str, ...]] = {}
        for one in a_list(a_dict(value.get("points") or {}, "'categories.points'").get("items") or [], "'items'"):
            one = a_dict(one, "an element of 'items'")
            names = one.get("labels")
            if type(one.get("label_id")) is int and isinstance(names, list):
                points[one["label_id"]] = tuple(map(str, names))
    except ManifestError as error:
        raise ManifestError(error.message, where=f"{file.shown_as}: categories", remedy=error.remedy) from None
    return _Categories(tuple(one if isinstance(one, str) else "" for one in labels), points)


def _entry(item: Any, position: int, elements: Elements, file: SourceFile, notes: ReadNotes) -> Entry:
    place = f"items[{position}]"
    if not isinstance(item, dict) or not isinstance(item.get("id"), str) or not item["id"]:
        raise ManifestError("the item has no 'id'", where=f"{file.shown_as}: {place}", remedy="Give it an 'id'.")
    annotations = item.get("annotations")
    if not isinstance(annotations, list):
        message = "'annotations' is not a list"
        raise ManifestError(message, where=f"{file.shown_as}: {place}", remedy="Write [] for an item without any.")
    about: dict[str, Any] = next((item[key] for key in ("image", "media") if isinstance(item.get(key), dict)), {})
    size = about.get("size")
    height, width = size if isinstance(size, list) and len(size) == 2 else (None, None)
    if isinstance(item.get("attr"), dict) and item["attr"].keys() - {"frame"}:
        notes.count("attributes of items are labels of whole images, and are not read as shapes", at=place)
    path = about.get("path")
    names: tuple[str, ...] = ()
    if isinstance(path, str) and path:
        # An export has its images in images/SUBSET, and the name of the file is the subset.
        slashed = path.replace("\\", "/")
        names = tuple(dict.fromkeys((f"{file.path.stem}/{slashed}", slashed, slashed.rpartition("/")[2])))
    entry = elements.entry(
        names[1] if names else "",
        list(enumerate(annotations)),
        place=place,
        stem=item["id"],
        size=image_size(width, height),
        form=f"{place}.annotations[{{}}]",
    )
    return replace(entry, names=names) if names else entry


def _shapes(categories: _Categories, annotation: Any, place: Place) -> Iterator[Shape]:
    """Yield the shapes of an annotation. Raises ManifestError."""
    annotation = a_dict(annotation, "the annotation")
    kind = annotation.get("type")
    label_id = annotation.get("label_id")
    if kind == "label":
        place.tell("labels are of whole images, and are not read as shapes")
        return
    if kind == "caption":
        place.tell("captions are texts of whole images, and are not read as shapes")
        return
    label = ""
    if label_id is not None:
        if type(label_id) is not int or not 0 <= label_id < len(categories.labels):
            raise ManifestError(
                f"'label_id' is {shortened(label_id)}, which 'categories' does not have",
                remedy="Correct 'label_id', or add the label.",
            )
        label = categories.labels[label_id]
    found = annotation.get("attributes")
    given = dict(found) if isinstance(found, dict) else {}
    try:
        drawn = list(_drawn(kind, annotation, given, categories.points.get(label_id or 0, ()), place))
    except BrokenMask as problem:
        raise ManifestError(f"the mask: {problem}", remedy="Correct 'rle'.") from None
    confidence, metadata, attributes = _extras(annotation, given)
    for part, (shape_type, points, about) in enumerate(drawn, start=1):
        of = {"part": f"{part}/{len(drawn)}"} if len(drawn) > 1 else {}
        yield Shape(shape_type, points, label, confidence, {**metadata, **about, **of}, attributes)


def _drawn(
    kind: Any, annotation: dict[str, Any], given: dict[str, Any], names: tuple[str, ...], place: Place
) -> Iterator[_Drawn]:
    """Yield type, points and metadata of each shape. `given`: the attributes, from which a rotation is taken."""
    match kind:
        case "bbox":
            x, y, width, height = _numbers(annotation.get("bbox"), 4)
            degrees = given.get("rotation")
            if isinstance(degrees, int | float) and not isinstance(degrees, bool) and degrees % 360:
                del given["rotation"]
                yield ShapeType.POLYGON, rotated_box(x, y, width, height, degrees), {}
            else:
                yield ShapeType.RECTANGLE, ((x, y), (width, height)), {}
        case "rotated_bbox":
            found = annotation.get("bbox", annotation.get("points", annotation.get("rotated_bbox")))
            x, y, width, height, degrees = _numbers(found, 5)
            yield ShapeType.POLYGON, rotated_box(x - width / 2, y - height / 2, width, height, degrees), {}
        case "polygon":
            yield ShapeType.POLYGON, _pairs(annotation.get("points")), {}
        case "polyline":
            yield ShapeType.LINE, _pairs(annotation.get("points")), {}
        case "points":
            yield _keypoints(annotation, names)
        case "ellipse":
            left, top, width, height = box_around(_pairs(annotation.get("points")) or ((0.0, 0.0),))
            outline = ellipse_outline(left + width / 2, top + height / 2, width / 2, height / 2)
            yield ShapeType.POLYGON, outline, {}
        case "mask":
            outlines = outlines_of(a_dict(annotation.get("rle"), "'rle'")).drawn(place.notes, place.where)
            yield from ((ShapeType.POLYGON, outline, {}) for outline in outlines)
        case _:
            place.tell(f"annotations are of the type {shortened(kind)}, which is not read")


def _numbers(value: Any, count: int) -> list[float]:
    found = a_list(value, "the box")
    if len(found) != count:
        raise ManifestError(f"the box has {len(found)} numbers", remedy=f"Write {count} numbers.")
    return [number(one, "") for one in found]


def _pairs(value: Any) -> tuple[Point, ...]:
    found = a_list(value, "'points'")
    if len(found) % 2:
        raise ManifestError("'points' has an odd number of numbers", remedy="Write [x, y, x, y, …].")
    return point_pairs([number(one, "") for one in found])


def _keypoints(annotation: dict[str, Any], names: tuple[str, ...]) -> _Drawn:
    """Return the points that are labeled: those whose visibility is not 0."""
    points = _pairs(annotation.get("points"))
    visibility = annotation.get("visibility")
    if not isinstance(visibility, list) or len(visibility) != len(points):
        visibility = [2] * len(points)
    labeled = [at for at, flag in enumerate(visibility) if flag != 0]
    about: dict[str, Any] = {}
    if len(names) == len(points) > 1:
        about["keypoints"] = [names[at] for at in labeled]
    if any(visibility[at] == 1 for at in labeled):
        about["visibility"] = [visibility[at] for at in labeled]
    return ShapeType.POINTS, tuple(points[at] for at in labeled), about


def _extras(
    annotation: dict[str, Any], given: dict[str, Any]
) -> tuple[float | None, dict[str, Any], dict[str, tuple[AttributeValue, ...]]]:
    """Return confidence, metadata and attributes."""
    confidence = None
    metadata: dict[str, Any] = {}
    attributes: dict[str, tuple[AttributeValue, ...]] = {}
    for name, value in given.items():
        if name == "score" and isinstance(value, int | float) and not isinstance(value, bool):
            confidence = number(value, "")
        elif isinstance(value, str):
            if value:
                attributes[name] = (AttributeValue(value),)
        elif isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            attributes[name] = tuple(map(AttributeValue, dict.fromkeys(value)))
        else:
            metadata[name] = value
    if annotation.get("group") not in (None, 0):
        metadata["group_id"] = annotation["group"]
    if annotation.get("z_order") not in (None, 0):
        metadata["z_order"] = annotation["z_order"]
    if annotation.get("object_id") not in (None, -1):
        metadata["object_id"] = annotation["object_id"]
    return confidence, metadata, attributes
