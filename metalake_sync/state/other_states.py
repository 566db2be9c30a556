"""Reads the states of other manifests on this machine: what the lake confirmed to them.

Owns: opening such a state without changing it, and the few questions about it. A state that cannot be read, because it
is damaged or has other tables, is skipped: it only serves warnings. Must not: write, or compare.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from metalake_sync.core.snapshots import CollectionKey, Origin
from metalake_sync.state.names import name_from_db


class OtherState:
    """An open state of another manifest. Methods raise sqlite3.Error."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def learned(self, what: str) -> str | None:
        """Return a value of the table `meta`."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (what,)).fetchone()
        return str(row[0]) if row else None

    @property
    def lineage(self) -> str | None:
        """The random id of the state."""
        return self.learned("lineage")

    def head_fields(self, lake: str, key: CollectionKey) -> set[str] | None:
        """Return the fields of a collection's head that were written. None if the collection was never recorded."""
        row = self._connection.execute(
            "SELECT m.body FROM collections c LEFT JOIN metadata_sets m ON m.digest = c.head_digest"
            " WHERE c.lake = ? AND c.type = ? AND c.name = ?",
            (lake, key.type.value, key.name),
        ).fetchone()
        if row is None:
            return None
        return set(json.loads(row[0])) if row[0] is not None else set()

    def file_names(self, lake: str, key: CollectionKey) -> Iterator[str]:
        """Yield the names of the recorded files of a collection."""
        rows = self._connection.execute(
            "SELECT f.name FROM files f JOIN collections c ON c.id = f.collection"
            " WHERE c.lake = ? AND c.type = ? AND c.name = ?",
            (lake, key.type.value, key.name),
        )
        return (name_from_db(name) for (name,) in rows)

    def uploaded_names(self, lake: str, key: CollectionKey) -> Iterator[str]:
        """Yield the names of those files of a collection that the other manifest uploaded."""
        rows = self._connection.execute(
            "SELECT f.name FROM files f JOIN collections c ON c.id = f.collection"
            " WHERE c.lake = ? AND c.type = ? AND c.name = ? AND f.origin = ?",
            (lake, key.type.value, key.name, Origin.UPLOADED.value),
        )
        return (name_from_db(name) for (name,) in rows)

    def names_with_set(self, lake: str, key: CollectionKey, operation: str) -> Iterator[str]:
        """Yield the names of the files of a collection that have a set of an operation."""
        rows = self._connection.execute(
            "SELECT f.name FROM annotation_sets s JOIN files f ON f.id = s.file JOIN collections c"
            " ON c.id = f.collection WHERE c.lake = ? AND c.type = ? AND c.name = ? AND s.operation = ?",
            (lake, key.type.value, key.name, operation),
        )
        return (name_from_db(name) for (name,) in rows)

    def images_with_set(self, lake: str, operation: str) -> set[str]:
        """Return the lake's ids of all images, managed or not, that have a set of an operation."""
        managed = self._connection.execute(
            "SELECT f.lake_id FROM annotation_sets s JOIN files f ON f.id = s.file JOIN collections c"
            " ON c.id = f.collection WHERE c.lake = ? AND s.operation = ?",
            (lake, operation),
        )
        return self.unmanaged_with_set(lake, operation).union(lake_id for (lake_id,) in managed)

    def unmanaged_with_set(self, lake: str, operation: str) -> set[str]:
        """Return the lake's ids of the unmanaged images that have a set of an operation, as far as they are known."""
        rows = self._connection.execute(
            "SELECT lake_id FROM addressed_sets WHERE lake = ? AND operation = ? AND lake_id IS NOT NULL",
            (lake, operation),
        )
        return {lake_id for (lake_id,) in rows}


@contextlib.contextmanager
def open_other_state(path: Path) -> Iterator[OtherState]:
    """Open a state for reading. Raises sqlite3.Error."""
    # A state whose run ended has no log. `immutable` reads it without creating files beside it.
    ended = not path.with_name(f"{path.name}-wal").exists()
    uri = f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode=ro{'&immutable=1' if ended else ''}"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        yield OtherState(path, connection)


def newest_of_each(paths: Iterable[Path]) -> list[Path]:
    """Return the states of these that can be read and that a run wrote to. Of the copies of one state, such as the one
    that 'state migrate' left, return the newest."""
    newest: dict[str, tuple[int, Path]] = {}
    for path in paths:
        with contextlib.suppress(sqlite3.Error, ValueError, OSError), open_other_state(path) as other:
            lineage, serial = other.lineage, int(other.learned("serial") or 0)
            if lineage is not None and serial >= newest.get(lineage, (0, path))[0]:
                newest[lineage] = serial, path
    return sorted(path for _, path in newest.values())


def other_state_paths(folders: Iterable[Path], own: Path) -> list[Path]:
    """Return the states in these folders, except our own, sorted."""
    found = {Path(os.path.abspath(path)) for folder in folders for path in folder.glob("*.db")}
    return sorted(found - {Path(os.path.abspath(own))})
