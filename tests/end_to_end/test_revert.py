"""`revert` brings back the metadata and the annotation sets that the lake had before a run."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from metalake_sync.state.backends.file import FileBackend
from metalake_sync.state.runs import Values
from metalake_sync.state.store import StateStore
from tests.embedded_lake.talk import box, image_set, png
from tests.end_to_end.world import BIRDS, Done, World, boxes, unmanaged_sources

FIRST = {"a_png": [[1, 1, 8, 8], [20, 10, 6, 6]], "b_png": [[3, 3, 10, 10]], "c_png": [[5, 5, 9, 9]]}
MOVED = {"a_png": [[2, 1, 8, 8], [20, 10, 6, 6]], "b_png": [[3, 3, 10, 10], [1, 1, 2, 2]], "c_png": [[6, 5, 9, 9]]}


def describe(world: World, shapes: dict[str, Any], metadata: dict[str, Any], **operation: Any) -> None:
    """Write a manifest with the boxes of its images, and metadata of its files."""
    world.write("boxes.json", boxes(**shapes))
    block = {"operation": "people", "kind": "human", "source": "boxes.json", **operation}
    world.manifest({**BIRDS, "metadata": metadata, "annotations": [block]})


def last_run(world: World) -> str:
    found: str = world.good("history", "--json", "--limit", "1", "manifest.yaml").document[0]["id"]
    return found


def lake_content(world: World) -> dict[str, Any]:
    """The metadata of all items and collections, and all shapes, as the database of the lake has them.

    Without the time and the number of a shape, which each write sets.
    """
    with closing(sqlite3.connect(world.folder.parent / "lake" / "lake.db")) as db:
        content: dict[str, Any] = {
            f"metadata of {name}": metadata
            for table in ("items", "collections")
            for name, metadata in db.execute(f"SELECT name, metadata FROM {table} WHERE trashed = 0")
        }
        for name, operation, mode, shapes in db.execute(
            "SELECT i.name, s.operation, s.mode, s.shapes FROM annotation_sets s JOIN items i ON i.id = s.item"
        ):
            plain = [
                {key: value for key, value in shape.items() if key not in ("createdAt", "id", "shapeId")}
                for shape in json.loads(shapes)
            ]
            content[f"{operation} of {name}"] = (mode, json.dumps(plain, sort_keys=True))
    return content


def box_of_theirs(world: World, *place: float) -> dict[str, Any]:
    """A box as another client draws it. The lake must have a set already."""
    with closing(sqlite3.connect(world.folder.parent / "lake" / "lake.db")) as db:
        (drawn,) = db.execute("SELECT shapes FROM annotation_sets LIMIT 1").fetchone()
    return {**box("bird", *map(float, place)), "label": json.loads(drawn)[0]["label"]}


def write_set(world: World, operation: str, image: str, shapes: list[dict[str, Any]]) -> None:
    """Another client writes a set of our operation."""
    assert world.talk.annotate(operation, [image_set(f"birds_{image}", *shapes)]).status_code == 200


def edit(world: World, image: str, *places: tuple[float, ...]) -> None:
    write_set(world, "people", image, [box_of_theirs(world, *place) for place in places])


def edit_metadata(world: World, name: str, **values: Any) -> None:
    """Another client writes metadata of a file."""
    entry = {"file": f"birds_{name}", "metadata": values}
    world.talk.asked("/api/client/metadata/uploadMetadataByJson", {"metadata": [entry]})


def revert(world: World, run: str, *options: str) -> Done:
    return world.run("revert", run, "manifest.yaml", *options)


def warnings(done: Done) -> list[tuple[str, str]]:
    """The code and the place of each warning of the plan."""
    return [(one["code"], one["where"]) for one in done.events[0]["plan"]["warnings"]]


def changes(done: Done) -> list[tuple[str, str | None, bool]]:
    actions = done.events[0]["plan"]["actions"]
    return [(one["action"], one.get("file"), one.get("overwrites", False)) for one in actions]


@pytest.fixture
def applied(world: World) -> World:
    """Three images with boxes and metadata in the lake."""
    world.images("a.png", "b.png", "c.png")
    describe(world, FIRST, {"Source": "BCCD", "Tags": ["one", "two"]})
    world.good("apply", "manifest.yaml")
    return world


@pytest.fixture
def changed(applied: World) -> tuple[World, dict[str, Any], str]:
    """A second run changed boxes and metadata. With the content of the lake before it, and its id."""
    before = lake_content(applied)
    describe(applied, MOVED, {"Source": "BCCD-v2", "Tags": ["two", "three"]})
    applied.good("apply", "manifest.yaml")
    return applied, before, last_run(applied)


def test_a_revert_brings_back_boxes_and_metadata_byte_by_byte(changed: tuple[World, dict[str, Any], str]) -> None:
    world, before, run = changed
    assert lake_content(world) != before
    done = revert(world, run)
    assert done.code == 0, done.err
    assert lake_content(world) == before
    assert "people: 1 box moved, 1 unchanged" in done.out
    assert "Source: BCCD-v2 → BCCD" in done.out
    assert done.out.endswith(
        "The sources have not changed: the next apply of manifest.yaml makes the lake match them again.\n"
    )


def test_the_next_apply_makes_the_changes_again_and_needs_none_for_the_old_sources(
    changed: tuple[World, dict[str, Any], str],
) -> None:
    world, _, run = changed
    after = lake_content(world)
    assert revert(world, run).code == 0
    summary = world.good("plan", "--json", "manifest.yaml").document["summary"]
    assert (summary["annotate"], summary["update_metadata"]) == (3, 4)
    describe(world, FIRST, {"Source": "BCCD", "Tags": ["one", "two"]})
    assert world.good("plan", "--json", "--refresh", "full", "manifest.yaml").document["actions"] == []
    describe(world, MOVED, {"Source": "BCCD-v2", "Tags": ["two", "three"]})
    world.good("apply", "manifest.yaml")
    assert lake_content(world) == after


def test_a_revert_is_a_run_that_can_be_reverted(changed: tuple[World, dict[str, Any], str]) -> None:
    world, _, run = changed
    after = lake_content(world)
    assert revert(world, run).code == 0
    own = last_run(world)
    shown = world.good("history", "--run", own, "manifest.yaml").out
    assert f"revert {run} manifest.yaml" in shown
    assert "people: 1 box moved" in shown
    assert revert(world, own).code == 0
    assert lake_content(world) == after
    assert world.good("plan", "--json", "--refresh", "full", "manifest.yaml").document["actions"] == []


def test_a_reverted_run_leaves_nothing_to_revert(changed: tuple[World, dict[str, Any], str]) -> None:
    world, before, run = changed
    assert revert(world, run).code == 0
    runs = len(world.good("history", "--json", "manifest.yaml").document)
    world.lake.requests.clear()
    done = revert(world, run)
    assert done.code == 0
    assert "Nothing was sent: the lake has what it had before the run" in done.out
    assert f"metadata and annotation sets that run {run} changed, not files" in done.out
    assert lake_content(world) == before
    assert len(world.good("history", "--json", "manifest.yaml").document) == runs


def test_a_saved_revert_is_applied_and_becomes_stale(changed: tuple[World, dict[str, Any], str]) -> None:
    world, before, run = changed
    after = lake_content(world)
    assert revert(world, run, "--dry-run").code == 0
    done = revert(world, run, "--out", "back.plan")
    assert done.code == 0
    assert "Saved. To apply it: metalake-sync apply back.plan" in done.out
    assert lake_content(world) == after
    assert "1 box moved" in world.good("show", "back.plan").out
    applied = world.good("apply", "back.plan")
    assert "makes the lake match them again" in applied.out
    assert lake_content(world) == before
    assert world.run("apply", "back.plan").code == 7


def test_a_stale_plan_says_what_changed_without_digests(applied: World) -> None:
    describe(applied, MOVED, {"Source": "BCCD", "Tags": ["one", "two"]})
    applied.good("plan", "--out", "move.plan", "manifest.yaml")
    edit(applied, "a.png", (7, 7, 3, 3))
    done = applied.run("apply", "move.plan")
    assert done.code == 7
    assert "another client's set changed since the plan was made" in done.err
    assert "None" not in done.err
    assert not re.search("[0-9a-f]{20}", done.err)


def test_a_saved_revert_does_not_overwrite_an_edit_made_since(changed: tuple[World, dict[str, Any], str]) -> None:
    world, _, run = changed
    revert(world, run, "--out", "back.plan")
    edit(world, "a.png", (30, 1, 4, 4))
    after = lake_content(world)
    done = world.run("apply", "back.plan")
    assert done.code == 7
    assert "another client's set changed since the plan was made" in done.err
    assert lake_content(world) == after


def test_an_edit_of_another_client_since_the_run_is_shown_and_needs_approval(
    changed: tuple[World, dict[str, Any], str],
) -> None:
    world, before, run = changed
    edit(world, "a.png", (2, 1, 8, 8), (22, 10, 6, 6))
    edit_metadata(world, "b.png", Source="theirs")
    content = lake_content(world)
    done = revert(world, run)
    assert done.code == 7
    assert lake_content(world) == content
    assert "overwrites what another client wrote, people: 2 boxes moved" in done.out
    assert "the other client: 1 box moved, 1 unchanged" in done.out
    assert "Source: theirs → BCCD" in done.out
    assert revert(world, run, "--auto-approve").code == 0
    assert lake_content(world) == before
    assert revert(world, last_run(world), "--auto-approve").code == 0
    assert lake_content(world) == content


def test_merge_keeps_an_edit_made_since_the_run(changed: tuple[World, dict[str, Any], str]) -> None:
    world, _, run = changed
    describe(world, MOVED, {"Source": "BCCD-v2", "Tags": ["two", "three"]}, on_drift="merge")
    edit(world, "a.png", (2, 1, 8, 8), (22, 10, 6, 6))
    done = revert(world, run, "--json")
    assert done.code == 0, done.err
    there = json.loads(lake_content(world)["people of a.png"][1])
    boxes_there = sorted(shape["boxBoundariesAndDimensions"]["x"] for shape in there)
    assert boxes_there == [1, 22]


def test_keep_leaves_an_edit_made_since_the_run_and_names_it(changed: tuple[World, dict[str, Any], str]) -> None:
    world, before, run = changed
    describe(world, MOVED, {"Source": "BCCD-v2", "Tags": ["two", "three"]}, on_drift="keep")
    edit(world, "a.png", (22, 10, 6, 6))
    theirs = lake_content(world)["people of a.png"]
    done = revert(world, run, "--json")
    assert done.code == 3
    assert warnings(done) == [("not_reverted", "birds, people")]
    assert lake_content(world) == {**before, "people of a.png": theirs}


def test_edits_of_others_that_the_run_overwrote_come_back(applied: World) -> None:
    edit(applied, "a.png", (30, 1, 4, 4))
    edit_metadata(applied, "a.png", Source="theirs")
    before = lake_content(applied)
    describe(applied, MOVED, {"Source": "BCCD-v2", "Tags": ["one", "two"]})
    apply = ("apply", "--refresh", "full", "manifest.yaml")
    assert applied.run(*apply).code == 7
    applied.good(*apply, "--auto-approve")
    run = last_run(applied)
    done = revert(applied, run)
    assert done.code == 0, done.err
    assert lake_content(applied) == before
    # The other client's work is not ours now: the next apply asks about it, as before the run.
    for refresh in ("list", "full"):
        plan = applied.good("plan", "--json", "--refresh", refresh, "manifest.yaml").document
        overwritten = [(one["action"], one.get("file")) for one in plan["actions"] if one.get("overwrites")]
        assert overwritten == [("update_metadata", "a.png"), ("annotate", "a.png")]


def test_an_edit_of_another_client_that_the_run_cleared_comes_back(applied: World) -> None:
    edit(applied, "c.png", (30, 1, 4, 4))
    before = lake_content(applied)
    describe(applied, {**FIRST, "c_png": []}, {"Source": "BCCD", "Tags": ["one", "two"]})
    applied.good("apply", "--auto-approve", "manifest.yaml")
    assert "people of c.png" not in lake_content(applied)
    assert revert(applied, last_run(applied)).code == 0
    assert lake_content(applied) == before


def test_sets_that_did_not_exist_are_cleared_and_removed_sets_come_back(applied: World) -> None:
    before = lake_content(applied)
    applied.write("more.json", boxes(a_png=[[7, 7, 3, 3]]))
    block = {"operation": "more", "kind": "machine", "source": "more.json"}
    applied.manifest({**BIRDS, "metadata": {"Source": "BCCD", "Tags": ["one", "two"]}, "annotations": [block]})
    applied.good("apply", "--auto-approve", "manifest.yaml")
    run = last_run(applied)
    content = lake_content(applied)
    done = revert(applied, run)
    assert done.code == 7, "a set is removed"
    assert lake_content(applied) == content
    assert revert(applied, run, "--auto-approve").code == 0
    assert lake_content(applied) == before


def test_a_metadata_field_that_did_not_exist_stays_and_is_named(applied: World) -> None:
    before = lake_content(applied)
    describe(applied, FIRST, {"Source": "BCCD-v2", "Site": "Winnipeg", "Tags": ["one", "two"]})
    applied.good("apply", "manifest.yaml")
    done = revert(applied, last_run(applied), "--json")
    assert done.code == 0
    (note,) = done.events[0]["plan"]["warnings"]
    left = "4 items keep 'Site' in the lake: no call removes a metadata field"
    assert (note["code"], note["message"].partition(": birds")[0]) == ("field_left", left)
    found = {key: json.loads(value) for key, value in lake_content(applied).items() if key.startswith("metadata")}
    assert {key: value.pop("Site") for key, value in found.items()} == dict.fromkeys(found, "Winnipeg")
    assert found == {key: json.loads(value) for key, value in before.items() if key.startswith("metadata")}


def test_what_a_later_run_changed_again_stays_and_is_named(changed: tuple[World, dict[str, Any], str]) -> None:
    world, before, run = changed
    describe(world, {**MOVED, "a_png": [[9, 1, 8, 8]]}, {"Source": "BCCD-v2", "Tags": ["two", "three"]})
    world.good("apply", "manifest.yaml")
    later = last_run(world)
    there = lake_content(world)["people of a.png"]
    done = revert(world, run, "--json")
    assert done.code == 3
    (note,) = done.events[0]["plan"]["warnings"]
    assert note == {
        "code": "not_reverted",
        "message": f"1 change is not reverted, because run {later} changed the set again: a.png",
        "where": "birds, people",
    }
    assert lake_content(world) == {**before, "people of a.png": there}
    # One after the other, the latest run first, both can be reverted.
    assert revert(world, later).code == 0
    assert revert(world, run).code == 0
    assert lake_content(world) == before


def test_files_of_the_run_are_named_and_stay(applied: World) -> None:
    applied.images("d.png")
    applied.write("images/b.png", (applied.folder / "images" / "a.png").read_bytes() + b"x")
    describe(applied, {**MOVED, "d_png": [[1, 1, 2, 2]]}, {"Source": "BCCD", "Tags": ["one", "two"]})
    (applied.folder / "images" / "c.png").unlink()
    manifest = (applied.folder / "manifest.yaml").read_text()
    applied.write("manifest.yaml", manifest.replace("- name: birds", "- name: birds\n  prune: true"))
    with closing(sqlite3.connect(applied.folder.parent / "lake" / "lake.db")) as db:
        ids = dict(db.execute("SELECT name, id FROM items"))
    applied.good("apply", "--auto-approve", "manifest.yaml")
    content = lake_content(applied)
    done = revert(applied, last_run(applied), "--json")
    assert done.code == 0, done.err
    messages = [one["message"] for one in done.events[0]["plan"]["warnings"]]
    lost = "no call takes the old bytes out of the lake's trash. To upload them again, put them back into the sources"
    assert messages == [
        "1 file that the run uploaded stays: d.png",
        "1 replaced file keeps its new bytes, metadata and annotation sets;"
        f" {lost} and apply: b.png (id {ids['b.png']} in the trash)",
        f"1 trashed file is not restored; {lost} and apply: c.png (id {ids['c.png']} in the trash)",
    ]
    assert changes(done) == [("annotate", "a.png", False)]
    assert done.events[0]["plan"]["actions"][0]["path"] == "images/a.png"
    after = lake_content(applied)
    assert {key for key in after if after[key] != content[key]} == {"people of a.png"}


def test_the_first_run_has_nothing_to_revert(applied: World) -> None:
    content = lake_content(applied)
    done = revert(applied, last_run(applied))
    assert done.code == 0
    assert "3 files that the run uploaded stay: a.png, b.png, c.png" in done.out
    assert "Nothing was sent" in done.out
    assert lake_content(applied) == content


def test_targets_limit_a_revert(changed: tuple[World, dict[str, Any], str]) -> None:
    world, before, run = changed
    content = lake_content(world)
    assert revert(world, run, "--target", "birds/a*").code == 0
    after = lake_content(world)
    assert {key for key in after if after[key] != content[key]} == {"metadata of a.png", "people of a.png"}
    assert after["people of a.png"] == before["people of a.png"]
    assert revert(world, run, "--target", "birds/z*").code == 64


def test_an_unknown_run_and_a_run_of_another_lake_are_errors(
    changed: tuple[World, dict[str, Any], str],
) -> None:
    world, _, run = changed
    done = revert(world, "nonsense")
    assert done.code == 64
    assert "there is no run 'nonsense'. Run 'metalake-sync history MANIFEST' to list all runs." in done.err
    with closing(sqlite3.connect(next((world.folder / ".metalake-sync").glob("*.db")))) as state, state:
        state.execute("UPDATE runs SET lake = 'https://other.example' WHERE id = ?", (run,))
    done = revert(world, run)
    assert done.code == 64
    assert "changed another lake: https://other.example" in done.err


def test_a_run_of_an_earlier_version_says_that_its_values_are_not_known(
    changed: tuple[World, dict[str, Any], str],
) -> None:
    world, _, run = changed
    content = lake_content(world)
    with closing(sqlite3.connect(next((world.folder / ".metalake-sync").glob("*.db")))) as state, state:
        state.execute("DELETE FROM run_sets")
        state.execute("UPDATE run_actions SET type = NULL, address = NULL")
        state.execute("UPDATE runs SET lake = NULL")
    done = revert(world, run, "--json")
    assert done.code == 3
    assert [code for code, _ in warnings(done)] == ["not_reverted"]
    assert {one[0] for one in changes(done)} == {"update_metadata"}
    with closing(sqlite3.connect(next((world.folder / ".metalake-sync").glob("*.db")))) as state, state:
        state.execute("DELETE FROM run_actions WHERE action = 'update_metadata'")
    done = revert(world, run)
    assert done.code == 1
    assert f"the history has no values before run '{run}': an earlier version recorded it" in done.err
    assert lake_content(world)["people of a.png"] == content["people of a.png"]


def test_tags_of_other_clients_stay(changed: tuple[World, dict[str, Any], str]) -> None:
    world, _, run = changed
    edit_metadata(world, "a.png", Tags=["two", "three", "theirs"])
    assert revert(world, run).code == 0
    assert sorted(json.loads(lake_content(world)["metadata of a.png"])["Tags"]) == ["one", "theirs", "two"]


@pytest.mark.parametrize("by", ["unique_name", "collection", "storage_path", "job"])
def test_sets_and_metadata_of_unmanaged_files(world: World, by: str) -> None:
    write = unmanaged_sources(world, by)
    write([1, 1, 8, 8], "first")
    world.good("apply", "manifest.yaml")
    before = lake_content(world)
    write([2, 1, 8, 8], "second")
    world.good("apply", "manifest.yaml")
    run = last_run(world)
    assert lake_content(world) != before
    done = revert(world, run, "--json")
    assert done.code == 0, (done.out, done.err)
    assert lake_content(world) == before
    unverified = {code for code, _ in warnings(done)}
    # No call lists the files of a job.
    assert unverified == ({"sets_unverified", "metadata_unverified"} if by == "job" else set())
    assert done.summary["done"]["annotate"] == done.summary["done"]["update_metadata"] == 1
    write([1, 1, 8, 8], "first")
    assert world.good("plan", "--json", "manifest.yaml").document["actions"] == []
    assert "Nothing was sent" in revert(world, run).out


def test_a_new_set_of_an_unmanaged_image(world: World) -> None:
    world.talk.upload({"x.png": png()}, "theirs")
    images = boxes(x_png=[[1, 1, 8, 8]])["images"]
    world.write("top.json", {"images": [{**images[0], "image": "theirs_x.png"}]})
    before = lake_content(world)
    for operation, options, code in (("a", ("--refresh", "none"), 3), ("b", (), 0), ("c", ("--refresh", "full"), 0)):
        top = {"operation": operation, "kind": "machine", "source": "top.json", "by": "unique_name"}
        world.manifest(annotations=[top])
        world.good("apply", "--auto-approve", *options, "manifest.yaml")
        done = revert(world, last_run(world), "--json", "--auto-approve")
        assert done.code == code
        assert ("the history does not have the shapes before the run" in done.out) == (code == 3)
    assert {key for key in lake_content(world) if key not in before} == {"a of x.png"}


def fractions(**images: list[list[float]]) -> dict[str, Any]:
    """Boxes of images of 40 x 20 pixels as fractions."""
    return boxes(
        **{
            name: [[x / 40, y / 20, width / 40, height / 20] for x, y, width, height in drawn]
            for name, drawn in images.items()
        }
    )


def describe_fractions(world: World, **images: list[list[float]]) -> None:
    world.write("boxes.json", fractions(**images))
    block = {"operation": "people", "kind": "human", "source": "boxes.json", "normalized": True}
    world.manifest({**BIRDS, "annotations": [block]})


@pytest.mark.parametrize("edited", [False, True])
def test_fractions_come_back(world: World, edited: bool) -> None:
    """`edited`: another client's set, which is in pixels, comes back together with fractions."""
    world.images("a.png", "b.png")
    describe_fractions(world, a_png=[[1, 1, 8, 8]], b_png=[[3, 3, 10, 10]])
    world.good("apply", "manifest.yaml")
    if edited:
        edit(world, "b.png", (30, 1, 4, 4))
    before = lake_content(world)
    describe_fractions(world, a_png=[[2, 1, 8, 8]], b_png=[[3, 3, 10, 10], [1, 1, 2, 2]])
    world.good("apply", "--auto-approve", "manifest.yaml")
    assert revert(world, last_run(world)).code == 0
    assert lake_content(world) == before
    describe_fractions(world, a_png=[[1, 1, 8, 8]], b_png=[[3, 3, 10, 10]])
    assert world.good("plan", "--json", "manifest.yaml").document["actions"] == []


def test_shapes_with_attributes_of_a_machine_come_back(world: World) -> None:
    def write(confidence: float, color: Any) -> None:
        line = {"type": "line", "line": [[1, 1], [9, 4]], "label": "wire", "metadata": {"n": 1}}
        box_ = {"type": "rectangle", "bbox": [1, 1, 8, 8], "label": "bird", "metadata": {}, "confidence": confidence}
        box_["attributes"] = {"color": [{"value": color, "confidence": 0.25, "metadata": {}}]}
        world.write("boxes.json", {"images": [{"image": "a.png", "annotations": [box_, line]}]})

    world.images("a.png")
    block = {"operation": "yolo", "kind": "machine", "source": "boxes.json"}
    world.manifest({**BIRDS, "annotations": [block]})
    write(0.5, "red")
    world.good("apply", "manifest.yaml")
    before = lake_content(world)
    write(0.75, 7)
    world.good("apply", "manifest.yaml")
    assert lake_content(world) != before
    assert revert(world, last_run(world)).code == 0
    assert lake_content(world) == before
    write(0.5, "red")
    assert world.good("plan", "--json", "--refresh", "full", "manifest.yaml").document["actions"] == []


# What the history keeps.


def values_of(world: World, run: str, file: str) -> Values:
    with StateStore(FileBackend(next((world.folder / ".metalake-sync").glob("*.db")))) as state:
        (found,) = (
            state.runs.values_of(one)
            for one in state.runs.changes(run)
            if one.operation is not None and one.row.file == file
        )
        return found


def places(record: Any) -> list[tuple[float, float]]:
    return [shape.points[0] for shape in record.shapes]


def test_the_history_of_a_merged_set_has_the_lakes_set_before_and_the_combined_set_after(applied: World) -> None:
    edit(applied, "a.png", (1, 1, 8, 8), (22, 10, 6, 6))
    before = lake_content(applied)
    describe(applied, MOVED, {"Source": "BCCD", "Tags": ["one", "two"]}, on_drift="merge")
    applied.good("apply", "manifest.yaml")
    run = last_run(applied)
    found = values_of(applied, run, "a.png")
    assert places(found.set_before) == [(1, 1), (22, 10)]
    assert sorted(places(found.set_after)) == [(2, 1), (22, 10)]
    assert places(found.set_confirmed) == [(1, 1), (20, 10)]
    assert revert(applied, run).code == 0
    assert lake_content(applied) == before


def test_the_history_does_not_have_a_set_that_was_kept(applied: World) -> None:
    edit(applied, "a.png", (22, 10, 6, 6))
    before = lake_content(applied)
    describe(applied, MOVED, {"Source": "BCCD", "Tags": ["one", "two"]}, on_drift="keep")
    applied.good("apply", "manifest.yaml")
    run = last_run(applied)
    with StateStore(FileBackend(next((applied.folder / ".metalake-sync").glob("*.db")))) as state:
        assert {one.row.file for one in state.runs.changes(run)} == {"b.png", "c.png"}
    assert revert(applied, run).code == 0
    assert lake_content(applied) == before
    # The kept set is the other client's when a later run overwrites it.
    describe(applied, {**MOVED, "a_png": [[9, 1, 8, 8]]}, {"Source": "BCCD", "Tags": ["one", "two"]})
    applied.good("apply", "--auto-approve", "manifest.yaml")
    found = values_of(applied, last_run(applied), "a.png")
    assert places(found.set_before) == [(22, 10)]
    assert revert(applied, last_run(applied)).code == 0
    assert lake_content(applied) == before


def test_tags_that_the_lake_had_before_a_state_was_lost_stay(world: World) -> None:
    world.images("a.png", "b.png")
    world.manifest({**BIRDS, "metadata": {"City": "Rome", "Tags": ["reviewed"]}})
    world.good("apply", "manifest.yaml")
    shutil.rmtree(world.folder / ".metalake-sync")
    world.good("import", "--claim", "birds", "--auto-approve", "manifest.yaml")
    world.good("apply", "manifest.yaml")
    before = lake_content(world)
    done = revert(world, last_run(world), "--json")
    assert (done.code, warnings(done), changes(done)) == (0, [], [])
    assert lake_content(world) == before


def write_tags_of_theirs(world: World, *names: str) -> None:
    for name in names:
        edit_metadata(world, name, Tags=["one", "two", "theirs"])


@pytest.mark.parametrize("options", [(), ("--refresh", "none"), ("--refresh", "full")])
def test_a_tag_that_another_client_set_before_the_run_stays(applied: World, options: tuple[str, ...]) -> None:
    write_tags_of_theirs(applied, "a.png")
    before = lake_content(applied)
    describe(applied, FIRST, {"Source": "BCCD", "Tags": ["one", "two", "theirs"]})
    applied.good("apply", *options, "manifest.yaml")
    done = revert(applied, last_run(applied))
    assert done.code == 0, done.err
    assert lake_content(applied) == before
    # The tag belongs to the other client again: sources without it do not remove it.
    describe(applied, FIRST, {"Source": "BCCD", "Tags": ["one"]})
    applied.good("apply", "manifest.yaml")
    assert json.loads(lake_content(applied)["metadata of a.png"])["Tags"] == ["one", "theirs"]


def test_tags_of_another_client_that_an_exact_run_removed_come_back(applied: World) -> None:
    write_tags_of_theirs(applied, "a.png")
    before = lake_content(applied)
    block = {"operation": "people", "kind": "human", "source": "boxes.json"}
    metadata = {"Source": "BCCD", "Tags": ["one"]}
    applied.manifest({**BIRDS, "metadata": metadata, "annotations": [block], "tags": "exact"})
    applied.good("apply", "manifest.yaml")
    assert json.loads(lake_content(applied)["metadata of a.png"])["Tags"] == ["one"]
    done = revert(applied, last_run(applied))
    assert done.code == 0, done.err
    assert lake_content(applied) == before


def test_the_first_tags_of_a_file_are_taken_back_and_those_of_another_client_stay(world: World) -> None:
    world.images("a.png", "b.png")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    edit_metadata(world, "a.png", Tags=["night"])
    world.manifest({**BIRDS, "metadata": {"Tags": ["night", "rain"]}})
    world.good("apply", "manifest.yaml")
    assert revert(world, last_run(world)).code == 0
    content = lake_content(world)
    assert [json.loads(content[f"metadata of {name}"])["Tags"] for name in ("a.png", "b.png")] == [["night"], []]


def test_a_set_of_another_client_that_overwrite_replaced_comes_back(applied: World) -> None:
    edit(applied, "a.png", (7, 7, 3, 3))
    before = lake_content(applied)
    describe(applied, MOVED, {"Source": "BCCD", "Tags": ["one", "two"]}, on_drift="overwrite")
    applied.good("apply", "manifest.yaml")
    assert revert(applied, last_run(applied)).code == 0
    assert lake_content(applied) == before


def test_values_that_a_run_did_not_read_are_named(applied: World) -> None:
    describe(applied, MOVED, {"Source": "BCCD-v2", "Tags": ["one", "two"]})
    applied.good("apply", "--refresh", "none", "manifest.yaml")
    done = revert(applied, last_run(applied), "--json")
    assert done.code == 0
    assert sorted(warnings(done)) == [
        ("metadata_unverified", "birds"),
        ("metadata_unverified", "birds"),
        ("sets_unverified", "birds"),
    ]
    messages = {one["message"] for one in done.events[0]["plan"]["warnings"]}
    lost = "what another client had written by then does not come back"
    assert messages == {
        f"the run did not read the metadata of the collection before it wrote it; {lost}",
        f"the run did not read the metadata of 3 files before it wrote it; {lost}: a.png, b.png, c.png",
        f"the run did not read 3 sets of 'people' before it sent others; {lost}: a.png, b.png, c.png",
    }


def test_a_field_that_a_later_run_did_not_write_is_not_blamed_on_it(applied: World) -> None:
    describe(applied, FIRST, {"Source": "BCCD-v2", "Site": "Winnipeg", "Tags": ["one", "two"]})
    applied.good("apply", "manifest.yaml")
    run = last_run(applied)
    edit_metadata(applied, "a.png", Site="edited")
    assert revert(applied, run, "--auto-approve").code == 0
    done = revert(applied, run, "--json")
    assert done.code == 0, done.out
    assert {code for code, _ in warnings(done)} == {"field_left"}
    assert changes(done) == []


def test_after_a_reverted_adoption_the_base_stays_unknown(applied: World) -> None:
    """The run of a lost state overwrote a set of another client. We had sent none, so none is recorded."""
    edit(applied, "a.png", (7, 7, 3, 3))
    before = lake_content(applied)
    shutil.rmtree(applied.folder / ".metalake-sync")
    applied.good("apply", "--auto-approve", "manifest.yaml")
    run = last_run(applied)
    done = revert(applied, run, "--auto-approve", "--json")
    assert done.code == 0, done.out
    assert lake_content(applied) == before
    for refresh in ("list", "full"):
        (action,) = applied.good("plan", "--json", "--refresh", refresh, "manifest.yaml").document["actions"]
        assert (action["file"], action["overwrites"]) == ("a.png", True)
        assert "by_others" not in action["shape_changes"], "nothing is known about what the other client changed"


def test_a_set_that_the_lake_did_not_have_was_read(applied: World) -> None:
    """A cleared set looks like one that was never drawn. The run read it, and says so."""
    write_set(applied, "people", "a.png", [])
    before = lake_content(applied)
    shutil.rmtree(applied.folder / ".metalake-sync")
    plan = applied.good("plan", "manifest.yaml").out
    assert "people: none → 2 shapes" in plan
    assert "unknown" not in plan
    applied.good("apply", "manifest.yaml")
    done = revert(applied, last_run(applied), "--auto-approve", "--json")
    assert (done.code, warnings(done)) == (0, [])
    assert lake_content(applied) == before


def metadata_after(world: World, run: str, file: str) -> Any:
    """The metadata of a file after a run, as the history has it."""
    with StateStore(FileBackend(next((world.folder / ".metalake-sync").glob("*.db")))) as state:
        (found,) = (
            state.runs.values_of(one)
            for one in state.runs.changes(run)
            if one.row.action == "update_metadata" and one.row.file == file
        )
        return found.metadata_after


def test_the_history_has_the_tags_of_the_lake(applied: World) -> None:
    write_tags_of_theirs(applied, "a.png")
    describe(applied, FIRST, {"Source": "BCCD", "Tags": ["two", "three"]})
    applied.good("apply", "manifest.yaml")
    in_lake = json.loads(lake_content(applied)["metadata of a.png"])["Tags"]
    assert sorted(in_lake) == ["theirs", "three", "two"]
    run = last_run(applied)
    assert sorted(metadata_after(applied, run, "a.png")["Tags"]) == sorted(in_lake)
    assert revert(applied, run).code == 0
    in_lake = json.loads(lake_content(applied)["metadata of a.png"])["Tags"]
    assert sorted(metadata_after(applied, last_run(applied), "a.png")["Tags"]) == sorted(in_lake)


@pytest.mark.parametrize("theirs", [["theirs"], ["one", "theirs"]])
def test_after_reverts_of_reverts_the_records_are_right(applied: World, theirs: list[str]) -> None:
    edit_metadata(applied, "a.png", Source="theirs", Tags=theirs)
    describe(applied, FIRST, {"Source": "BCCD-v2", "Tags": ["three"]})
    applied.good("apply", "--auto-approve", "manifest.yaml")
    wanted = lake_content(applied)
    assert revert(applied, last_run(applied), "--auto-approve").code == 0
    assert revert(applied, last_run(applied), "--auto-approve").code == 0
    assert _with_sorted_tags(lake_content(applied)) == _with_sorted_tags(wanted)
    for refresh in ("list", "full"):
        assert "Nothing to do" in applied.good("plan", "--refresh", refresh, "manifest.yaml").out


def _with_sorted_tags(content: dict[str, Any]) -> dict[str, Any]:
    found = {key: json.loads(value) for key, value in content.items() if key.startswith("metadata")}
    return {key: {**value, "Tags": sorted(value.get("Tags", []))} for key, value in found.items()}
