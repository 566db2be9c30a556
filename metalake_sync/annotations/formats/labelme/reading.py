"""Reads LabelMe's JSON files.

Flags that are set, `group_id` and `description` are metadata. A circle and a mask are polygons. Flags of images
are counted: they are not shapes. Must not: check shapes.
"""

from __future__ import annotations

import base64
import binascii
import math
import posixpath
import re
from collections.abc import Iterator
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.geometry import circle_outline
from metalake_sync.annotations.formats.mask_images import decode_mask
from metalake_sync.annotations.formats.masks import BrokenMask, outlines_of_lines
from metalake_sync.annotations.formats.values import image_size, number, shortened
from metalake_sync.annotations.json_stream import members
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError

_DRAWN = frozenset({"label", "points", "shape_type", "flags", "mask", "score", "line_color", "fill_color"})
"""Keys that are neither metadata nor attributes. Old versions have colors."""


class LabelmeReader(FormatReader):
    """Reads files, each of which is of one image."""

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of the file's image. Raises ManifestError."""
        shapes: list[Shape] = []
        numbers: list[int] = []
        found: dict[str, Any] = {}
        has_shapes = False
        for key, position, value in members(file.path, file.shown_as, {"shapes"}):
            if key != "shapes":
                if key != "imageData":
                    found[key] = value
                continue
            has_shapes = has_shapes or position is not None or value == []
            if position is not None:
                for shape in _shapes(value, f"shapes[{position}]", notes):
                    shapes.append(shape)
                    numbers.append(position)
        if not has_shapes:
            raise NotAnnotations(
                "the file is not a LabelMe file: it has no 'shapes'",
                where=file.shown_as,
                remedy='Write {"imagePath": "a.jpg", "shapes": []}.',
            )
        _count_flags(found.get("flags"), notes)
        name = found.get("imagePath")
        yield Entry(
            ImageRecord(_in_root(name, file) if isinstance(name, str) else "", tuple(shapes)),
            names=_names(name, file) if isinstance(name, str) and name else (),
            stem=file.path.relative_to(file.root).with_suffix("").as_posix(),
            size=image_size(found.get("imageWidth"), found.get("imageHeight")),
            shape_form="shapes[{}]",
            shape_numbers=tuple(numbers),
        )


def _count_flags(flags: Any, notes: ReadNotes) -> None:
    """Count the flags of the image that are set."""
    if isinstance(flags, dict):
        names = [name for name, value in flags.items() if value]
        if names:
            what = "flags are labels of whole images, and are not read as shapes"
            notes.count(what, len(names), at=f"flags.{names[0]}")


def _in_root(name: str, file: SourceFile) -> str:
    """Return a path that counts from the file's folder as one that counts from the source's folder. A path of another
    machine is returned as its last part."""
    if _OF_ANOTHER_MACHINE.match(name.replace("\\", "/")):
        return name.replace("\\", "/").rpartition("/")[2]
    folder = file.path.parent.relative_to(file.root).as_posix()
    return posixpath.normpath(posixpath.join(folder, name.replace("\\", "/")))


_OF_ANOTHER_MACHINE = re.compile(r"/|[A-Za-z]:/")


def _names(name: str, file: SourceFile) -> tuple[str, ...]:
    """Return the names of the image: the path from the source's folder, the path as written, and the last part of an
    absolute path."""
    slashed = name.replace("\\", "/")
    if _OF_ANOTHER_MACHINE.match(slashed):
        return slashed, slashed.rpartition("/")[2]
    return tuple(dict.fromkeys((_in_root(name, file), slashed)))


def _shapes(value: Any, where: str, notes: ReadNotes) -> Iterator[Shape]:
    """Yield the shapes of an element. What can't be read is reported."""
    try:
        if not isinstance(value, dict):
            raise ManifestError(f"{shortened(value)} is not an object", remedy="Write {…}.")
        label = value.get("label")
        if not isinstance(label, str):
            label = str(label) if isinstance(label, int | float) and not isinstance(label, bool) else ""
        metadata, attributes = _extras(value, where, notes)
        score = value.get("score")
        confidence = None if score is None else number(score, "")
        geometry = list(_geometry(value, where, notes))
    except ManifestError as error:
        notes.leave_out(f"shapes can't be read: {error.message}", where)
    except BrokenMask as problem:
        notes.leave_out(f"masks can't be read: {problem}", where)
    else:
        for part, (shape_type, points) in enumerate(geometry, start=1):
            about = {"part": f"{part}/{len(geometry)}"} if len(geometry) > 1 else {}
            yield Shape(shape_type, points, label, confidence, {**metadata, **about}, attributes)


def _geometry(value: dict[str, Any], where: str, notes: ReadNotes) -> Iterator[tuple[ShapeType, tuple[Point, ...]]]:
    points = _points(value.get("points"))
    kind = value.get("shape_type") or "polygon"
    match kind:
        case "polygon" | "oriented_rectangle" | "rotation":
            yield ShapeType.POLYGON, points
        case "rectangle":
            yield ShapeType.RECTANGLE, _box(points)
        case "circle":
            if len(points) != 2:
                raise ManifestError("a circle needs its center and a point of its rim", remedy="Write two points.")
            yield ShapeType.POLYGON, circle_outline(points[0], points[1])
        case "line" | "linestrip":
            yield ShapeType.LINE, points
        case "point" | "points":
            yield ShapeType.POINTS, points
        case "mask":
            yield from ((ShapeType.POLYGON, outline) for outline in _mask(value.get("mask"), points, where, notes))
        case _:
            raise ManifestError(f"'shape_type' is {shortened(kind)}", remedy="Use a type of LabelMe.")


def _points(value: Any) -> tuple[Point, ...]:
    if not isinstance(value, list):
        raise ManifestError("'points' is not a list", remedy="Write [[x, y], …].")
    points = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ManifestError(f"{shortened(pair)} is not a point", remedy="Write [x, y].")
        points.append((number(pair[0], ""), number(pair[1], "")))
    return tuple(points)


def _box(points: tuple[Point, ...]) -> tuple[Point, Point]:
    """Return the top left corner and the size of a box with two opposite corners, or with all four."""
    if len(points) not in (2, 4):
        raise ManifestError("a rectangle needs two opposite corners", remedy="Write two points.")
    across, down = zip(*points, strict=True)
    left, top = min(across), min(down)
    return (left, top), (max(across) - left, max(down) - top)


def _mask(value: Any, points: tuple[Point, ...], where: str, notes: ReadNotes) -> tuple[tuple[Point, ...], ...]:
    """Return the outlines of a mask, whose top left pixel is the first point."""
    if not isinstance(value, str) or not points or not math.isfinite(sum(points[0])):
        raise BrokenMask("it has no 'mask' or no points")
    left, top = map(float, map(math.trunc, points[0]))
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise BrokenMask("its 'mask' is not base64") from None
    return outlines_of_lines(decode_mask(content, where).set_pixels(), left=left, top=top).drawn(notes, where)


def _extras(
    value: dict[str, Any], where: str, notes: ReadNotes
) -> tuple[dict[str, Any], dict[str, tuple[AttributeValue, ...]]]:
    """Return metadata and attributes. Keys that LabelMe does not define come from other tools that write its format."""
    metadata: dict[str, Any] = {}
    attributes: dict[str, tuple[AttributeValue, ...]] = {}
    flags = value.get("flags")
    if isinstance(flags, dict):
        metadata |= {name: True for name, is_set in flags.items() if is_set is True}
    for key, found in value.items():
        if key in _DRAWN or found in (None, "", [], {}):
            continue
        if key == "attributes" and isinstance(found, dict):
            for name, answer in found.items():
                if isinstance(answer, str):
                    attributes[name] = (AttributeValue(answer),)
                else:
                    metadata[name] = answer
        elif isinstance(found, str | int | float):
            metadata[key] = found
        else:
            notes.count(f"'{key[:40]}' of shapes is not part of the format and is not sent", at=where)
    return metadata, attributes
