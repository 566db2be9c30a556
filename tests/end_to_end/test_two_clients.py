"""Two clients of one lake: both adopt equal files, and a name alone does not make a file ours."""

from __future__ import annotations

from typing import Any

import pytest

from tests.embedded_lake.talk import png
from tests.end_to_end.world import BIRDS, World


def apply(world: World, state: str, *options: str) -> Any:
    """What one of the clients did."""
    return world.good("apply", "--json", "--state", f"{state}.db", *options, "manifest.yaml").summary["done"]


def plan(world: World, *options: str) -> Any:
    return world.good("plan", "--json", *options, "manifest.yaml").document


def id_of(world: World, name: str) -> str:
    found: str = world.talk.details(f"birds_{name}", "id")["id"]
    return found


@pytest.fixture
def two_uploaders(world: World) -> World:
    """Each of two clients has uploaded the same picture: 'one' first, and 'two' after it had gone to the trash."""
    world.images("crow.png")
    world.manifest(BIRDS)
    apply(world, "one")
    world.talk.trash(objectIdList=[id_of(world, "crow.png")], contentType=2)
    apply(world, "two")
    world.lake.requests.clear()
    return world


@pytest.mark.parametrize("refresh", ["list", "full"])
@pytest.mark.parametrize("on_change", ["replace", "keep", "fail"])
def test_equal_files_of_another_client_are_adopted_and_not_replaced(
    two_uploaders: World, refresh: str, on_change: str
) -> None:
    world = two_uploaders
    world.manifest({**BIRDS, "on_change": on_change})
    here = id_of(world, "crow.png")
    done = apply(world, "one", "--refresh", refresh)
    assert (done["adopt"], done["replace"], done["upload"]) == (1, 0, 0)
    for client in ("two", "one"):
        done = apply(world, client, "--refresh", refresh)
        assert (done["unchanged"], done["adopt"]) == (1, 0)
    assert id_of(world, "crow.png") == here
    assert world.lake.requests.of("put_part") == 0


def test_a_change_that_both_clients_have_is_sent_once(two_uploaders: World) -> None:
    world = two_uploaders
    apply(world, "one")
    world.write("images/crow.png", png(salt=b"another crow"))
    assert apply(world, "two", "--auto-approve")["replace"] == 1
    assert apply(world, "one")["adopt"] == 1
    assert apply(world, "two")["unchanged"] == 1
    assert world.lake.requests.of("put_part") == 1


def test_other_bytes_of_the_same_size_are_not_adopted(world: World) -> None:
    world.images("crow.png", "gull.png")
    theirs = png(salt=b"a.crow_b")
    assert len(theirs) == len(png(salt=b"crow.png"))
    world.talk.upload({"crow.png": theirs, "gull.png": png(salt=b"gull.png")}, "birds")
    world.manifest(BIRDS)
    document = plan(world)
    assert [(action["action"], action["file"]) for action in document["actions"]] == [("adopt", "gull.png")]
    assert [(note["code"], note["where"]) for note in document["warnings"]] == [("not_adopted", "birds/crow.png")]
    world.good("apply", "manifest.yaml")
    assert world.talk.read("birds_crow.png") == theirs
    assert plan(world)["actions"] == []


def test_a_plan_names_the_file_of_another_client_that_it_replaces(world: World) -> None:
    world.images("crow.png")
    world.talk.upload({"crow.png": png(salt=b"crow.png")}, "birds")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    world.write("images/crow.png", png(salt=b"another crow"))
    (note,) = plan(world)["warnings"]
    assert (note["code"], note["where"]) == ("replaces_others", "birds/crow.png")
    assert id_of(world, "crow.png") in note["message"]
    assert world.run("apply", "manifest.yaml").code == 7
    assert world.talk.read("birds_crow.png") == png(salt=b"crow.png")
