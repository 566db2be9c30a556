"""The SQL statements of a plan of unchanged files: they grow with the number of folders, not of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.synthetic import make_state, make_tree
from metalake_sync.core.summary import Summary
from metalake_sync.engine import Engine
from metalake_sync.manifest import load_manifest
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.state.store import StateStore

LAKE = "http://127.0.0.1:9"


def planned(folder: Path, monkeypatch: pytest.MonkeyPatch, *, checksum: bool = False) -> tuple[Summary, list[str]]:
    """Plan without the lake. Returns the counts and the SQL statements."""
    statements: list[str] = []
    opened = StateStore.__init__

    def watched(self: StateStore, path: Path) -> None:
        opened(self, path)
        self._connection.set_trace_callback(statements.append)

    monkeypatch.setattr(StateStore, "__init__", watched)
    manifest = load_manifest(str(folder / "manifest.yaml"), variables={}, environment={}, stdin=None)
    with Engine(manifest, RunOptions(refresh="none", checksum=checksum), lambda _event: None).plan() as run:
        return run.plan.summary(), statements


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """3,000 files in three folders, all with records."""
    make_tree(tmp_path / "images", [9] * 3000)
    make_state(tmp_path / ".metalake-sync" / "bench.db", tmp_path / "images", LAKE)
    (tmp_path / "manifest.yaml").write_text(
        f"version: 1\nname: bench\nremote: {{url: '{LAKE}', api_key: k, secret: s}}\n"
        "collections: [{name: many, type: image, folders: [{path: images}]}]\n"
    )
    return tmp_path


def test_unchanged_folders_cost_one_statement_each(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, statements = planned(recorded, monkeypatch)
    assert summary.unchanged == 3000
    assert sum("FROM files" in statement for statement in statements) <= 3 + 4


def test_one_new_file_makes_only_its_folder_be_compared_file_by_file(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recorded / "images" / "d00001" / "new.jpg").write_bytes(b"new")
    summary, statements = planned(recorded, monkeypatch)
    assert (summary.unchanged, summary.upload) == (3000, 1)
    assert sum("FROM files" in statement for statement in statements) <= 3 + 6


def test_a_new_file_with_the_name_of_an_unchanged_file_elsewhere_is_an_error(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recorded / "images" / "d00001" / "f0000000.jpg").write_bytes(b"new")
    with pytest.raises(Exception, match="two files would be 'f0000000.jpg'"):
        planned(recorded, monkeypatch)


def test_a_file_that_moved_to_another_folder_does_not_collide(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (recorded / "images" / "d00000" / "f0000000.jpg").rename(recorded / "images" / "d00002" / "f0000000.jpg")
    summary, _ = planned(recorded, monkeypatch)
    assert summary.upload == 0


@pytest.fixture
def hashed(tmp_path: Path) -> Path:
    """300 files in one folder, recorded with their content hashes."""
    make_tree(tmp_path / "images", [9] * 300)
    make_state(tmp_path / ".metalake-sync" / "bench.db", tmp_path / "images", LAKE, hashed=True)
    (tmp_path / "manifest.yaml").write_text(
        f"version: 1\nname: bench\nremote: {{url: '{LAKE}', api_key: k, secret: s}}\n"
        "collections: [{name: many, type: image, on_change: replace, folders: [{path: images}]}]\n"
    )
    return tmp_path


def test_files_whose_hash_matches_the_record_cost_no_statement_each(
    hashed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary, statements = planned(hashed, monkeypatch, checksum=True)
    assert (summary.unchanged, summary.replace) == (300, 0)
    assert sum("FROM files" in statement for statement in statements) <= 6


def test_checksum_finds_changed_bytes_under_an_unchanged_fingerprint(
    hashed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StateStore(hashed / ".metalake-sync" / "bench.db") as state:
        state._connection.execute("UPDATE files SET content_hash = ? WHERE filename = 'f0000007.jpg'", ("0" * 64,))
    assert planned(hashed, monkeypatch)[0].unchanged == 300
    summary, _ = planned(hashed, monkeypatch, checksum=True)
    assert (summary.unchanged, summary.replace) == (299, 1)


def test_an_unreadable_recorded_file_is_noted_and_not_treated_as_changed(
    hashed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = hashed / "images" / "d00000" / "f0000007.jpg"
    opened = os.open

    def refused(path: str, *args: int, **more: int) -> int:
        if path == str(broken):
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **more)

    monkeypatch.setattr(os, "open", refused)
    summary, _ = planned(hashed, monkeypatch, checksum=True)
    assert (summary.unchanged, summary.replace) == (299, 0)
