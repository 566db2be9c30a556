"""Reads Create ML's JSON image by image. `x` and `y` are the center of a box. Must not: check shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.elements import Elements, Place, a_dict, a_list, a_name, a_text
from metalake_sync.annotations.formats.image_names import image_name
from metalake_sync.annotations.formats.values import number
from metalake_sync.annotations.json_stream import TOP_LEVEL, members
from metalake_sync.core.shapes import Shape, ShapeType
from metalake_sync.errors import ManifestError


class CreateMlReader(FormatReader):
    """Reads files image by image."""

    def __init__(self, normalized: bool) -> None:
        self._normalized = normalized

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each image. Raises ManifestError with the place, such as images[3]."""
        elements = Elements("annotations", "", _box, ["createml"])
        for key, position, value in members(file.path, file.shown_as, {TOP_LEVEL}):
            if key != TOP_LEVEL:
                raise NotAnnotations(
                    "the file is not Create ML JSON: its top level is not a list",
                    where=file.shown_as,
                    remedy='Write [{"image": "a.jpg", "annotations": []}].',
                )
            if position is None:
                return
            place = f"[{position}]"
            try:
                entry = a_dict(value, "the entry")
                image = a_name(entry.get("image", entry.get("imagefilename")), "'image'")
                annotations = a_list(entry.get("annotations", entry.get("annotation")), "'annotations'")
            except ManifestError as error:
                where = f"{file.shown_as}: {place}"
                raise ManifestError(error.message, where=where, remedy=error.remedy) from None
            form = place + ".annotations[{}]"
            numbered = list(enumerate(annotations))
            yield elements.entry(image_name(image), numbered, place=place, normalized=self._normalized, form=form)


def _box(annotation: Any, place: Place) -> Iterator[Shape]:
    annotation = a_dict(annotation, "the annotation")
    box = a_dict(annotation.get("coordinates"), "'coordinates'")
    x, y, width, height = (number(box.get(side), place.where) for side in ("x", "y", "width", "height"))
    confidence = annotation.get("confidence")
    yield Shape(
        ShapeType.RECTANGLE,
        ((x - width / 2, y - height / 2), (width, height)),
        a_text(annotation.get("label"), "'label'"),
        None if confidence is None else number(confidence, place.where),
    )
