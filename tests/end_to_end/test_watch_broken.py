"""A broken part of a manifest does not stop the rest: it is reported, not changed in the lake, and synced later."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.end_to_end.daemon import names, watching
from tests.end_to_end.world import BIRDS, World, boxes

PEOPLE = {"operation": "people", "kind": "human", "source": "people.json"}
CARS = {"operation": "cars", "kind": "human", "source": "cars.json"}


@pytest.fixture
def annotated(world: World) -> World:
    world.images("a.png", "b.png")
    world.write("people.json", boxes(a_png=[[1, 1, 2, 2]], b_png=[[1, 1, 2, 2]]))
    world.write("cars.json", boxes(a_png=[[3, 3, 4, 4]]))
    world.manifest({**BIRDS, "annotations": [PEOPLE, CARS]})
    return world


@pytest.mark.parametrize("broken", ['{"images": [', '{"images": []}'], ids=["broken", "empty"])
def test_a_broken_annotation_source_does_not_stop_the_rest(annotated: World, broken: str) -> None:
    world = annotated
    with watching(world, "--rescan", "3", "--refresh", "full", "--auto-approve") as daemon:
        daemon.wait(lambda: names(world) == ["a.png", "b.png"] and "synced: " in daemon.log)
        before = len(world.talk.annotations(world.collection_id())["b.png"])
        assert before == 1
        world.write("people.json", broken)
        daemon.wait(lambda: "'people' of birds" in daemon.log)
        world.images("c.png")
        world.write("cars.json", boxes(b_png=[[3, 3, 4, 4]]))
        daemon.wait(
            lambda: "c.png" in names(world) and len(world.talk.annotations(world.collection_id()).get("b.png", ())) == 2
        )
        assert len(world.talk.annotations(world.collection_id())["a.png"]) == 1, "its box of 'people' stays"

        status = world.good("status", "manifest.yaml", "--json").document
        (part,) = status["broken"]
        assert (part["collection"], part["operation"]) == ("birds", "people")
        assert "people" in world.good("status", "manifest.yaml").out
        assert world.run("plan", "manifest.yaml").code in (7, 64), "a plan reports the error"
        assert daemon.log.count('"level": "error"') == 1, daemon.log

        world.write("people.json", boxes(a_png=[[1, 1, 2, 2]], b_png=[[1, 1, 2, 2]], c_png=[[5, 5, 6, 6]]))
        daemon.wait(lambda: len(world.talk.annotations(world.collection_id()).get("c.png", ())) == 1)
        daemon.wait(lambda: "recovered" in daemon.log)
        assert daemon.stop() == 0
    assert world.lake.requests.of("put_part") == 3
    assert world.good("status", "manifest.yaml", "--json").document["broken"] == []


def test_a_missing_folder_of_one_collection_does_not_stop_another(world: World, tmp_path: Path) -> None:
    cats = {"name": "cats", "type": "image", "prune": True, "folders": [{"path": "cats"}]}
    world.images("a.png")
    world.images("x.png", folder="cats")
    world.manifest({**BIRDS, "prune": True}, cats)
    with watching(world, "--auto-approve", "--rescan", "2") as daemon:
        daemon.wait(lambda: names(world) == ["a.png"] and names(world, "cats") == ["x.png"])
        (world.folder / "images").rename(tmp_path / "unmounted")
        daemon.wait(lambda: "'images' does not exist" in daemon.log)
        world.images("y.png", folder="cats")
        daemon.wait(lambda: names(world, "cats") == ["x.png", "y.png"])
        (world.folder / "cats" / "x.png").unlink()
        daemon.wait(lambda: names(world, "cats") == ["y.png"])
        (tmp_path / "unmounted").rename(world.folder / "images")
        world.images("b.png")
        daemon.wait(lambda: names(world) == ["a.png", "b.png"] and "recovered" in daemon.log)
        assert daemon.stop() == 0
    assert world.lake.requests.of("put_part") == 4


def test_a_note_of_a_plan_is_logged_once(world: World) -> None:
    world.images("a.png")
    os.mkfifo(world.folder / "images" / "pipe.png")
    world.manifest(BIRDS)
    with watching(world, "--rescan", "1") as daemon:
        daemon.wait(lambda: daemon.log.count('"width": "full"') >= 3)
        world.images("b.png")
        daemon.wait(lambda: names(world) == ["a.png", "b.png"])
        assert daemon.stop() == 0
    assert daemon.log.count("note: images/pipe.png: is not a regular file") == 1
