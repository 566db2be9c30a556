"""Plans that were attacked: what nobody approved stays, and a file's bytes leave the lake only once they are there
again."""

from __future__ import annotations

from typing import Any

import pytest

from metalake_sync.embedded_lake.faults import FaultPlan
from tests.embedded_lake.talk import png
from tests.end_to_end.world import PRUNED, World, with_pruned

NAMES = [f"{letter}.png" for letter in "abcd"]


@pytest.fixture
def pruned(world: World) -> World:
    """Four pictures in the lake, of a manifest that prunes."""
    return with_pruned(world, *NAMES)


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


# Refusals.


def test_a_trash_that_the_lake_refuses_is_an_item_that_failed_and_the_rest_goes_on(pruned: World) -> None:
    (pruned.folder / "images/a.png").unlink()
    pruned.images("x.png", folder="beasts")
    beasts = {"name": "beasts", "type": "image", "folders": [{"path": "beasts"}]}
    pruned.manifest(PRUNED, beasts)
    spoil(pruned, {"kind": "status", "status": 400, "route": "trash_items", "times": None})
    done = pruned.run("apply", "--json", "--auto-approve", "manifest.yaml")
    assert done.code == 3
    assert [(one["action"], one["file"]) for one in done.summary["failed"]] == [("trash", "a.png")]
    assert pruned.names("beasts") == ["x.png"]
    assert "a.png" in pruned.names()


def test_a_replacement_whose_trash_is_refused_leaves_no_trace_of_one_in_the_history(pruned: World) -> None:
    pruned.write("images/a.png", png(70, 70))
    spoil(pruned, {"kind": "status", "status": 400, "route": "trash_items", "times": None})
    done = pruned.run("apply", "--json", "--auto-approve", "manifest.yaml")
    assert done.code == 3
    (failed,) = done.summary["failed"]
    assert (failed["action"], failed["file"]) == ("replace", "a.png")
    assert "in the trash" not in failed["error"]
    runs = pruned.good("history", "--json", "manifest.yaml").document
    assert [row for run in runs for row in run["actions"] if row["action"] == "trash"] == []


def test_a_replacement_whose_session_is_refused_tells_what_is_in_the_trash(pruned: World) -> None:
    old = pruned.talk.details("birds_a.png", "id")["id"]
    pruned.write("images/a.png", png(70, 70))
    spoil(pruned, {"kind": "status", "status": 400, "route": "open_upload"})
    done = pruned.run("apply", "--json", "--auto-approve", "manifest.yaml")
    assert done.code == 3
    (failed,) = done.summary["failed"]
    assert f"the old file is in the lake's trash (id {old})" in failed["error"]
    pruned.lake.faults.use(FaultPlan())
    pruned.good("apply", "--auto-approve", "manifest.yaml")
    assert pruned.names() == NAMES


def spoil(world: World, *faults: dict[str, Any]) -> None:
    world.lake.faults.use(FaultPlan.model_validate({"faults": list(faults)}))


def test_a_refused_trash_in_one_collection_leaves_the_history_of_another_alone(world: World) -> None:
    folders = {"birds": "images", "beasts": "beasts"}
    for folder in folders.values():
        world.images("a.png", folder=folder)
    world.manifest(*({"name": n, "type": "image", "folders": [{"path": f}]} for n, f in folders.items()))
    world.good("apply", "manifest.yaml")
    for folder in folders.values():
        world.write(f"{folder}/a.png", png(70, 70, salt=folder.encode()))
    spoil(world, {"kind": "status", "status": 400, "route": "trash_items", "after": 1})
    assert world.run("apply", "--auto-approve", "manifest.yaml").code == 3
    rows = world.good("history", "--json", "manifest.yaml").document[0]["actions"]
    assert [row["collection"] for row in rows if row["action"] == "trash"] == ["birds"]
