"""A plan that was saved in one checkout is applied in another one of the same commit, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.embedded_lake.talk import png
from tests.end_to_end.world import BIRDS, World, with_pruned

NEW = png(40, 20, b"new")


@pytest.fixture
def reviewed(world: World) -> World:
    """A checkout in which a plan was saved: one file is in the lake, two are new."""
    world.images("old.png")
    world.manifest({**BIRDS, "metadata": {"City": "Rome"}})
    world.good("apply", "manifest.yaml")
    shutil.rmtree(world.folder / ".metalake-sync")
    world.write("images/new.png", NEW)
    world.write("images/second.png", png(40, 20, b"two"))
    world.good("plan", "--out", "the.plan", "manifest.yaml")
    return world


def checkout(first: World, name: str = "second") -> World:
    """Move the files to another folder, as new files with new times. The first folder is gone."""
    folder = first.folder.parent / name
    folder.mkdir()
    for path in sorted(first.folder.rglob("*")):
        target = folder / path.relative_to(first.folder)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(path.read_bytes())
    shutil.rmtree(first.folder)
    return World(folder, first.lake, first.talk)


def test_a_plan_is_applied_in_another_checkout_as_it_was_reviewed(reviewed: World) -> None:
    text = (reviewed.folder / "the.plan").read_text()
    assert str(reviewed.folder) not in text
    second = checkout(reviewed)
    second.images("later.png")
    done = second.good("apply", "the.plan").out
    assert "2 files uploaded" in done
    assert second.names() == ["new.png", "old.png", "second.png"]
    # The rest is what the plan did not have.
    plan = second.good("plan", "--json", "manifest.yaml").document
    assert [(action["action"], action["file"]) for action in plan["actions"]] == [("upload", "later.png")]


@pytest.mark.parametrize("keep_times", [False, True])
def test_other_bytes_of_the_same_size_are_refused(reviewed: World, keep_times: bool) -> None:
    second = checkout(reviewed)
    path = second.folder / "images" / "new.png"
    times = path.stat()
    path.write_bytes(png(40, 20, b"NEW"))
    if keep_times:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    second.lake.requests.clear()
    done = second.run("apply", "the.plan")
    assert done.code == 7
    assert "'upload birds/new.png': content " in done.err
    assert "second.png" not in done.err
    assert second.lake.requests.writes == 0


def test_a_touched_file_does_not_make_a_plan_stale(reviewed: World) -> None:
    os.utime(reviewed.folder / "images" / "new.png", ns=(1, 1))
    assert "2 files uploaded" in reviewed.good("apply", "the.plan").out


def test_a_file_that_left_the_checkout_is_named(reviewed: World) -> None:
    second = checkout(reviewed)
    (second.folder / "images" / "new.png").unlink()
    done = second.run("apply", "the.plan")
    assert done.code == 7
    assert "the file of the action 'upload birds/new.png' is not in the sources any more" in done.err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("the.plan", ""),
        ("the.plan", "{}"),
        ("the.plan", '{"manifest": "manifest.yaml"}'),
        ("the.plan", "version: 1"),
        ("plan.json", "[]"),
        ("plan.json", " {}\n"),
        ("plan.json", "null"),
        ("plan.json", ""),
    ],
)
def test_a_broken_saved_plan_is_called_so(world: World, name: str, content: str) -> None:
    world.write(name, content)
    done = world.run("apply", name)
    assert done.code == 64
    assert f"{name}: the file is not a saved plan, and not a manifest" in done.err


def test_the_manifest_is_found_from_the_plan_or_from_the_current_folder(reviewed: World, tmp_path: Path) -> None:
    beside = World(tmp_path, reviewed.lake, reviewed.talk)
    assert "new.png" in beside.good("apply", "--dry-run", "project/the.plan").out
    (tmp_path / "artifacts").mkdir()
    (reviewed.folder / "the.plan").rename(tmp_path / "artifacts" / "the.plan")
    assert "new.png" in reviewed.good("apply", "--dry-run", "../artifacts/the.plan").out
    lost = beside.run("apply", "artifacts/the.plan")
    assert lost.code == 64
    assert "there is no manifest 'manifest.yaml' of the plan here" in lost.err
    assert "Run the command in the folder where the plan was made" in lost.err


def test_a_plan_that_claims_to_remove_nothing_approves_no_removal(world: World) -> None:
    """A pipeline asks for approval if the file says that the plan is destructive. Others may have written the file."""
    with_pruned(world, "a.png", "b.png")
    (world.folder / "images" / "a.png").unlink()
    world.good("plan", "--out", "the.plan", "manifest.yaml")
    plan = world.folder / "the.plan"
    saved = json.loads(plan.read_text())
    assert saved["destructive"] is True
    plan.write_text(json.dumps({**saved, "destructive": False}))
    done = world.run("apply", "the.plan")
    assert (done.code, "it was not approved" in done.err) == (7, True)
    assert world.names() == ["a.png", "b.png"]
    world.good("apply", "--auto-approve", "the.plan")
    assert world.names() == ["b.png"]


def test_a_plan_is_bound_to_its_state_and_not_only_to_its_number_of_runs(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    world.images("b.png")
    world.good("plan", "--out", "the.plan", "manifest.yaml")
    shutil.rmtree(world.folder / ".metalake-sync")
    # As many runs as before, in another state.
    world.good("apply", "--target", "birds/a.png", "manifest.yaml")
    done = world.run("apply", "the.plan")
    assert done.code == 7
    assert "it was made from another state" in done.err


def test_the_pictured_plan_of_another_checkout_shows_images_of_equal_bytes_only(reviewed: World) -> None:
    second = checkout(reviewed)
    path = second.folder / "images" / "new.png"
    assert "with images of 2 entries" in second.good("show", "the.plan", "--html", "plan.html").out
    path.write_bytes(png(40, 20, b"NEW"))
    assert "with images of 1 entry" in second.good("show", "the.plan", "--html", "plan.html").out
    assert "the file changed after the plan was made" in (second.folder / "plan.html").read_text()


def test_a_plan_of_an_earlier_version_is_refused_with_a_remedy(reviewed: World) -> None:
    plan = reviewed.folder / "the.plan"
    plan.write_text(plan.read_text().replace('"format_version": "2.0"', '"format_version": "1.0"', 1))
    done = reviewed.run("apply", "the.plan")
    assert done.code == 64
    assert "Make a new one with 'plan --out'" in done.err
