"""`--exclude COLLECTION[/GLOB]`: what it names stays as it is, and everything else is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.world import BIRDS, PRUNED, World, boxes, with_pruned

CATS = {"name": "cats", "type": "image", "folders": [{"path": "cats"}]}


def planned(world: World, *options: str) -> set[tuple[str, str, str | None]]:
    """The actions of a plan: what, of which collection, on which file."""
    actions = world.good("plan", "manifest.yaml", "--json", *options).document["actions"]
    return {(one["action"], one["collection"], one.get("file")) for one in actions}


@pytest.fixture
def two(world: World) -> World:
    """Two collections that are not in the lake yet."""
    world.images("a.png", "b.png")
    world.images("c.png", folder="cats")
    world.manifest(BIRDS, CATS)
    return world


def test_a_collection_is_left_out(two: World) -> None:
    assert {collection for _, collection, _ in planned(two, "--exclude", "birds")} == {"cats"}
    two.good("apply", "manifest.yaml", "--exclude", "birds")
    assert two.names("cats") == ["c.png"]
    left = {("create_collection", "birds", None), ("upload", "birds", "a.png"), ("upload", "birds", "b.png")}
    assert planned(two) == left
    assert planned(two, "--exclude", "birds", "--exclude", "cats") == set()


def test_files_are_left_out_and_come_with_the_next_run(two: World) -> None:
    two.good("apply", "manifest.yaml", "--exclude", "birds/a*")
    assert two.names() == ["b.png"]
    assert planned(two) == {("upload", "birds", "a.png")}
    two.good("apply", "manifest.yaml")
    assert two.names() == ["a.png", "b.png"]


def test_it_takes_out_of_what_target_names(two: World) -> None:
    two.good("apply", "manifest.yaml", "--target", "birds", "--exclude", "birds/b.png")
    assert two.names() == ["a.png"]
    assert planned(two, "--target", "birds/*", "--exclude", "birds/b*") == set()


@pytest.mark.parametrize("options", [("--exclude", "cats"), ("--exclude", "birds/z*")])
@pytest.mark.parametrize("command", ["plan", "apply", "drift", "check"])
def test_a_pattern_that_matches_nothing_is_an_error(world: World, command: str, options: tuple[str, str]) -> None:
    with_pruned(world, "a.png")
    done = world.run(command, "manifest.yaml", *options)
    assert done.code == 64
    assert f"'{' '.join(options)}'" in done.err


def test_a_file_that_is_gone_is_not_pruned_and_does_not_count(world: World) -> None:
    with_pruned(world, "a.png", "b.png", "c.png", "d.png")
    for name in ("a.png", "b.png", "c.png"):
        (world.folder / "images" / name).unlink()
    # Three of four files are more than a run may trash. One is not.
    limit = ("--max-delete", "1", "--auto-approve")
    assert world.run("apply", "manifest.yaml", *limit).code == 7
    world.good("apply", "manifest.yaml", *limit, "--exclude", "birds/[bc].png")
    assert world.names() == ["b.png", "c.png", "d.png"]
    assert planned(world) == {("trash", "birds", "b.png"), ("trash", "birds", "c.png")}


def test_an_emptied_source_of_an_excluded_collection_stops_nothing(world: World) -> None:
    world.images("c.png", folder="cats")
    world.images("a.png")
    world.manifest(PRUNED, CATS)
    world.good("apply", "manifest.yaml")
    (world.folder / "images" / "a.png").unlink()
    world.images("d.png", folder="cats")
    assert world.run("apply", "manifest.yaml").code == 7
    world.good("apply", "manifest.yaml", "--exclude", "birds")
    assert world.names("cats") == ["c.png", "d.png"]
    assert world.names() == ["a.png"]


@pytest.mark.parametrize("option", ["--exclude", "--target"])
def test_a_guard_of_a_file_that_the_run_does_not_cover_stops_nothing(world: World, option: str) -> None:
    with_pruned(world, "a.png", "b.png")
    world.manifest({**PRUNED, "on_change": "fail"})
    world.write("images/a.png", (world.folder / "images" / "b.png").read_bytes())
    world.images("c.png")
    assert world.run("apply", "manifest.yaml").code == 1
    world.good("apply", "manifest.yaml", option, "birds/a.png" if option == "--exclude" else "birds/c.png")
    assert world.names() == ["a.png", "b.png", "c.png"]
    # The guard still stops a run that covers the file.
    assert world.run("apply", "manifest.yaml", "--target", "birds/a.png").code == 1


def test_a_saved_plan_keeps_its_exclusions(two: World) -> None:
    two.good("plan", "manifest.yaml", "--exclude", "birds/a.png", "--out", "birds.plan")
    assert json.loads((two.folder / "birds.plan").read_text())["excludes"] == ["birds/a.png"]
    assert two.run("apply", "birds.plan", "--exclude", "birds/a.png").code == 64
    two.good("apply", "birds.plan")
    assert two.names() == ["b.png"]


def test_trash_rules_are_skipped_and_downloads_are_not(two: World) -> None:
    two.good("apply", "manifest.yaml")
    rule = {"collection": "birds", "type": "image", "query": "metadata.Tags=skip"}
    download = {"collection": "cats", "to": "out"}
    two.manifest({**BIRDS, "metadata": {"Tags": ["skip"]}}, CATS, trash=[rule], downloads=[download])
    two.good("apply", "manifest.yaml", "--auto-approve", "--exclude", "birds/a.png")
    assert two.names() == ["a.png", "b.png"]
    assert [path.name for path in Path(two.folder / "out").glob("*.png")]


def test_drift_and_check_leave_it_out(two: World) -> None:
    drawn = [{"operation": "people", "kind": "human", "source": "people.json"}]
    two.write("people.json", boxes(a_png=[(1, 1, 2, 2)], b_png=[(1, 1, 2, 2)]))
    two.manifest({**BIRDS, "annotations": drawn}, CATS)
    two.good("apply", "manifest.yaml")
    assert two.good("check", "manifest.yaml", "--json", "--exclude", "birds/a.png").document["files"] == 2
    assert two.good("check", "manifest.yaml", "--json", "--exclude", "birds").document["files"] == 1
    assert "No drift: 1 " in two.good("drift", "manifest.yaml", "--exclude", "birds").out
