"""Reads the output manifest of a labeling job, line by line.

A label attribute has any name; its `NAME-metadata` holds the classes and a confidence for each object. Boxes and
polygons of all attributes of a line are one set. Must not: check shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.elements import Elements, Place, a_dict, a_list, a_name, a_text, size_of
from metalake_sync.annotations.formats.ground_truth import IMAGE_KEY
from metalake_sync.annotations.formats.image_names import image_name
from metalake_sync.annotations.formats.values import number, shortened
from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import Shape, ShapeType
from metalake_sync.errors import Location, ManifestError
from metalake_sync.sources.text_files import parse_json, read_lines

_ABOUT = "-metadata"


class GroundTruthReader(FormatReader):
    """Reads files line by line."""

    def __init__(self, normalized: bool) -> None:
        self._normalized = normalized
        self._objects = Elements("annotations", "", _object, ["ground_truth"])

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each line. Raises NotAnnotations for another file, and ManifestError with the line."""
        first = True
        for line, text in enumerate(read_lines(file.path, file.shown_as), start=1):
            if not text.strip():
                continue
            document = parse_json(text, file.shown_as, line)
            where = Location(file.shown_as, line)
            if first and not (isinstance(document, dict) and IMAGE_KEY in document):
                raise NotAnnotations(
                    f"the file is not an output manifest: its first line has no '{IMAGE_KEY}'",
                    where=where,
                    remedy='Write {"source-ref": "s3://bucket/a.jpg", …} in each line.',
                )
            first = False
            try:
                document = a_dict(document, "the line")
                image = image_name(a_name(document.get(IMAGE_KEY), f"'{IMAGE_KEY}'"))
            except ManifestError as error:
                raise ManifestError(error.message, where=where, remedy=error.remedy) from None
            place = f"line {line}"
            objects, size = self._objects_of(document, place, notes)
            if objects is None:
                continue
            form = place + ", annotations[{}]"
            numbered = list(enumerate(objects))
            yield self._objects.entry(image, numbered, place=place, size=size, normalized=self._normalized, form=form)
        if first:
            raise NotAnnotations(
                "the file has no lines", where=file.shown_as, remedy="Download the output manifest of the job again."
            )

    def _objects_of(
        self, document: dict[str, Any], place: str, notes: ReadNotes
    ) -> tuple[list[Any] | None, Size | None]:
        """Return the objects of all label attributes, each with its class and its confidence, and the image's size.

        None for a line without an attribute that draws: what is in its image is unknown."""
        objects: list[Any] | None = None
        is_labeled = False
        size = None
        for key, about in document.items():
            name = key.removesuffix(_ABOUT)
            if name == key or not isinstance(about, dict):
                continue
            is_labeled = True
            value = document.get(name)
            drawn = _drawn(value)
            if drawn is None:
                notes.count(_left_out(name, about, document), at=f"{place}, {shortened(name)}")
                continue
            objects = [] if objects is None else objects
            size = size or _size(value)
            classes = about.get("class-map")
            of_each = about.get("objects")
            confidences = [
                one.get("confidence") if isinstance(one, dict) else None
                for one in (of_each if isinstance(of_each, list) else [])
            ]
            classes = {str(number): name for number, name in classes.items()} if isinstance(classes, dict) else {}
            for at, one in enumerate(drawn):
                class_id = one.get("class_id") if isinstance(one, dict) else None
                objects.append([one, classes.get(str(class_id)), confidences[at] if at < len(confidences) else None])
        if not is_labeled:
            notes.count("images are not labeled and are left out", at=place)
        return objects, size


def _drawn(value: Any) -> list[Any] | None:
    """Return what a label attribute draws, or None for a label of another kind."""
    if not isinstance(value, dict):
        return None
    for key in ("annotations", "boundingBoxes", "polygons"):
        if isinstance(value.get(key), list):
            return list(value[key])
    return None


def _left_out(name: str, about: dict[str, Any], document: dict[str, Any]) -> str:
    """Return the clause about a label attribute that draws nothing."""
    kind = about.get("type")
    kind = kind.removeprefix("groundtruth/") if isinstance(kind, str) else ""
    if "failure-reason" in about:
        return "images that could not be labeled are left out"
    if "segmentation" in kind or f"{name}-ref" in document or name.endswith("-ref"):
        return "masks that are files of their own in a bucket are left out"
    if "video" in kind or "3d" in kind or "point-cloud" in kind:
        return "labels of videos and of points in space are left out"
    return "labels of whole images are left out: they are not shapes"


def _size(value: Any) -> Size | None:
    sizes = value.get("image_size")
    first = sizes[0] if isinstance(sizes, list) and sizes else None
    return size_of(first.get("width"), first.get("height")) if isinstance(first, dict) else None


def _object(element: Any, place: Place) -> Iterator[Shape]:
    drawn, named, confidence = element
    drawn = a_dict(drawn, "the annotation")
    label = named if named is not None else drawn.get("label", drawn.get("class"))
    if label is None and drawn.get("class_id") is not None:
        raise ManifestError(f"class {shortened(drawn['class_id'])} is not in 'class-map'")
    label = a_text(label, "the class")
    score = None if confidence is None else number(confidence, place.where)
    corners = drawn.get("vertices")
    if corners is not None:
        points = [a_dict(corner, "the corner") for corner in a_list(corners, "'vertices'")]
        outline = tuple((number(one.get("x"), place.where), number(one.get("y"), place.where)) for one in points)
        yield Shape(ShapeType.POLYGON, outline, label, score)
        return
    left, top, width, height = (number(drawn.get(side), place.where) for side in ("left", "top", "width", "height"))
    yield Shape(ShapeType.RECTANGLE, ((left, top), (width, height)), label, score)
