"""The lake's memory: one connection, one transaction for each request that writes.

Owns: transactions, ids and time. The themes (uploads, jobs, items, metadata, annotations, trash) stand in modules of
their own on top of it. Everything runs in the event loop's thread. What is acknowledged is committed: it survives the
process being killed.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from typing import Any

from sqlite_utils import Database

from metalake_sync.lake.blobs import BlobStore
from metalake_sync.lake.folder import LakeFolder
from metalake_sync.lake.refusals import not_acceptable
from metalake_sync.lake.settings import LakeSettings
from metalake_sync.lake.signing import Signer


class LakeStore:
    """Opens the folder of `settings`; close it. `tables` is the same database through sqlite-utils, for tables of few
    rows."""

    def __init__(self, settings: LakeSettings) -> None:
        self._folder = LakeFolder(settings.dir)
        self.db: sqlite3.Connection = self._folder.connection
        try:
            self.tables = Database(self.db)
            self.blobs = BlobStore(settings.dir)
            self.blobs.sweep(self.db.execute("SELECT file_id, number, etag FROM parts"))
            self.signer = Signer(self._signing_key(), settings.url_lifetime_s)
        except BaseException:
            self._folder.close()
            raise
        self.job_delay_s = settings.job_delay_s
        self.keeps_trashed_names = settings.keeps_trashed_names

    def close(self) -> None:
        self._folder.close()

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """All of the block, or nothing."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    def _signing_key(self) -> bytes:
        settings = self.tables.table("settings")
        if not settings.count_where("key = ?", ["signing_key"]):
            settings.insert({"key": "signing_key", "value": secrets.token_hex(32)})
        return bytes.fromhex(settings.get("signing_key")["value"])


def new_id() -> str:
    """24 hex digits, as the real lake's ids look: the time, then chance."""
    return f"{int(time.time()) & 0xFFFFFFFF:08x}{secrets.token_hex(8)}"


def now() -> float:
    return time.time()


def to_json(value: object) -> str:
    """JSON as the database keeps it. Raises the refusal of numbers that JSON can't say."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        raise not_acceptable("A number is not finite") from None


def merged(metadata: str, update: Mapping[str, Any]) -> str:
    """Stored metadata with an update: fields are merged, Tags replaced wholesale."""
    return to_json({**json.loads(metadata), **update})
