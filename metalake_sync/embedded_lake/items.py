"""Items: lists, counts and describes them, signs URLs to read them, finds them by address, and writes their metadata.

Owns: the table of image sizes. They are read from the headers of images, without decoding them, once for each object.
A page of metadata or annotations may address files that do not exist. That is not an error, because a page is written
for the files that exist.
"""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import imagesize

from metalake_sync.embedded_lake.collections import Collections, requested_fields
from metalake_sync.embedded_lake.names import check_metadata
from metalake_sync.embedded_lake.queries import ITEMS, select
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.rejections import NoContent, not_acceptable, not_found
from metalake_sync.embedded_lake.store import LakeStore, iso_time, merged, now
from metalake_sync.protocol.annotation_sets import ImageAnnotations
from metalake_sync.protocol.items import CountItems, ItemDetails, ListItems, UploadMetadataByJson
from metalake_sync.protocol.wire import MediaKind

_DEFAULT_FIELDS = ("id", "name", "uniqueName", "url")
_LARGEST_OFFSET = 2**62


class Items:
    def __init__(self, store: LakeStore, collections: Collections, images: Images) -> None:
        self._store = store
        self._db = store.db
        self._collections = collections
        self._images = images

    def page(self, request: ListItems, collection: str | None, base_url: str) -> list[dict[str, Any]]:
        """Return one page of a collection or, for None, of the whole lake. Raises NoContent beyond the end."""
        is_virtual = collection is not None and self._collections.must_exist(collection)
        offset = request.page_index * request.page_size
        if offset > _LARGEST_OFFSET:
            raise not_acceptable("The page index is too large")
        chosen = select(request.content_type, collection, request.query, request.filter_data, is_virtual=is_virtual)
        if chosen is None:
            raise NoContent
        of_items = chosen.subject is ITEMS
        columns = "x.id, x.name, x.unique_name, x.blob" if of_items else "x.id, x.name"
        rows = self._db.execute(
            f"{chosen.sql(columns, request.sort_by, self._store.quirks)} LIMIT ? OFFSET ?",
            (*chosen.values, request.page_size, offset),
        ).fetchall()
        if not rows:
            raise NoContent
        if not of_items:
            return [{"id": found, "name": name} for found, name in rows]
        sign = self._store.storage.object_url
        return [
            {"id": item, "name": name, "uniqueName": unique_name, "url": sign(blob, base_url)}
            for item, name, unique_name, blob in rows
        ]

    def count(self, request: CountItems, collection: str | None) -> int:
        is_virtual = collection is not None and self._collections.must_exist(collection)
        chosen = select(request.content_type, collection, request.query, request.filter_data, is_virtual=is_virtual)
        if chosen is None:
            return 0
        (count,) = self._db.execute(chosen.sql("count(*)"), chosen.values).fetchone()
        return int(count)

    async def details(self, request: ItemDetails, base_url: str) -> dict[str, Any]:
        row = self._db.execute(
            "SELECT id, kind, name, storage_path, bucket, blob, size_bytes, metadata, created, updated FROM items"
            " WHERE unique_name = ? AND trashed = 0",
            (request.unique_file_name,),
        ).fetchone()
        if row is None:
            raise not_found("No such file")
        item, kind, name, storage_path, bucket, blob, size_bytes, metadata, created, updated = row
        # The lake's own fields take precedence over metadata with the same name.
        fields = {
            **json.loads(metadata),
            "id": item,
            "name": name,
            "uniqueName": request.unique_file_name,
            "url": self._store.storage.object_url(blob, base_url),
            "fileSize": size_bytes,
            "storagePath": storage_path,
            "bucketName": bucket or DEFAULT_BUCKET,
            "createdAt": iso_time(created),
            "updatedAt": iso_time(updated),
        }
        requested = request.required_meta_obj
        if kind == MediaKind.IMAGE:
            fields["frameCount"] = 1
            size = await self._images.size(blob) if requested.get("resolution") else None
            if size is not None:
                fields["resolution"] = {"width": size[0], "height": size[1]}
        return requested_fields(fields, _DEFAULT_FIELDS, requested, nulls=Quirk.NULLS in self._store.quirks)

    def download_url(self, unique_name: str, base_url: str) -> str:
        row = self._db.execute(
            "SELECT blob FROM items WHERE unique_name = ? AND trashed = 0", (unique_name,)
        ).fetchone()
        if row is None:
            raise not_found("No such file")
        return self._store.storage.object_url(row[0], base_url)

    def system_details(self) -> dict[str, Any]:
        """Return numbers and sizes of images, videos and other files."""
        rows = self._db.execute("SELECT kind, count(*), sum(size_bytes) FROM items WHERE trashed = 0 GROUP BY kind")
        found = {kind: {"count": count, "size": size} for kind, count, size in rows}
        empty = {"count": 0, "size": 0}
        return {
            "images": found.get(MediaKind.IMAGE, empty),
            "videos": found.get(MediaKind.VIDEO, empty),
            "others": found.get(MediaKind.OTHER, empty),
        }


class Metadata:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    def write(self, request: UploadMetadataByJson) -> int:
        """Write a page, skipping missing files. Returns how many were written."""
        for entry in request.metadata:
            check_metadata(entry.metadata)
        lookup = self._lookup(request)
        written, time = 0, now()
        with self._store.write() as db:
            kept = self._store.spellings.take_all(entry.metadata for entry in request.metadata)
            for entry, update in zip(request.metadata, kept, strict=True):
                item = lookup(entry.file)
                if item is None:
                    continue
                (metadata,) = db.execute("SELECT metadata FROM items WHERE id = ?", (item,)).fetchone()
                db.execute(
                    "UPDATE items SET metadata = ?, updated = ? WHERE id = ?",
                    (merged(metadata, update), time, item),
                )
                written += 1
        return written

    def _lookup(self, request: UploadMetadataByJson) -> Lookup:
        if request.collection_id:
            return by_name(self._db, request.collection_id)
        if request.job_id:
            return by_job(self._db, request.job_id)
        if request.bucket_name:
            return by_storage_path(self._db, request.bucket_name, self._store.storage.bucket)
        return by_unique_name(self._db)


DEFAULT_BUCKET = "DEFAULT"

Lookup = Callable[[str], str | None]
"""Returns the item's id for an address, or None."""


def by_unique_name(db: sqlite3.Connection) -> Lookup:
    return lambda unique_name: _one(db, "unique_name = ?", unique_name)


def by_storage_path(db: sqlite3.Connection, bucket: str | None, own_bucket: str) -> Lookup:
    """Find files by storage path. `bucket`: None is the lake's own, which can also be addressed by its name.

    The published client writes some paths with a leading slash, some without.
    """
    if bucket in (None, "", DEFAULT_BUCKET, own_bucket):
        return lambda path: _one(db, "storage_path = ? AND bucket IS NULL", path.lstrip("/"))
    if db.execute("SELECT 1 FROM items WHERE bucket = ? AND trashed = 0", (bucket,)).fetchone() is None:
        raise not_acceptable(f"No such bucket: {bucket!r}")
    return lambda path: _one(db, "storage_path = ? AND bucket = ?", path.lstrip("/"), str(bucket))


def by_name(db: sqlite3.Connection, collection: str) -> Lookup:
    return lambda name: _one(db, "collection = ? AND name = ?", collection, name)


def by_job(db: sqlite3.Connection, job_id: str) -> Lookup:
    """Find files by name in the upload of a job: those that its session named or began, sent or existing."""
    session = db.execute("SELECT upload_id, collection, names FROM sessions WHERE job_id = ?", (job_id,)).fetchone()
    if session is None:
        raise not_found("No such job")
    upload_id, collection, names = session
    names_of_job = {
        name
        for (name,) in db.execute(
            "SELECT value FROM json_each(?) UNION SELECT name FROM uploads WHERE upload_id = ?", (names, upload_id)
        )
    }
    in_collection = by_name(db, collection)
    return lambda name: in_collection(name) if name in names_of_job else None


def _one(db: sqlite3.Connection, condition: str, *values: str) -> str | None:
    row = db.execute(f"SELECT id FROM items WHERE {condition} AND trashed = 0", values).fetchone()  # noqa: S608
    return str(row[0]) if row else None


class ImageLookups:
    """Finds the images of one page of annotation sets. Each lookup is created once."""

    def __init__(self, store: LakeStore) -> None:
        self._db = store.db
        self._own_bucket = store.storage.bucket
        self._by_unique_name = by_unique_name(self._db)
        self._by_bucket: dict[str | None, Lookup] = {}
        self._by_job: dict[str, Lookup] = {}

    def find(self, image: ImageAnnotations) -> str | None:
        if image.object_key is not None:
            return self._by_unique_name(image.object_key)
        if image.storage_path is not None:
            bucket = image.bucket_name
            if bucket not in self._by_bucket:
                self._by_bucket[bucket] = by_storage_path(self._db, bucket, self._own_bucket)
            return self._by_bucket[bucket](image.storage_path)
        if image.job_id is not None and image.file_name is not None:
            if image.job_id not in self._by_job:
                self._by_job[image.job_id] = by_job(self._db, image.job_id)
            return self._by_job[image.job_id](image.file_name)
        raise not_acceptable("An entry does not address an image")


HEADER_BYTES = 256 << 10
"""Enough for a JPEG with a color profile and a preview in front of the size."""

READ_AT_ONCE = 16

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
"""Formats with binary headers. The library also reads SVG, but parsing untrusted XML is a risk."""

Size = tuple[int, int]
"""Width and height in pixels."""


class Images:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db

    async def size(self, blob: str) -> Size | None:
        """Return the size of one object, or None if it is not a readable image."""
        return (await self.sizes([blob]))[blob]

    async def sizes(self, blobs: Iterable[str]) -> Mapping[str, Size | None]:
        wanted = list(dict.fromkeys(blobs))
        rows = self._db.execute(
            "SELECT p.blob, p.width, p.height FROM json_each(?) m JOIN picture_sizes p ON p.blob = m.value",
            (json.dumps(wanted),),
        )
        known: dict[str, Size | None] = {
            blob: None if width is None else (width, height) for blob, width, height in rows
        }
        for place in range(0, len(wanted), READ_AT_ONCE):
            unknown = [blob for blob in wanted[place : place + READ_AT_ONCE] if blob not in known]
            heads = await asyncio.gather(*(self._store.storage.head(blob, HEADER_BYTES) for blob in unknown))
            known |= self._keep({blob: image_size(head) for blob, head in zip(unknown, heads, strict=True)})
        return known

    def _keep(self, found: dict[str, Size | None]) -> dict[str, Size | None]:
        if found:
            with self._store.write() as db:
                db.executemany(
                    "INSERT OR REPLACE INTO picture_sizes (blob, width, height) VALUES (?, ?, ?)",
                    ((blob, *(size or (None, None))) for blob, size in found.items()),
                )
        return found


def image_size(header: bytes) -> Size | None:
    """Return the size in a header, or None."""
    if not header.startswith(_SIGNATURES):
        return None
    try:
        # The size after the rotation given by EXIF.
        width, height = imagesize.get(io.BytesIO(header), exif_rotation=True)
    except (OSError, ValueError, struct.error):
        return None
    return (width, height) if width > 0 and height > 0 else None
