"""Imports existing files of a bucket or a local folder: each folder becomes a collection per kind of file in it.

Owns: the collection of each file. Skips files that the lake already knows, also those in the trash, so that a crawl can
be repeated.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from metalake_sync.embedded_lake import LakeSettings
from metalake_sync.embedded_lake.collections import find_or_create_collection
from metalake_sync.embedded_lake.jobs import unique_name_for
from metalake_sync.embedded_lake.names import check_collection_name, check_file_name
from metalake_sync.embedded_lake.rejections import Rejection
from metalake_sync.embedded_lake.storage.interface import FoundObject, LeftOut
from metalake_sync.embedded_lake.store import LakeStore, now
from metalake_sync.protocol.wire import MediaKind

BATCH = 500
"""Files per transaction."""

_IMAGES = ("bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp")
_VIDEOS = ("avi", "mkv", "mov", "mp4", "webm")
_KINDS = dict.fromkeys(_IMAGES, MediaKind.IMAGE) | dict.fromkeys(_VIDEOS, MediaKind.VIDEO)


@dataclass(slots=True)
class Crawled:
    """The result of a crawl, in files."""

    taken: int = 0
    """Imported files."""
    known: int = 0
    """Files that the lake already had."""
    collections: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    """Path → why it was skipped. A folder represents all of its files."""


def crawl(settings: LakeSettings, folder: str, progress: Callable[[Crawled], None]) -> Crawled:
    """Import the files of a folder of a bucket. `progress` receives the counts after each batch.

    Raises StateLocked while a server uses the lake's folder, StateError, UsageError, and OSError for unreadable files.
    """
    store = LakeStore(settings)
    try:
        return _Crawl(store).run(store.storage.crawl(folder), progress)
    finally:
        store.close()


class _Crawl:
    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._db = store.db
        self._crawled = Crawled()
        self._collections: dict[tuple[MediaKind, str], str] = {}

    def run(self, found: Iterator[FoundObject | LeftOut], progress: Callable[[Crawled], None]) -> Crawled:
        while batch := list(islice(found, BATCH)):
            with self._store.write():
                for one in batch:
                    if isinstance(one, LeftOut):
                        self._crawled.left_out[one.path] = one.reason
                    else:
                        self._take_in(one)
            progress(self._crawled)
        self._crawled.collections = len(self._collections)
        return self._crawled

    def _take_in(self, found: FoundObject) -> None:
        folder, name = posixpath.split(found.path)
        parts = (found.bucket, folder) if found.bucket else (folder or self._store.storage.bucket,)
        collection_name = "/".join(filter(None, parts))
        try:
            found.path.encode()
            check_file_name(name)
            check_collection_name(collection_name)
        except (Rejection, UnicodeEncodeError):
            self._leave_out(found, "the lake does not accept this name")
            return
        if self._is_known(found):
            self._crawled.known += 1
            return
        kind = _KINDS.get(name.rpartition(".")[2].lower(), MediaKind.OTHER)
        collection = self._collection(kind, collection_name)
        if self._db.execute(
            "SELECT 1 FROM items WHERE collection = ? AND name = ? AND trashed = 0", (collection, name)
        ).fetchone():
            self._leave_out(found, f"the collection '{collection_name}' has a file with this name")
            return
        (path,) = self._db.execute("SELECT storage_path FROM collections WHERE id = ?", (collection,)).fetchone()
        time = now()
        self._db.execute(
            "INSERT INTO items (id, collection, kind, name, unique_name, storage_path, bucket, blob, size_bytes,"
            " metadata, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '{}', ?, ?)",
            (
                self._store.new_id(),
                collection,
                kind,
                name,
                unique_name_for(self._store, collection, path, name, found.path),
                found.path,
                found.bucket,
                self._store.storage.take_in(found),
                found.size_bytes,
                time,
                time,
            ),
        )
        self._crawled.taken += 1

    def _leave_out(self, found: FoundObject, reason: str) -> None:
        self._crawled.left_out["/".join(filter(None, (found.bucket, found.path)))] = reason

    def _is_known(self, found: FoundObject) -> bool:
        there = self._db.execute(
            "SELECT 1 FROM items WHERE storage_path = ? AND bucket IS ?", (found.path, found.bucket)
        ).fetchone()
        if there or found.bucket is not None:
            return there is not None
        # The object of an unfinished upload is not an existing file.
        begun = self._db.execute("SELECT 1 FROM uploads WHERE file_key = ?", (found.path,)).fetchone()
        return begun is not None

    def _collection(self, kind: MediaKind, name: str) -> str:
        key = (kind, name)
        if key not in self._collections:
            self._collections[key] = find_or_create_collection(self._store, kind, name)
        return self._collections[key]
