"""A file's key is its name in the collection: a local file may be recorded under several, and none is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.embedded_lake.talk import png
from tests.end_to_end.world import BIRDS, World


def named(world: World, naming: str, **policy: Any) -> None:
    world.manifest({**BIRDS, "folders": [{"path": "images", "naming": naming}], **policy})


@pytest.fixture
def renamed(world: World) -> World:
    """A lake that has a file under the name of each naming."""
    world.images("sub/crow.png", "gull.png")
    for naming in ("path", "name"):
        named(world, naming)
        world.good("apply", "manifest.yaml")
    assert world.names() == ["crow.png", "gull.png", "sub__crow.png"]
    return world


def nothing_is_left_to_do(world: World, *options: str) -> None:
    plan = world.good("plan", "--json", *options, "manifest.yaml").document
    assert plan["actions"] == []
    assert plan["summary"]["unmanaged"] == 0


@pytest.mark.parametrize("options", [(), ("--checksum",), ("--refresh", "full")])
def test_a_name_of_an_earlier_naming_is_pruned_and_the_new_one_stays(renamed: World, options: tuple[str, ...]) -> None:
    nothing_is_left_to_do(renamed, *options)
    named(renamed, "name", prune=True)
    plan = renamed.good("plan", "--json", *options, "manifest.yaml").document
    assert [(action["action"], action["file"], action["reason"]) for action in plan["actions"]] == [
        ("trash", "sub__crow.png", "renamed")
    ]
    renamed.good("apply", "--auto-approve", *options, "manifest.yaml")
    assert renamed.names() == ["crow.png", "gull.png"]
    nothing_is_left_to_do(renamed, *options)


def test_a_saved_plan_prunes_the_name_of_an_earlier_naming(renamed: World) -> None:
    named(renamed, "name", prune=True)
    renamed.good("plan", "--out", "plan.json", "manifest.yaml")
    renamed.good("apply", "plan.json")
    assert renamed.names() == ["crow.png", "gull.png"]


def test_an_old_name_with_old_bytes_is_pruned_as_a_file_that_left(renamed: World) -> None:
    renamed.write("images/sub/crow.png", png(salt=b"another crow"))
    renamed.good("apply", "--auto-approve", "manifest.yaml")
    named(renamed, "name", prune=True)
    plan = renamed.good("plan", "--json", "manifest.yaml").document
    assert [(action["file"], action["reason"]) for action in plan["actions"]] == [
        ("sub__crow.png", "removed_from_manifest")
    ]
    assert plan["warnings"] == []


def test_a_restored_naming_uses_its_earlier_names_again(renamed: World) -> None:
    for naming in ("path", "name", "path"):
        named(renamed, naming)
        renamed.lake.requests.clear()
        renamed.good("apply", "manifest.yaml")
        assert renamed.lake.requests.of("put_part") == 0
        nothing_is_left_to_do(renamed)
    changed = renamed.write("images/sub/crow.png", png(salt=b"another crow")).read_bytes()
    renamed.good("apply", "--auto-approve", "manifest.yaml")
    assert renamed.talk.read("birds_sub__crow.png") == changed
    assert renamed.talk.read("birds_crow.png") == png(salt=b"sub/crow.png")
    nothing_is_left_to_do(renamed)


def test_an_unreadable_file_keeps_all_its_names(renamed: World) -> None:
    local = renamed.folder / "images/sub/crow.png"
    local.unlink()
    local.symlink_to(renamed.folder / "images/gull.png")
    named(renamed, "name", prune=True)
    renamed.run("apply", "--auto-approve", "manifest.yaml")
    assert renamed.names() == ["crow.png", "gull.png", "sub__crow.png"]


@pytest.mark.parametrize("prune", [False, True])
def test_overlapping_folders_that_name_a_file_differently_converge(world: World, prune: bool) -> None:
    world.images("sub/crow.png", "gull.png")
    folders = [{"path": "images", "naming": "path"}, {"path": "images/sub", "naming": "name"}]
    world.manifest({**BIRDS, "folders": folders, "prune": prune})
    said = world.good("apply", "manifest.yaml").out
    assert "1 local file is in the collection under two names" in said
    assert "images/sub/crow.png" in said
    assert world.names() == ["crow.png", "gull.png", "sub__crow.png"]
    nothing_is_left_to_do(world)
    world.write("images/sub/crow.png", png(salt=b"another crow"))
    world.good("apply", "--auto-approve", "manifest.yaml")
    nothing_is_left_to_do(world)
    (world.folder / "images/sub/crow.png").unlink()
    world.write("images/sub/jay.png", png(salt=b"jay"))
    world.good("apply", "--auto-approve", "--max-delete", "100%", "manifest.yaml")
    gone = [] if prune else ["crow.png", "sub__crow.png"]
    assert world.names() == sorted([*gone, "gull.png", "jay.png", "sub__jay.png"])
    nothing_is_left_to_do(world)
