"""Commands for the state: show, backup, rebuild, forget, unlock."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import sqlite3
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.state.backends.file import FileBackend
from tests.end_to_end.world import BIRDS, PROGRAM, World, boxes

STATE = ".metalake-sync/manifest.db"
PEOPLE = [{"operation": "people", "kind": "human", "source": "people.json"}]


@pytest.fixture
def synced(world: World) -> World:
    world.images("a.png", "b.png", "c.png")
    world.write("people.json", boxes(a_png=[[1, 1, 2, 2]], b_png=[[0.5, 3.25, 4, 4]]))
    world.manifest({**BIRDS, "annotations": PEOPLE, "metadata": {"City": "Rome"}})
    world.good("apply", "manifest.yaml")
    return world


def test_the_state_is_shown_as_counts_and_as_records(synced: World) -> None:
    shown = synced.good("state", "show", "--json", "manifest.yaml").document
    (row,) = shown["collections"]
    assert (row["name"], row["files"], row["adopted"], row["sets"], shown["lock"]) == ("birds", 3, 0, 2, None)
    records = synced.good("state", "show", "--json", "--target", "birds/a*", "manifest.yaml").document
    assert [(one["file"], one["origin"], one["shapes"]) for one in records] == [("a.png", "uploaded", {"people": 1})]
    assert "3 files" in synced.good("state", "show", "manifest.yaml").out


def test_a_backup_is_complete_and_readable_only_by_its_owner(synced: World) -> None:
    copy = synced.folder / "copy.db"
    synced.good("state", "backup", "--to", "copy.db", "manifest.yaml")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    shown = synced.good("state", "show", "--json", "--state", "copy.db", "manifest.yaml").document
    assert shown["collections"][0]["files"] == 3
    assert synced.run("state", "backup", "--to", "copy.db", "manifest.yaml").code == 64
    made = synced.good("state", "backup", "--json", "manifest.yaml").document["copy"]
    assert Path(made).parent.name == "backups"


def test_a_rebuild_sends_nothing_and_leaves_nothing_to_do(synced: World) -> None:
    (synced.folder / STATE).write_bytes(b"junk" * 1000)
    synced.lake.requests.clear()
    done = synced.good("state", "rebuild", "manifest.yaml")
    assert "3 files adopted" in done.out
    assert synced.lake.requests.writes == 0
    synced.lake.requests.clear()
    assert synced.good("plan", "--json", "manifest.yaml").document["actions"] == []
    assert "Nothing was sent" in synced.good("apply", "manifest.yaml").out
    assert synced.lake.requests.writes == 0
    assert len(list((synced.folder / ".metalake-sync/backups").glob("*set-aside*.db"))) == 1


def test_after_a_rebuild_only_annotation_sets_that_differ_are_sent(synced: World) -> None:
    synced.write("people.json", boxes(a_png=[[1, 1, 2, 2]], b_png=[[9, 9, 4, 4]]))
    synced.good("state", "rebuild", "manifest.yaml")
    plan = synced.good("plan", "--json", "manifest.yaml").document
    assert [(one["action"], one["file"]) for one in plan["actions"]] == [("annotate", "b.png")]


def test_forgotten_files_are_adopted_and_the_old_state_is_copied(synced: World) -> None:
    done = synced.good(
        "state", "forget", "--json", "--target", "birds/[ab].png", "--auto-approve", "manifest.yaml"
    ).document
    assert done["forgotten"] == 2
    assert Path(done["copy"]).exists()
    plan = synced.good("plan", "--json", "manifest.yaml").document
    assert {(one["action"], one["file"]) for one in plan["actions"]} >= {("adopt", "a.png"), ("adopt", "b.png")}
    assert synced.run("state", "forget", "--target", "unknown", "manifest.yaml").code == 64


def test_a_collection_is_forgotten_with_its_markers(synced: World) -> None:
    synced.good("plan", "manifest.yaml")
    assert (
        synced.good("state", "forget", "--json", "--target", "birds", "--auto-approve", "manifest.yaml").document[
            "forgotten"
        ]
        == 3
    )
    assert synced.good("state", "show", "--json", "manifest.yaml").document["collections"] == []
    assert "3 files adopted" in synced.good("import", "manifest.yaml").out


def test_a_lock_names_its_holder_and_only_force_releases_it(synced: World) -> None:
    assert "The lock is free." in synced.good("state", "unlock", "manifest.yaml").out
    with FileBackend(synced.folder / STATE).lock(command="apply birds.yaml"):
        done = synced.run("state", "unlock", "manifest.yaml")
        assert done.code == 11
        assert "'apply birds.yaml' with pid" in done.err
        assert "'apply birds.yaml'" in synced.good("state", "show", "--json", "manifest.yaml").document["lock"]
        assert synced.run("apply", "manifest.yaml").code == 11
        unlocked = synced.good("state", "unlock", "--force", "manifest.yaml").out
        assert "Released the lock of 'apply birds.yaml'" in unlocked
        synced.good("apply", "manifest.yaml")


def test_a_holder_whose_lock_was_taken_keeps_the_note_of_the_next_holder(synced: World) -> None:
    state = synced.folder / STATE
    with FileBackend(state).lock(command="first"):
        FileBackend(state).break_lock(force=True)
        second = FileBackend(state).lock(command="second")
        second.__enter__()
    try:
        assert "'second' with pid" in str(FileBackend(state).lock_holder())
    finally:
        second.__exit__(None, None, None)
    assert FileBackend(state).lock_holder() is None


def test_a_state_of_an_older_version_is_copied_before_its_migration(synced: World) -> None:
    """The state of the first version does not have the columns of the second migration."""
    path = synced.folder / STATE
    with sqlite3.connect(path) as db:
        for table, column in (
            ("collections", "listed_count"),
            ("collections", "listed_newest"),
            ("collections", "looked_until"),
            ("annotation_sets", "seen"),
        ):
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'what_was_seen'")
    db.close()
    assert "Nothing to do" in synced.good("plan", "manifest.yaml").out
    (copy,) = (synced.folder / ".metalake-sync/backups").glob("manifest-before-migration-*.db")
    with sqlite3.connect(copy) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(collections)")]
    db.close()
    assert "listed_count" not in columns


def test_commands_report_a_missing_state(world: World) -> None:
    world.manifest(BIRDS)
    commands: list[list[Any]] = [["state", "show"], ["state", "backup"], ["history"]]
    for command in commands:
        done = world.run(*command, "manifest.yaml")
        assert done.code == 64
        assert "there is no state yet. The first apply or import creates it." in done.err
    assert json.loads(world.run("history", "--json", "manifest.yaml").err)["exit_code"] == 64


@pytest.mark.parametrize("answer", ["y", "n"])
def test_unlock_asks_on_a_terminal(synced: World, answer: str) -> None:
    path = synced.folder / STATE
    with FileBackend(path).lock(command="apply birds.yaml"):
        here, there = pty.openpty()
        process = subprocess.Popen(
            [PROGRAM, "state", "unlock", "manifest.yaml"],
            stdin=there, stdout=there, stderr=there, cwd=synced.folder, env=synced.environment(),
        )  # fmt: skip
        os.close(there)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(here, 1024)
        assert b"'apply birds.yaml'" in said
        os.write(here, f"{answer}\n".encode())
        assert process.wait(timeout=60) == (0 if answer == "y" else 7)
        os.close(here)
        assert path.with_suffix(".lock").exists() is (answer == "n")


def test_status_says_what_a_killed_run_did(synced: World) -> None:
    path = synced.folder / STATE
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET outcome = NULL, summary = NULL, ended_at = NULL")
    lines = synced.good("status", "manifest.yaml").out.splitlines()
    assert "was killed" in lines[-1]
    assert "3 files uploaded" in lines[-1]
    assert "nothing to do" not in lines[-1]
    with FileBackend(path).lock(command="apply birds.yaml"):
        assert "is running" in synced.good("status", "manifest.yaml").out.splitlines()[-1]
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM run_actions")
    assert "no action is recorded" in synced.good("status", "manifest.yaml").out.splitlines()[-1]


def test_open_uploads_are_those_of_a_living_run_while_it_holds_the_lock(synced: World) -> None:
    path = synced.folder / STATE
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO upload_sessions (upload_id, collection, job_id, storage, metadata_digest)"
            " SELECT 'u', id, 'j', 's3', '' FROM collections"
        )
    assert "  1 open upload session of an interrupted run\n" in synced.good("state", "show", "manifest.yaml").out
    with FileBackend(path).lock(command="apply birds.yaml"), contextlib.closing(sqlite3.connect(path)) as connection:
        shown = synced.good("state", "show", "manifest.yaml").out
        assert "  1 open upload session of the run that holds the lock, or of an interrupted run\n" in shown
        # What a run writes is in SQLite's log first.
        before = synced.good("state", "show", "--json", "manifest.yaml").document["bytes"]
        connection.execute("INSERT INTO meta (key, value) VALUES ('test', hex(zeroblob(1000000)))")
        connection.commit()
        assert synced.good("state", "show", "--json", "manifest.yaml").document["bytes"] > before + 1_000_000
