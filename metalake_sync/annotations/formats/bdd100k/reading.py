"""Reads BDD100K's and Scalabel's JSON frame by frame.

Of one label, the mask (`rle`) is taken before the polygons (`poly2d`), and these before the box (`box2d`). A pose
(`graph`) comes beside any of them. In the older form, a file is one image, whose `frames` have `objects`. Must not:
check shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.curves import flattened
from metalake_sync.annotations.formats.elements import (
    Elements,
    Place,
    a_dict,
    a_list,
    a_name,
    a_text,
    answers_of,
    size_of,
)
from metalake_sync.annotations.formats.image_names import image_name
from metalake_sync.annotations.formats.masks import BrokenMask, outlines_of
from metalake_sync.annotations.formats.values import number, shortened
from metalake_sync.annotations.json_stream import TOP_LEVEL, members
from metalake_sync.core.shapes import Point, Shape, ShapeType
from metalake_sync.errors import ManifestError

_Drawn = tuple[ShapeType, tuple[Point, ...]]


class Bdd100kReader(FormatReader):
    """Reads files frame by frame."""

    def __init__(self) -> None:
        self._labels = Elements("labels", "", _label, ["bdd100k"])

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each frame. Raises NotAnnotations for another file, and ManifestError with the place."""
        found = False
        of_file: dict[str, Any] = {}
        for key, position, value in members(file.path, file.shown_as, {TOP_LEVEL, "frames"}):
            if key not in (TOP_LEVEL, "frames"):
                if key in ("name", "attributes"):
                    of_file[key] = value
                continue
            found = True
            if position is None:
                if value not in (None, []):
                    message = f"'frames' is {shortened(value)}, not a list"
                    raise ManifestError(message, where=file.shown_as, remedy='Write "frames": [].')
                continue
            place = f"{key}[{position}]"
            try:
                frame = a_dict(value, "the frame")
                if "objects" in frame and "name" not in frame:
                    if position:
                        notes.count("frames of videos are left out: they are not images", at=place)
                        continue
                    frame = {**of_file, "labels": frame["objects"]}
                name = a_name(frame.get("name"), "'name'")
                labels = frame.get("labels")
                numbered = list(enumerate([] if labels is None else a_list(labels, "'labels'")))
            except ManifestError as error:
                where = f"{file.shown_as}: {place}"
                raise ManifestError(error.message, where=where, remedy=error.remedy) from None
            _count_answers(frame.get("attributes"), place, notes)
            form = place + ".labels[{}]"
            stem = name if "." not in name else None
            size = frame.get("size")
            known = size_of(size.get("width"), size.get("height")) if isinstance(size, dict) else None
            yield self._labels.entry(image_name(name), numbered, place=place, stem=stem, size=known, form=form)
        if not found:
            raise NotAnnotations(
                "the file is not of BDD100K: it is neither a list nor an object with 'frames'",
                where=file.shown_as,
                remedy='Write [{"name": "a.jpg", "labels": []}].',
            )


def _count_answers(attributes: Any, place: str, notes: ReadNotes) -> None:
    if isinstance(attributes, dict):
        given = sum(1 for value in attributes.values() if value not in (None, "", [], {}))
        if given:
            notes.count("attributes of whole images are left out: they are not shapes", given, at=place)


def _label(value: Any, place: Place) -> Iterator[Shape]:
    value = a_dict(value, "the label")
    label = a_text(value.get("category"), "'category'")
    score = value.get("score")
    confidence = None if score is None else number(score, place.where)
    attributes = value.get("attributes")
    metadata, answers = answers_of(attributes if isinstance(attributes, dict) else {})
    drawn = _drawn(value, place)
    for part, (shape_type, points) in enumerate(drawn, start=1):
        about = {**metadata, "part": f"{part}/{len(drawn)}"} if len(drawn) > 1 else metadata
        yield Shape(shape_type, points, label, confidence, about, answers)
    pose = _pose(value.get("graph"), place)
    if pose is not None:
        points, about = pose
        yield Shape(ShapeType.POINTS, points, label, confidence, {**metadata, **about}, answers)
    elif not drawn:
        what = "3D boxes are left out" if value.get("box3d") else "labels draw nothing and are left out"
        place.tell(what)


def _drawn(value: dict[str, Any], place: Place) -> list[_Drawn]:
    """Return what a label draws, besides its pose. Raises ManifestError."""
    if value.get("rle"):
        try:
            found = outlines_of(a_dict(value["rle"], "'rle'"))
        except BrokenMask as error:
            raise ManifestError(f"it has a mask (RLE), and {error}") from None
        found.tell_holes(place.notes, place.where)
        return [(ShapeType.POLYGON, outline) for outline in found.outlines]
    if value.get("poly2d"):
        return list(_polygons(a_list(value["poly2d"], "'poly2d'"), place))
    if value.get("box2d"):
        box = a_dict(value["box2d"], "'box2d'")
        left, top, right, bottom = (number(box.get(side), place.where) for side in ("x1", "y1", "x2", "y2"))
        return [(ShapeType.RECTANGLE, ((left, top), (right - left, bottom - top)))]
    return []


def _polygons(parts: list[Any], place: Place) -> Iterator[_Drawn]:
    if isinstance(parts[0], list):
        # The older form: one outline of [x, y, type].
        corners = [a_list(corner, "the corner") for corner in parts]
        types = [str(corner[2]) if len(corner) > 2 else "L" for corner in corners]
        yield ShapeType.POLYGON, flattened(_points([corner[:2] for corner in corners], place), types)
        return
    for part in parts:
        part = a_dict(part, "the polygon")
        points = _points(a_list(part.get("vertices"), "'vertices'"), place)
        given = part.get("types")
        closed = part.get("closed", True) is not False
        known = isinstance(given, list | str) and len(given) == len(points)
        types = [str(kind) for kind in given] if known and given is not None else ["L"] * len(points)
        yield ShapeType.POLYGON if closed else ShapeType.LINE, flattened(points, types, closed=closed)


def _points(pairs: Sequence[Any], place: Place) -> list[Point]:
    if any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise ManifestError("a vertex is not x and y")
    return [(number(x, place.where), number(y, place.where)) for x, y in pairs]


def _pose(graph: Any, place: Place) -> tuple[tuple[Point, ...], dict[str, Any]] | None:
    """Return the labeled points of a graph, and their names. Raises ManifestError."""
    nodes = a_dict(graph, "'graph'").get("nodes") if graph else None
    if not nodes:
        return None
    found = [node for one in a_list(nodes, "'nodes'") if (node := a_dict(one, "the node")).get("visibility") != "N"]
    if not found:
        return None
    points = _points([node.get("location") for node in found], place)
    return tuple(points), {"keypoints": [a_text(node.get("category"), "'category'") for node in found]}
