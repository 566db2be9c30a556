"""What an interrupted run began is no order for the next one: that one does what its own plan says, and says so."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.embedded_lake.talk import png
from tests.end_to_end.world import BIRDS, Done, World
from tests.faults.mortal import Mortal, mortal_world

FINALIZED = "after session_files._journal_sent"
COMPLETED = "before uploads._completed"
WAITING_FOR_THE_JOB = "after uploads._completed"
IMAGES = ("crow.png", "gull.png", "jay.png")
CATS = {"name": "cats", "type": "image", "folders": [{"path": "cats"}]}


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Mortal]:
    with mortal_world(tmp_path) as mortal:
        mortal.world.images(*IMAGES)
        yield mortal


def interrupted(mortal: Mortal, place: str, *collections: dict[str, Any]) -> World:
    mortal.world.manifest(*(collections or (BIRDS,)))
    assert mortal.killed_at_commit(place)
    assert sessions_of(mortal) == 1
    mortal.world.lake.requests.clear()
    return mortal.world


def sessions_of(mortal: Mortal) -> int:
    with contextlib.closing(sqlite3.connect(mortal.state())) as db:
        found: int = db.execute("SELECT count(*) FROM upload_sessions").fetchone()[0]
        return found


def origins_of(mortal: Mortal) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(mortal.state())) as db:
        return dict(db.execute("SELECT name, origin FROM files"))


def run(mortal: Mortal, command: str, *options: str) -> Done:
    return mortal.world.run(command, *options, "--state", str(mortal.state()))


def good(mortal: Mortal, command: str, *options: str) -> Done:
    done = run(mortal, command, *options)
    assert done.code == 0, (done.code, done.out, done.err)
    return done


def nothing_is_left_to_do(mortal: Mortal) -> None:
    assert good(mortal, "plan", "manifest.yaml", "--json").document["actions"] == []
    assert sessions_of(mortal) == 0


def test_what_is_excluded_now_is_abandoned_and_named(mortal: Mortal) -> None:
    world = interrupted(mortal, FINALIZED)
    world.manifest({**BIRDS, "folders": [{"path": "images", "exclude": ["gull.png"]}]})
    said = good(mortal, "apply", "manifest.yaml").out
    assert "started to upload 1 file that this plan does not contain; the upload is abandoned: gull.png" in said
    assert world.names() == ["crow.png", "jay.png"]
    nothing_is_left_to_do(mortal)
    assert "abandoned" not in good(mortal, "apply", "manifest.yaml").out


def test_a_collection_that_left_the_manifest_is_abandoned_and_named(mortal: Mortal) -> None:
    world = interrupted(mortal, FINALIZED)
    world.images("tom.png", folder="cats")
    world.manifest(CATS)
    warnings = good(mortal, "plan", "manifest.yaml", "--json").document["warnings"]
    assert [(one["code"], one["where"]) for one in warnings if one["code"] == "upload_abandoned"] == [
        ("upload_abandoned", "birds")
    ]
    good(mortal, "apply", "manifest.yaml")
    assert world.names() == []
    assert world.names("cats") == ["tom.png"]
    assert sessions_of(mortal) == 0


@pytest.mark.parametrize("target", ["cats", "birds/crow.png"])
def test_a_target_leaves_the_rest_to_a_full_run(mortal: Mortal, target: str) -> None:
    mortal.world.images("tom.png", folder="cats")
    world = interrupted(mortal, FINALIZED, BIRDS, CATS)
    good(mortal, "apply", "manifest.yaml", "--target", target)
    assert world.names() == [one for one in IMAGES if target == f"birds/{one}"]
    good(mortal, "apply", "manifest.yaml")
    assert world.names() == list(IMAGES)
    assert set(origins_of(mortal).values()) == {"uploaded"}
    nothing_is_left_to_do(mortal)


def test_import_and_a_stale_plan_send_nothing(mortal: Mortal) -> None:
    mortal.world.manifest(BIRDS)
    good(mortal, "plan", "manifest.yaml", "--out", "plan.json")
    world = interrupted(mortal, FINALIZED)
    stale = run(mortal, "apply", "plan.json")
    assert stale.code == 7, stale
    assert "Nothing was done" in stale.err
    good(mortal, "import", "manifest.yaml")
    assert world.lake.requests.writes == 0
    assert world.names() == []
    good(mortal, "apply", "manifest.yaml")
    assert world.names() == list(IMAGES)
    nothing_is_left_to_do(mortal)


def test_a_plan_that_is_not_approved_sends_nothing(mortal: Mortal) -> None:
    world = mortal.world
    world.manifest(BIRDS)
    mortal.run()
    world.images("owl.png")
    world = interrupted(mortal, FINALIZED)
    world.write("images/crow.png", png(salt=b"another crow"))
    refused = run(mortal, "apply", "manifest.yaml")
    assert refused.code == 7, refused
    assert world.lake.requests.writes == 0
    assert world.names() == list(IMAGES)
    good(mortal, "apply", "manifest.yaml", "--auto-approve")
    assert world.names() == sorted([*IMAGES, "owl.png"])
    nothing_is_left_to_do(mortal)


def test_what_is_wanted_goes_on_where_it_stopped(mortal: Mortal) -> None:
    world = interrupted(mortal, FINALIZED)
    assert good(mortal, "plan", "manifest.yaml", "--json").document["summary"]["upload"] == 3
    done = good(mortal, "apply", "manifest.yaml")
    assert "finished an upload session of an earlier run" in done.out
    assert world.lake.requests.of("put_part") == 0
    assert world.lake.requests.of("open_upload") == 0
    nothing_is_left_to_do(mortal)


@pytest.mark.parametrize("place", [COMPLETED, WAITING_FOR_THE_JOB])
def test_files_that_the_lake_took_in_meanwhile_are_ours(mortal: Mortal, place: str) -> None:
    world = interrupted(mortal, place)
    plan = good(mortal, "plan", "manifest.yaml", "--json").document
    assert plan["actions"] == []
    assert (plan["summary"]["unchanged"], plan["summary"]["unmanaged"]) == (3, 0)
    good(mortal, "apply", "manifest.yaml")
    assert set(origins_of(mortal).values()) == {"uploaded"}
    assert world.lake.requests.writes == 0
    (world.folder / "images/jay.png").unlink()
    world.manifest({**BIRDS, "prune": True})
    good(mortal, "apply", "manifest.yaml", "--auto-approve")
    assert world.names() == ["crow.png", "gull.png"]
    nothing_is_left_to_do(mortal)


@pytest.mark.parametrize("prune", [True, False])
def test_a_file_that_the_lake_took_in_and_that_is_excluded_now_is_still_ours(mortal: Mortal, prune: bool) -> None:
    world = interrupted(mortal, WAITING_FOR_THE_JOB)
    world.manifest({**BIRDS, "folders": [{"path": "images", "exclude": ["gull.png"]}], "prune": prune})
    good(mortal, "apply", "manifest.yaml", "--auto-approve")
    assert world.names() == ["crow.png", *([] if prune else ["gull.png"]), "jay.png"]
    assert origins_of(mortal).get("gull.png") == (None if prune else "uploaded")
    nothing_is_left_to_do(mortal)


def test_a_file_that_changed_since_is_replaced_and_only_after_approval(mortal: Mortal) -> None:
    world = interrupted(mortal, WAITING_FOR_THE_JOB)
    changed = world.write("images/crow.png", png(salt=b"another crow")).read_bytes()
    assert run(mortal, "apply", "manifest.yaml").code == 7
    good(mortal, "apply", "manifest.yaml", "--auto-approve")
    assert world.talk.read("birds_crow.png") == changed
    nothing_is_left_to_do(mortal)


@pytest.mark.parametrize("theirs", [png(salt=b"wren.png"), png(salt=b"a much longer salt")])
def test_a_file_of_another_client_is_not_taken_for_ours_by_its_name(mortal: Mortal, theirs: bytes) -> None:
    world = interrupted(mortal, WAITING_FOR_THE_JOB)
    crow = next(item for item in world.talk.items(world.collection_id()) if item["name"] == "crow.png")
    world.talk.trash(objectIdList=[crow["id"]], contentType=2)
    world.talk.upload({"crow.png": theirs}, "birds")
    good(mortal, "apply", "manifest.yaml")
    assert origins_of(mortal).get("crow.png") != "uploaded"
    (world.folder / "images/crow.png").unlink()
    world.manifest({**BIRDS, "prune": True})
    good(mortal, "apply", "manifest.yaml", "--auto-approve")
    assert world.names() == list(IMAGES)
    assert world.talk.read("birds_crow.png") == theirs
