"""The conformance suite of the `StateBackend` port: every backend passes it.

To add a backend, add a function to `BACKENDS` that returns a new backend for the same place each time it is called.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from metalake_sync.core.snapshots import CollectionKey, MediaType
from metalake_sync.errors import ExitCode, StateError, StateLocked
from metalake_sync.state.backends.base import StateBackend
from metalake_sync.state.backends.file import FileBackend
from metalake_sync.state.backends.shared import SharedBackend
from metalake_sync.state.store import StateStore
from tests.key_stores.folder_store import FolderKeyStore

KEY = CollectionKey(MediaType.IMAGE, "birds")

Opener = Callable[[], StateBackend]
"""Returns a new backend for one and the same place, as another process would create it."""


def file_backend(folder: Path) -> StateBackend:
    return FileBackend(folder / "state" / "birds.db")


def shared_backend(folder: Path) -> StateBackend:
    return SharedBackend(folder / "here", lambda: FolderKeyStore(folder / "store"))


BACKENDS: dict[str, Callable[[Path], StateBackend]] = {"file": file_backend, "shared": shared_backend}


@pytest.fixture(params=sorted(BACKENDS))
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return lambda: BACKENDS[request.param](tmp_path)


@pytest.fixture
def backend(another: Opener) -> StateBackend:
    return another()


def record(backend: StateBackend, lake_id: str = "c1") -> None:
    with backend.lock(command="record"), StateStore(backend) as state, state.write():
        state.collections.record("lake", KEY, lake_id, "birds")


def recorded_id(backend: StateBackend) -> str | None:
    with StateStore(backend) as state:
        found = state.collections.of_lake("lake").get(KEY)
        return found[1].lake_id if found else None


def test_a_new_place_has_no_state_until_it_is_opened(backend: StateBackend) -> None:
    assert not backend.exists()
    with backend.lock(command="apply"):
        backend.open().close()
    assert backend.exists()


def test_an_empty_state_has_all_tables(backend: StateBackend) -> None:
    with StateStore(backend) as state:
        assert state.collections.of_lake("lake") == {}
        assert state.serial == 0


def test_a_commit_is_seen_by_the_next_opener(backend: StateBackend, another: Opener) -> None:
    record(backend)
    assert recorded_id(another()) == "c1"


def test_a_rolled_back_transaction_is_not_seen(backend: StateBackend, another: Opener) -> None:
    record(backend)
    with (
        backend.lock(command="apply"),
        StateStore(backend) as state,
        pytest.raises(RuntimeError),
        state.write(),
    ):
        state.collections.record("lake", KEY, "c2", "birds")
        raise RuntimeError
    assert recorded_id(another()) == "c1"


def test_commits_before_a_barrier_survive_a_kill(backend: StateBackend, another: Opener, tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from metalake_sync.state.store import StateStore
        from tests.state.test_backends import BACKENDS
        backend = BACKENDS[sys.argv[1]](Path(sys.argv[2]))
        lock = backend.lock(command="apply")
        lock.__enter__()
        state = StateStore(backend)
        with state.write():
            state.advance_serial()
        state.sync()
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    name = next(name for name, make in BACKENDS.items() if make(tmp_path).location == backend.location)
    done = subprocess.run([sys.executable, "-c", script, name, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with StateStore(another()) as state:
        assert state.serial == 1


def test_a_barrier_without_commits_returns(backend: StateBackend) -> None:
    with backend.lock(command="apply"), closing(backend.open()) as copy:
        copy.barrier()
        copy.barrier()


def test_a_reader_is_not_blocked_by_an_open_transaction(backend: StateBackend, another: Opener) -> None:
    record(backend)
    with backend.lock(command="apply"), StateStore(backend) as writer, writer.write():
        writer.collections.record("lake", KEY, "c2", "birds")
        assert recorded_id(another()) == "c1"


def test_a_state_that_was_set_aside_is_complete_and_refuses_further_writes(
    backend: StateBackend, another: Opener
) -> None:
    with backend.lock(command="rebuild"):
        assert backend.set_aside() is None
    record(backend)
    with backend.lock(command="rebuild"), StateStore(backend) as state:
        aside = backend.set_aside()
        assert aside is not None
        with pytest.raises(StateError, match="removed or replaced"), state.write():
            pytest.fail("a transaction began in a state that was set aside")
    assert not backend.exists()
    assert recorded_id(another()) is None
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT lake_id FROM collections").fetchall() == [("c1",)]


def test_a_backup_is_a_complete_copy(backend: StateBackend, tmp_path: Path) -> None:
    record(backend)
    with closing(backend.open()) as copy:
        first = copy.back_up()
        second = copy.back_up(tmp_path / "elsewhere" / "copy.db")
    assert second == tmp_path / "elsewhere" / "copy.db"
    for path in (first, second):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT lake_id FROM collections").fetchall() == [("c1",)]


def test_the_lock_admits_one_run_and_names_its_holder(backend: StateBackend, another: Opener) -> None:
    assert backend.lock_holder() is None
    with backend.lock(command="apply birds.yaml"):
        with pytest.raises(StateLocked, match=rf"'apply birds.yaml' with pid {os.getpid()} on ") as raised:
            another().lock(command="watch").__enter__()
        assert raised.value.exit_code is ExitCode.LOCKED
        assert "'apply birds.yaml' with pid" in str(another().lock_holder())
    assert another().lock_holder() is None
    with another().lock(command="watch"):
        pass


def test_opening_needs_no_lock(backend: StateBackend, another: Opener) -> None:
    record(backend)
    with backend.lock(command="apply"):
        assert recorded_id(another()) == "c1"


def test_only_force_breaks_the_lock_of_a_living_run(backend: StateBackend, another: Opener) -> None:
    assert backend.break_lock(force=False) is None
    with backend.lock(command="first"):
        with pytest.raises(StateLocked, match="'first' with pid"):
            another().break_lock(force=False)
        assert "'first' with pid" in str(another().break_lock(force=True))
        with another().lock(command="second"):
            pass


def test_a_state_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """A shared state tells it in its log: see `shared.test_shared_backend`."""
    with StateStore(file_backend(tmp_path)) as state, state.write():
        state._connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('metalake-sync', 'from_the_future', '')"
        )
    with pytest.raises(StateError, match="newer version"):
        file_backend(tmp_path).open()
