"""The history keeps the values before and after each change, and shows them as a plan does."""

from __future__ import annotations

import shutil
import sqlite3
from typing import Any

from metalake_sync.state.backends.file import FileBackend
from metalake_sync.state.store import StateStore
from tests.end_to_end.world import World

PLACES = [(1, 1), (12, 1), (24, 2)]


def write_boxes(world: World, label: str, *places: tuple[int, int], image: str = "a") -> None:
    objects = "".join(
        f"<object><name>{label}</name><pose>Unspecified</pose><difficult>0</difficult><bndbox><xmin>{x}</xmin>"
        f"<ymin>{y}</ymin><xmax>{x + 8}</xmax><ymax>{y + 8}</ymax></bndbox></object>"
        for x, y in places
    )
    world.write(f"voc/{image}.xml", f"<annotation><filename>{image}.png</filename>{objects}</annotation>")


def describe(world: World, *tags: str) -> None:
    annotations = {"operation": "op", "kind": "human", "source": "voc"}
    metadata = {"Tags": list(tags)}
    world.manifest(
        {
            "name": "birds",
            "type": "image",
            "folders": [{"path": "images"}],
            "annotations": [annotations],
            **({"metadata": metadata} if metadata else {}),
        }
    )


def last_run(world: World, *flags: str) -> dict[str, Any]:
    run: dict[str, Any] = world.good("history", "--json", "--limit", "1", *flags, "manifest.yaml").document[0]
    return run


def test_a_run_shows_what_it_changed_in_sets_and_metadata(world: World) -> None:
    world.images("a.png", "b.png")
    write_boxes(world, "WBC", (1, 1), image="b")
    write_boxes(world, "RBC", *PLACES)
    describe(world, "one")
    world.good("apply", "manifest.yaml")
    first = last_run(world)["id"]
    write_boxes(world, "RBC", (3, 1), *PLACES[1:])
    describe(world, "one", "two")
    world.good("apply", "manifest.yaml")
    second = last_run(world)["id"]
    write_boxes(world, "RBC")
    world.good("apply", "--auto-approve", "manifest.yaml")
    third = last_run(world)["id"]

    told = world.good("history", "--run", second, "manifest.yaml").out
    assert "Tags: [one] → [one, two]" in told
    assert "op: 1 box moved, 2 unchanged" in told
    shapes = world.good("history", "--run", second, "--diff", "manifest.yaml").out
    assert "RBC" in shapes
    assert "RBC" not in told

    with StateStore(FileBackend(next(world.folder.rglob("*.db")))) as state:
        sets = {
            run: [
                one
                for row, one in zip(state.runs.actions(run), state.runs.values(run), strict=True)
                if one.operation is not None and row.file == "a.png"
            ]
            for run in (first, second, third)
        }
    (new,), (moved,), (removed,) = sets[first], sets[second], sets[third]
    assert new.set_before is not None
    assert not new.set_before.shapes
    assert moved.set_before == new.set_after
    assert moved.set_before is not None
    assert [shape.points[0][0] for shape in moved.set_before.shapes] == [x for x, _ in PLACES]
    assert removed.set_before == moved.set_after
    assert removed.set_after is not None
    assert not removed.set_after.shapes

    actions = {one["action"]: one for one in last_run(world, "--diff")["actions"]}
    assert "remove_annotations" in actions
    actions = {
        one["action"]: one
        for run in world.good("history", "--json", "--diff", "manifest.yaml").document
        if run["id"] == second
        for one in run["actions"]
        if one["file"] == "a.png"
    }
    assert actions["annotate"]["shape_changes"]["counts"]["moved"] == 1
    assert actions["update_metadata"]["changes"] == [{"what": "Tags", "before": ["one"], "after": ["one", "two"]}]


def test_the_history_shares_the_shapes_with_the_records(world: World) -> None:
    world.images("a.png")
    describe(world)
    for x in range(4):
        write_boxes(world, "RBC", (x + 1, 1))
        world.good("apply", "manifest.yaml")
    with sqlite3.connect(next(world.folder.rglob("*.db"))) as state:
        assert state.execute("SELECT count(*) FROM annotation_bases").fetchone() == (4,)
        assert state.execute("SELECT count(*) FROM run_sets WHERE before > 0").fetchone() == (3,)


def age_runs(world: World, year: int) -> None:
    """Let all runs have happened in a year that is long past."""
    with sqlite3.connect(next(world.folder.rglob("*.db"))) as state:
        for table, column in (("runs", "id"), ("run_actions", "run_id"), ("runs", "started_at")):
            state.execute(f"UPDATE {table} SET {column} = '{year}' || substr({column}, 5)")


def old_runs(world: World) -> int:
    runs = world.good("history", "--json", "manifest.yaml").document
    return sum(run["started_at"].startswith("2020") for run in runs)


def test_the_next_apply_deletes_runs_that_are_older_than_history_keep(world: World) -> None:
    world.images("a.png")
    write_boxes(world, "RBC", *PLACES)
    describe(world, "one")
    world.good("apply", "manifest.yaml")
    write_boxes(world, "RBC", (3, 1), *PLACES[1:])
    world.good("apply", "manifest.yaml")
    age_runs(world, 2020)
    manifest = (world.folder / "manifest.yaml").read_text()
    (world.folder / "manifest.yaml").write_text(manifest + "history: {keep: forever}\n")
    world.good("apply", "manifest.yaml")
    assert old_runs(world) == 2

    (world.folder / "manifest.yaml").write_text(manifest)
    write_boxes(world, "RBC", (4, 1), *PLACES[1:])
    shown = world.good("plan", "manifest.yaml").out
    assert "1 box moved, 2 unchanged" in shown
    assert old_runs(world) == 2, "a plan deletes nothing"
    world.good("apply", "manifest.yaml")
    assert old_runs(world) == 0
    (action,) = last_run(world, "--diff")["actions"]
    assert action["shape_changes"]["counts"]["moved"] == 1
    with sqlite3.connect(next(world.folder.rglob("*.db"))) as state:
        assert state.execute("SELECT count(*) FROM annotation_bases").fetchone() == (2,)


def test_a_wrong_time_to_keep_the_history_is_an_error(world: World) -> None:
    describe(world)
    text = (world.folder / "manifest.yaml").read_text()
    for wrong in ("90", "0d", "3 months"):
        (world.folder / "manifest.yaml").write_text(text + f"history: {{keep: {wrong}}}\n")
        done = world.run("validate", "manifest.yaml")
        assert done.code == 64
        assert "'keep' is not a number of days. Write a number of days such as 90d, or forever." in done.err


def test_values_before_a_lost_state_are_unknown(world: World) -> None:
    world.images("a.png")
    collection = {"name": "birds", "type": "image", "folders": [{"path": "images"}], "metadata": {"Site": "north"}}
    world.manifest(collection)
    world.good("apply", "manifest.yaml")
    shutil.rmtree(world.folder / ".metalake-sync")
    world.good("import", "manifest.yaml")
    world.manifest({**collection, "metadata": {"Site": "south"}, "metadata_override": True})
    planned = world.good("plan", "--json", "manifest.yaml").document["actions"]
    (file,) = (one for one in planned if one.get("file") == "a.png")
    assert file["changes"] == [{"what": "Site", "before": "unknown", "after": "south"}]
    assert "Site: unknown → south" in world.good("plan", "manifest.yaml").out
    world.good("apply", "manifest.yaml")
    run = last_run(world, "--diff")
    assert "none →" not in world.good("history", "--run", run["id"], "manifest.yaml").out
    assert [one["changes"][0]["before"] for one in run["actions"] if one["file"]] == ["unknown"]


def test_a_saved_revert_is_told_as_a_revert(world: World) -> None:
    world.images("a.png")
    write_boxes(world, "RBC", *PLACES)
    describe(world, "one")
    world.good("apply", "manifest.yaml")
    write_boxes(world, "RBC", (3, 1), *PLACES[1:])
    world.good("apply", "manifest.yaml")
    run = last_run(world)["id"]
    world.good("revert", run, "--out", "back.plan", "manifest.yaml")
    world.good("apply", "back.plan")
    assert last_run(world)["command"] == f"revert {run} manifest.yaml (saved as back.plan)"
