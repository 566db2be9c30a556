"""What downloads wrote into local folders.

Owns: `downloads` and `download_classes`. Must not: commit (the caller groups writes, see `StateStore.write`) or decide
anything.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

from metalake_sync.core.downloads import DownloadedFile
from metalake_sync.state.names import fingerprint_from_db, fingerprint_to_db, name_from_db, name_to_db


class DownloadRecords:
    """A row is found by lake, folder (as the manifest spells it) and unique name."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def of_folder(self, lake: str, folder: str) -> dict[str, DownloadedFile]:
        """Return the files that were downloaded into a folder, by unique name."""
        rows = self._connection.execute(
            "SELECT unique_name, lake_id, filename, checked, size_bytes, mtime_ns, inode, ctime_ns FROM downloads"
            " WHERE lake = ? AND folder = ?",
            (lake, name_to_db(folder)),
        )
        return {
            unique_name: DownloadedFile(
                lake_id, unique_name, name_from_db(filename), fingerprint_from_db(*fingerprint), bool(checked)
            )
            for unique_name, lake_id, filename, checked, *fingerprint in rows
        }

    def record(self, lake: str, folder: str, files: Iterable[DownloadedFile]) -> None:
        """Record downloaded files, replacing older rows of the same unique names."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO downloads (lake, folder, unique_name, lake_id, filename, checked, size_bytes,"
            " mtime_ns, inode, ctime_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    lake,
                    name_to_db(folder),
                    file.unique_name,
                    file.lake_id,
                    name_to_db(file.filename),
                    file.checked,
                    *fingerprint_to_db(file.fingerprint),
                )
                for file in files
            ],
        )

    def classes(self, lake: str, folder: str) -> tuple[str, ...] | None:
        """Return the order of the class ids that were written into a folder. None: none were written."""
        row = self._connection.execute(
            "SELECT classes FROM download_classes WHERE lake = ? AND folder = ?", (lake, name_to_db(folder))
        ).fetchone()
        return None if row is None else tuple(json.loads(row[0]))

    def record_classes(self, lake: str, folder: str, classes: Sequence[str]) -> None:
        """Record the order of the class ids that were written into a folder."""
        self._connection.execute(
            "INSERT OR REPLACE INTO download_classes (lake, folder, classes) VALUES (?, ?, ?)",
            (lake, name_to_db(folder), json.dumps(list(classes))),
        )
