"""The state after crashes, damage and migration, and clear errors where it cannot be used."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalake_sync.core.metadata import NO_METADATA, metadata_set
from metalake_sync.core.snapshots import (
    AnnotationKind,
    CollectionKey,
    DesiredSet,
    Fingerprint,
    MediaType,
    Origin,
)
from metalake_sync.errors import ExitCode, StateError, StateLocked
from metalake_sync.state.backends.file import FileBackend, state_path
from metalake_sync.state.files import ConfirmedFile
from metalake_sync.state.journal import AboutToFinalize, JournalledFile, JournalledSession
from metalake_sync.state.names import fingerprint_from_db, fingerprint_to_db, name_from_db, name_to_db
from metalake_sync.state.schema import MIGRATIONS, applied_migrations, create, migrate
from metalake_sync.state.store import StateStore

KEY = CollectionKey(MediaType.IMAGE, "birds")
PRINT = Fingerprint(10, 2, 3, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return state_path(tmp_path, "birds")


def confirmed(name: str, path: str | None = None, content: str = "A") -> ConfirmedFile:
    return ConfirmedFile(
        name, path or f"images/{name}", PRINT, content, NO_METADATA, f"id-{name}", f"birds_{name}", Origin.UPLOADED
    )


def test_records_are_there_after_reopening(path: Path) -> None:
    with StateStore(path) as state, state.write():
        row = state.collections.record("lake", KEY, "c1", "birds")
        state.files.record(row, [confirmed("a.jpg")], "run")
        state.annotation_sets.record(row, [("a.jpg", DesiredSet("op", AnnotationKind.HUMAN, "D", 3))])
    with StateStore(path) as state:
        row, collection = state.collections.of_lake("lake")[KEY]
        assert (collection.lake_id, collection.storage_path) == ("c1", "birds")
        (file,) = state.files.all(row)
        assert (file.name, file.path, file.fingerprint, file.lake_id) == ("a.jpg", "images/a.jpg", PRINT, "id-a.jpg")
        assert file.annotations["op"].digest == "D"


def test_each_lake_has_its_own_records(path: Path) -> None:
    with StateStore(path) as state:
        with state.write():
            row = state.collections.record("staging", KEY, "c1", "birds")
            state.files.record(row, [confirmed("a.jpg")], "run")
        assert state.collections.of_lake("production") == {}


def test_records_of_a_folder_do_not_include_subfolders(path: Path) -> None:
    with StateStore(path) as state, state.write():
        row = state.collections.record("lake", KEY, "c1", "birds")
        state.files.record(
            row, [confirmed("a.jpg"), confirmed("b.jpg", "images/sub/b.jpg"), confirmed("c.jpg", "c.jpg")], "run"
        )
        assert set(state.files.folder_rows(row, "images")) == {"a.jpg"}
        assert state.files.folders(row) == {"images": 1, "images/sub": 1, "": 1}
        assert state.files.folder_rows(row, "images")["a.jpg"].version == PRINT.version()


def test_a_replaced_file_loses_its_annotation_sets(path: Path) -> None:
    with StateStore(path) as state, state.write():
        row = state.collections.record("lake", KEY, "c1", "birds")
        state.files.record(row, [confirmed("a.jpg")], "run")
        state.annotation_sets.record(row, [("a.jpg", DesiredSet("op", AnnotationKind.HUMAN, "D", 3))])
        state.files.record(row, [confirmed("a.jpg", content="B")], "run2")
        assert [file.annotations for file in state.files.all(row)] == [{}]
        assert not state.annotation_sets.exist_in(row)


def test_the_head_of_a_collection_with_a_new_id_is_unwritten(path: Path) -> None:
    with StateStore(path) as state, state.write():
        row = state.collections.record("lake", KEY, "c1", "birds")
        head = metadata_set({"a": 1})
        state.collections.record_head(row, head)
        state.collections.record("lake", KEY, "c1", "birds")
        assert state.collections.of_lake("lake")[KEY][1].head_digest == head.digest
        assert state.metadata_sets.values(head.digest) == {"a": 1}
        state.collections.record("lake", KEY, "c2", "birds_1")
        assert state.collections.of_lake("lake")[KEY][1].head_digest is None


def test_a_failed_transaction_writes_nothing(path: Path) -> None:
    with StateStore(path) as state:
        with pytest.raises(RuntimeError), state.write():
            state.collections.record("lake", KEY, "c1", "birds")
            raise RuntimeError
        assert state.collections.of_lake("lake") == {}
        assert state.serial == 0


def test_the_serial_increases_with_each_run(path: Path) -> None:
    with StateStore(path) as state:
        for expected in (1, 2):
            with state.write():
                state.advance_serial()
            assert state.serial == expected


def test_the_journal_returns_the_sessions_of_a_killed_run(path: Path) -> None:
    with StateStore(path) as state, state.write():
        row = state.collections.record("lake", KEY, "c1", "birds")
        files = (JournalledFile("a.jpg", "a.jpg", PRINT), JournalledFile("b.mp4", "b.mp4", PRINT))
        state.journal.open_session(JournalledSession("u1", row, "j1", "AWS_S3", "digest", False, files))
        state.journal.file_begun("u1", "b.mp4", "f2", "key", 1024)
        state.journal.part_finished("f2", 1, "etag")
        state.journal.about_to_finalize("u1", [AboutToFinalize("a.jpg", "hash", "f1", "key", 1024, {1: "etag"})])
        state.journal.files_sent("u1", ["a.jpg"])
    with StateStore(path) as state:
        (session,) = state.journal.sessions([row])
        small, large = session.files
        assert (small.sent, small.content_hash) == (True, "hash")
        assert (large.file_id, large.part_size, large.finished_parts, large.sent) == ("f2", 1024, {1: "etag"}, False)
        with state.write():
            state.journal.close_session("u1")
        assert state.journal.sessions([row]) == []
        assert state.journal._connection.execute("SELECT count(*) FROM upload_parts").fetchone() == (0,)


def test_a_failure_counts_attempts_and_is_removed_after_success(path: Path) -> None:
    with StateStore(path) as state, state.write():
        row = state.collections.record("lake", KEY, "c1", "birds")
        for run in ("r1", "r2"):
            state.failures.record(run, row, [("a.jpg", "upload", "gone", True)])
        (failure,) = state.failures.of_collection(row)
        assert (failure.name, failure.attempts, failure.retryable) == ("a.jpg", 2, True)
        state.failures.clear(row, ["a.jpg"])
        assert state.failures.of_collection(row) == []


def test_only_the_owner_can_read_the_state(path: Path) -> None:
    with StateStore(path) as state, state.write():
        state.advance_serial()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (path.parent / ".gitignore").read_text() == "*\n"


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name))
def test_any_name_is_stored_and_returned(name: bytes) -> None:
    text = os.fsdecode(name)
    db = sqlite3.connect(":memory:")
    stored = db.execute("SELECT ?", (name_to_db(text),)).fetchone()[0]
    db.close()
    assert name_from_db(stored) == text


@given(st.integers(0, 2**64 - 1))
def test_any_inode_is_stored_and_returned(inode: int) -> None:
    before = Fingerprint(1, 2, inode, 3)
    row = fingerprint_to_db(before)
    assert -(2**63) <= row[2] < 2**63
    assert fingerprint_from_db(*row) == before


def test_the_error_for_a_file_that_is_not_a_database_has_a_remedy(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database, it is a text that someone put here" * 40)
    with pytest.raises(StateError, match="damaged.*state rebuild MANIFEST"):
        StateStore(path)


def test_the_error_for_a_truncated_state_has_a_remedy(path: Path) -> None:
    with StateStore(path) as state, state.write():
        state.advance_serial()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StateError, match="damaged"):
        StateStore(path)


def test_a_new_state_equals_an_empty_one_after_all_migrations() -> None:
    tables = []
    for make in (create, migrate):
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            make(connection)
            assert applied_migrations(connection) == {migration.__name__ for migration in MIGRATIONS}
            tables.append(set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")))
            again = connection.execute("SELECT count(*) FROM _sqlite_migrations").fetchone()
            migrate(connection)
            assert connection.execute("SELECT count(*) FROM _sqlite_migrations").fetchone() == again
    assert tables[0] == tables[1]


def test_a_state_that_another_command_created_meanwhile_is_kept() -> None:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        create(connection)
        create(connection)
        assert not connection.in_transaction


def test_an_older_state_is_migrated_and_a_copy_is_kept(path: Path) -> None:
    with StateStore(path) as state, state.write():
        state.advance_serial()
        state._connection.execute("DROP TABLE made_room")
        state._connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'made_room'")
    with StateStore(path) as state:
        assert state.pending_replacements.owed() == []
        assert state.serial == 1
    assert len(list((path.parent / "backups").iterdir())) == 1


def test_a_newer_state_is_an_error(path: Path) -> None:
    with StateStore(path) as state, state.write():
        state._connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('metalake-sync', 'from_the_future', '')"
        )
    with pytest.raises(StateError, match="newer version"):
        StateStore(path)


def test_a_folder_at_the_path_of_the_state_is_an_error(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StateError, match="cannot open"):
        StateStore(path)


def test_a_full_disk_is_one_error_and_keeps_the_records(path: Path) -> None:
    """The kernel refuses to let the state grow, as a full disk does."""
    script = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        from metalake_sync.errors import StateError
        from metalake_sync.state.store import StateStore
        state = StateStore(Path(sys.argv[1]))
        with state.write():
            state.advance_serial()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            for number in range(1000):
                with state.write():
                    state.runs.begin(f"run{number}", "x" * 5000, "now")
        except StateError as error:
            print(error)
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert "the disk is full or failing. Free disk space" in done.stdout
    with StateStore(path) as state:
        assert state.serial == 1


def test_the_error_of_a_second_run_names_the_holder_of_the_lock(path: Path) -> None:
    with FileBackend(path).lock(command="apply birds.yaml"):
        with pytest.raises(StateLocked, match=rf"'apply birds.yaml' with pid {os.getpid()} on ") as raised:
            FileBackend(path).lock(command="apply").__enter__()
        assert raised.value.exit_code is ExitCode.LOCKED
    with FileBackend(path).lock(command="apply"):
        pass


def test_a_killed_holder_does_not_block_the_next_run(path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from metalake_sync.state.backends.file import FileBackend\n"
        "FileBackend(Path(sys.argv[1])).lock(command='apply').__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    with FileBackend(path).lock(command="apply"):
        pass


def by_symbolic_link(path: Path, other: Path) -> None:
    other.symlink_to(path)


def by_hard_link(path: Path, other: Path) -> None:
    os.link(path, other)


@pytest.mark.parametrize("link", [by_symbolic_link, by_hard_link])
def test_a_state_with_two_names_has_one_lock_and_one_log(
    path: Path, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    with StateStore(path):
        pass
    other = tmp_path / "elsewhere" / "link.db"
    other.parent.mkdir()
    link(path, other)
    with FileBackend(path).lock(command="apply"), pytest.raises(StateLocked), FileBackend(other).lock(command="watch"):
        pass
    with FileBackend(other).lock(command="apply"), pytest.raises(StateLocked), FileBackend(path).lock(command="watch"):
        pass
    with StateStore(path) as one, StateStore(other) as two:
        with one.write():
            one.collections.record("lake", KEY, "c1", "birds")
        assert KEY in two.collections.of_lake("lake")
        with two.write():
            two.advance_serial()
        assert one.serial == 1
    assert [file.name for file in other.parent.iterdir()] == ["link.db"]


def test_a_state_of_a_killed_run_is_complete_under_its_other_name(path: Path, tmp_path: Path) -> None:
    with StateStore(path):
        pass
    other = tmp_path / "link.db"
    os.link(path, other)
    script = f"""
    import os, signal
    from pathlib import Path
    from metalake_sync.state.store import StateStore
    state = StateStore(Path({str(path)!r}))
    with state.write():
        state.advance_serial()
    os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    with StateStore(other) as state:
        assert state.serial == 1


def test_a_moved_state_with_a_hard_link_has_its_new_path(path: Path, tmp_path: Path) -> None:
    with StateStore(path):
        pass
    moved = path.rename(path.with_name("moved.db"))
    with StateStore(moved):
        pass
    other = tmp_path / "link.db"
    os.link(moved, other)
    with StateStore(other) as state:
        assert state.path == moved
