"""A run that is killed after the lake's answer and before its record: the next run knows what the lake has from us."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.test_revert import FIRST, MOVED, describe, edit, edit_metadata, lake_content, last_run
from tests.end_to_end.world import World, unmanaged_sources
from tests.faults.mortal import run_in_child
from tests.forked import CONTEXT

STEPS = 60
"""More commits, before and after each, than these runs make."""

METADATA = {"Source": "BCCD-v2", "Tags": ["two", "three"]}

CORRECTED = {**MOVED, "a_png": [[4, 1, 8, 8], [20, 10, 6, 6]]}


def killed(world: World, step: int | str, *args: str) -> bool:
    """Run a command that kills itself at a commit of its state. False if it came to its end before."""
    child = CONTEXT.Process(target=run_in_child, args=(str(world.folder), list(args), world.environment(), step))
    child.start()
    child.join()
    output = (world.folder.parent / "output.2").read_text()
    assert child.exitcode in (0, -signal.SIGKILL), output
    return child.exitcode != 0


def killed_apply(world: World, step: int | str) -> bool:
    return killed(world, step, "apply", "manifest.yaml", "--auto-approve", "--json")


def pending(world: World) -> int:
    """How many writes the state has that the lake did not confirm."""
    (path,) = (world.folder / ".metalake-sync").glob("*.db")
    with closing(sqlite3.connect(path)) as db:
        counts = (db.execute(f"SELECT count(*) FROM {table}").fetchone() for table in TABLES)
        return sum(count for (count,) in counts)


TABLES = ("pending_sets", "pending_metadata")


def nothing_to_do(world: World) -> bool:
    return all(
        "Nothing to do" in world.good("plan", "--refresh", refresh, "manifest.yaml").out for refresh in ("list", "full")
    )


@pytest.fixture
def applied(world: World) -> World:
    """Three images with boxes and metadata in the lake."""
    world.images("a.png", "b.png", "c.png")
    describe(world, FIRST, {"Source": "BCCD", "Tags": ["one", "two"]})
    world.good("apply", "manifest.yaml")
    return world


@pytest.mark.long
def test_the_next_apply_undoes_a_killed_revert(applied: World) -> None:
    describe(applied, MOVED, METADATA)
    applied.good("apply", "manifest.yaml")
    wanted, run = lake_content(applied), last_run(applied)
    kills = 0
    for step in range(1, STEPS, 2):  # Before each commit.
        if not killed(applied, step, "revert", run, "manifest.yaml", "--auto-approve", "--json"):
            break
        kills += 1
        applied.good("apply", "manifest.yaml")
        assert lake_content(applied) == wanted, step
        assert nothing_to_do(applied), step
        assert pending(applied) == 0, step
        # The runs before a revert are the same each time.
        describe(applied, FIRST, {"Source": "BCCD", "Tags": ["one", "two"]})
        applied.good("apply", "manifest.yaml")
        describe(applied, MOVED, METADATA)
        applied.good("apply", "manifest.yaml")
        run = last_run(applied)
    assert kills > 6


@pytest.mark.parametrize("on_drift", ["ask", "keep", "merge"])
def test_a_set_of_a_killed_apply_is_not_taken_for_one_of_another_client(applied: World, on_drift: str) -> None:
    metadata = {"Source": "BCCD", "Tags": ["one", "two"]}
    describe(applied, MOVED, metadata, on_drift=on_drift)
    assert killed_apply(applied, "before recorder.confirm")
    assert pending(applied) == len(MOVED)
    describe(applied, CORRECTED, metadata, on_drift=on_drift)
    document = applied.good("plan", "--json", "manifest.yaml").document
    assert [(one["file"], one.get("overwrites", False)) for one in document["actions"]] == [("a.png", False)]
    assert document["warnings"] == []
    assert pending(applied) == len(MOVED), "a plan changes no record"
    applied.good("apply", "manifest.yaml")
    assert pending(applied) == 0
    killed_content = lake_content(applied)
    assert nothing_to_do(applied)
    describe(applied, FIRST, metadata, on_drift=on_drift)
    applied.good("apply", "manifest.yaml")
    describe(applied, CORRECTED, metadata, on_drift=on_drift)
    applied.good("apply", "manifest.yaml")
    assert lake_content(applied) == killed_content, "as without a kill"


def test_a_set_that_a_killed_apply_cleared_is_not_taken_for_a_cleared_one_of_another_client(applied: World) -> None:
    metadata = {"Source": "BCCD", "Tags": ["one", "two"]}
    describe(applied, {**FIRST, "a_png": []}, metadata, on_drift="keep")
    assert killed_apply(applied, "before recorder.confirm")
    describe(applied, FIRST, metadata, on_drift="keep")
    before = lake_content(applied)
    applied.good("apply", "manifest.yaml")
    assert lake_content(applied) != before
    assert nothing_to_do(applied)


def test_a_merged_set_of_a_killed_apply_stays(applied: World) -> None:
    metadata = {"Source": "BCCD", "Tags": ["one", "two"]}
    edit(applied, "a.png", (1, 1, 8, 8), (20, 10, 6, 6), (7, 7, 3, 3))
    describe(applied, MOVED, metadata, on_drift="merge")
    assert killed_apply(applied, "before recorder.confirm")
    merged = lake_content(applied)
    applied.good("apply", "manifest.yaml")
    assert lake_content(applied) == merged
    describe(applied, MOVED, metadata, on_drift="ask")
    assert nothing_to_do(applied)


def test_an_edit_of_another_client_after_the_kill_stays_theirs(applied: World) -> None:
    describe(applied, MOVED, METADATA, on_drift="ask")
    for step in ("before recorder.confirm", "after recorder.confirm"):
        assert killed_apply(applied, step)
    edit(applied, "a.png", (7, 7, 3, 3))
    edit_metadata(applied, "b.png", Source="theirs")
    describe(applied, CORRECTED, {"Source": "BCCD-v3", "Tags": ["two", "three"]})
    found = applied.good("plan", "--json", "manifest.yaml").document["actions"]
    overwriting = {(one["action"], one["file"]) for one in found if one.get("overwrites")}
    assert {("annotate", "a.png"), ("update_metadata", "b.png")} <= overwriting
    assert ("annotate", "c.png") not in overwriting


@pytest.mark.long
@pytest.mark.parametrize("by", ["unique_name", "collection", "storage_path", "job"])
def test_the_next_apply_undoes_a_killed_revert_of_unmanaged_files(world: World, by: str) -> None:
    write = unmanaged_sources(world, by)
    write([1, 1, 8, 8], "first")
    world.good("apply", "manifest.yaml")
    write([2, 1, 8, 8], "second")
    world.good("apply", "manifest.yaml")
    wanted: dict[str, Any] = lake_content(world)
    steps = 0
    for step in range(1, STEPS, 2):
        if not killed(world, step, "revert", last_run(world), "manifest.yaml", "--auto-approve", "--json"):
            break
        steps += 1
        world.good("apply", "manifest.yaml")
        assert _without_order(lake_content(world)) == _without_order(wanted), step
        write([1, 1, 8, 8], "first")
        world.good("apply", "manifest.yaml")
        write([2, 1, 8, 8], "second")
        world.good("apply", "manifest.yaml")
    assert steps > 4


def _without_order(content: dict[str, Any]) -> dict[str, Any]:
    return {key: sorted(value) if isinstance(value, str) else value for key, value in content.items()}


def test_a_state_with_pending_writes_is_read_by_a_plan_without_the_lake(applied: World, tmp_path: Path) -> None:
    describe(applied, MOVED, METADATA)
    assert killed_apply(applied, "after recorder.confirm")
    applied.good("plan", "--refresh", "none", "manifest.yaml")
    assert applied.run("apply", "--refresh", "none", "manifest.yaml").code == 0
    assert nothing_to_do(applied)
