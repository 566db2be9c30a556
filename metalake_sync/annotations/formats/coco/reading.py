"""Reads COCO files: joins the three lists, image by image.

Owns: the join. The lists may be in any order and of any size, so images and annotations go to a temporary SQLite file
and come back image by image. Must not: make shapes (`shapes` does) or check them.
"""

from __future__ import annotations

import contextlib
import functools
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
_PANOPTIC = b"segments_info"
"""A key of annotations whose pixels are in another file, which may change without the annotation."""

_BATCH = 10_000
_UNIQUE_ID = "Give each an id of its own."

_TABLES = """
CREATE TABLE image (
    id PRIMARY KEY, position INTEGER NOT NULL, name TEXT NOT NULL, width INTEGER, height INTEGER
) WITHOUT ROWID;
CREATE TABLE annotation (image, position INTEGER NOT NULL, body BLOB NOT NULL);
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
            spool.execute("CREATE INDEX annotation_image ON annotation (image, position)")
            _join_orphans(spool, notes)
            parser = ShapeParser(file, categories)
            depends_on = ["coco", [[repr(key), category] for key, category in categories.items()]]
            images = spool.cursor().execute("SELECT * FROM image ORDER BY position")
            for image_id, position, name, width, height in images:
                rows = spool.execute(
                    "SELECT position, body FROM annotation WHERE image = ? ORDER BY position", (image_id,)
                ).fetchall()
                size = (width, height) if width and height else None
                bodies = [body for _, body in rows]
                if any(_PANOPTIC in body for body in bodies):
                    need_pillow(file.shown_as)
                stamps = [stamp_of(file, raw_value(body)) for body in bodies if _PANOPTIC in body]
                raw = raw_bytes([size, bodies, stamps] if stamps else [size, bodies])
                places = [at for at, _ in rows]
                yield Entry(
                    ImageRecord(_text_of(name), (), self._normalized),
                    f"images[{position}]",
                    size=size,
                    shape_form="annotations[{}]",
                    raw=RawShapes(raw, depends_on, functools.partial(parser.parse, raw, places), parser.parse_again)
                    if rows
                    else None,
                )


def _spool_lists(source: SourceFile, spool: sqlite3.Connection, notes: ReadNotes) -> dict[int | str, dict[str, Any]]:
    """Write images and annotations to the temporary file, and return the categories by their ids."""
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
            image = id_key(value.get("image_id")) if isinstance(value, dict) else None
            if image is None:
                _report_without_image(value, position, notes)
                continue
            annotations.append((image, position, raw_bytes(value)))
            if len(annotations) == _BATCH:
                spool.executemany("INSERT INTO annotation VALUES (?, ?, ?)", annotations)
                annotations.clear()
            continue
        try:
            if not isinstance(value, dict):
                raise ManifestError(f"the element is {shortened(value)}, not an object", remedy="Write {…}.")
            if key == "images":
                _spool_image(spool, position, value)
            else:
                _take_category(categories, value)
        except ManifestError as error:
            raise with_place(error, f"{source.shown_as}: {key}[{position}]") from None
    spool.executemany("INSERT INTO annotation VALUES (?, ?, ?)", annotations)
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


def _spool_image(spool: sqlite3.Connection, position: int, image: dict[str, Any]) -> None:
    name, found = image.get("file_name"), image.get("id")
    if not isinstance(name, str) or not name:
        message = f"'file_name' of the image is {shortened(name)}, not a name"
        raise ManifestError(message, remedy="Give it a 'file_name'.")
    image_id = id_key(found)
    if image_id is None:
        raise _not_an_id(found)
    try:
        # As JSON, because a name may hold characters that SQLite's texts can't.
        row = (image_id, position, json.dumps(name), _side(image.get("width")), _side(image.get("height")))
        spool.execute("INSERT INTO image VALUES (?, ?, ?, ?, ?)", row)
    except sqlite3.IntegrityError:
        raise ManifestError(f"two images have the id {shortened(found)}", remedy=_UNIQUE_ID) from None


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
    count = "SELECT count(*), min(position) FROM annotation WHERE image NOT IN (SELECT id FROM image)"
    orphans, _ = spool.execute(count).fetchone()
    if not orphans:
        return
    spool.create_function("other_form", 1, other_form, deterministic=True)
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
