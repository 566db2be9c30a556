"""Property: a snapshot and the segments after it make the live state, at every cut, with rollbacks."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metalake_sync.errors import StateError
from metalake_sync.state.database import open_database
from metalake_sync.state.shared.changes import (
    ChangeCapture,
    Changes,
    ChangeWriter,
    merge,
    shared_tables,
    to_document,
    transaction,
)
from metalake_sync.state.shared.log import new_segment, pack, unpack
from metalake_sync.state.shared.snapshots import export, fill, open_new

Step = tuple[int, int, int]
"""What to do, and with which of a few rows."""


def add_collection(db: sqlite3.Connection, one: int, other: int) -> None:
    db.execute(
        "INSERT INTO collections (lake, type, name, lake_id, storage_path) VALUES ('l', 'image', ?, ?, 'p')"
        " ON CONFLICT (lake, type, name) DO UPDATE SET lake_id = excluded.lake_id",
        (f"c{one}", f"id{other}"),
    )


def a_collection(db: sqlite3.Connection, one: int) -> int | None:
    rows = db.execute("SELECT id FROM collections ORDER BY id").fetchall()
    return int(rows[one % len(rows)][0]) if rows else None


NAMES: list[str | bytes] = ["a.jpg", "ü.jpg", b"\xff\xfe.jpg", "b.jpg"]


def add_file(db: sqlite3.Connection, one: int, other: int) -> None:
    collection = a_collection(db, one)
    if collection is not None:
        db.execute(
            "INSERT INTO files (collection, folder, filename, name, size_bytes, mtime_ns, inode, ctime_ns,"
            " content_hash, metadata_digest, lake_id, unique_name, origin, run_id)"
            " VALUES (?, ?, ?, ?, 1, 2, 3, 4, ?, 'm', 'f', 'u', 'uploaded', 'r')"
            " ON CONFLICT (collection, name) DO UPDATE SET content_hash = excluded.content_hash",
            (collection, NAMES[other], NAMES[other], NAMES[other], f"hash{one}"),
        )


def a_file(db: sqlite3.Connection, one: int) -> int | None:
    rows = db.execute("SELECT id FROM files ORDER BY id").fetchall()
    return int(rows[one % len(rows)][0]) if rows else None


def swap_names(db: sqlite3.Connection, one: int, other: int) -> None:
    rows = db.execute("SELECT id, name, collection FROM files ORDER BY id").fetchall()
    if len(rows) > 1:
        (first, name, folder), (second, other_name, other_folder) = rows[one % len(rows)], rows[other % len(rows)]
        if first != second and folder == other_folder:
            db.execute("UPDATE files SET name = 'meanwhile' WHERE id = ?", (first,))
            db.execute("UPDATE files SET name = ? WHERE id = ?", (name, second))
            db.execute("UPDATE files SET name = ? WHERE id = ?", (other_name, first))


def renumber(db: sqlite3.Connection, one: int, other: int) -> None:
    file = a_file(db, one)
    if file is not None and not db.execute("SELECT 1 FROM annotation_sets WHERE file = ?", (file,)).fetchone():
        db.execute("UPDATE OR IGNORE files SET id = ? WHERE id = ?", (file + 1 + other, file))


def write_set(db: sqlite3.Connection, one: int, other: int) -> None:
    """A new base takes the number of a deleted one. So the triggers must not run again where it is written."""
    file = a_file(db, one)
    if file is not None:
        base = db.execute("INSERT INTO annotation_bases (body) VALUES (?)", (bytes([other, 255]),)).lastrowid
        db.execute(
            "INSERT INTO annotation_sets (file, operation, kind, digest, shape_count, base)"
            " VALUES (?, ?, 'human', 'd', 1, ?)"
            " ON CONFLICT (file, operation) DO UPDATE SET base = excluded.base",
            (file, f"o{other % 2}", base),
        )


def delete_file(db: sqlite3.Connection, one: int, other: int) -> None:
    db.execute("DELETE FROM files WHERE id = ?", (a_file(db, one),))


def delete_collection(db: sqlite3.Connection, one: int, other: int) -> None:
    db.execute("DELETE FROM collections WHERE id = ?", (a_collection(db, one),))


def replace_download(db: sqlite3.Connection, one: int, other: int) -> None:
    db.execute(
        "INSERT OR REPLACE INTO downloads (lake, folder, unique_name, lake_id, filename, size_bytes, mtime_ns, inode,"
        " ctime_ns) VALUES ('l', 'f', ?, ?, 'n', 1, 2, 3, 4)",
        (f"u{one}", f"id{other}"),
    )


def record_run(db: sqlite3.Connection, one: int, other: int) -> None:
    db.execute("DELETE FROM runs WHERE id = ?", (f"r{one}",))
    db.execute("INSERT INTO runs (id, command, started_at) VALUES (?, 'apply', '2026')", (f"r{one}",))
    db.executemany(
        "INSERT INTO run_actions (run_id, action, collection, file, reason) VALUES (?, 'upload', 'c', ?, 'new')",
        [(f"r{one}", name) for name in NAMES[: other + 1]],
    )


def share_text(db: sqlite3.Connection, one: int, other: int) -> None:
    db.execute("INSERT OR IGNORE INTO shared_texts (text) VALUES (?)", (f"t{one}",))
    db.execute("DELETE FROM shared_texts WHERE text = ?", (f"t{other}",))


def learn(db: sqlite3.Connection, one: int, other: int) -> None:
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (f"k{one}", f"v{other}"))
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('copy sequence', ?)", (str(other),))


def cache(db: sqlite3.Connection, one: int, other: int) -> None:
    db.execute("INSERT OR REPLACE INTO set_memo VALUES (?, ?, 1, '', 1)", (bytes([one]), bytes([other])))


STEPS: list[Callable[[sqlite3.Connection, int, int], None]] = [
    add_collection,
    add_file,
    add_file,
    swap_names,
    renumber,
    write_set,
    write_set,
    delete_file,
    delete_collection,
    replace_download,
    record_run,
    share_text,
    learn,
    cache,
]


def content(db: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    own = {"meta": " WHERE key NOT LIKE 'copy %'"}
    return {
        table.name: sorted(db.execute(f"SELECT * FROM {table.name}{own.get(table.name, '')}").fetchall(), key=repr)
        for table in shared_tables(db)
    }


class RolledBack(Exception):
    pass


steps = st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 3), st.integers(0, 3))
transactions = st.lists(st.tuples(st.lists(steps, max_size=8), st.booleans(), st.booleans()), max_size=12)


@given(transactions)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_snapshot_and_the_log_make_the_live_state(
    tmp_path_factory: pytest.TempPathFactory, work: list[tuple[list[Step], bool, bool]]
) -> None:
    """`work`: transactions, whether each is committed, and whether a segment or a snapshot ends after it."""
    folder = tmp_path_factory.mktemp("copies")
    with (
        contextlib.closing(open_new(folder / "live.db")) as live,
        contextlib.closing(open_new(folder / "copy.db")) as copy,
    ):
        live.execute("PRAGMA foreign_keys = ON")
        capture = ChangeCapture(live)
        tables = shared_tables(live)
        gathered: Changes = {}
        for number, (todo, committed, cut) in enumerate(work):
            with contextlib.suppress(RolledBack), transaction(live):
                for what, one, other in todo:
                    STEPS[what](live, one, other)
                if not committed:
                    raise RolledBack
            merge(gathered, capture.take())
            if not cut:
                continue
            copy.execute("PRAGMA foreign_keys = OFF")
            if number % 3 == 2:
                export(folder / "live.db", folder / f"{number}.db")
                fill(copy, folder / f"{number}.db")
            else:
                segment = unpack(pack(new_segment(1, 1, to_document(gathered, tables))), "a segment", "here")
                with transaction(copy), ChangeWriter(copy) as writer:
                    writer.write(segment["tables"])
            gathered = {}
            assert content(copy) == content(live)
            assert not copy.execute("PRAGMA foreign_key_check").fetchall()
            assert copy.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone() == (4,)


def test_changes_of_caches_and_of_the_copy_itself_are_not_captured(tmp_path: Path) -> None:
    with contextlib.closing(open_database(tmp_path / "live.db")) as live:
        capture = ChangeCapture(live)
        cache(live, 1, 1)
        live.execute("INSERT INTO meta (key, value) VALUES ('copy sequence', '1')")
        live.execute("DELETE FROM meta WHERE key = 'copy sequence'")
        assert not capture.pending()
        assert capture.take() == {}


BAD = [
    [{"table": "sqlite_master", "columns": [], "key": [], "rows": [], "gone": []}],
    [
        {
            "table": "meta",
            "columns": ["key", "x) VALUES (1); DROP TABLE files; --"],
            "key": ["key"],
            "rows": [],
            "gone": [],
        }
    ],
    [{"table": "meta", "columns": ["key", "value"], "key": ["value"], "rows": [], "gone": []}],
    [{"table": "meta", "columns": ["key", "value"], "key": ["key"], "rows": [["a"]], "gone": []}],
    [{"table": "meta", "columns": ["key", "value"], "key": ["key"], "rows": [["a", ["b"]]], "gone": []}],
    [{"table": "meta", "columns": ["key", "value"], "key": ["key"], "rows": [["a", {"bytes": "?"}]], "gone": []}],
    ["meta"],
    [{}],
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_a_segment_that_does_not_fit_the_tables_is_refused_and_changes_nothing(tmp_path: Path, number: int) -> None:
    with contextlib.closing(open_database(tmp_path / "copy.db")) as copy:
        before = content(copy)
        good = {"table": "meta", "columns": ["key", "value"], "key": ["key"], "rows": [["a", "b"]], "gone": []}
        with pytest.raises(StateError, match="damaged"), transaction(copy), ChangeWriter(copy) as writer:
            writer.write([good])
            writer.write(BAD[number])  # type: ignore[arg-type]
        assert content(copy) == before
