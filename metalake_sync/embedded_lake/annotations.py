"""Labels, annotation sets and model runs.

Owns: labels, their attributes and values, each with a reference that never changes; annotation sets, one per image and
operation, replaced as a whole; the model runs that are attached to projects of the annotation studio. An empty set
removes the previous one. Projects are not checked: every id counts as one.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metalake_sync.embedded_lake.items import ImageLookups, Images, Size
from metalake_sync.embedded_lake.names import storage_path_for
from metalake_sync.embedded_lake.queries import items_in
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.rejections import Rejection, not_acceptable, not_found
from metalake_sync.embedded_lake.shapes import Shape, to_pixels, uploaded_form
from metalake_sync.embedded_lake.store import LakeStore, now, to_json
from metalake_sync.protocol.annotation_sets import AttachModelRuns, ImageAnnotations
from metalake_sync.protocol.wire import OperationMode


class Labels:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db
        self._texts: dict[str, str] | None = None

    def references(self, wanted: Mapping[str, Mapping[str, Iterable[Any]]]) -> dict[str, Any]:
        """Return references of labels, attributes and values. Creates the missing ones."""
        if any(not label.strip() for label in wanted):
            raise not_acceptable("A label has no name")
        with self._store.write() as db:
            answer = {label: self._label(db, label, attributes) for label, attributes in wanted.items()}
        self._texts = None
        return answer

    def all(self) -> list[dict[str, str]]:
        rows = self._db.execute("SELECT label, ref, color FROM labels ORDER BY label")
        return [{"labelText": label, "label": ref, "color": color} for label, ref, color in rows]

    def texts(self) -> Mapping[str, str]:
        """Return reference → text of all attributes and values."""
        if self._texts is None:
            self._texts = dict(
                self._db.execute("SELECT ref, name FROM label_attributes UNION ALL SELECT ref, value FROM label_values")
            )
        return self._texts

    def _label(self, db: sqlite3.Connection, label: str, attributes: Mapping[str, Iterable[Any]]) -> dict[str, Any]:
        db.execute(
            "INSERT INTO labels (label, ref, color) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (label, self._store.new_id(), f"#{secrets.token_hex(3)}"),
        )
        ref, color = db.execute("SELECT ref, color FROM labels WHERE label = ?", (label,)).fetchone()
        texts = {name: self._attribute(db, label, name, values) for name, values in attributes.items()}
        return {"ref": ref, "color": color, "texts": texts}

    def _attribute(self, db: sqlite3.Connection, label: str, name: str, values: Iterable[Any]) -> dict[str, Any]:
        db.execute(
            "INSERT INTO label_attributes (label, name, ref) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (label, name, self._store.new_id()),
        )
        (ref,) = db.execute("SELECT ref FROM label_attributes WHERE label = ? AND name = ?", (label, name)).fetchone()
        texts: dict[str, str] = {}
        for value in map(str, values):
            db.execute(
                "INSERT INTO label_values (attribute, value, ref) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (ref, value, self._store.new_id()),
            )
            (texts[value],) = db.execute(
                "SELECT ref FROM label_values WHERE attribute = ? AND value = ?", (ref, value)
            ).fetchone()
        return {"ref": ref, "texts": texts}


Entry = tuple[ImageAnnotations, list[Shape]]


@dataclass(frozen=True, slots=True)
class Operation:
    """The operation of a page of sets."""

    id: str
    mode: OperationMode
    normalized: bool
    """Coordinates are fractions of the image's width and height."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One page of a collection."""

    collection: str
    page: int
    page_size: int
    operations: Sequence[str]
    """Empty means all operations."""
    mode: OperationMode | None
    """None means both modes. Ignored if operations are named."""


@dataclass(frozen=True, slots=True)
class AnnotatedFile:
    """A file with its annotations."""

    name: str
    unique_name: str
    blob: str
    annotations: list[dict[str, Any]]
    """In the upload format."""


@dataclass(frozen=True, slots=True)
class AnnotationPage:
    storage_path: str
    files: list[AnnotatedFile]
    more: bool


class Annotations:
    def __init__(self, store: LakeStore, labels: Labels, images: Images) -> None:
        self._store = store
        self._db = store.db
        self._labels = labels
        self._images = images

    async def update(self, operation: Operation, entries: Sequence[Entry]) -> int:
        """Replace the sets of these images. Skips missing images. Returns how many images exist."""
        sizes = await self._sizes(entries) if operation.normalized else {}
        lookups = ImageLookups(self._store)
        found, time = 0, now()
        with self._store.write() as db:
            for image, shapes in entries:
                item = lookups.find(image)
                if item is None:
                    continue
                if shapes and item in sizes:
                    shapes = [to_pixels(shape, sizes[item]) for shape in shapes]
                self._replace(operation, item, shapes)
                db.execute("UPDATE items SET updated = ? WHERE id = ?", (time, item))
                found += 1
        return found

    def delete(self, collection: str, operation: str) -> int:
        """Remove an operation's sets from a collection. Returns how many there were."""
        there = "SELECT id FROM items WHERE collection = ? AND trashed = 0"
        if Quirk.KEEPS_HUMAN_SETS in self._store.quirks:
            drawn = "SELECT mode FROM annotation_sets WHERE operation = ? LIMIT 1"
            if self._db.execute(drawn, (operation,)).fetchone() == (OperationMode.HUMAN,):
                return 0
        with self._store.write() as db:
            db.execute(
                "UPDATE items SET updated = ? WHERE collection = ? AND trashed = 0"
                " AND id IN (SELECT item FROM annotation_sets WHERE operation = ?)",
                (now(), collection, operation),
            )
            db.execute(
                f"DELETE FROM annotation_labels WHERE operation = ? AND item IN ({there})",  # noqa: S608
                (operation, collection),
            )
            return db.execute(
                f"DELETE FROM annotation_sets WHERE operation = ? AND item IN ({there})",  # noqa: S608
                (operation, collection),
            ).rowcount

    def page(self, request: PageRequest) -> AnnotationPage:
        """Return one page of a collection: all files, with the requested annotations that they have."""
        row = self._db.execute(
            "SELECT storage_path, virtual, name FROM collections WHERE id = ? AND trashed = 0", (request.collection,)
        ).fetchone()
        if row is None:
            raise not_found("No such collection")
        storage_path, is_virtual, name = row
        files = self._db.execute(
            f"SELECT id, name, unique_name, blob FROM items x WHERE {items_in(is_virtual)} AND trashed = 0"  # noqa: S608
            " ORDER BY created, seq LIMIT ? OFFSET ?",
            (request.collection, request.page_size + 1, request.page * request.page_size),
        ).fetchall()
        shown = files[: request.page_size]
        annotations = self._annotations_of([file[0] for file in shown], request)
        return AnnotationPage(
            storage_path_for(name) if is_virtual else storage_path,
            [AnnotatedFile(name, unique_name, blob, annotations[item]) for item, name, unique_name, blob in shown],
            len(files) > request.page_size,
        )

    def _annotations_of(self, items: list[str], request: PageRequest) -> dict[str, list[dict[str, Any]]]:
        texts = self._labels.texts()
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        rows = self._db.execute(
            "SELECT s.item, s.shapes FROM json_each(?1) i JOIN annotation_sets s ON s.item = i.value"
            " WHERE (?2 IS NULL OR s.operation IN (SELECT value FROM json_each(?2))) AND (?3 IS NULL OR s.mode = ?3)"
            " ORDER BY s.item, s.operation",
            (
                json.dumps(items),
                json.dumps(list(request.operations)) if request.operations else None,
                None if request.operations else request.mode,
            ),
        )
        for item, shapes in rows:
            found[item] += (uploaded_form(shape, texts) for shape in json.loads(shapes))
        return found

    def _replace(self, operation: Operation, item: str, shapes: list[Shape]) -> None:
        if not shapes and Quirk.EMPTY_SETS_IGNORED in self._store.quirks:
            return
        of_set = (item, operation.id)
        self._db.execute("DELETE FROM annotation_sets WHERE item = ? AND operation = ?", of_set)
        self._db.execute("DELETE FROM annotation_labels WHERE item = ? AND operation = ?", of_set)
        if not shapes:
            return
        self._db.execute(
            "INSERT INTO annotation_sets (item, operation, mode, shapes) VALUES (?, ?, ?, ?)",
            (*of_set, operation.mode, to_json(shapes)),
        )
        self._db.executemany(
            "INSERT INTO annotation_labels (item, operation, label) VALUES (?, ?, ?)",
            {(*of_set, shape["label"]["labelText"]) for shape in shapes},
        )

    async def _sizes(self, entries: Sequence[Entry]) -> dict[str, Size]:
        """Return the sizes of the images that get shapes, by item. Rejects images of unknown size."""
        lookups = ImageLookups(self._store)
        wanted = [item for image, shapes in entries if shapes and (item := lookups.find(image)) is not None]
        rows = self._db.execute(
            "SELECT i.id, i.name, i.blob FROM json_each(?) m JOIN items i ON i.id = m.value", (json.dumps(wanted),)
        ).fetchall()
        found = await self._images.sizes(blob for _, _, blob in rows)
        sizes: dict[str, Size] = {}
        for item, name, blob in rows:
            size = found[blob]
            if size is None:
                raise not_acceptable(f"Fractions need an image whose size can be read, unlike {name!r}")
            sizes[item] = size
        return sizes


class Studio:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    def attach(self, request: AttachModelRuns) -> int:
        """Attach model runs to a project, and return how many were not attached before.

        Rejects operations without machine annotations with 422, and then attaches none.
        """
        if not request.project_id.strip():
            raise unprocessable("The project has no id")
        if not request.operation_id_array:
            raise unprocessable("The list of operations is empty")
        for operation in request.operation_id_array:
            if not self._is_model_run(operation):
                raise unprocessable(f"No model run has the id {operation!r}")
        rows = [(request.project_id, operation) for operation in dict.fromkeys(request.operation_id_array)]
        with self._store.write() as db:
            return db.executemany(
                "INSERT INTO attached_runs (project, operation) VALUES (?, ?) ON CONFLICT DO NOTHING", rows
            ).rowcount

    def attached(self, project: str) -> list[str]:
        """Return the operations that are attached to a project, sorted."""
        rows = self._db.execute("SELECT operation FROM attached_runs WHERE project = ? ORDER BY operation", (project,))
        return [operation for (operation,) in rows]

    def _is_model_run(self, operation: str) -> bool:
        row = self._db.execute(
            "SELECT 1 FROM annotation_sets WHERE operation = ? AND mode = ? LIMIT 1", (operation, OperationMode.MACHINE)
        ).fetchone()
        return row is not None


def unprocessable(message: str) -> Rejection:
    """Return a rejection with the reason in `error.details`, where the vendor's client reads it."""
    return Rejection(422, "UnprocessableEntityError", "The request is not valid. See 'details'.", details=message)
