"""Plans that were attacked: what nobody approved stays, and a file's bytes leave the lake only once they are there
again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.end_to_end.world import BIRDS, World
from tests.lake.talk import png

PRUNED: dict[str, Any] = {**BIRDS, "prune": True}
NAMES = [f"{letter}.png" for letter in "abcd"]


@pytest.fixture
def pruned(world: World) -> World:
    """Four pictures in the lake, of a manifest that prunes."""
    world.pictures(*NAMES)
    world.manifest(PRUNED)
    world.good("apply", "manifest.yaml")
    return world


# Saved plans.


def test_what_came_to_match_a_trash_rule_since_a_plan_was_saved_is_not_trashed(world: World) -> None:
    world.talk.upload({"old.png": png(salt=b"old")}, "attic")
    world.manifest(trash=[{"collection": "attic", "type": "image"}])
    world.good("plan", "--out", "the.plan", "manifest.yaml")
    world.talk.upload({"dear.png": png(salt=b"dear")}, "attic")
    assert "1 file trashed" in world.good("apply", "the.plan").out
    assert world.names("attic") == ["dear.png"]


# Renames.


@pytest.mark.parametrize("adopt", ["match", "never"])
def test_the_old_name_counts_as_a_delete_where_the_new_one_is_a_colleagues(pruned: World, adopt: str) -> None:
    """His file has the new name already, so ours is not sent: then nothing was renamed."""
    pruned.talk.upload({"new.png": png(90, 90, salt=b"his")}, "birds")
    pruned.manifest({**PRUNED, "adopt": adopt})
    (pruned.folder / "images/a.png").rename(pruned.folder / "images/new.png")
    plan = pruned.good("plan", "--json", "manifest.yaml").document
    assert [(a["action"], a["file"], a["reason"]) for a in plan["actions"]] == [
        ("trash", "a.png", "removed_from_manifest")
    ]
    assert pruned.run("apply", "--auto-approve", "--max-delete", "0", "manifest.yaml").code == 7
    assert "a.png" in pruned.names()


def test_the_old_name_stays_where_a_target_leaves_out_the_new_one(pruned: World) -> None:
    (pruned.folder / "images/a.png").rename(pruned.folder / "images/new.png")
    pruned.good("apply", "--auto-approve", "--target", "birds/a*", "manifest.yaml")
    assert pruned.names() == NAMES
    pruned.good("apply", "--auto-approve", "manifest.yaml")
    assert pruned.names() == ["b.png", "c.png", "d.png", "new.png"]
