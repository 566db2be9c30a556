"""What a plan of unchanged files asks of the state: it grows with folders, not with files."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.synthetic import make_state, make_tree
from metalake_sync.engine.options import RunOptions
from metalake_sync.engine.session import Session
from metalake_sync.manifest import load_manifest
from metalake_sync.state.store import StateStore

LAKE = "http://127.0.0.1:9"


def planned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, list[str]]:
    """Plan without the lake: files unchanged, files to upload, and the SQL statements."""
    statements: list[str] = []
    opened = StateStore.__init__

    def watched(self: StateStore, path: Path) -> None:
        opened(self, path)
        self._connection.set_trace_callback(statements.append)

    monkeypatch.setattr(StateStore, "__init__", watched)
    manifest = load_manifest(str(folder / "manifest.yaml"), variables={}, environment={}, stdin=None)
    with Session(manifest, RunOptions(refresh="none"), lambda _event: None).plan() as run:
        summary = run.plan.summary()
    return summary.unchanged, summary.upload, statements


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """3,000 files in three folders, all of them recorded."""
    make_tree(tmp_path / "images", [9] * 3000)
    make_state(tmp_path / ".metalake-sync" / "bench.db", tmp_path / "images", LAKE)
    (tmp_path / "manifest.yaml").write_text(
        f"version: 1\nname: bench\nremote: {{url: '{LAKE}', api_key: k, secret: s}}\n"
        "collections: [{name: many, type: image, folders: [{path: images}]}]\n"
    )
    return tmp_path


def test_unchanged_folders_cost_one_statement_each(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unchanged, _, statements = planned(recorded, monkeypatch)
    assert unchanged == 3000
    assert sum("FROM files" in statement for statement in statements) <= 3 + 4


def test_one_new_file_costs_a_closer_look_at_its_folder_alone(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (recorded / "images" / "d00001" / "new.jpg").write_bytes(b"new")
    unchanged, upload, statements = planned(recorded, monkeypatch)
    assert (unchanged, upload) == (3000, 1)
    assert sum("FROM files" in statement for statement in statements) <= 3 + 6


def test_a_new_file_with_the_name_of_an_unchanged_one_elsewhere_is_a_mistake(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recorded / "images" / "d00001" / "f0000000.jpg").write_bytes(b"new")
    with pytest.raises(Exception, match="two files would be 'f0000000.jpg'"):
        planned(recorded, monkeypatch)


def test_a_file_that_moved_to_another_folder_is_no_collision(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (recorded / "images" / "d00000" / "f0000000.jpg").rename(recorded / "images" / "d00002" / "f0000000.jpg")
    _, upload, _ = planned(recorded, monkeypatch)
    assert upload == 0
