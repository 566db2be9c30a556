"""The state of one manifest as one object: records, hash cache, upload journal and runs over one connection.

Owns: transactions and the serial. One writer at a time (`StateLock`); readers never block it (WAL).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from metalake_sync.core.metadata import AS_WRITTEN, Spelling
from metalake_sync.errors import StateError
from metalake_sync.state.annotation_sets import AnnotationSets
from metalake_sync.state.attached import AttachedRuns
from metalake_sync.state.collections import Collections
from metalake_sync.state.database import (
    NO_PATH,
    back_up,
    canonical_path,
    explain_errors,
    identity_of,
    open_database,
    open_temporary,
    sync_log,
)
from metalake_sync.state.downloads import DownloadRecords
from metalake_sync.state.files import Files
from metalake_sync.state.hash_cache import HashCache
from metalake_sync.state.journal import UploadJournal
from metalake_sync.state.metadata_sets import MetadataSets
from metalake_sync.state.parse_cache import StoredSets
from metalake_sync.state.pending_replacements import PendingReplacements
from metalake_sync.state.readings import Readings
from metalake_sync.state.runs import Runs
from metalake_sync.state.unmanaged_files import AddressedRecords


class StateStore:
    """Opens the state at `path` and closes it as a context manager. None is a new state that nobody keeps. Raises
    StateError."""

    def __init__(self, path: Path | None) -> None:
        self.path = canonical_path(path) if path is not None else NO_PATH
        self._connection = open_database(self.path) if path is not None else open_temporary()
        self._file = identity_of(self.path)
        self._commits = self._synced = 0
        self.metadata_sets = MetadataSets(self._connection)
        self.annotation_sets = AnnotationSets(self._connection)
        self.collections = Collections(self._connection, self.metadata_sets)
        self.files = Files(self._connection, self.metadata_sets, self.annotation_sets)
        self.hash_cache = HashCache(self._connection)
        self.journal = UploadJournal(self._connection)
        self.pending_replacements = PendingReplacements(self._connection)
        self.runs = Runs(self._connection)
        self.downloads = DownloadRecords(self._connection)
        self.addressed = AddressedRecords(self._connection)
        self.attached = AttachedRuns(self._connection)
        self.readings = Readings(self._connection, self.write)
        self.set_memo = StoredSets(self._connection, self.write)
        self._spellings: dict[str, Spelling] = {}

    def __enter__(self) -> StateStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def flush_caches(self) -> None:
        """Write what was read from sources and is not written yet."""
        self.readings.flush()
        self.set_memo.flush()

    def back_up(self, to: Path | None = None) -> Path:
        """Copy the state, and return where the copy is: `to`, or a new file in `backups` beside the state."""
        return back_up(self._connection, self.path, "backup", to)

    @contextlib.contextmanager
    def write(self) -> Iterator[None]:
        """One transaction: all of the block is recorded, or nothing. SQLite's errors become StateErrors. So does a
        state that was taken away: SQLite would write on into a file that nobody can open any more."""
        if identity_of(self.path) != self._file:
            raise StateError(
                "the state was removed or replaced while a command used it",
                where=str(self.path),
                remedy="Run the command again, or 'metalake-sync state rebuild MANIFEST': what the lake has is taken "
                "over and not sent again.",
            )
        with explain_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                # A full disk may have ended the transaction by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            self._commits += 1

    def sync(self) -> None:
        """Return when all that was committed so far would survive a power failure. Call it before what can't be undone.

        A commit alone leaves it to the operating system when the write-ahead log reaches the disk. Any thread may call
        this while another one writes. Raises StateError.
        """
        commits = self._commits
        if commits == self._synced:
            return
        sync_log(self.path)
        self._synced = max(self._synced, commits)

    @property
    def serial(self) -> int:
        """Grows by one with each run that recorded something, so that a saved plan knows what it was made from."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = 'serial'").fetchone()
        return int(row[0]) if row else 0

    def learned(self, what: str) -> str | None:
        """What was learned about a lake, such as whether it takes a trashed name again."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (what,)).fetchone()
        return str(row[0]) if row else None

    def learn(self, what: str, value: str) -> None:
        self._connection.execute(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (what, value),
        )

    def spelling(self, lake: str) -> Spelling:
        """How a lake spells the fields and tags that it was asked about and that the manifest spells otherwise."""
        if lake not in self._spellings:
            text = self.learned(f"spelling {lake}")
            self._spellings[lake] = Spelling(**json.loads(text)) if text is not None else AS_WRITTEN
        return self._spellings[lake]

    def learn_spelling(self, lake: str, spelling: Spelling) -> None:
        self._spellings[lake] = spelling
        self.learn(f"spelling {lake}", json.dumps({"fields": dict(spelling.fields), "tags": dict(spelling.tags)}))

    def advance_serial(self) -> None:
        self._connection.execute(
            "INSERT INTO meta (key, value) VALUES ('serial', '1')"
            " ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
        )
