"""Object storage in files in the lake's folder. The lake signs the URLs itself, and answers them as S3 does.

Owns: signed paths, each of which permits one operation on one object or part for a limited time, and the tables of
parts and of ETags. A part that is sent again replaces the previous one. Parts are kept until their file is finalized.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from metalake_sync.embedded_lake.rejections import bad_request
from metalake_sync.embedded_lake.schema import DATABASE
from metalake_sync.embedded_lake.storage.blobs import BlobStore, ReceivedPart
from metalake_sync.embedded_lake.storage.interface import FoundObject, LeftOut, PendingObject
from metalake_sync.errors import UsageError
from metalake_sync.protocol.uploads import FinishedPart
from metalake_sync.protocol.wire import StorageKind

PARTS = "/storage/parts"
OBJECTS = "/storage/objects"


class Signer:
    """Signs method, path and expiry time with a key that never leaves the lake."""

    def __init__(self, key: bytes, lifetime_s: float) -> None:
        self._key = key
        self._lifetime_s = lifetime_s

    def part_url(self, base_url: str, file_id: str, number: int) -> str:
        """Return the URL to PUT one part."""
        return base_url + self._signed("PUT", f"{PARTS}/{file_id}/{number}")

    def object_url(self, base_url: str, blob: str) -> str:
        """Return the URL to GET one object."""
        return base_url + self._signed("GET", f"{OBJECTS}/{blob}")

    def fault(self, method: str, path: str, query: Mapping[str, str]) -> str | None:
        """Return why a request is not permitted. None if its signature is for this request and has not expired."""
        expires, signature = query.get("expires", ""), query.get("signature", "")
        expected = self._signature(method, path, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            return "The signature is not valid for this request"
        return "The signature has expired" if time.time() > float(expires) else None

    def _signed(self, method: str, path: str) -> str:
        expires = f"{time.time() + self._lifetime_s:.3f}"
        return f"{path}?expires={expires}&signature={self._signature(method, path, expires)}"

    def _signature(self, method: str, path: str, expires: str) -> str:
        text = f"{method}\n{path}\n{expires}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256).hex()


class FileStorage:
    """Opens the folder. Raises OSError."""

    kind = StorageKind.S3
    bucket = "DEFAULT"
    keys_are_names = False

    def __init__(self, folder: Path, db: sqlite3.Connection, signer: Signer) -> None:
        self.blobs = BlobStore(folder)
        self.blobs.sweep(
            db.execute(
                "SELECT p.file_id, p.number, p.etag FROM parts p JOIN uploads u USING (file_id)"
                " WHERE u.size_bytes IS NULL"
            )
        )
        self._db = db
        self._signer = signer
        self._sources: dict[str, str] = {}
        self._etags: dict[str, str] = {}

    def key_for(self, path: str) -> str:
        return path

    async def is_taken(self, key: str) -> bool:
        return False

    async def start(self, pending: PendingObject, content_type: str) -> str:
        return ""

    async def part_urls(self, pending: PendingObject, count: int, base_url: str) -> list[str]:
        sign = self._signer.part_url
        return [sign(base_url, pending.file_id, number) for number in range(1, count + 1)]

    def part_received(self, file_id: str, number: int, part: ReceivedPart) -> None:
        """Record a received part."""
        kept = self._db.execute("SELECT etag FROM parts WHERE file_id = ? AND number = ?", (file_id, number)).fetchone()
        self.blobs.keep(part, file_id, number)
        self._db.execute(
            "INSERT OR REPLACE INTO parts (file_id, number, etag, size_bytes) VALUES (?, ?, ?, ?)",
            (file_id, number, part.etag, part.size_bytes),
        )
        if kept and kept[0] != part.etag:
            self.blobs.drop_parts([(file_id, number, kept[0])])

    async def finish(self, pending: PendingObject, parts: Sequence[FinishedPart]) -> int:
        kept = dict(self._db.execute("SELECT number, etag FROM parts WHERE file_id = ?", (pending.file_id,)).fetchall())
        if not parts:
            raise bad_request("Parts must be listed in order, from 1 and without gaps")
        for part in parts:
            if kept.get(part.part_number) != part.etag.strip('"').lower():
                raise bad_request(f"Part {part.part_number} was not received, or its ETag differs")
        wanted = [(pending.file_id, part.part_number, kept[part.part_number]) for part in parts]
        self._etags[pending.file_id] = _multipart_etag([etag for _, _, etag in wanted])
        if len(wanted) == 1:
            return self.blobs.assemble(wanted, pending.blob)
        return await asyncio.to_thread(self.blobs.assemble, wanted, pending.blob)

    def finished(self, file_id: str) -> Callable[[], None]:
        parts = self._db.execute("SELECT file_id, number, etag FROM parts WHERE file_id = ?", (file_id,)).fetchall()
        self._db.execute("DELETE FROM parts WHERE file_id = ?", (file_id,))
        self._keep_etag(file_id, self._etags.pop(file_id))
        return lambda: self.blobs.drop_parts(parts)

    async def flush(self, blobs: Iterable[str]) -> None:
        await asyncio.to_thread(self.blobs.flush, list(blobs))

    def discard(self, blobs: Iterable[str]) -> None:
        blobs = list(blobs)
        self.blobs.remove(blobs)
        self._db.executemany("DELETE FROM object_etags WHERE blob = ?", [(blob,) for blob in blobs])

    def object_url(self, blob: str, base_url: str) -> str:
        return self._signer.object_url(base_url, blob)

    async def head(self, blob: str, length: int) -> bytes:
        try:
            with self.blobs.path(blob).open("rb") as file:  # a local read does not wait
                return file.read(length)
        except FileNotFoundError:
            return b""

    def crawl(self, folder: str) -> Iterator[FoundObject | LeftOut]:
        """Yield the files of a local folder, as a bucket with its name. Skips hidden names, links and other lakes."""
        if not folder.strip():
            raise UsageError(
                "the folder name is empty", remedy="With --storage file, crawl a local folder: use its path, or '.'."
            )
        root = os.path.abspath(folder)
        if not os.path.isdir(root):
            raise UsageError(f"{folder!r} is not a folder", remedy="With --storage file, crawl a local folder.")
        for parent, folders, names in os.walk(root, onerror=_raise):
            if DATABASE in names:
                yield LeftOut(parent, "it is the folder of a lake")
                folders.clear()
                continue
            entered = []
            for name in sorted(folders):
                reason = _reason_to_skip(os.path.join(parent, name))
                if reason is None:
                    entered.append(name)
                else:
                    yield LeftOut(os.path.join(parent, name), reason)
            folders[:] = entered
            for name in sorted(names):
                path = os.path.join(parent, name)
                reason = _reason_to_skip(path) or (None if os.path.isfile(path) else "it is not a regular file")
                if reason is not None:
                    yield LeftOut(path, reason)
                    continue
                self._sources[os.path.basename(root)] = root
                yield FoundObject(os.path.basename(root), os.path.relpath(path, root), os.path.getsize(path))

    def take_in(self, found: FoundObject) -> str:
        assert found.bucket is not None
        blob, md5 = self.blobs.copy_in(os.path.join(self._sources[found.bucket], found.path))
        self._keep_etag(blob, md5)
        return blob

    def etag(self, blob: str) -> str | None:
        """Return an object's ETag without quotes. None if an older version stored the object."""
        row = self._db.execute("SELECT etag FROM object_etags WHERE blob = ?", (blob,)).fetchone()
        return str(row[0]) if row else None

    def _keep_etag(self, blob: str, etag: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO object_etags (blob, etag) VALUES (?, ?)", (blob, etag))

    def close(self) -> None:
        """Do nothing, because no files are kept open."""


def _multipart_etag(md5s: Sequence[str]) -> str:
    """Return the ETag that S3 gives to a multipart upload, also of one part."""
    whole = hashlib.md5(b"".join(map(bytes.fromhex, md5s)), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(md5s)}"


def _reason_to_skip(path: str) -> str | None:
    """Return why a crawl skips a path, or None."""
    if os.path.basename(path).startswith("."):
        return "it is hidden"
    return "it is a link" if os.path.islink(path) else None


def _raise(error: OSError) -> None:
    raise error
