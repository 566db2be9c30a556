"""The state of one manifest as one object: all tables over one connection.

Owns: transactions and the serial. Must not: know where the state is kept (`backends`) or what its rows mean. One thread
writes at a time, and one process (`StateBackend.lock`); readers never block the writer (WAL).
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from metalake_sync.core.addresses import Address
from metalake_sync.core.metadata import AS_WRITTEN, Spelling
from metalake_sync.errors import SyncError
from metalake_sync.state.annotation_bases import AnnotationBases
from metalake_sync.state.annotation_sets import AnnotationSets, AttachedRuns
from metalake_sync.state.backends.base import StateBackend, WorkingCopy
from metalake_sync.state.backends.file import FileBackend, TemporaryWorkingCopy
from metalake_sync.state.caches import HashCache, Readings, StoredSets
from metalake_sync.state.collections import Collections
from metalake_sync.state.database import explain_errors, shrink
from metalake_sync.state.downloads import DownloadRecords
from metalake_sync.state.failures import Failures
from metalake_sync.state.files import Files
from metalake_sync.state.journal import PendingReplacements, UploadJournal
from metalake_sync.state.metadata_sets import MetadataSets
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.pending_writes import PendingWrites
from metalake_sync.state.records_by_place import Addresses, AddressRecords, CollectionRecords
from metalake_sync.state.runs import Runs

MARK = "mark "
"""In the table `meta`: the key of a serial's random value begins so."""

MARKS_KEPT = 10_000


class StateVersion(NamedTuple):
    """What a saved plan stores of a state, to notice later runs and other states."""

    lineage: str | None
    """The random id of the state. None before the first run that recorded something."""
    serial: int
    """The number of runs that recorded something."""


class StateStore:
    """Opens a state and closes it as a context manager.

    `place` is a backend, or the path of a state file. With None, the state is empty and disappears when it is closed.
    Raises StateError.
    """

    def __init__(self, place: StateBackend | Path | None) -> None:
        self._copy: WorkingCopy
        if place is None:
            self._copy = TemporaryWorkingCopy()
            self.location = str(self._copy.path)
        else:
            backend = FileBackend(place) if isinstance(place, Path) else place
            self._copy = backend.open()
            self.location = backend.location
            """Where the state is, as users write it."""
        self._connection = self._copy.connection
        self.metadata_sets = MetadataSets(self._connection)
        self.bases = AnnotationBases(self._connection)
        self.annotation_sets = AnnotationSets(self._connection, self.bases)
        self.collections = Collections(self._connection, self.metadata_sets)
        self.files = Files(self._connection, self.metadata_sets, self.annotation_sets)
        self.hash_cache = HashCache(self._connection)
        self.journal = UploadJournal(self._connection)
        self.pending_replacements = PendingReplacements(self._connection)
        self.pending_writes = PendingWrites(self._connection, self.bases, self.metadata_sets)
        self.runs = Runs(self._connection, self.metadata_sets, self.bases)
        self.failures = Failures(self._connection)
        self.downloads = DownloadRecords(self._connection)
        self.addresses = Addresses(self._connection)
        self.attached = AttachedRuns(self._connection)
        self.readings = Readings(self._connection, self.write)
        self.set_memo = StoredSets(self._connection, self.write)
        self._spellings: dict[str, Spelling] = {}

    @property
    def is_shared(self) -> bool:
        """Whether other machines use this state too."""
        return self._copy.is_shared

    @property
    def path(self) -> Path:
        """The SQLite file that is open."""
        return self._copy.path

    def __enter__(self) -> StateStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except SyncError:
            # The first error tells why the run ends.
            if kind is None:
                raise

    def close(self) -> None:
        self._copy.close()

    def of_collection(self, collection: CollectionHandle) -> CollectionRecords:
        """The records of a collection's managed files."""
        return CollectionRecords(collection, self.files, self.annotation_sets)

    def of_address(self, lake: str, address: Address) -> AddressRecords:
        """The records of an address's unmanaged files."""
        return AddressRecords(self._connection, self.metadata_sets, self.bases, lake, address.key)

    def flush_caches(self) -> None:
        """Write the cached facts about sources that are still in memory."""
        self.readings.flush()
        self.set_memo.flush()

    def delete_old_runs(self, before: str) -> int:
        """Delete the runs that started before a time (ISO 8601 in UTC), with the values that only they refer to.

        Returns their number. The file shrinks if most of it is unused afterwards.
        """
        from metalake_sync.state.retention import delete_old_runs, has_old_runs

        with explain_errors(self.path):
            if not has_old_runs(self._connection, before):
                return 0
        with self.write():
            deleted = delete_old_runs(self._connection, before)
        self._copy.check()
        shrink(self._connection)
        return deleted

    def back_up(self, to: Path | None = None) -> Path:
        """Copy the state to `to`, or to a new file in `backups` beside it, and return the copy's path."""
        return self._copy.back_up(to)

    @contextlib.contextmanager
    def write(self) -> Iterator[None]:
        """Run the block as one transaction. SQLite's errors become StateErrors.

        Raises StateError if the state was removed, replaced or taken over by another process.
        """
        self._copy.check()
        with explain_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                # A full disk may have ended the transaction already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            if not self._copy.keeps_transaction():
                self._connection.execute("ROLLBACK")
                return
            self._connection.execute("COMMIT")
            self._copy.committed()

    def sync(self) -> None:
        """Return when all commits so far would survive a power failure. Call it before a step that cannot be undone.

        Any thread may call this while another one writes. Raises StateError.
        """
        self._copy.barrier()

    @property
    def serial(self) -> int:
        """The number of runs that recorded something. A saved plan stores it to notice later runs."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = 'serial'").fetchone()
        return int(row[0]) if row else 0

    @property
    def version(self) -> StateVersion:
        """Which state this is, and how many runs recorded something in it."""
        rows = dict(self._connection.execute("SELECT key, value FROM meta WHERE key IN ('lineage', 'serial')"))
        return StateVersion(rows.get("lineage"), int(rows.get("serial", 0)))

    def advance_serial(self, above: int = 0) -> None:
        """Count one more run that recorded something, and mark the new serial with a random value.

        Two copies of a state that runs continued separately have the same serials and other marks. `above`: the serial
        of another state, which the new one must exceed.
        """
        version = self.version
        serial = max(version.serial, above) + 1
        rows = {"serial": str(serial), f"{MARK}{serial}": secrets.token_hex(8)}
        if version.lineage is None:
            rows["lineage"] = secrets.token_hex(16)
        self._connection.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", rows.items())
        self._connection.execute("DELETE FROM meta WHERE key = ?", (f"{MARK}{serial - MARKS_KEPT}",))

    def learned(self, what: str) -> str | None:
        """Return a fact that was learned about a lake, such as whether it accepts the name of a trashed file again."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (what,)).fetchone()
        return str(row[0]) if row else None

    def learn(self, what: str, value: str) -> None:
        self._connection.execute(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (what, value),
        )

    def spelling(self, lake: str) -> Spelling:
        """Return how a lake spells those fields and tags that the manifest spells differently."""
        if lake not in self._spellings:
            text = self.learned(f"spelling {lake}")
            self._spellings[lake] = Spelling(**json.loads(text)) if text is not None else AS_WRITTEN
        return self._spellings[lake]

    def learn_spelling(self, lake: str, spelling: Spelling) -> None:
        self._spellings[lake] = spelling
        self.learn(f"spelling {lake}", json.dumps({"fields": dict(spelling.fields), "tags": dict(spelling.tags)}))
