"""Reads COCO files: joins the three lists, image by image.

Owns: the join. The lists may be in any order and of any size, so images and annotations go to a temporary SQLite file
and come back image by image. Must not: make shapes (`shapes` does) or check them.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, RawShapes, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.coco.panoptic import stamp_of
from metalake_sync.annotations.formats.coco.shapes import (
    LARGEST_ID,
    LONGEST_ID_DIGITS,
    RawImage,
    ShapeParser,
    id_key,
    other_form,
    with_place,
)
from metalake_sync.annotations.formats.mask_images import need_pillow
from metalake_sync.annotations.formats.values import raw_bytes, raw_value, shortened
from metalake_sync.annotations.json_stream import members
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.errors import ManifestError
from metalake_sync.sources.scratch import unusable

_LISTS = frozenset({"images", "annotations", "categories"})
_OF_RESULTS = "A COCO list of results names no images: put it into a COCO file."
_PANOPTIC_KEY = "segments_info"
_PANOPTIC = _PANOPTIC_KEY.encode()
"""A key of annotations whose pixels are in another file, which may change without the annotation."""

_BATCH = 10_000
"""How many images or annotations are written to the temporary file at once."""

_LONGEST_RUN = 1000
"""How many annotations of an image one row holds at most."""

_UNIQUE_ID = "Give each an id of its own."

_TABLES = """
CREATE TABLE image (
    position INTEGER PRIMARY KEY, id UNIQUE NOT NULL, name TEXT NOT NULL, width INTEGER, height INTEGER
);
CREATE TABLE annotations (image, first INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL);
"""
"""A row of `annotations` has consecutive elements of the list that are of one image: `number` of them from `first`."""

_IMAGES = """
SELECT image.*, annotations.first, annotations.number, annotations.body
FROM image LEFT JOIN annotations ON annotations.image = image.id ORDER BY image.position, annotations.first
"""


class CocoReader(FormatReader):
    """Reads files image by image."""

    def __init__(self, normalized: bool) -> None:
        self._normalized = normalized

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each image. Raises ManifestError with the place of a wrong image or category, and
        SyncError where the temporary folder is full or missing."""
        try:
            yield from self._entries(file, notes)
        except sqlite3.OperationalError as error:
            raise unusable(str(error)) from None

    def _entries(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        # With an empty name SQLite makes a temporary file that it deletes itself; its page cache is all it keeps in
        # memory.
        with contextlib.closing(sqlite3.connect("", isolation_level=None)) as spool:
            spool.executescript(_TABLES)
            spool.execute("BEGIN")
            categories = _spool_lists(file, spool, notes)
            spool.execute("CREATE INDEX annotations_image ON annotations (image, first)")
            _join_orphans(spool, notes)
            parser = ShapeParser(file, categories)
            depends_on = ["coco", [[repr(key), category] for key, category in categories.items()]]
            rows = spool.execute(_IMAGES)
            for (position, _, name, width, height), runs in itertools.groupby(rows, key=lambda row: row[:5]):
                size = (width, height) if width and height else None
                raw = None
                found = [run[5:] for run in runs]
                if found[0][2] is not None:
                    places = [place for first, number, _ in found for place in range(first, first + number)]
                    body = _joined([body for _, _, body in found])
                    stamps: tuple[Any, ...] = ()
                    if _PANOPTIC in body:
                        need_pillow(file.shown_as)
                        stamps = tuple(stamp_of(file, one) for one in raw_value(body) if _PANOPTIC_KEY in one)
                    raw = RawImage(size, stamps, body).to_bytes()
                yield Entry(
                    ImageRecord(_text_of(name), (), self._normalized),
                    f"images[{position}]",
                    size=size,
                    shape_form="annotations[{}]",
                    raw=RawShapes(raw, depends_on, functools.partial(parser.parse, raw, places), parser.parse_again)
                    if raw is not None
                    else None,
                )


def _joined(bodies: list[bytes]) -> bytes:
    """Return the annotations of an image as one body: the same bytes, however many rows they were in."""
    if len(bodies) == 1:
        return bodies[0]
    return raw_bytes([annotation for body in bodies for annotation in raw_value(body)])


class _Batches:
    """Images and annotations that wait to be written to the temporary file."""

    def __init__(self, spool: sqlite3.Connection, source: SourceFile) -> None:
        self._spool = spool
        self._source = source
        self._images: list[tuple[int, int | str, str, int | None, int | None]] = []
        self._ids: list[Any] = []
        """The ids of the images that wait, as the file has them."""
        self._runs: list[tuple[int | str, int, int, bytes]] = []
        self._waiting = 0
        self._run: list[Any] = []
        self._image: int | str = ""
        self._first = 0

    def add_image(self, position: int, image: dict[str, Any]) -> None:
        """Raises ManifestError for an image without a name or an id, and for an id that another one has."""
        name, found = image.get("file_name"), image.get("id")
        if not isinstance(name, str) or not name:
            message = f"'file_name' of the image is {shortened(name)}, not a name"
            raise ManifestError(message, remedy="Give it a 'file_name'.")
        image_id = id_key(found)
        if image_id is None:
            raise _not_an_id(found)
        # As JSON, because a name may hold characters that SQLite's texts can't.
        self._images.append(
            (position, image_id, json.dumps(name), _side(image.get("width")), _side(image.get("height")))
        )
        self._ids.append(found)
        if len(self._images) == _BATCH:
            self._write_images()

    def add_annotation(self, image: int | str, position: int, annotation: dict[str, Any]) -> None:
        run = self._run
        if image != self._image or position != self._first + len(run) or len(run) == _LONGEST_RUN:
            self._end_run()
            self._image, self._first, run = image, position, self._run
        run.append(annotation)

    def write(self) -> None:
        """Write what waits. Raises ManifestError for an id that two images have."""
        self._end_run()
        self._write_runs()
        self._write_images()

    def _end_run(self) -> None:
        if not self._run:
            return
        self._runs.append((self._image, self._first, len(self._run), raw_bytes(self._run)))
        self._waiting += len(self._run)
        self._run = []
        if self._waiting >= _BATCH:
            self._write_runs()

    def _write_runs(self) -> None:
        self._spool.executemany("INSERT INTO annotations VALUES (?, ?, ?, ?)", self._runs)
        self._runs.clear()
        self._waiting = 0

    def _write_images(self) -> None:
        insert = "INSERT OR IGNORE INTO image VALUES (?, ?, ?, ?, ?)"
        if self._spool.executemany(insert, self._images).rowcount < len(self._images):
            written = {position for (position,) in self._spool.execute("SELECT position FROM image")}
            position, found = next(
                (one[0], found) for one, found in zip(self._images, self._ids, strict=True) if one[0] not in written
            )
            error = ManifestError(f"two images have the id {shortened(found)}", remedy=_UNIQUE_ID)
            raise with_place(error, f"{self._source.shown_as}: images[{position}]")
        self._images.clear()
        self._ids.clear()


def _spool_lists(source: SourceFile, spool: sqlite3.Connection, notes: ReadNotes) -> dict[int | str, dict[str, Any]]:
    """Write images and annotations to the temporary file, and return the categories by their ids."""
    categories: dict[int | str, dict[str, Any]] = {}
    batches = _Batches(spool, source)
    seen: set[str] = set()
    for key, position, value in members(source.path, source.shown_as, _LISTS, list_remedy=_OF_RESULTS):
        if key not in _LISTS:
            continue
        seen.add(key)
        if position is None:
            if value not in (None, []):
                message = f"'{key}' is {shortened(value)}, not a list"
                raise ManifestError(message, where=source.shown_as, remedy=f'Write "{key}": [].')
            continue
        if key == "annotations":
            image = id_key(value.get("image_id")) if isinstance(value, dict) else None
            if image is None:
                _report_without_image(value, position, notes)
            else:
                batches.add_annotation(image, position, value)
            continue
        try:
            if not isinstance(value, dict):
                raise ManifestError(f"the element is {shortened(value)}, not an object", remedy="Write {…}.")
            if key == "images":
                batches.add_image(position, value)
            else:
                _take_category(categories, value)
        except ManifestError as error:
            raise with_place(error, f"{source.shown_as}: {key}[{position}]") from None
    batches.write()
    if "images" not in seen:
        kind = ManifestError if "annotations" in seen else NotAnnotations
        raise kind(
            "the file is not a COCO file: it has no 'images'",
            where=source.shown_as,
            remedy='Write {"images": [], "annotations": [], "categories": []}.',
        )
    return categories


def _report_without_image(annotation: Any, position: int, notes: ReadNotes) -> None:
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
    category = id_key(found)
    if category is None:
        raise _not_an_id(found)
    if category in categories:
        raise ManifestError(f"two categories have the id {shortened(found)}", remedy=_UNIQUE_ID)
    categories[category] = value


def _side(value: Any) -> int | None:
    """Return a width or height in pixels. Some scripts write it as a text, and tables as 640.0."""
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < LONGEST_ID_DIGITS
    if digits or (type(value) is float and value.is_integer()):
        value = int(value)
    return value if type(value) is int and 0 < value < LARGEST_ID else None


def _not_an_id(found: Any) -> ManifestError:
    message = f"'id' is {shortened(found)}, neither a whole number nor a text"
    return ManifestError(message, remedy="Give it an 'id'.")


def _text_of(name: str) -> str:
    text: str = json.loads(name)
    return text


def _join_orphans(spool: sqlite3.Connection, notes: ReadNotes) -> None:
    """Find the images of annotations whose `image_id` is not the id of an image.

    Some scripts write an id as a text in one list and as a number in the other. The two are the same image if no other
    image has that id.
    """
    count = "SELECT sum(number), min(first) FROM annotations WHERE image NOT IN (SELECT id FROM image)"
    orphans, _ = spool.execute(count).fetchone()
    if not orphans:
        return
    spool.create_function("other_form", 1, other_form, deterministic=True)
    spool.execute(
        "UPDATE annotations SET image = other_form(image) WHERE image NOT IN (SELECT id FROM image)"
        " AND other_form(image) IN (SELECT id FROM image)"
    )
    left, position = spool.execute(count).fetchone()
    joined = orphans - (left or 0)
    if joined:
        notes.count("annotations have an 'image_id' that is a text in one list and a number in the other", joined)
    if left:
        what = "annotations are of an image that the file does not list; they are left out"
        notes.count(what, left, at=f"annotations[{position}]")
