"""Plans that meet changes of other clients: only approved items are trashed, and a replaced file is trashed only with
its new bytes in the lake."""

from __future__ import annotations

from typing import Any

import pytest

from metalake_sync.embedded_lake.faults import FaultPlan
from tests.embedded_lake.talk import png
from tests.end_to_end.world import PRUNED, World, with_pruned

NAMES = [f"{letter}.png" for letter in "abcd"]


@pytest.fixture
def pruned(world: World) -> World:
    """Four images in the lake, of a manifest that prunes."""
    return with_pruned(world, *NAMES)


# Saved plans.


def test_items_that_match_a_trash_rule_only_after_a_plan_was_saved_are_not_trashed(world: World) -> None:
    world.talk.upload({"old.png": png(salt=b"old")}, "attic")
    world.manifest(trash=[{"collection": "attic", "type": "image"}])
    world.good("plan", "--out", "the.plan", "manifest.yaml")
    world.talk.upload({"dear.png": png(salt=b"dear")}, "attic")
    assert "1 file trashed" in world.good("apply", "the.plan").out
    assert world.names("attic") == ["dear.png"]


# Renames.


@pytest.mark.parametrize("adopt", ["match", "never"])
def test_an_old_name_counts_as_deleted_if_the_new_name_belongs_to_another_client(pruned: World, adopt: str) -> None:
    """Another client's file has the new name already, so ours is not sent, and nothing was renamed."""
    pruned.talk.upload({"new.png": png(90, 90, salt=b"his")}, "birds")
    pruned.manifest({**PRUNED, "adopt": adopt})
    (pruned.folder / "images/a.png").rename(pruned.folder / "images/new.png")
    plan = pruned.good("plan", "--json", "manifest.yaml").document
    assert [(a["action"], a["file"], a["reason"]) for a in plan["actions"]] == [
        ("trash", "a.png", "removed_from_manifest")
    ]
    assert pruned.run("apply", "--auto-approve", "--max-delete", "0", "manifest.yaml").code == 7
    assert "a.png" in pruned.names()


def test_an_old_name_stays_if_a_target_excludes_the_new_name(pruned: World) -> None:
    (pruned.folder / "images/a.png").rename(pruned.folder / "images/new.png")
    pruned.good("apply", "--auto-approve", "--target", "birds/a*", "manifest.yaml")
    assert pruned.names() == NAMES
    pruned.good("apply", "--auto-approve", "manifest.yaml")
    assert pruned.names() == ["b.png", "c.png", "d.png", "new.png"]


# Refusals.


def test_a_trash_that_the_lake_rejects_fails_alone(pruned: World) -> None:
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


def test_a_replacement_whose_trash_is_rejected_is_not_in_the_history(pruned: World) -> None:
    pruned.write("images/a.png", png(70, 70))
    spoil(pruned, {"kind": "status", "status": 400, "route": "trash_items", "times": None})
    done = pruned.run("apply", "--json", "--auto-approve", "manifest.yaml")
    assert done.code == 3
    (failed,) = done.summary["failed"]
    assert (failed["action"], failed["file"]) == ("replace", "a.png")
    assert "in the trash" not in failed["error"]
    runs = pruned.good("history", "--json", "manifest.yaml").document
    assert [row for run in runs for row in run["actions"] if row["action"] == "trash"] == []


def test_a_replacement_whose_session_is_rejected_reports_the_trashed_file(pruned: World) -> None:
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


def test_a_rejected_trash_in_one_collection_does_not_affect_the_history_of_another(world: World) -> None:
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
