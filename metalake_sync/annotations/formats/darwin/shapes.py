"""Makes shapes of Darwin's annotations.

Properties, attributes and texts are attributes of the label; instance ids are metadata. A path of a polygon that lies
inside another one is a hole. Must not: check shapes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from metalake_sync.annotations.formats.elements import Place, a_dict, a_list
from metalake_sync.annotations.formats.geometry import ellipse_outline, without_holes
from metalake_sync.annotations.formats.masks import BrokenMask, add_run, is_mask_size, outlines_of_lines
from metalake_sync.annotations.formats.values import number
from metalake_sync.core.shapes import AttributeValue, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError

MASK_RUNS = "runs of the mask"
"""The key under which a mask gets its runs from the raster layer: start and count of each."""
MASK_SIZE = "size of the raster layer"
"""The key of its width, height and number of pixels."""

_MOST_PATHS = 3000
"""More paths are an error: each is compared with each."""

_Drawn = tuple[ShapeType, tuple[Point, ...], dict[str, Any]]

_ABOUT = frozenset(
    {
        *("id", "name", "slot_names", "properties", "attributes", "text", "instance_id", "inference"),
        *("directional_vector", "annotators", "reviewers", "author", "ranges", "created_at", "updated_at"),
        *("hidden_areas", "bounding_box", "measures", MASK_RUNS, MASK_SIZE),
    }
)
"""Keys of an annotation that are not its type."""


def shapes_of(annotation: Any, place: Place) -> Iterator[Shape]:
    """Yield the shapes of an annotation. Raises ManifestError."""
    label = annotation.get("name")
    label = label if isinstance(label, str) else ""
    try:
        drawn = list(_drawn(annotation, place))
    except BrokenMask as problem:
        raise ManifestError(f"the mask: {problem}", remedy="Export the dataset again.") from None
    inference = annotation.get("inference")
    score = inference.get("confidence") if isinstance(inference, dict) else None
    confidence = None if score is None else number(score, "")
    metadata = _metadata(annotation)
    attributes = _attributes(annotation)
    for part, (shape_type, points, about) in enumerate(drawn, start=1):
        of = {"part": f"{part}/{len(drawn)}"} if len(drawn) > 1 else {}
        yield Shape(shape_type, points, label, confidence, {**metadata, **about, **of}, attributes)


def _drawn(annotation: dict[str, Any], place: Place) -> Iterator[_Drawn]:
    if "polygon" in annotation or "complex_polygon" in annotation:
        for outline in _polygons(annotation, place):
            yield ShapeType.POLYGON, outline, {}
    elif "ellipse" in annotation:
        ellipse = a_dict(annotation["ellipse"], "'ellipse'")
        center, radius = _point(ellipse.get("center")), _point(ellipse.get("radius"))
        degrees = math.degrees(number(ellipse.get("angle") or 0, ""))
        yield ShapeType.POLYGON, ellipse_outline(*center, *radius, degrees), {}
    elif "line" in annotation:
        yield ShapeType.LINE, _path(a_dict(annotation["line"], "'line'").get("path")), {}
    elif "keypoint" in annotation:
        yield ShapeType.POINTS, (_point(annotation["keypoint"]),), {}
    elif "skeleton" in annotation:
        yield _skeleton(a_dict(annotation["skeleton"], "'skeleton'"))
    elif "mask" in annotation:
        for outline in _mask(annotation, place):
            yield ShapeType.POLYGON, outline, {}
    elif "tag" in annotation:
        place.tell("tags are labels of whole images, and are not read as shapes")
    elif kinds := [key for key in annotation if key not in _ABOUT]:
        place.tell(f"annotations are of the type '{kinds[0][:40]}', which is not read")
    elif "bounding_box" in annotation:
        box = a_dict(annotation["bounding_box"], "'bounding_box'")
        x, y, width, height = (number(box.get(name), "") for name in ("x", "y", "w", "h"))
        yield ShapeType.RECTANGLE, ((x, y), (width, height)), {}
    else:
        place.tell("annotations have no geometry; they are left out")


def _polygons(annotation: dict[str, Any], place: Place) -> tuple[tuple[Point, ...], ...]:
    """Return the outer paths of a polygon."""
    polygon = a_dict(annotation.get("polygon", annotation.get("complex_polygon")), "'polygon'")
    if "paths" in polygon:
        paths = [_path(path) for path in a_list(polygon["paths"], "'paths'")]
    else:
        # Version 1 has one path, or a list of paths in a complex polygon, and further paths.
        path = a_list(polygon.get("path"), "'path'")
        paths = [_path(one) for one in path] if path and isinstance(path[0], list) else [_path(path)]
        paths += [_path(one) for one in a_list(polygon.get("additional_paths") or [], "'additional_paths'")]
    if len(paths) > _MOST_PATHS:
        raise ManifestError(f"the polygon has more than {_MOST_PATHS:,} paths", remedy="Draw it as a mask.")
    outer, holes = without_holes(paths)
    if holes:
        place.tell("holes of polygons are filled: a polygon has none", holes)
    return outer


def _skeleton(skeleton: dict[str, Any]) -> _Drawn:
    points: list[Point] = []
    names: list[str] = []
    hidden: list[bool] = []
    for node in a_list(skeleton.get("nodes"), "'nodes'"):
        points.append(_point(node))
        names.append(str(node.get("name", "")))
        hidden.append(node.get("occluded") is True)
    about: dict[str, Any] = {"keypoints": names}
    if any(hidden):
        about["visibility"] = [1 if one else 2 for one in hidden]
    return ShapeType.POINTS, tuple(points), about


def _mask(annotation: dict[str, Any], place: Place) -> tuple[tuple[Point, ...], ...]:
    runs = annotation.get(MASK_RUNS)
    if not runs:
        raise BrokenMask("no raster layer has pixels of it")
    width, height, pixels = annotation[MASK_SIZE]
    if not width and place.size is not None:
        width, height = place.size
    if not is_mask_size(width, height) or width * height != pixels:
        raise BrokenMask("its raster layer does not fill the image")
    lines: dict[int, list[tuple[int, int]]] = {}
    for start, count in runs:
        add_run(lines, start, count, width)
    return outlines_of_lines(lines).drawn(place.notes, place.where)


def _path(path: Any) -> tuple[Point, ...]:
    return tuple(_point(one) for one in a_list(path, "a path"))


def _point(point: Any) -> Point:
    point = a_dict(point, "a point")
    return number(point.get("x"), ""), number(point.get("y"), "")


def _metadata(annotation: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    instance = annotation.get("instance_id")
    if isinstance(instance, dict) and instance.get("value") is not None:
        metadata["instance_id"] = instance["value"]
    vector = annotation.get("directional_vector")
    if isinstance(vector, dict):
        metadata["directional_vector"] = vector
    return metadata


def _attributes(annotation: dict[str, Any]) -> dict[str, tuple[AttributeValue, ...]]:
    """Return attributes, properties and the text of an annotation."""
    answers: dict[str, list[str]] = {}
    subtypes = annotation.get("attributes")
    if isinstance(subtypes, list):
        answers["attributes"] = [one for one in subtypes if isinstance(one, str) and one]
    text = annotation.get("text")
    text = text.get("text") if isinstance(text, dict) else text
    if isinstance(text, str) and text:
        answers["text"] = [text]
    properties = annotation.get("properties")
    for one in properties if isinstance(properties, list) else []:
        value = one.get("value") if isinstance(one, dict) else None
        if value is not None and isinstance(one.get("name"), str) and str(value):
            answers.setdefault(one["name"], []).append(str(value))
    return {name: tuple(map(AttributeValue, dict.fromkeys(values))) for name, values in answers.items() if values}
