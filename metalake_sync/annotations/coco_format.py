"""COCO: detection, segmentation and keypoints, as canonical records.

Owns: the join of its three lists, which may stand in any order and be of any size: images and annotations go to a
temporary SQLite file and come back image by image. Must not: check shapes.

One annotation becomes one polygon for each part of its segmentation (`part: "1/2"` in the metadata where there are
several), else its box; and points for its keypoints. Source: cocodataset.org, "Data format".
"""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from metalake_sync.annotations.entries import (
    Drawn,
    Entry,
    ReadNotes,
    SourceFile,
    Undrawn,
    number,
    point_pairs,
    raw_bytes,
    raw_value,
)
from metalake_sync.annotations.json_stream import members
from metalake_sync.annotations.metalake_format import read_attributes
from metalake_sync.annotations.rle import BrokenMask, outlines_of
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError

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
_LARGEST_ID = 1 << 62
_ID_OF_ITS_OWN = "Give each an id of its own."

_TABLES = """
CREATE TABLE image (
    id PRIMARY KEY, position INTEGER NOT NULL, name TEXT NOT NULL, width INTEGER, height INTEGER
) WITHOUT ROWID;
CREATE TABLE annotation (image, position INTEGER NOT NULL, body BLOB NOT NULL);
"""


def read_coco(source: SourceFile, normalized: bool, notes: ReadNotes) -> Iterator[Entry]:
    """Read a file, one entry for each of its images. Raises ManifestError that names the annotation or image."""
    # The empty name is a temporary file that SQLite deletes; its memory is SQLite's page cache.
    with contextlib.closing(sqlite3.connect("", isolation_level=None)) as spool:
        spool.executescript(_TABLES)
        spool.execute("BEGIN")
        categories = _spool(source, spool)
        spool.execute("CREATE INDEX annotation_image ON annotation (image, position)")
        orphans = spool.execute("SELECT count(*) FROM annotation WHERE image NOT IN (SELECT id FROM image)").fetchone()
        if orphans[0]:
            notes.count("annotations are of an image that the file does not list; they are left out", orphans[0])
        reader = _Annotations(source, categories)
        depends_on = ["coco", [[repr(key), category] for key, category in categories.items()]]
        images = spool.cursor().execute("SELECT * FROM image ORDER BY position")
        for image_id, position, name, width, height in images:
            rows = spool.execute(
                "SELECT position, body FROM annotation WHERE image = ? ORDER BY position", (image_id,)
            ).fetchall()
            raw = raw_bytes([body for _, body in rows])
            places = [at for at, _ in rows]
            yield Entry(
                ImageRecord(_unpacked(name), (), normalized),
                f"images[{position}]",
                size=(width, height) if width and height else None,
                shape_form="annotations[{}]",
                undrawn=Undrawn(
                    raw,
                    depends_on,
                    functools.partial(reader.draw, raw, places),
                    reader.draw_again,
                )
                if rows
                else None,
            )


def _spool(source: SourceFile, spool: sqlite3.Connection) -> dict[int | str, dict[str, Any]]:
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
                raise ManifestError(f"'{key}' is no list", where=source.shown_as, remedy=f'Write "{key}": [].')
            continue
        try:
            if not isinstance(value, dict):
                raise ManifestError("it is no object", remedy="See the format's documentation.")
            match key:
                case "annotations":
                    annotations.append((_id(value, "image_id"), position, raw_bytes(value)))
                case "images":
                    _spool_image(spool, position, value)
                case _:
                    if not isinstance(value.get("name"), str):
                        raise ManifestError("the category has no 'name'", remedy="Give it one.")
                    category = _id(value, "id")
                    if category in categories:
                        raise ManifestError(f"two categories have the id {value['id']!r}", remedy=_ID_OF_ITS_OWN)
                    categories[category] = value
        except ManifestError as error:
            raise _placed(error, f"{source.shown_as}: {key}[{position}]") from None
        if len(annotations) == _BATCH:
            spool.executemany("INSERT INTO annotation VALUES (?, ?, ?)", annotations)
            annotations.clear()
    spool.executemany("INSERT INTO annotation VALUES (?, ?, ?)", annotations)
    if "images" not in seen:
        raise ManifestError(
            "it is no COCO file",
            where=source.shown_as,
            remedy='It should read {"images": [], "annotations": [], "categories": []}.',
        )
    return categories


def _spool_image(spool: sqlite3.Connection, position: int, image: dict[str, Any]) -> None:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise ManifestError("the image has no 'file_name'", remedy="Give it one.")
    image_id = _id(image, "id")
    try:
        # As JSON, because a name may hold what SQLite's texts can't.
        row = (image_id, position, json.dumps(name), _side(image.get("width")), _side(image.get("height")))
        spool.execute("INSERT INTO image VALUES (?, ?, ?, ?, ?)", row)
    except sqlite3.IntegrityError:
        raise ManifestError(f"two images have the id {image_id!r}", remedy=_ID_OF_ITS_OWN) from None


def _side(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < _LARGEST_ID else None


def _placed(error: ManifestError, place: str) -> ManifestError:
    """An error that was told from inside an element, with the element's place. Places are made where they are needed:
    a million annotations need none."""
    return ManifestError(error.message, where=f"{place}{error.where or ''}", remedy=error.remedy)


def _id(value: dict[str, Any], key: str) -> int | str:
    found = value.get(key)
    if type(found) is float and found.is_integer():
        # Tables of numbers know no others: pandas writes 1.0.
        found = int(found)
    if type(found) is int and -_LARGEST_ID < found < _LARGEST_ID:
        return found
    if not isinstance(found, str):
        raise ManifestError(f"'{key}' is neither a whole number nor a text", remedy=f"Give it '{key}'.")
    # Texts are told from numbers, and surrogates kept out of SQLite.
    return json.dumps(found)


def _unpacked(name: str) -> str:
    text: str = json.loads(name)
    return text


class _Annotations:
    """Annotations as shapes."""

    def __init__(self, source: SourceFile, categories: dict[int | str, dict[str, Any]]) -> None:
        self._source = source
        self._categories = categories

    def draw(self, raw: bytes, places: Sequence[int], notes: ReadNotes) -> Drawn:
        """The shapes of an image's annotations, each as `raw_bytes` has it. `places`: of each in the file."""
        shapes = [
            (at, shape)
            for at, body in zip(places, raw_value(raw), strict=True)
            for shape in self.shapes(raw_value(body), at, notes)
        ]
        return tuple(shape for _, shape in shapes), tuple(at for at, _ in shapes)

    def draw_again(self, raw: bytes) -> tuple[Shape, ...]:
        return tuple(shape for body in raw_value(raw) for shape in self.shapes(raw_value(body), 0, ReadNotes()))

    def shapes(self, annotation: dict[str, Any], position: int, notes: ReadNotes) -> list[Shape]:
        """The shapes of one annotation, none where nothing is drawn."""
        try:
            shapes = self._shapes(annotation, notes)
        except ManifestError as error:
            raise _placed(error, self._place(position)) from None
        except BrokenMask as why:
            what = f"masks (RLE) are refused, because of the first {why} ({self._place(position)}); boxes are taken"
            notes.count(what)
            shapes = self._shapes({**annotation, "segmentation": None}, notes)
        if not shapes:
            notes.count("annotations have neither box nor mask nor keypoints; they are left out")
        return shapes

    def _place(self, position: int) -> str:
        return f"{self._source.shown_as}: annotations[{position}]"

    def _shapes(self, annotation: dict[str, Any], notes: ReadNotes) -> list[Shape]:
        category = self._categories.get(_id(annotation, "category_id"))
        if category is None:
            raise ManifestError(
                f"category {annotation['category_id']!r} stands in no 'categories'",
                remedy="Add the category, or correct 'category_id'.",
            )
        label = category["name"]
        score = annotation.get("score")
        confidence = None if score is None else number(score, ".score")
        metadata, attributes = _extras(annotation)
        polygons = self._polygons(annotation.get("segmentation"), notes)
        keypoints = _keypoints(annotation.get("keypoints"), category)
        box = annotation.get("bbox")
        if keypoints is not None and box == box_around(keypoints[0]):
            # It says no more than the points do.
            box = None
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
        elif box not in (None, []):
            if not isinstance(box, list) or len(box) != 4:
                raise ManifestError("a box has four numbers", where=".bbox", remedy="Write [x, y, width, height].")
            x, y, width, height = (number(part, ".bbox") for part in box)
            shapes = [Shape(ShapeType.RECTANGLE, ((x, y), (width, height)), label, confidence, metadata, attributes)]
        else:
            shapes = []
        if keypoints is not None:
            points, about = keypoints
            shapes.append(Shape(ShapeType.POINTS, points, label, confidence, {**metadata, **about}, attributes))
        return shapes

    def _polygons(self, segmentation: Any, notes: ReadNotes) -> tuple[tuple[Point, ...], ...]:
        if isinstance(segmentation, dict):
            found = outlines_of(segmentation)
            if found.holes:
                notes.count("holes of masks (RLE) are filled: a polygon has none", found.holes)
            return found.outlines
        if segmentation in (None, []):
            return ()
        if not isinstance(segmentation, list):
            raise ManifestError(
                "'segmentation' is neither a list nor a mask", where=".segmentation", remedy="Write [[x, y, …]]."
            )
        if not isinstance(segmentation[0], list):
            segmentation = [segmentation]
        polygons = []
        for index, flat in enumerate(segmentation):
            place = f".segmentation[{index}]"
            if not isinstance(flat, list) or len(flat) % 2:
                raise ManifestError("a polygon is x, y, x, y, …", where=place, remedy="Write an even count of numbers.")
            polygons.append(point_pairs([number(part, place) for part in flat]))
        return tuple(polygons)


def _extras(annotation: dict[str, Any]) -> tuple[dict[str, Any], dict[str, tuple[AttributeValue, ...]]]:
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
                ours.update(read_attributes({name: value}, ".attributes"))
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


def _keypoints(keypoints: Any, category: dict[str, Any]) -> tuple[tuple[Point, ...], dict[str, Any]] | None:
    """The points that are labelled, and what they are called; their visibility only where one is hidden."""
    if keypoints in (None, []):
        return None
    if not isinstance(keypoints, list) or len(keypoints) % 3:
        raise ManifestError(
            "keypoints are x, y, visibility, …", where=".keypoints", remedy="Write three numbers for each point."
        )
    numbers = [number(part, ".keypoints") for part in keypoints]
    triples = list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
    labelled = [index for index, (_, _, visibility) in enumerate(triples) if visibility > 0]
    if not labelled:
        return None
    about: dict[str, Any] = {}
    names = category.get("keypoints")
    if isinstance(names, list) and len(names) == len(triples):
        about["keypoints"] = [names[index] for index in labelled]
    if any(triples[index][2] != 2 for index in labelled):
        about["visibility"] = [triples[index][2] for index in labelled]
    return tuple((triples[index][0], triples[index][1]) for index in labelled), about
