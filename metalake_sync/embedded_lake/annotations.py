"""Annotation sets: one per image and operation, replaced as a whole. An empty set removes the previous one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metalake_sync.embedded_lake import addressing
from metalake_sync.embedded_lake.images import Images, Size
from metalake_sync.embedded_lake.labels import Labels
from metalake_sync.embedded_lake.names import storage_path_for
from metalake_sync.embedded_lake.queries import items_in
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.rejections import not_acceptable, not_found
from metalake_sync.embedded_lake.shapes import Shape, to_pixels, uploaded_form
from metalake_sync.embedded_lake.store import LakeStore, now, to_json
from metalake_sync.protocol.annotation_sets import ImageAnnotations
from metalake_sync.protocol.wire import OperationMode

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
        lookups = _Lookups(self._store)
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
        lookups = _Lookups(self._store)
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


class _Lookups:
    """The lookups of one page, each created once."""

    def __init__(self, store: LakeStore) -> None:
        self._db = store.db
        self._own_bucket = store.storage.bucket
        self._by_unique_name = addressing.by_unique_name(self._db)
        self._by_bucket: dict[str | None, addressing.Lookup] = {}
        self._by_job: dict[str, addressing.Lookup] = {}

    def find(self, image: ImageAnnotations) -> str | None:
        if image.object_key is not None:
            return self._by_unique_name(image.object_key)
        if image.storage_path is not None:
            bucket = image.bucket_name
            if bucket not in self._by_bucket:
                self._by_bucket[bucket] = addressing.by_storage_path(self._db, bucket, self._own_bucket)
            return self._by_bucket[bucket](image.storage_path)
        if image.job_id is not None and image.file_name is not None:
            if image.job_id not in self._by_job:
                self._by_job[image.job_id] = addressing.by_job(self._db, image.job_id)
            return self._by_job[image.job_id](image.file_name)
        raise not_acceptable("An entry does not address an image")
