"""Reads Supervisely's annotation files, each of which is of one image.

A tag with a text is an attribute of the label, a tag with a number or without a value is metadata. The names of the
nodes of a graph are in the project's meta.json only. Must not: check shapes.
"""

from __future__ import annotations

import base64
import binascii
import functools
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.elements import Elements, Place, a_dict, a_list
from metalake_sync.annotations.formats.geometry import rotated_box
from metalake_sync.annotations.formats.mask_images import decode_mask
from metalake_sync.annotations.formats.masks import BrokenMask, outlines_of_lines
from metalake_sync.annotations.formats.values import box_around, image_size, number, shortened
from metalake_sync.annotations.json_stream import members
from metalake_sync.core.shapes import AttributeValue, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError

META_FILE = "meta.json"

_LEVELS_ABOVE = 6
"""How many folders above an annotation file may have the project's meta.json: data sets may be nested."""

_BITMAP_LIMIT_BYTES = 64 << 20

Nodes = Mapping[str, str]
"""Id of a node → its name."""


class SuperviselyReader(FormatReader):
    """Reads files, each of which is of one image."""

    def __init__(self) -> None:
        self._nodes: dict[Path, dict[str, str]] = {}
        """Folder → the nodes of its meta.json."""

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of the file's image. Raises ManifestError."""
        document: dict[str, Any] = {}
        objects: list[tuple[int, Any]] = []
        has_objects = False
        for key, position, value in members(file.path, file.shown_as, {"objects"}):
            if key != "objects":
                document[key] = value
                continue
            has_objects = has_objects or position is not None or value == []
            if position is not None:
                objects.append((position, value))
        if not has_objects or "size" not in document:
            raise NotAnnotations(
                "the file is not an annotation file of Supervisely: it has no 'objects' or no 'size'",
                where=file.shown_as,
                remedy="Export the project from Supervisely.",
            )
        tags = document.get("tags")
        if isinstance(tags, list) and tags:
            notes.count("tags of images are not read as shapes", len(tags), at="tags")
        if document.get("description"):
            notes.count("descriptions of images are not read", at="description")
        nodes = self._nodes_of(file) if any(_is_graph(one) for _, one in objects) else {}
        depends_on = ["supervisely", [list(pair) for pair in sorted(nodes.items())]]
        elements = Elements("objects", "objects[{}]", functools.partial(_shapes, nodes), depends_on)
        size = document["size"]
        size = size if isinstance(size, dict) else {}
        name = file.path.name.removesuffix(file.path.suffix)
        folders = file.path.relative_to(file.root).parts[:-1]
        beside = ["img" if part == "ann" else part for part in folders]
        without = [part for part in folders if part != "ann"]
        names = dict.fromkeys("/".join((*path, name)) for path in (beside, without, folders, ()))
        entry = elements.entry(
            name, objects, stem="/".join((*without, name)), size=image_size(size.get("width"), size.get("height"))
        )
        yield replace(entry, names=tuple(names))

    def _nodes_of(self, file: SourceFile) -> dict[str, str]:
        """Return the names of nodes of the project's meta.json, if there is one."""
        folder = file.path.parent
        for _ in range(_LEVELS_ABOVE):
            if folder in self._nodes:
                return self._nodes[folder]
            if (folder / META_FILE).is_file():
                self._nodes[folder] = _nodes_of_meta(folder / META_FILE, file)
                return self._nodes[folder]
            folder = folder.parent
        return {}


def _nodes_of_meta(path: Path, file: SourceFile) -> dict[str, str]:
    """Return the names of all nodes of all classes. Raises ManifestError."""
    nodes: dict[str, str] = {}
    shown_as = f"{META_FILE} of {file.shown_as}"
    for key, position, value in members(path, shown_as, {"classes"}):
        if key != "classes" or position is None or not isinstance(value, dict):
            continue
        config = value.get("geometry_config")
        found = config.get("nodes") if isinstance(config, dict) else None
        for node, about in found.items() if isinstance(found, dict) else ():
            if isinstance(about, dict) and isinstance(about.get("label"), str):
                nodes[node] = about["label"]
    return nodes


def _is_graph(one: Any) -> bool:
    return isinstance(one, dict) and "nodes" in one


def _shapes(nodes: Nodes, found: Any, place: Place) -> Iterator[Shape]:
    """Yield the shapes of an object. Raises ManifestError."""
    found = a_dict(found, "the object")
    label = found.get("classTitle")
    try:
        drawn = list(_drawn(found, nodes, place))
    except BrokenMask as problem:
        raise ManifestError(f"the bitmap: {problem}", remedy="Export the project again.") from None
    confidence, metadata, attributes = _extras(found)
    for part, (shape_type, points, about) in enumerate(drawn, start=1):
        of = {"part": f"{part}/{len(drawn)}"} if len(drawn) > 1 else {}
        yield Shape(
            shape_type,
            points,
            label if isinstance(label, str) else "",
            confidence,
            {**metadata, **about, **of},
            attributes,
        )


def _drawn(
    found: dict[str, Any], nodes: Nodes, place: Place
) -> Iterator[tuple[ShapeType, tuple[Point, ...], dict[str, Any]]]:
    match found.get("geometryType", found.get("shape")):
        case "rectangle":
            left, top, width, height = _inclusive_box(_exterior(found))
            yield ShapeType.RECTANGLE, ((left, top), (width, height)), {}
        case "oriented_bbox":
            left, top, width, height = _inclusive_box(_exterior(found))
            degrees = math.degrees(number(found.get("angle") or 0, ""))
            yield ShapeType.POLYGON, rotated_box(left, top, width, height, degrees), {}
        case "polygon":
            holes = a_dict(found.get("points"), "'points'").get("interior")
            if isinstance(holes, list) and holes:
                place.tell("holes of polygons are filled: a polygon has none", len(holes))
            yield ShapeType.POLYGON, _exterior(found), {}
        case "line" | "polyline":
            yield ShapeType.LINE, _exterior(found), {}
        case "point":
            yield ShapeType.POINTS, _exterior(found), {}
        case "bitmap" | "alpha_mask":
            bitmap = found.get("bitmap", found.get("alpha_mask"))
            for outline in _bitmap(a_dict(bitmap, "'bitmap'"), place):
                yield ShapeType.POLYGON, outline, {}
        case "graph":
            yield _graph(a_dict(found.get("nodes"), "'nodes'"), nodes)
        case other:
            place.tell(f"objects are of the type {shortened(other)}, which is not read")


def _exterior(found: dict[str, Any]) -> tuple[Point, ...]:
    return tuple(map(_point, a_list(a_dict(found.get("points"), "'points'").get("exterior"), "'exterior'")))


def _inclusive_box(corners: tuple[Point, ...]) -> list[float]:
    """Return x, y, width and height of two pixels that are both inside the box."""
    if len(corners) != 2:
        raise ManifestError("a rectangle needs two corners", remedy="Write two points.")
    left, top, width, height = box_around(corners)
    return [left, top, width + 1, height + 1]


def _point(pair: Any) -> Point:
    pair = a_list(pair, "a point")
    if len(pair) != 2:
        raise ManifestError(f"{shortened(pair)} is not a point", remedy="Write [x, y].")
    return number(pair[0], ""), number(pair[1], "")


def _bitmap(bitmap: dict[str, Any], place: Place) -> tuple[tuple[Point, ...], ...]:
    """Return the outlines of a bitmap: a PNG, packed with zlib, as base64."""
    left, top = _point(bitmap.get("origin"))
    data = bitmap.get("data")
    if not isinstance(data, str):
        raise BrokenMask("it has no 'data'")
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base64.b64decode(data, validate=True), _BITMAP_LIMIT_BYTES)
    except (binascii.Error, ValueError, zlib.error):
        raise BrokenMask("its 'data' can't be decoded") from None
    if unpacking.unconsumed_tail:
        raise BrokenMask("its image is too large")
    found = outlines_of_lines(decode_mask(content, place.where).set_pixels(), left=left, top=top)
    return found.drawn(place.notes, place.where)


def _graph(found: dict[str, Any], nodes: Nodes) -> tuple[ShapeType, tuple[Point, ...], dict[str, Any]]:
    points: list[Point] = []
    hidden: list[bool] = []
    for node in found.values():
        node = a_dict(node, "a node")
        points.append(_point(node.get("loc")))
        hidden.append(node.get("disabled") is True)
    about: dict[str, Any] = {"keypoints": [nodes.get(node, node) for node in found]}
    if any(hidden):
        about["visibility"] = [1 if one else 2 for one in hidden]
    return ShapeType.POINTS, tuple(points), about


def _extras(
    found: dict[str, Any],
) -> tuple[float | None, dict[str, Any], dict[str, tuple[AttributeValue, ...]]]:
    """Return confidence, metadata and attributes."""
    confidence = None
    metadata: dict[str, Any] = {}
    answers: dict[str, list[str]] = {}
    tags = found.get("tags")
    for tag in tags if isinstance(tags, list) else ():
        name = tag.get("name") if isinstance(tag, dict) else tag
        if not isinstance(name, str) or not name:
            continue
        value = tag.get("value") if isinstance(tag, dict) else None
        if value is None:
            metadata[name] = True
        elif isinstance(value, str):
            if value:
                answers.setdefault(name, []).append(value)
        elif name == "confidence" and isinstance(value, int | float) and 0 <= value <= 1:
            confidence = number(value, "") if not isinstance(value, bool) else None
        else:
            metadata[name] = value
    if isinstance(found.get("description"), str) and found["description"]:
        metadata["description"] = found["description"]
    return (
        confidence,
        metadata,
        {name: tuple(map(AttributeValue, dict.fromkeys(values))) for name, values in answers.items()},
    )
