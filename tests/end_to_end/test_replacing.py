"""Replacing is trash, then upload: what is made sure of first, and what a failure in the middle leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metalake_sync.core.plan import Plan
from metalake_sync.engine.options import RunOptions
from metalake_sync.engine.session import Session
from metalake_sync.lake import EmbeddedLake
from metalake_sync.manifest import load_manifest
from tests.end_to_end.world import BIRDS, World, boxes
from tests.lake.talk import png, settings, talk_to

NAMES = ["a.png", "b.png", "c.png"]
PEOPLE = [{"operation": "people", "kind": "human", "source": "people.json"}]


@pytest.fixture
def stubborn_world(tmp_path: Path) -> Iterator[World]:
    """A lake that does not take the name of a trashed file again, with three pictures of which two changed here."""
    folder = tmp_path / "project"
    folder.mkdir()
    with EmbeddedLake(settings(tmp_path / "lake", keeps_trashed_names=True)) as lake, talk_to(lake.url) as talk:
        world = World(folder, lake, talk)
        start(world)
        yield world


def start(world: World) -> None:
    world.pictures(*NAMES)
    world.write("people.json", boxes(a_png=[[1, 1, 2, 2]], b_png=[[1, 1, 2, 2]]))
    world.manifest({**BIRDS, "metadata": {"City": "Rome"}, "annotations": PEOPLE})
    world.good("apply", "manifest.yaml")
    for name in ("a.png", "b.png"):
        world.write(f"images/{name}", png(60, 30, salt=name.encode()))


def ids(world: World) -> dict[str, str]:
    return {item["name"]: item["id"] for item in world.talk.items(world.collection_id())}


def test_a_lake_that_refuses_trashed_names_is_found_out_with_one_file(stubborn_world: World) -> None:
    before = ids(stubborn_world)
    done = stubborn_world.run("apply", "--json", "--auto-approve", "manifest.yaml")
    assert done.code == 3
    failed = {item["file"]: item["error"] for item in done.summary["failed"] if item["action"] == "replace"}
    assert f"The old file is in the trash (id {before['a.png']})" in failed["a.png"]
    assert "does not take the name of a trashed file again" in failed["a.png"]
    assert "not replaced and not trashed" in failed["b.png"]
    assert stubborn_world.names() == ["b.png", "c.png"]
    # It is remembered: another run trashes nothing more.
    again = stubborn_world.run("apply", "--auto-approve", "manifest.yaml")
    assert again.code == 3
    assert stubborn_world.names() == ["b.png", "c.png"]
    rows = [row for run in stubborn_world.good("history", "--json", "manifest.yaml").document for row in run["actions"]]
    assert [row["before"] for row in rows if row["action"] == "trash"] == [before["a.png"]]


def test_a_half_done_replacement_is_finished_by_the_next_run_once_the_lake_takes_it(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    stubborn = settings(tmp_path / "lake", keeps_trashed_names=True)
    with EmbeddedLake(stubborn) as lake, talk_to(lake.url) as talk:
        world = World(tmp_path / "project", lake, talk)
        start(world)
        assert world.run("apply", "--auto-approve", "manifest.yaml").code == 3
        port = int(lake.url.rpartition(":")[2])
    with EmbeddedLake(settings(tmp_path / "lake", port=port)) as lake, talk_to(lake.url) as talk:
        world = World(tmp_path / "project", lake, talk)
        assert "1 file uploaded, 1 file replaced" in world.good("apply", "--auto-approve", "manifest.yaml").out
        assert world.names() == NAMES
        for name in NAMES:
            assert talk.read(f"birds_{name}") == (world.folder / "images" / name).read_bytes()
            assert talk.details(f"birds_{name}", "City")["City"] == "Rome"
        shapes = talk.annotations(world.collection_id())
        assert [len(shapes[name]) for name in NAMES] == [1, 1, 0]
        assert world.good("plan", "--json", "--refresh", "full", "manifest.yaml").document["actions"] == []


def test_nothing_is_trashed_for_bytes_that_can_not_be_read(world: World) -> None:
    """The file changes once more between the plan and the moment in which it would be replaced."""
    start(world)
    before = ids(world)
    manifest = load_manifest(str(world.folder / "manifest.yaml"), environment=world.environment())
    session = Session(manifest, RunOptions(), lambda event: None)

    def approve(plan: Plan) -> bool:
        (world.folder / "images/a.png").write_bytes(b"moved on")
        return True

    applied = session.apply(approve)
    assert [(failure.action.collection.name, failure.retryable) for failure in applied.finished.failed] == [
        ("birds", True)
    ]
    assert ids(world)["a.png"] == before["a.png"]
    assert ids(world)["b.png"] != before["b.png"]


def test_all_that_changed_is_replaced_where_the_lake_takes_the_names(world: World) -> None:
    start(world)
    before = ids(world)
    assert "2 files replaced" in world.good("apply", "--auto-approve", "manifest.yaml").out
    after = ids(world)
    assert {name for name in NAMES if before[name] != after[name]} == {"a.png", "b.png"}
    assert "Nothing was sent" in world.good("apply", "manifest.yaml").out


@pytest.mark.parametrize(("on_change", "code"), [("keep", 0), ("fail", 1)])
def test_changes_are_kept_away_or_refused_where_the_manifest_says_so(world: World, on_change: str, code: int) -> None:
    start(world)
    before = ids(world)
    world.manifest({**BIRDS, "metadata": {"City": "Rome"}, "annotations": PEOPLE, "on_change": on_change})
    world.lake.requests.clear()
    assert world.run("apply", "--auto-approve", "manifest.yaml").code == code
    assert (ids(world), world.lake.requests.writes) == (before, 0)
