"""`state push` and `state migrate` compare histories: nothing that a state has is lost without `--force`."""

from __future__ import annotations

import shutil

import pytest

from tests.end_to_end.world import PRUNED, World

STATE = ".metalake-sync/manifest.db"


@pytest.fixture
def diverged(world: World) -> World:
    """Two copies of a state, `p.db` and `q.db`: two runs uploaded different files since, each with its own."""
    world.images("a.png")
    world.manifest(PRUNED)
    world.good("apply", "manifest.yaml")
    world.good("state", "pull", "manifest.yaml", "--to", "p.db")
    world.images("b.png")
    world.good("apply", "manifest.yaml")
    shutil.copy(world.folder / STATE, world.folder / "q.db")
    (world.folder / "images/b.png").unlink()
    world.images("c.png")
    world.good("apply", "--state", "p.db", "manifest.yaml")
    return world


def serial(world: World, *options: str) -> int:
    found: int = world.good("state", "show", "--json", "manifest.yaml", *options).document["serial"]
    return found


@pytest.mark.parametrize("more_runs", [0, 1])
def test_a_state_that_lacks_a_run_of_the_present_one_needs_force(diverged: World, more_runs: int) -> None:
    for number in range(more_runs):
        diverged.images(f"more{number}.png")
        diverged.good("apply", "--state", "p.db", "manifest.yaml")
    assert serial(diverged, "--state", "p.db") == serial(diverged) + more_runs
    refused = diverged.run("state", "push", "manifest.yaml", "p.db")
    assert refused.code == 7
    assert "another version of p.db: it has changes that p.db does not have" in refused.err
    refused = diverged.run("state", "migrate", "manifest.yaml", "--to", "p.db")
    assert refused.code == 7
    assert "Nothing was done" in refused.err
    # The file that only the present state has is pruned, because the state is still there.
    plan = diverged.good("plan", "--json", "manifest.yaml").document
    assert ("trash", "b.png") in {(action["action"], action["file"]) for action in plan["actions"]}


def test_a_later_version_of_the_same_state_needs_no_force(diverged: World) -> None:
    diverged.images("d.png")
    diverged.good("apply", "manifest.yaml", "--auto-approve")
    diverged.good("state", "pull", "manifest.yaml", "--to", "newer.db")
    before = serial(diverged)
    diverged.good("state", "push", "manifest.yaml", "newer.db")
    diverged.good("state", "push", "manifest.yaml", "newer.db", "--state", "q.db")
    assert serial(diverged) == serial(diverged, "--state", "q.db") == before


def test_records_that_were_forgotten_are_a_change_too(world: World) -> None:
    world.images("a.png", "b.png")
    world.manifest(PRUNED)
    world.good("apply", "manifest.yaml")
    world.good("state", "pull", "manifest.yaml", "--to", "p.db")
    world.good("state", "forget", "manifest.yaml", "--target", "birds/a.png", "--auto-approve")
    world.images("c.png")
    world.good("apply", "--state", "p.db", "manifest.yaml")
    assert serial(world) == serial(world, "--state", "p.db")
    assert world.run("state", "push", "manifest.yaml", "p.db").code == 7


def test_a_forced_push_repeats_no_serial(diverged: World) -> None:
    for name in ("d.png", "e.png"):
        diverged.images(name)
        diverged.good("apply", "manifest.yaml", "--auto-approve")
    before = serial(diverged)
    diverged.images("f.png")
    diverged.good("plan", "manifest.yaml", "--out", "old.plan")
    assert serial(diverged, "--state", "p.db") < before
    pushed = diverged.good("state", "push", "--force", "--json", "manifest.yaml", "p.db").document
    assert pushed["serial"] == serial(diverged) > before
    assert diverged.run("apply", "old.plan").code == 7
    # A copy of the state before lacks this push.
    assert diverged.run("state", "push", "manifest.yaml", "q.db").code == 7
