"""Items: lists, counts and describes them, and signs URLs to read them."""

from __future__ import annotations

import json
from typing import Any

from metalake_sync.embedded_lake.addressing import DEFAULT_BUCKET
from metalake_sync.embedded_lake.collections import Collections, requested_fields
from metalake_sync.embedded_lake.images import Images
from metalake_sync.embedded_lake.queries import ITEMS, select
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.rejections import NoContent, not_acceptable, not_found
from metalake_sync.embedded_lake.store import LakeStore, iso_time
from metalake_sync.protocol.items import CountItems, ItemDetails, ListItems
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
