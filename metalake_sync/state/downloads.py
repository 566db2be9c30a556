"""What downloads wrote into local folders.

Owns: `downloads`, `download_files` and `download_classes`. Rows are found by lake and folder, as the manifest spells
it. A downloaded file has a row in `downloads` under its present name. `download_files` has everything else: annotation
files, and downloaded files under names that they had before. Must not: commit (the caller groups writes, see
`StateStore.write`) or decide anything.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from metalake_sync.core.downloads import DownloadedFile, folder_of_split
from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.state.names import fingerprint_from_db, fingerprint_to_db, name_from_db, name_to_db

_BEGUN = -1
"""The size of a file that a run began to write, and may not have finished."""


class DownloadRecords:
    """The records of all folders."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def of_folder(self, lake: str, folder: str) -> dict[str, DownloadedFile]:
        """Return the files that were downloaded into a folder, by unique name."""
        rows = self._connection.execute(
            "SELECT unique_name, lake_id, filename, checked, written, size_bytes, mtime_ns, inode, ctime_ns"
            " FROM downloads WHERE lake = ? AND folder = ?",
            (lake, name_to_db(folder)),
        )
        return {
            unique_name: DownloadedFile(
                lake_id,
                unique_name,
                name_from_db(filename),
                fingerprint_from_db(*fingerprint),
                bool(checked),
                bool(written),
            )
            for unique_name, lake_id, filename, checked, written, *fingerprint in rows
        }

    def splits(self, lake: str, to: str) -> list[str]:
        """Return the splits of a download that have records."""
        prefix = name_to_db(folder_of_split(to, ""))
        rows = self._connection.execute(
            "SELECT folder FROM downloads WHERE lake = ? AND substr(folder, 1, length(?)) = ?"
            " UNION SELECT folder FROM download_files WHERE lake = ? AND substr(folder, 1, length(?)) = ?",
            (lake, prefix, prefix) * 2,
        )
        return sorted(name_from_db(folder)[len(folder_of_split(to, "")) :] for (folder,) in rows)

    def record(self, lake: str, folder: str, files: Iterable[DownloadedFile]) -> None:
        """Record downloaded files, replacing older rows of the same unique names.

        A file that was downloaded under another name before stays recorded under that name.
        """
        files = list(files)
        place = (lake, name_to_db(folder))
        self._connection.executemany(
            "INSERT OR REPLACE INTO download_files (lake, folder, path, size_bytes, mtime_ns, inode, ctime_ns)"
            " SELECT lake, folder, filename, size_bytes, mtime_ns, inode, ctime_ns FROM downloads"
            " WHERE lake = ? AND folder = ? AND unique_name = ? AND filename != ? AND written = 1",
            [(*place, file.unique_name, name_to_db(file.filename)) for file in files],
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO downloads (lake, folder, unique_name, lake_id, filename, checked, written,"
            " size_bytes, mtime_ns, inode, ctime_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *place,
                    file.unique_name,
                    file.lake_id,
                    name_to_db(file.filename),
                    file.checked,
                    file.written,
                    *fingerprint_to_db(file.fingerprint),
                )
                for file in files
            ],
        )
        self._forget("download_files", "path", lake, folder, [file.filename for file in files])

    def other_files(self, lake: str, folder: str) -> dict[str, Fingerprint | None]:
        """Return all other files that were written into a folder, by path below it.

        None: a run began to write the file, and may not have finished.
        """
        rows = self._connection.execute(
            "SELECT path, size_bytes, mtime_ns, inode, ctime_ns FROM download_files WHERE lake = ? AND folder = ?",
            (lake, name_to_db(folder)),
        )
        return {
            name_from_db(path): None if size == _BEGUN else fingerprint_from_db(size, *rest)
            for path, size, *rest in rows
        }

    def begin(self, lake: str, folder: str, paths: Iterable[str]) -> None:
        """Record that a run is about to write files, so that they count as written even if the run is killed."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO download_files (lake, folder, path, size_bytes, mtime_ns, inode, ctime_ns)"
            " VALUES (?, ?, ?, ?, 0, 0, 0)",
            [(lake, name_to_db(folder), name_to_db(path), _BEGUN) for path in paths],
        )

    def record_others(self, lake: str, folder: str, files: Mapping[str, Fingerprint]) -> None:
        """Record written files, by path below the folder."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO download_files (lake, folder, path, size_bytes, mtime_ns, inode, ctime_ns)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(lake, name_to_db(folder), name_to_db(path), *fingerprint_to_db(found)) for path, found in files.items()],
        )

    def forget(self, lake: str, folder: str, paths: Iterable[str]) -> None:
        """Remove the records of files that are not in the folder any more."""
        paths = list(paths)
        self._forget("downloads", "filename", lake, folder, paths)
        self._forget("download_files", "path", lake, folder, paths)

    def _forget(self, table: str, column: str, lake: str, folder: str, paths: Sequence[str]) -> None:
        # One statement reads the rows of the folder once. Safe names are always valid texts.
        self._connection.execute(
            f"DELETE FROM {table} WHERE lake = ? AND folder = ?"  # noqa: S608 - both names are constants
            f" AND {column} IN (SELECT value FROM json_each(?))",
            (lake, name_to_db(folder), json.dumps(paths, ensure_ascii=False)),
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
