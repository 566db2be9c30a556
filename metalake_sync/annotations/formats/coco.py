"""COCO: detection, segmentation and keypoints, as canonical records.

Owns: the join of its three lists, which may stand in any order and be of any size: images and annotations go to a
temporary SQLite file and come back image by image. Must not: check shapes.

One annotation becomes one polygon for each part of its segmentation (`part: "1/2"` in the metadata where there are
several), else its box; and points for its keypoints. The box is taken where a segmentation draws nothing or can't be
read. An annotation that can't be read is left out and reported. Source: cocodataset.org, "Data format".
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from metalake_sync.annotations.entries import (
    Drawn,
    Entry,
    ImageSize,
    NotAnnotations,
    ReadNotes,
    SourceFile,
    Undrawn,
    draws,
    number,
    point_pairs,
    raw_bytes,
    raw_value,
    shortened,
)
from metalake_sync.annotations.formats.metalake import read_attributes
from metalake_sync.annotations.images import Size
from metalake_sync.annotations.json_stream import members
from metalake_sync.annotations.rle import BrokenMask, outlines_of
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError
from metalake_sync.sources.scratch import unusable

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
"""Keys of an annotation that have a meaning here; all others are its metadata."""

_LISTS = frozenset({"images", "annotations", "categories"})
_BATCH = 10_000
_LARGEST_ID = 1 << 63
"""SQLite's integers are smaller; ids of 64 bits without a sign are kept as texts of digits."""

_LONGEST_ID_DIGITS = 20
_WHOLE_NUMBER = re.compile("0|-?[1-9][0-9]*")
_ID_OF_ITS_OWN = "Give each an id of its own."

_TABLES = """
CREATE TABLE image (
    id PRIMARY KEY, position INTEGER NOT NULL, name TEXT NOT NULL, width INTEGER, height INTEGER
) WITHOUT ROWID;
CREATE TABLE annotation (image, position INTEGER NOT NULL, body BLOB NOT NULL);
"""


def read_coco(source: SourceFile, normalized: bool, notes: ReadNotes) -> Iterator[Entry]:
    """Read a file, one entry for each of its images. Raises ManifestError that names the image or category, and
    SyncError where the temporary folder is full or missing."""
    try:
        yield from _entries(source, normalized, notes)
    except sqlite3.OperationalError as error:
        raise unusable(str(error)) from None


def _entries(source: SourceFile, normalized: bool, notes: ReadNotes) -> Iterator[Entry]:
    # The empty name is a temporary file that SQLite deletes; its memory is SQLite's page cache.
    with contextlib.closing(sqlite3.connect("", isolation_level=None)) as spool:
        spool.executescript(_TABLES)
        spool.execute("BEGIN")
        categories = _spool(source, spool, notes)
        spool.execute("CREATE INDEX annotation_image ON annotation (image, position)")
        _join_orphans(spool, notes)
        reader = _Annotations(source, categories)
        depends_on = ["coco", [[repr(key), category] for key, category in categories.items()]]
        images = spool.cursor().execute("SELECT * FROM image ORDER BY position")
        for image_id, position, name, width, height in images:
            rows = spool.execute(
                "SELECT position, body FROM annotation WHERE image = ? ORDER BY position", (image_id,)
            ).fetchall()
            size = (width, height) if width and height else None
            raw = raw_bytes([size, [body for _, body in rows]])
            places = [at for at, _ in rows]
            yield Entry(
                ImageRecord(_unpacked(name), (), normalized),
                f"images[{position}]",
                size=size,
                shape_form="annotations[{}]",
                undrawn=Undrawn(raw, depends_on, functools.partial(reader.draw, raw, places), reader.draw_again)
                if rows
                else None,
            )


def _join_orphans(spool: sqlite3.Connection, notes: ReadNotes) -> None:
    """Find the images of annotations whose `image_id` no image has. Scripts make a text of a number in one list alone:
    then the two mean the same, if no other image has that id."""
    count = "SELECT count(*), min(position) FROM annotation WHERE image NOT IN (SELECT id FROM image)"
    orphans, _ = spool.execute(count).fetchone()
    if not orphans:
        return
    spool.create_function("other_form", 1, _other_form, deterministic=True)
    joined = spool.execute(
        "UPDATE annotation SET image = other_form(image) WHERE image NOT IN (SELECT id FROM image)"
        " AND other_form(image) IN (SELECT id FROM image)"
    ).rowcount
    if joined:
        notes.count("annotations have an 'image_id' that is a text in one list and a number in the other", joined)
    if orphans > joined:
        what = "annotations are of an image that the file does not list; they are left out"
        _, position = spool.execute(count).fetchone()
        notes.count(what, orphans - joined, at=f"annotations[{position}]")


def _spool(source: SourceFile, spool: sqlite3.Connection, notes: ReadNotes) -> dict[int | str, dict[str, Any]]:
    """Write images and annotations away. Returns the categories by their ids."""
    categories: dict[int | str, dict[str, Any]] = {}
    annotations: list[tuple[int | str, int, bytes]] = []
    seen: set[str] = set()
    for key, position, value in members(source.path, source.shown_as, _LISTS):
        if key not in _LISTS:
            continue
        seen.add(key)
        if position is None:
            if value not in (None, []):
                message = f"'{key}' is {shortened(value)}, not a list"
                raise ManifestError(message, where=source.shown_as, remedy=f'Write "{key}": [].')
            continue
        if key == "annotations":
            image = _id(value.get("image_id")) if isinstance(value, dict) else None
            if image is None:
                _leave_out_homeless(value, position, notes)
                continue
            annotations.append((image, position, raw_bytes(value)))
            if len(annotations) == _BATCH:
                spool.executemany("INSERT INTO annotation VALUES (?, ?, ?)", annotations)
                annotations.clear()
            continue
        try:
            if not isinstance(value, dict):
                raise ManifestError(f"it is {shortened(value)}, not an object", remedy="Write {…}.")
            if key == "images":
                _spool_image(spool, position, value)
            else:
                _take_category(categories, value)
        except ManifestError as error:
            raise _placed(error, f"{source.shown_as}: {key}[{position}]") from None
    spool.executemany("INSERT INTO annotation VALUES (?, ?, ?)", annotations)
    if "images" not in seen:
        kind = ManifestError if "annotations" in seen else NotAnnotations
        raise kind(
            "it is not a COCO file: it has no 'images'",
            where=source.shown_as,
            remedy='It should read {"images": [], "annotations": [], "categories": []}.',
        )
    return categories


def _leave_out_homeless(annotation: Any, position: int, notes: ReadNotes) -> None:
    """Report an annotation that names no image."""
    place = f"annotations[{position}]"
    if isinstance(annotation, dict):
        what = "annotations have an 'image_id' that is neither a whole number nor a text"
        notes.leave_out(what, f"{place}: {shortened(annotation.get('image_id'))}")
    else:
        notes.leave_out("annotations are not objects", f"{place}: {shortened(annotation)}")


def _take_category(categories: dict[int | str, dict[str, Any]], value: dict[str, Any]) -> None:
    name, found = value.get("name"), value.get("id")
    if not isinstance(name, str):
        raise ManifestError(f"'name' of the category is {shortened(name)}, not a text", remedy="Give it a name.")
    category = _id(found)
    if category is None:
        raise _no_id(found)
    if category in categories:
        raise ManifestError(f"two categories have the id {shortened(found)}", remedy=_ID_OF_ITS_OWN)
    categories[category] = value


def _spool_image(spool: sqlite3.Connection, position: int, image: dict[str, Any]) -> None:
    name, found = image.get("file_name"), image.get("id")
    if not isinstance(name, str) or not name:
        message = f"'file_name' of the image is {shortened(name)}, not a name"
        raise ManifestError(message, remedy="Give it a 'file_name'.")
    image_id = _id(found)
    if image_id is None:
        raise _no_id(found)
    try:
        # As JSON, because a name may hold what SQLite's texts can't.
        row = (image_id, position, json.dumps(name), _side(image.get("width")), _side(image.get("height")))
        spool.execute("INSERT INTO image VALUES (?, ?, ?, ?, ?)", row)
    except sqlite3.IntegrityError:
        raise ManifestError(f"two images have the id {shortened(found)}", remedy=_ID_OF_ITS_OWN) from None


def _side(value: Any) -> int | None:
    """A width or height in pixels. Scripts write it as a text, tables as 640.0."""
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _LONGEST_ID_DIGITS
    if digits or (type(value) is float and value.is_integer()):
        value = int(value)
    return value if type(value) is int and 0 < value < _LARGEST_ID else None


def _placed(error: ManifestError, place: str) -> ManifestError:
    """An error that was told from inside an element, with the element's place. Places are made where they are needed:
    a million annotations need none."""
    return ManifestError(error.message, where=f"{place}{error.where or ''}", remedy=error.remedy)


def _id(found: Any) -> int | str | None:
    """An id as a key: equal ids have equal ones, and texts are told from numbers. None for what is not an id."""
    if type(found) is float and found.is_integer():
        # Tables of numbers know no others: pandas writes 1.0.
        found = int(found)
    if type(found) is int:
        return found if -_LARGEST_ID <= found < _LARGEST_ID else str(found)
    # As JSON, which keeps surrogates out of SQLite.
    return json.dumps(found) if isinstance(found, str) else None


def _other_form(key: int | str | None) -> int | str | None:
    """The key of an id that is written as a text instead of a number, or the other way round; None where it has no
    other form."""
    if isinstance(key, str) and key.startswith('"'):
        text = json.loads(key)
        if len(text) > _LONGEST_ID_DIGITS or not _WHOLE_NUMBER.fullmatch(text):
            return None
        return _id(int(text))
    return None if key is None else json.dumps(str(key))


def _no_id(found: Any) -> ManifestError:
    message = f"'id' is {shortened(found)}, neither a whole number nor a text"
    return ManifestError(message, remedy="Give it an 'id'.")


def _unpacked(name: str) -> str:
    text: str = json.loads(name)
    return text


class _Unreadable(Exception):
    """A part of an annotation can't be read. The words say which part and why; `found`: what stands there."""

    def __init__(self, why: str, found: Any) -> None:
        super().__init__(why)
        self.found = found


class _Annotations:
    """Annotations as shapes."""

    def __init__(self, source: SourceFile, categories: dict[int | str, dict[str, Any]]) -> None:
        self._source = source
        self._categories = categories

    def draw(self, raw: bytes, places: Sequence[int], notes: ReadNotes, size: ImageSize) -> Drawn:
        """The shapes of an image's annotations. `raw`: the image's size in the file, and its annotations, each as
        `raw_bytes` has it. `places`: of each in the file. `size`: of the image itself."""
        said, bodies = raw_value(raw)
        sizes = [one for one in (said, size) if one is not None]
        shapes = [
            (at, shape)
            for at, body in zip(places, bodies, strict=True)
            for shape in self._shapes(raw_value(body), at, sizes, notes)
        ]
        return tuple(shape for _, shape in shapes), tuple(at for at, _ in shapes)

    def draw_again(self, raw: bytes, size: ImageSize) -> tuple[Shape, ...]:
        _, bodies = raw_value(raw)
        shapes, _ = self.draw(raw, [0] * len(bodies), ReadNotes(), size)
        return shapes

    def _shapes(
        self, annotation: dict[str, Any], position: int, sizes: Sequence[Size], notes: ReadNotes
    ) -> list[Shape]:
        """The shapes of one annotation, none where nothing is drawn. `sizes`: of its image, as far as they are
        known."""
        place = f"annotations[{position}]"
        try:
            return self._drawn(annotation, place, sizes, notes)
        except _Unreadable as why:
            notes.leave_out(f"annotations have {why}", f"{place}: {shortened(why.found)}")
            return []
        except ManifestError as error:
            raise _placed(error, f"{self._source.shown_as}: {place}") from None

    def _drawn(self, annotation: dict[str, Any], place: str, sizes: Sequence[Size], notes: ReadNotes) -> list[Shape]:
        if "segments_info" in annotation:
            raise ManifestError(
                "it has 'segments_info': the file is COCO panoptic, which is not read",
                remedy="Convert it to COCO instances.",
            )
        box, broken_box = None, None
        try:
            box = _box(annotation.get("bbox"))
        except _Unreadable as why:
            broken_box = why
        has_other = box is not None or not _is_nothing(annotation.get("keypoints"))
        polygons = _polygons(annotation.get("segmentation"), place, sizes, notes, has_other=has_other)
        triples = _triples(annotation.get("keypoints"), place, notes, alone=box is None and not polygons)
        if box is None and not polygons and triples is None:
            if broken_box is not None:
                raise broken_box
            what = "neither box nor mask nor keypoints"
            if isinstance(annotation.get("caption"), str):
                what = "a caption, a text of the whole image, and nothing drawn"
            notes.count(f"annotations have {what}; they are left out", at=place)
            return []
        if broken_box is not None:
            what = f"annotations have {broken_box}; what else they draw is taken"
            notes.count(what, at=f"{place}: {shortened(broken_box.found)}")
        category = self._category(annotation.get("category_id"))
        label = category["name"]
        confidence = _confidence(annotation.get("score"), place, notes)
        metadata, attributes = _extras(annotation, place, notes)
        keypoints = _keypoints(triples, category) if triples is not None else None
        if keypoints is not None and annotation.get("bbox") == box_around(keypoints[0]):
            # It says no more than the points do.
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

    def _category(self, found: Any) -> dict[str, Any]:
        key = _id(found)
        if key is None:
            raise _Unreadable("a 'category_id' that is neither a whole number nor a text", found)
        category = self._categories.get(key)
        if category is None:
            # As with images: a text in one list, a number in the other.
            other = _other_form(key)
            category = self._categories.get(other) if other is not None else None
        if category is None:
            raise ManifestError(
                f"category {shortened(found)} is not in 'categories'",
                remedy="Add the category, or correct 'category_id'.",
            )
        return category


def _is_nothing(value: Any) -> bool:
    """Whether an optional key says nothing. Tables have NaN where they have no value."""
    return value is None or value == [] or (type(value) is float and math.isnan(value))


def _box(value: Any) -> tuple[float, float, float, float] | None:
    if _is_nothing(value):
        return None
    why = "a 'bbox' that is not four numbers"
    if not isinstance(value, list) or len(value) != 4:
        raise _Unreadable(why, value)
    x, y, width, height = _numbers(value, why)
    # All of it NaN: a table again.
    return None if all(map(math.isnan, (x, y, width, height))) else (x, y, width, height)


def _numbers(values: list[Any], why: str) -> list[float]:
    """JSON numbers as such. `why`: what is wrong if one is something else."""
    try:
        return [number(one, "") for one in values]
    except ManifestError:
        raise _Unreadable(why, values) from None


def _polygons(
    segmentation: Any, place: str, sizes: Sequence[Size], notes: ReadNotes, *, has_other: bool
) -> tuple[tuple[Point, ...], ...]:
    """The polygons of a segmentation that draw something. Where none does: none for an annotation that draws something
    else, and all of them for another one, for the checks to report."""
    if _is_nothing(segmentation):
        return ()
    try:
        parts = _parts(segmentation, place, sizes, notes)
    except _Unreadable as why:
        if not has_other:
            raise
        notes.count(f"annotations have {why}; their boxes are taken", at=f"{place}: {shortened(why.found)}")
        return ()
    except BrokenMask as why:
        if not has_other:
            raise _Unreadable(f"a mask (RLE) and no box, and {why}", segmentation) from None
        notes.count(f"annotations have a mask (RLE), and {why}; their boxes are taken", at=f"{place}{why.found}")
        return ()
    drawing = tuple(points for points in parts if draws(points))
    if len(drawing) < len(parts) and (drawing or has_other) and any(parts):
        lost = sum(1 for points in parts if points) - len(drawing)
        notes.count("parts of segmentations have no area; they are left out", lost, at=place)
    return drawing if drawing or has_other else parts


_NO_POLYGON = "a polygon that is not x, y, x, y, …"


def _parts(segmentation: Any, place: str, sizes: Sequence[Size], notes: ReadNotes) -> tuple[tuple[Point, ...], ...]:
    """The polygons of a segmentation as they stand. A mask may also be one of a list."""
    if isinstance(segmentation, dict):
        segmentation = [segmentation]
    if not isinstance(segmentation, list):
        raise _Unreadable("a 'segmentation' that is neither a list nor a mask", segmentation)
    if not isinstance(segmentation[0], list | dict):
        segmentation = [segmentation]
    polygons: list[tuple[Point, ...]] = []
    for part in segmentation:
        if isinstance(part, dict):
            polygons += _outlines(part, place, sizes, notes)
        elif not isinstance(part, list) or len(part) % 2:
            raise _Unreadable(_NO_POLYGON, part)
        else:
            polygons.append(point_pairs(_numbers(part, _NO_POLYGON)))
    return tuple(polygons)


def _outlines(mask: dict[str, Any], place: str, sizes: Sequence[Size], notes: ReadNotes) -> Sequence[tuple[Point, ...]]:
    size = mask.get("size")
    if sizes and isinstance(size, list) and len(size) == 2 and (size[1], size[0]) not in sizes:
        width, height = sizes[0]
        found = f": {shortened(size)} for an image of {width} x {height}"
        raise BrokenMask("its size, [height, width], is not the image's", found)
    found_outlines = outlines_of(mask)
    if found_outlines.holes:
        notes.count("holes of masks (RLE) are filled: a polygon has none", found_outlines.holes, at=place)
    return found_outlines.outlines


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
    """Keys that COCO does not know become metadata. `attributes` are CVAT's (name: value; texts are attributes of the
    label here too, flags and numbers are metadata), or ours (name: list of values)."""
    metadata = {key: annotation[key] for key in annotation if key not in COCO_KEYS}
    if annotation.get("iscrowd"):
        metadata["iscrowd"] = annotation["iscrowd"]
    own = annotation.get("metadata")
    if isinstance(own, dict):
        metadata.update(own)
    elif own is not None:
        metadata["metadata"] = own
    attributes = annotation.get("attributes")
    ours: dict[str, tuple[AttributeValue, ...]] = {}
    if isinstance(attributes, dict):
        for name, value in attributes.items():
            if isinstance(value, list) and value and all(isinstance(one, dict) and "value" in one for one in value):
                try:
                    ours.update(read_attributes({name: value}, ""))
                except ManifestError as error:
                    what = f"attributes can't be read, and are left out: {error.message}"
                    notes.count(what, at=f"{place}.attributes")
            elif isinstance(value, str) and value:
                ours[name] = (AttributeValue(value),)
            else:
                metadata[name] = value
    elif attributes not in (None, []):
        metadata["attributes"] = attributes
    return metadata, ours


def box_around(points: Sequence[Point]) -> list[float]:
    """x, y, width and height of what holds all points."""
    across, down = zip(*points, strict=True)
    left, top = min(across), min(down)
    return [left, top, max(across) - left, max(down) - top]


_Triples = list[tuple[float, float, float]]
"""x, y and visibility of each keypoint: 0 is not labelled, 1 is hidden, 2 is seen."""


def _triples(keypoints: Any, place: str, notes: ReadNotes, *, alone: bool) -> _Triples | None:
    """The keypoints of an annotation, or None where none is labelled. `alone`: nothing else is drawn."""
    if _is_nothing(keypoints):
        return None
    why = "'keypoints' that are not x, y, visibility, …"
    try:
        if not isinstance(keypoints, list) or len(keypoints) % 3:
            raise _Unreadable(why, keypoints)
        numbers = _numbers(keypoints, why)
    except _Unreadable:
        if alone:
            raise
        notes.count(f"annotations have {why}; they are left out", at=f"{place}: {shortened(keypoints)}")
        return None
    triples = list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
    return triples if any(visibility > 0 for _, _, visibility in triples) else None


def _keypoints(triples: _Triples, category: dict[str, Any]) -> tuple[tuple[Point, ...], dict[str, Any]]:
    """The points that are labelled, and what they are called; their visibility only where one is hidden."""
    labelled = [index for index, (_, _, visibility) in enumerate(triples) if visibility > 0]
    about: dict[str, Any] = {}
    names = category.get("keypoints")
    if isinstance(names, list) and len(names) == len(triples):
        about["keypoints"] = [names[index] for index in labelled]
    if any(triples[index][2] != 2 for index in labelled):
        about["visibility"] = [triples[index][2] for index in labelled]
    return tuple((triples[index][0], triples[index][1]) for index in labelled), about
