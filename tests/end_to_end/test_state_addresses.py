"""`validate` checks where the state is: without its store, and without the library of the store."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys

import pytest

from tests.end_to_end.world import BIRDS, World


@pytest.fixture
def birds(world: World) -> World:
    world.images("a.png")
    world.manifest(BIRDS)
    world.write("b.db", b"")
    with contextlib.closing(sqlite3.connect(world.folder / "other.db")) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    return world


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("s3:acme-state/birds", "has no 's3://'"),
        ("ftp://acme/birds", "is not the address of a store"),
        ("s3://acme-state/birds?region=eu", "is not the address of a bucket"),
        ("gs://acme-state/a//b", "a part is empty"),
        ("postgresql://ci:hunter2@host/states", "must not contain a password"),
        ("postgresql://host", "does not name a database"),
        ("s3://acme-state/{nmae}", "unknown placeholder {nmae}"),
        ("s3:/acme-state/birds", "has no 's3://'"),
        (" s3://acme-state/birds", "' s3://acme-state/birds' has blanks at its beginning or end"),
        ("s3://acme-state/birds ", "blanks at its beginning or end"),
        (" birds.db", "blanks at its beginning or end"),
        ("s3://AB/birds", "cannot be the name of one"),
        ("azure://Acme_State/birds", "cannot be the name of one"),
        ("postgresql://host:65536/states", "the port is not a number up to 65535"),
        (".", "the state is a folder"),
        ("images", "the state is a folder"),
        ("images/a.png", "the file is not a state"),
        ("manifest.yaml", "the file is not a state"),
        ("other.db", "the file is not a state"),
        ("postgresql:u:hunter2@host/states", "has no 'postgresql://'"),
        ("postgresql:/u:hunter2@host/states", "has no 'postgresql://'"),
        ("s3:AKIA:hunter2@acme-state/birds", "has no 's3://'"),
        ("s3:AKIA:hunter2", "has no 's3://'"),
        ("mysql:u:hunter2@host/states", "has no 'mysql://'"),
        ("mysql://u:hunter2@host/states", "'mysql://host/states' is not the address of a store"),
        ("s3://AKIA:hunter2", "is not the address of a bucket"),
        ("s3://AKIA:a/b@c?hunter2@acme-state/birds", "is not the address of a bucket"),
        ("postgresql://u:hunter2", "is not the address of a database"),
        ("s3://acme-state/{hunter}?sig=hunter2", "unknown placeholder {hunter}"),
    ],
)
def test_an_invalid_address_is_an_error(birds: World, address: str, problem: str) -> None:
    for options in (["--state", address], []):
        if not options:
            birds.manifest(BIRDS, state=address)
        done = birds.run("validate", "manifest.yaml", *options)
        assert done.code == 64, done.out
        assert problem in done.err
        assert "hunter2" not in done.out + done.err
        # The line of the manifest, if it is there.
        assert options or "manifest.yaml:" in done.err
    birds.manifest(BIRDS)
    before = {path: path.read_bytes() for path in sorted(birds.folder.rglob("*")) if path.is_file()}
    for words in (
        ["validate"],
        ["plan"],
        ["apply"],
        ["doctor"],
        ["state", "rebuild"],
        ["state", "show"],
        ["state", "unlock"],
        ["state", "push", "manifest.yaml"],
    ):
        # The manifest comes first where another argument follows.
        *command, last = words if words[-1] == "manifest.yaml" else [*words, "manifest.yaml"]
        done = birds.run(*command, last, *(["b.db"] if "push" in words else []), METALAKE_SYNC_STATE=address)
        said = done.out + done.err
        assert done.code == 64, (words, said)
        assert problem in said, words
        assert "hunter2" not in said
        assert "rebuild" not in said
    assert {path: path.read_bytes() for path in sorted(birds.folder.rglob("*")) if path.is_file()} == before


@pytest.mark.parametrize(
    "address",
    ["s3://acme-state/{name}", "gs://acme-state/birds", "azure://states/birds", "postgresql://ci@host/states/birds"],
)
def test_a_valid_address_needs_neither_a_store_nor_credentials(birds: World, address: str) -> None:
    birds.manifest(BIRDS, state=address)
    done = birds.good("validate", "manifest.yaml", "--json")
    assert done.document["warnings"] == []


def test_a_missing_library_is_a_warning(birds: World) -> None:
    # A package of this name without a spec hides the real one.
    birds.write("hidden/psycopg.py", "")
    birds.write("hidden/sitecustomize.py", "import sys\nsys.modules['psycopg'] = None\n")
    birds.manifest(BIRDS, state="postgresql://host/states/birds")
    done = birds.good("validate", "manifest.yaml", PYTHONPATH=str(birds.folder / "hidden"))
    assert "pip install 'metalake-sync[postgres]'" in done.out


def test_an_empty_variable_is_an_error_and_not_a_state_of_this_machine(birds: World) -> None:
    program = [sys.executable, "-m", "metalake_sync", "plan", "manifest.yaml"]
    for empty in ("", " "):
        environment = {**birds.environment(), "METALAKE_SYNC_STATE": empty}
        done = subprocess.run(
            program, cwd=birds.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 64, done.stderr
        assert "METALAKE_SYNC_STATE is empty" in done.stderr
    assert not (birds.folder / ".metalake-sync").exists()
    assert birds.run("plan", "manifest.yaml", "--state", "").code == 64
    birds.good("plan", "manifest.yaml", "--state", "new.db")


def test_copies_go_to_files_and_a_state_not_to_itself(birds: World) -> None:
    birds.good("apply", "manifest.yaml")
    for command in ("pull", "backup"):
        for to in ("s3:/acme/birds", "s3://acme/birds", " copy.db"):
            assert birds.run("state", command, "manifest.yaml", "--to", to).code == 64
    own = ".metalake-sync/manifest.db"
    (birds.folder / "link.db").symlink_to(own)
    for to in (own, f"./{own}", str(birds.folder / own), "link.db"):
        done = birds.run("state", "migrate", "manifest.yaml", "--to", to)
        assert (done.code, "the state is already there" in done.err) == (64, True)
    for to in ("s3:/acme/birds", "images", "images/a.png", " b.db"):
        assert birds.run("state", "migrate", "manifest.yaml", "--force", "--to", to).code == 64
    assert not list(birds.folder.glob("*s3*"))
    assert not (birds.folder / "backups").exists()


def test_a_damaged_state_in_its_own_folder_can_be_rebuilt(birds: World) -> None:
    birds.good("apply", "manifest.yaml")
    birds.write(".metalake-sync/manifest.db", b"\0" * 4096)
    assert "state rebuild" in birds.run("plan", "manifest.yaml").err
    birds.good("state", "rebuild", "manifest.yaml")
