"""A shared state over a folder: damage, old versions, takeovers, snapshots, and what readers leave alone."""

from __future__ import annotations

import gzip
import json
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from metalake_sync.core.snapshots import CollectionKey, MediaType
from metalake_sync.errors import StateError, StateLocked, StateUnreachable, UsageError
from metalake_sync.state.backends.opening import location_around
from metalake_sync.state.backends.shared import SharedBackend
from metalake_sync.state.shared import filling, log, working_copy
from metalake_sync.state.shared import lease as leases
from metalake_sync.state.shared.lease import Lease, LeaseBody
from metalake_sync.state.shared.log import pack, unpack
from metalake_sync.state.shared.snapshots import begin_export
from metalake_sync.state.shared.soundness import remember_sound, was_sound
from metalake_sync.state.store import StateStore
from tests.key_stores.folder_store import FolderKeyStore

KEY = CollectionKey(MediaType.IMAGE, "birds")


@pytest.fixture
def store(tmp_path: Path) -> FolderKeyStore:
    return FolderKeyStore(tmp_path / "store")


@pytest.fixture
def machine(store: FolderKeyStore, tmp_path: Path) -> Callable[[str], SharedBackend]:
    """A machine by its name, each with a working copy of its own."""
    return lambda name: SharedBackend(tmp_path / name, lambda: store)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases expire soon."""
    for name, value in (("EXPIRES_S", 0.3), ("RENEW_EVERY_S", 0.05), ("LOOK_EVERY_S", 0.02)):
        monkeypatch.setattr(leases, name, value)


def write(backend: SharedBackend, *ids: str) -> None:
    """One run that commits once for each id."""
    with backend.lock(command="apply"), StateStore(backend) as state:
        for lake_id in ids:
            with state.write():
                state.collections.record("lake", KEY, lake_id, "birds")
            state.sync()


def read(backend: SharedBackend) -> str | None:
    with StateStore(backend) as state:
        found = state.collections.of_lake("lake").get(KEY)
        return found[1].lake_id if found else None


Machine = Callable[[str], SharedBackend]


def test_another_machine_reads_what_one_wrote_and_goes_on(machine: Machine) -> None:
    write(machine("one"), "a", "b")
    assert read(machine("two")) == "b"
    write(machine("two"), "c")
    assert read(machine("one")) == "c"
    assert read(machine("three")) == "c"


def test_a_reader_keeps_caches_and_drops_everything_else(machine: Machine) -> None:
    write(machine("one"), "a")
    reader = machine("two")
    with StateStore(reader) as state:
        with state.write():
            state.collections.record("lake", KEY, "never", "birds")
        with state.write():
            state.readings._connection.execute("INSERT INTO set_memo VALUES (x'01', x'02', 1, '', 1)")
    with StateStore(reader) as state:
        assert state.collections.of_lake("lake")[KEY][1].lake_id == "a"
        assert state._connection.execute("SELECT count(*) FROM set_memo").fetchone() == (1,)
    # A copy that is filled again keeps its caches too.
    write(machine("one"), "b")
    with StateStore(reader) as state:
        assert state.collections.of_lake("lake")[KEY][1].lake_id == "b"
        assert state._connection.execute("SELECT count(*) FROM set_memo").fetchone() == (1,)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b'{"format": 1}', b'{"format": 1, "id": 3, "begins_after": 0}']
)
@pytest.mark.parametrize("what", ["state.json", "log", "snapshot"])
def test_a_damaged_object_is_one_clear_error(
    machine: Machine, store: FolderKeyStore, monkeypatch: pytest.MonkeyPatch, what: str, body: bytes
) -> None:
    monkeypatch.setattr(working_copy, "SNAPSHOT_AFTER_SEGMENTS", 1 if what == "snapshot" else 1000)
    write(machine("one"), "a", "b")
    key = [key for key in store.keys("") if key.startswith(what)][-1]
    store.put(key, body)
    with pytest.raises(StateError, match="the shared state is damaged") as raised:
        read(machine("two"))
    assert "state rebuild" in str(raised.value)


def test_a_missing_segment_is_named(machine: Machine, store: FolderKeyStore) -> None:
    write(machine("one"), "a", "b", "c")
    keys = store.keys("log/")
    store.delete([keys[1]])
    with pytest.raises(StateError, match=f"{keys[1]} of its log is missing"):
        read(machine("two"))


@pytest.mark.parametrize("what", ["state.json", "log"])
def test_a_state_of_a_newer_version_is_refused(machine: Machine, store: FolderKeyStore, what: str) -> None:
    write(machine("one"), "a")
    key = store.keys(what)[-1]
    body = store.get(key) or b""
    if what == "log":
        store.put(key, pack({**unpack(body, key, "here"), "migration": "from_the_future"}))
    else:
        store.put(key, json.dumps({**json.loads(body), "format": 2}).encode())
    with pytest.raises(StateError, match="newer version"):
        read(machine("two"))


def test_a_snapshot_shortens_the_log_and_old_ones_go(
    machine: Machine, store: FolderKeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working_copy, "SNAPSHOT_AFTER_SEGMENTS", 3)
    for number in range(12):
        write(machine("one"), *(f"{number}-{step}" for step in range(3)))
    assert len(store.keys("snapshot/")) == 2
    assert len(store.keys("log/")) <= 12
    assert read(machine("two")) == "11-2"
    write(machine("two"), "last")
    assert read(machine("one")) == "last"


def test_snapshots_are_made_during_a_long_run(
    machine: Machine, store: FolderKeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working_copy, "SNAPSHOT_IN_RUN_AFTER_SEGMENTS", 5)
    monkeypatch.setattr(working_copy, "MOST_SEGMENTS", 20)
    write(machine("one"), *(f"{number}" for number in range(60)))
    assert store.keys("snapshot/")
    assert read(machine("two")) == "59"


@pytest.mark.parametrize("what", ["garbage", "cut", "folder"])
def test_a_broken_working_copy_is_made_again(machine: Machine, what: str) -> None:
    write(machine("one"), "a")
    path = machine("one").path
    if what == "folder":
        path.unlink()
        (path / "x").mkdir(parents=True)
    else:
        path.write_bytes(b"garbage" * 1000 if what == "garbage" else path.read_bytes()[:5000])
    assert read(machine("one")) == "a"
    write(machine("one"), "b")
    assert read(machine("two")) == "b"


def test_a_store_that_lost_the_state_is_an_error_where_a_copy_is_left(machine: Machine, store: FolderKeyStore) -> None:
    write(machine("one"), "a")
    copy = machine("one").path.read_bytes()
    store.delete(store.keys(""))
    for command in (read, write):
        with pytest.raises(StateError, match="the state is gone, and this machine has a copy"):
            command(machine("one"))
    assert machine("one").path.read_bytes() == copy
    # It is restored from the copy.
    backend = machine("two")
    with backend.lock(command="state push"):
        backend.replace_with(machine("one").path)
    assert read(machine("three")) == "a"


def copied(path: Path) -> bytes:
    """Return the rows of a working copy, without what SQLite keeps about its file."""
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump()).encode()


@pytest.mark.parametrize("others", [0, 3], ids=["only lost", "and went on"])
def test_a_store_that_lost_the_end_of_its_log_leaves_a_newer_copy_alone(
    machine: Machine, store: FolderKeyStore, others: int, tmp_path: Path
) -> None:
    write(machine("one"), "a")
    write(machine("one"), "b", "c", "d")
    before, kept = copied(machine("one").path), store.keys("log/")[:2]
    store.delete([key for key in store.keys("log/") if key not in kept])
    for number in range(others):
        write(machine("two"), f"other {number}")
    for command in (read, write, read):
        with pytest.raises(StateError, match="older or another state") as raised:
            command(machine("one"))
        assert str(machine("one").path) in str(raised.value.message)
        assert "state push" in (raised.value.remedy or "")
    with pytest.raises(StateError, match="older or another state"):
        machine("one").check_copy()
    machine("two").check_copy()
    assert copied(machine("one").path) == before
    # A push replaces what the store has, on a machine with such a copy too, and keeps both.
    (tmp_path / "copy.db").write_bytes(machine("one").path.read_bytes())
    backend = machine("one")
    with backend.lock(command="state push"):
        backend.replace_with(tmp_path / "copy.db")
    assert [read(machine(name)) for name in ("one", "two", "three")] == ["d"] * 3
    assert store.keys("backup/")
    if not others:
        assert list((tmp_path / "one/backups").glob("*ahead-of-the-store*"))
    write(machine("one"), "e")
    assert [read(machine(name)) for name in ("one", "two", "three")] == ["e"] * 3


def test_a_copy_of_a_killed_run_notices_too_that_the_store_lost_something(
    machine: Machine, store: FolderKeyStore
) -> None:
    write(machine("one"), "a", "b", "c")
    backend = machine("one")
    with closing(sqlite3.connect(backend.path)) as connection:
        filling.note_writer(connection)
        connection.commit()
    assert read(machine("one")) == "c"
    with closing(sqlite3.connect(backend.path)) as connection:
        filling.note_writer(connection)
        connection.commit()
    store.delete(store.keys("log/")[2:])
    with pytest.raises(StateError, match="older or another state"):
        read(machine("one"))


def test_a_state_that_began_anew_in_the_same_place_is_not_taken_for_the_old_one(
    machine: Machine, store: FolderKeyStore
) -> None:
    write(machine("one"), "a", "b", "c")
    store.delete(store.keys(""))
    write(machine("two"), "x")
    with pytest.raises(StateError, match="older or another state"):
        read(machine("one"))
    write(machine("two"), "y", "z", "z2", "z3")
    with pytest.raises(StateError, match="older or another state"):
        read(machine("one"))


def test_a_rebuild_over_a_store_that_lost_something_uses_no_number_twice(
    machine: Machine, store: FolderKeyStore
) -> None:
    write(machine("one"), "a", "b", "c")
    write(machine("three"))
    store.delete(store.keys("log/")[2:])
    backend = machine("one")
    with backend.lock(command="state rebuild"):
        backend.set_aside()
    assert read(machine("one")) is None
    write(machine("one"), "new")
    assert [read(machine(name)) for name in ("one", "two")] == ["new"] * 2


@pytest.mark.parametrize("lost", ["state.json", "log/000000000002", "snapshot/"])
def test_damage_names_the_working_copy(machine: Machine, store: FolderKeyStore, tmp_path: Path, lost: str) -> None:
    write(machine("one"), "a", "b")
    if lost == "snapshot/":
        with StateStore(machine("one")) as state:
            state.back_up(tmp_path / "copy.db")
        backend = machine("one")
        with backend.lock(command="state push"):
            backend.replace_with(tmp_path / "copy.db")
        assert read(machine("one")) == "b"
    store.delete([key for key in store.keys("") if key.startswith(lost)])
    with pytest.raises(StateError, match="damaged") as raised:
        read(machine("one"))
    assert str(machine("one").path) in raised.value.message
    assert "state push --force" in (raised.value.remedy or "")


def test_a_store_that_loses_the_state_during_a_run_is_an_error_of_the_run(
    machine: Machine, store: FolderKeyStore
) -> None:
    with pytest.raises(StateError, match=r"state\.json is missing|the state is gone"):
        backend = machine("one")
        with backend.lock(command="apply"), StateStore(backend) as state:
            store.delete(store.keys(""))
            with state.write():
                state.collections.record("lake", KEY, "a", "birds")


def test_a_missing_state_json_is_damage_and_makes_nothing_worse(machine: Machine, store: FolderKeyStore) -> None:
    write(machine("one"), "a")
    body = store.get("state.json") or b""
    store.delete(["state.json"])
    for command in (read, write):
        with pytest.raises(StateError, match=r"state\.json is missing"):
            command(machine("two"))
    store.put("state.json", body)
    assert read(machine("two")) == "a"


def test_a_missing_first_snapshot_is_damage(machine: Machine, store: FolderKeyStore, tmp_path: Path) -> None:
    write(machine("one"), "a")
    with StateStore(machine("one")) as state:
        state.back_up(tmp_path / "copy.db")
    backend = machine("one")
    with backend.lock(command="state push"):
        backend.replace_with(tmp_path / "copy.db")
    write(machine("one"), "b")
    assert read(machine("two")) == "b"
    store.delete(store.keys("snapshot/"))
    with pytest.raises(StateError, match="damaged: snapshot/.* is missing"):
        read(machine("three"))


def test_a_segment_with_the_content_of_another_one_is_damage(machine: Machine, store: FolderKeyStore) -> None:
    write(machine("one"), "a", "b")
    first, second = store.keys("log/")[-2:]
    store.put(second, store.get(first) or b"")
    with pytest.raises(StateError, match="the content of another segment"):
        read(machine("two"))


@pytest.mark.parametrize("what", ["state.json", "log/000000000001", "none"])
def test_a_replaced_state_is_kept(machine: Machine, store: FolderKeyStore, tmp_path: Path, what: str) -> None:
    """In a backup, or as it is if it cannot be read."""
    write(machine("one"), "good")
    with StateStore(machine("one")) as state:
        state.back_up(tmp_path / "copy.db")
    write(machine("one"), "replaced")
    if what != "none":
        store.put(what, b"garbage")
    before = {key: store.get(key) for key in store.keys("log/")}
    backend = machine("two")
    with backend.lock(command="state push"):
        backend.replace_with(tmp_path / "copy.db")
    assert read(machine("three")) == "good"
    if what == "none":
        (backup,) = store.keys("backup/")
        assert b"replaced" in gzip.decompress(store.get(backup) or b"")
    else:
        assert {key: store.get(key) for key in before} == before


@pytest.mark.parametrize("what", ["state.json", "log/000000000001", "none"])
def test_a_state_that_is_set_aside_is_kept(machine: Machine, store: FolderKeyStore, what: str) -> None:
    write(machine("one"), "old")
    if what != "none":
        store.put(what, b"garbage")
    backend = machine("two")
    with backend.lock(command="state rebuild"):
        aside = backend.set_aside()
    assert (aside is not None) == (what == "none")
    assert bool(store.keys("backup/")) == (what == "none")
    assert store.keys("log/000000000002")
    write(machine("two"), "new")
    assert read(machine("three")) == "new"


# Leases.


def test_a_dead_holder_is_watched_and_replaced(machine: Machine, quick: None) -> None:
    dead = machine("one").lock(command="apply of the dead")
    held = dead.__enter__()
    held._ended.set()  # It renews nothing any more.
    seen: list[str] = []
    with machine("two").lock(command="apply", timeout_s=30, waiting=seen.append):
        pass
    assert "apply of the dead" in seen[0]
    dead.__exit__(None, None, None)


def test_a_living_holder_is_not_replaced_however_long_another_run_waits(
    machine: Machine, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough for a renewal on a busy machine.
    monkeypatch.setattr(leases, "EXPIRES_S", 3.0)
    with (
        machine("one").lock(command="a long apply"),
        pytest.raises(StateLocked, match="'a long apply' with pid"),
        machine("two").lock(command="apply", timeout_s=4.5),
    ):
        pytest.fail("two runs held the lock")


def test_a_holder_that_was_replaced_writes_nothing_more(machine: Machine, quick: None) -> None:
    first = machine("one")
    with (
        pytest.raises(StateLocked, match="took over the state") as raised,
        first.lock(command="paused") as held,
        StateStore(first) as state,
    ):
        held._ended.set()
        write_while_paused(machine("two"))
        with state.write():
            state.collections.record("lake", KEY, "too late", "birds")
        state.sync()
    assert "Run the command again" in str(raised.value)
    assert read(machine("three")) == "in time"


def write_while_paused(backend: SharedBackend) -> None:
    with backend.lock(command="second", timeout_s=30), StateStore(backend) as state, state.write():
        state.collections.record("lake", KEY, "in time", "birds")


def test_a_paused_holder_is_fenced_off_also_after_its_successors_shortened_the_log(
    machine: Machine, store: FolderKeyStore, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working_copy, "SNAPSHOT_AFTER_SEGMENTS", 2)
    first = machine("one")
    with (
        pytest.raises(StateLocked, match="took over"),
        first.lock(command="paused") as held,
        StateStore(first) as state,
    ):
        held._ended.set()
        write_while_paused(machine("two"))
        for number in range(8):
            write(machine("three"), f"{number}-a", f"{number}-b")
        with state.write():
            state.collections.record("lake", KEY, "too late", "birds")
        state.sync()
    assert read(machine("four")) == "7-b"


def test_a_forced_unlock_counts_as_a_takeover(machine: Machine, store: FolderKeyStore) -> None:
    first = machine("one")
    with pytest.raises(StateLocked, match="took over"), first.lock(command="stuck"), StateStore(first) as state:
        with pytest.raises(StateLocked, match="add --force"):
            machine("two").break_lock(force=False)
        assert "'stuck'" in str(machine("two").break_lock(force=True))
        write(machine("two"), "mine")
        assert len(store.keys("fence/")) == 1
        with state.write():
            state.collections.record("lake", KEY, "too late", "birds")
        state.sync()
    assert read(machine("three")) == "mine"


@pytest.mark.parametrize("how", ["push", "rebuild", "lock"])
def test_every_takeover_fences_off_the_holder_before(
    machine: Machine, store: FolderKeyStore, tmp_path: Path, how: str
) -> None:
    write(machine("zero"), "before")
    with StateStore(machine("zero")) as state:
        state.back_up(tmp_path / "copy.db")
    first = machine("one")
    with pytest.raises(StateLocked, match="took over"), first.lock(command="stuck"), StateStore(first) as state:
        assert machine("two").break_lock(force=True)
        other = machine("two")
        if how == "lock":
            other.lock_by_hand(command="state lock")
        else:
            with other.lock(command=how):
                other.replace_with(tmp_path / "copy.db") if how == "push" else other.set_aside()
        assert store.keys("fence/")
        with state.write():
            state.collections.record("lake", KEY, "too late", "birds")
        state.sync()
    assert read(machine("three")) == (None if how == "rebuild" else "before")


def test_a_takeover_that_fenced_nothing_off_is_left_to_the_next_holder(machine: Machine, store: FolderKeyStore) -> None:
    first = machine("one")
    with pytest.raises(StateLocked, match="took over"), first.lock(command="stuck"), StateStore(first) as state:
        machine("two").break_lock(force=True)
        with machine("two").lock(command="fails before it writes"):
            pass
        write(machine("two"), "mine")
        assert store.keys("fence/")
        with state.write():
            state.collections.record("lake", KEY, "too late", "birds")
        state.sync()


def test_readers_neither_wait_for_a_run_nor_keep_it_waiting(machine: Machine) -> None:
    write(machine("one"), "a")
    writer = machine("one")
    with writer.lock(command="apply"):
        # The run has not opened the copy yet.
        assert read(machine("one")) == "a"
        with StateStore(writer) as state:
            with state.write():
                state.collections.record("lake", KEY, "b", "birds")
            assert read(machine("one")) == "b"
    with machine("one")._refresh_lock(), machine("one").lock(command="apply"):
        pass


def test_two_readers_of_a_new_machine_see_the_whole_state(machine: Machine) -> None:
    write(machine("one"), "a")
    seen: list[str | None] = []
    threads = [threading.Thread(target=lambda: seen.append(read(machine("two")))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["a"] * 4


def test_a_run_whose_copy_is_removed_ends_with_one_error_and_frees_the_lock(machine: Machine) -> None:
    backend = machine("one")
    with (
        pytest.raises(StateError, match="working copy of the state was removed"),
        backend.lock(command="apply"),
        StateStore(backend) as state,
    ):
        backend.path.unlink()
        with state.write():
            pytest.fail("a transaction began")
    with machine("two").lock(command="next"):
        pass


BAD_ROWS = [[["a", 1 << 70]], [["a", "\ud800"]], [[None, "b"]]]


@pytest.mark.parametrize("number", range(len(BAD_ROWS)))
def test_a_segment_with_impossible_values_is_damage(machine: Machine, store: FolderKeyStore, number: int) -> None:
    write(machine("one"), "a", "b")
    key = store.keys("log/")[-1]
    segment = unpack(store.get(key) or b"", key, "here")
    rows = {"table": "meta", "columns": ["key", "value"], "key": ["key"], "rows": BAD_ROWS[number], "gone": []}
    store.put(key, pack({**segment, "tables": [rows]}))
    with pytest.raises(StateError, match="the shared state is damaged"):
        read(machine("two"))


@pytest.mark.parametrize("change", [{"tables": None}, {"migration": 3}, {"tables": ["x"]}])
def test_a_segment_of_another_form_is_damage(
    machine: Machine, store: FolderKeyStore, change: dict[str, object]
) -> None:
    write(machine("one"), "a")
    key = store.keys("log/")[-1]
    store.put(key, pack({**unpack(store.get(key) or b"", key, "here"), **change}))
    with pytest.raises(StateError, match="the shared state is damaged"):
        read(machine("two"))


def test_a_lock_by_hand_does_not_expire(machine: Machine, quick: None) -> None:
    machine("one").lock_by_hand(command="state lock")
    with (
        pytest.raises(StateLocked, match="locked by hand") as raised,
        machine("two").lock(command="apply", timeout_s=1),
    ):
        pytest.fail("the lock was taken")
    assert "state unlock" in str(raised.value)
    assert machine("two").break_lock(force=False)
    with machine("two").lock(command="apply"):
        pass


def test_many_machines_that_begin_at_once_get_the_lock_one_by_one(machine: Machine, store: FolderKeyStore) -> None:
    holders: list[int] = []
    inside = 0

    def work(number: int) -> None:
        nonlocal inside
        with Lease(store, "here", command=f"run {number}", timeout_s=60):
            inside += 1
            assert inside == 1
            time.sleep(0.01)
            holders.append(number)
            inside -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(holders) == list(range(6))


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"id": 1, "holder": 2}'])
def test_a_damaged_lease_expires_like_any_other(
    machine: Machine, store: FolderKeyStore, quick: None, body: bytes
) -> None:
    write(machine("one"), "a")
    store.put(store.keys("lease/")[-1], body)
    with machine("two").lock(command="apply", timeout_s=30):
        pass


def test_old_leases_are_deleted(machine: Machine, store: FolderKeyStore) -> None:
    for _ in range(leases.KEPT + 4):
        with machine("one").lock(command="apply"):
            pass
    assert len(store.keys("lease/")) == leases.KEPT


def test_a_holder_is_described_with_its_user_host_and_job() -> None:
    holder = {"command": "apply", "pid": 7, "user": "ann", "host": "runner", "ci_url": "https://ci/1", "since": 90.0}
    body = LeaseBody("id", holder, renewed_at=100.0)
    assert body.describe(100.0) == "'apply' with pid 7 on ann@runner, since 10 s, https://ci/1"
    assert body.describe(200.0).endswith("not renewed for 100 s")


def test_an_export_has_the_rows_of_its_beginning_and_delays_no_writer(machine: Machine, tmp_path: Path) -> None:
    backend = machine("one")
    target = tmp_path / "export.db"
    with backend.lock(command="apply"), StateStore(backend) as state:
        with state.write():
            state.collections.record("lake", KEY, "1", "birds")
        with ExitStack() as stack:
            exported = stack.enter_context(begin_export(state.path, target))
            with state.write():
                state.collections.record("lake", KEY, "2", "birds")
            thread = threading.Thread(target=exported.finish)
            thread.start()
            thread.join()
    with closing(sqlite3.connect(target)) as made:
        assert made.execute("SELECT lake_id FROM collections").fetchall() == [("1",)]
    assert read(backend) == "2"


def test_a_copy_is_checked_only_if_something_else_than_a_command_touched_it(machine: Machine) -> None:
    backend = machine("one")
    assert not was_sound(backend.path)
    write(backend, "1")
    assert was_sound(backend.path)
    assert read(backend) == "1"
    assert was_sound(backend.path)
    # While another command has it open, and after that command was killed, nothing is known.
    with StateStore(backend):
        assert not was_sound(backend.path)
        remember_sound(backend.path)
        assert not was_sound(backend.path)
    assert was_sound(backend.path)
    content = bytearray(backend.path.read_bytes())
    content[5000:9000] = b"\xff" * 4000
    backend.path.write_bytes(content)
    assert not was_sound(backend.path)
    # It is fetched again.
    assert read(backend) == "1"
    assert was_sound(backend.path)


def test_a_long_log_is_replayed_in_parts_that_count(
    machine: Machine, store: FolderKeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "PAGE", 3)
    write(machine("one"), *map(str, range(1, 12)))
    second = machine("two")
    get = store.get
    seen: list[str] = []

    def fails_at_the_end(key: str) -> bytes | None:
        seen.append(key)
        if key.startswith("log/") and int(key[4:]) == 10:
            raise StateUnreachable("away")
        return get(key)

    monkeypatch.setattr(log, "READ_AT_ONCE", 1)
    monkeypatch.setattr(store, "get", fails_at_the_end)
    with pytest.raises(StateUnreachable):
        read(second)
    seen.clear()
    monkeypatch.setattr(store, "get", get)
    with closing(sqlite3.connect(second.path)) as copy:
        (sequence,) = copy.execute("SELECT value FROM meta WHERE key = 'copy sequence'").fetchone()
    assert int(sequence) >= 3
    assert read(second) == "11"


def test_a_run_reads_the_contents_of_the_store_once(
    machine: Machine, store: FolderKeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = machine("one")
    write(backend, "1")
    calls: list[str] = []
    get, keys = store.get, store.keys

    def counted_get(key: str) -> bytes | None:
        calls.append(key)
        return get(key)

    def counted_keys(prefix: str) -> list[str]:
        calls.append(f"keys {prefix}")
        return keys(prefix)

    monkeypatch.setattr(store, "get", counted_get)
    monkeypatch.setattr(store, "keys", counted_keys)
    with backend.lock(command="apply"):
        calls.clear()
        with StateStore(backend):
            # The segment shows that the copy is an earlier moment of this log.
            assert calls == ["state.json", "keys ", "log/000000000002"]


# Which places can have a state.


@pytest.mark.parametrize("how", ["apply", "state lock", "state push"])
def test_a_store_that_creates_a_key_twice_is_refused_before_anything_is_written(
    machine: Machine, store: FolderKeyStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    with StateStore(tmp_path / "given.db") as state, state.write():
        state.advance_serial()

    def overwrite(key: str, body: bytes) -> bool:
        store.put(key, body)
        return True

    monkeypatch.setattr(store, "create", overwrite)
    backend = machine("one")
    with pytest.raises(StateError, match="two creations of one key"):
        if how == "state lock":
            backend.lock_by_hand(command=how)
        elif how == "state push":
            with backend.lock(command=how):
                backend.replace_with(tmp_path / "given.db")
        else:
            write(backend, "a")
    assert [key for key in store.keys("") if not key.startswith("lease/")] == []
    assert how != "state lock" or store.keys("lease/") == []


def test_a_place_among_the_keys_of_another_state_is_refused(
    machine: Machine, store: FolderKeyStore, tmp_path: Path
) -> None:
    inner = FolderKeyStore(tmp_path / "inner")
    backend = SharedBackend(tmp_path / "two", lambda: inner, lambda: store)
    write(backend, "no state is around it yet")
    write(machine("one"), "a")
    before = inner.keys("")
    with pytest.raises(UsageError, match="has the keys of the state"):
        write(backend, "b")
    with pytest.raises(UsageError, match="has the keys of the state"):
        backend.lock_by_hand(command="state lock")
    assert inner.keys("") == before


@pytest.mark.parametrize(
    ("location", "outer"),
    [
        ("s3://acme/birds/log", "s3://acme/birds"),
        ("s3://acme/birds/log/", "s3://acme/birds"),
        ("s3://acme/backup", "s3://acme"),
        ("postgresql://host/states/birds/lease?sslmode=require", "postgresql://host/states/birds?sslmode=require"),
        ("s3://acme/birds", None),
        ("s3://log", None),
    ],
)
def test_which_state_can_be_around_a_place(location: str, outer: str | None) -> None:
    assert location_around(location) == outer
