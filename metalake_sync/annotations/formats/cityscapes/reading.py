"""Reads the polygons of Cityscapes. The image of X_gtFine_polygons.json is X_leftImg8bit. Must not: check shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.elements import Elements, Place, a_dict, a_list, a_text, size_of
from metalake_sync.annotations.formats.label_texts import stem_of
from metalake_sync.annotations.formats.values import number, shortened
from metalake_sync.annotations.json_stream import members
from metalake_sync.core.shapes import Shape, ShapeType
from metalake_sync.errors import ManifestError

_ENDING = re.compile(r"_gt(Fine|Coarse)_polygons$")
_FOLDERS = {"gtFine": "leftImg8bit", "gtCoarse": "leftImg8bit"}


class CityscapesReader(FormatReader):
    """Reads files, each of which is of one image."""

    def __init__(self) -> None:
        self._objects = Elements("objects", "objects[{}]", _object, ["cityscapes"])

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of the file's image. Raises NotAnnotations for another file, and ManifestError."""
        objects: list[tuple[int, Any]] = []
        sides: dict[str, Any] = {}
        found = False
        for key, position, value in members(file.path, file.shown_as, {"objects"}):
            if key != "objects":
                sides[key] = value
            elif position is not None:
                found = True
                objects.append((position, value))
            elif isinstance(value, list):
                found = True
            else:
                message = f"'objects' is {shortened(value)}, not a list"
                raise ManifestError(message, where=file.shown_as, remedy='Write "objects": [].')
        if not found:
            raise NotAnnotations(
                "the file is not of Cityscapes: it has no 'objects'",
                where=file.shown_as,
                remedy='Write {"imgHeight": 1024, "imgWidth": 2048, "objects": []}.',
            )
        size = size_of(sides.get("imgWidth"), sides.get("imgHeight"))
        image = _ENDING.sub("_leftImg8bit", stem_of(file, _FOLDERS))
        yield self._objects.entry(image, objects, stem=stem_of(file), size=size)


def _object(value: Any, place: Place) -> Iterator[Shape]:
    value = a_dict(value, "the object")
    if value.get("deleted") in (1, True, "1"):
        place.tell("objects are deleted and are left out")
        return
    corners = [a_list(corner, "the corner") for corner in a_list(value.get("polygon"), "'polygon'")]
    if any(len(corner) != 2 for corner in corners):
        raise ManifestError("a corner is not x and y")
    points = tuple((number(x, place.where), number(y, place.where)) for x, y in corners)
    yield Shape(ShapeType.POLYGON, points, a_text(value.get("label"), "'label'"))
