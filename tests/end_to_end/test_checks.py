"""The checks of the sources: what they find, what they stop, and what they cost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.end_to_end.world import BIRDS, World

SIXTY = [f"{number:02}.jpg" for number in range(60)]
POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
ERROR_PAGE = b"<!DOCTYPE html>\n<html><body><h1>502 Bad Gateway</h1></body></html>"


def stopped(world: World, *flags: str) -> str:
    """Apply with --auto-approve. The run must stop and send nothing. Returns its error."""
    world.lake.requests.clear()
    done = world.run("apply", "--auto-approve", *flags, "manifest.yaml")
    assert done.code == 7, (done.code, done.out, done.err)
    assert world.lake.requests.writes == 0
    return done.err


def test_sixty_images_that_became_pointers_stop_the_run_with_one_line(world: World) -> None:
    world.images(*SIXTY)
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    before = world.talk.read("birds_00.jpg")
    for name in SIXTY:
        world.write(f"images/{name}", POINTER)
    (line,) = stopped(world, "--max-delete", "60").splitlines()
    assert "birds: 60 files are placeholders of Git LFS or git-annex" in line
    assert "run 'git lfs pull'" in line
    assert world.talk.read("birds_00.jpg") == before
    for command in ("plan", "validate"):
        done = world.run(command, "manifest.yaml")
        assert done.code == 7
        assert "00.jpg" in done.out
    # Turned off, the pointers are files like others.
    world.manifest(BIRDS, checks={"images": "off"})
    world.good("apply", "--auto-approve", "--max-delete", "60", "manifest.yaml")
    assert world.talk.read("birds_00.jpg") == POINTER.encode()


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, ERROR_PAGE, b'{"message": "not found"}'], ids=len)
def test_what_cannot_be_an_image_does_not_replace_one(world: World, content: bytes) -> None:
    world.images("a.png", "b.png")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    world.write("images/a.png", content)
    error = stopped(world)
    assert "birds/a.png" in error
    assert "b.png" not in error


def test_a_new_file_that_cannot_be_an_image_is_listed(world: World) -> None:
    world.images("a.png")
    world.write("images/empty.png", b"")
    world.write("images/page.png", ERROR_PAGE)
    world.manifest(BIRDS)
    done = world.good("apply", "manifest.yaml")
    assert "birds/empty.png: is empty (0 bytes)" in done.out
    assert "birds/page.png: is a web page" in done.out
    assert world.names() == ["a.png", "empty.png", "page.png"]


def test_a_pointer_is_no_data_in_any_collection(world: World) -> None:
    world.write("models/weights.bin", POINTER)
    world.write("models/empty.bin", b"")
    world.manifest({"name": "models", "type": "other", "folders": [{"path": "models"}]})
    error = stopped(world)
    assert "models/weights.bin: is a Git LFS pointer" in error
    assert "empty.bin" not in error


def test_warnings_do_not_stop_a_plan(world: World) -> None:
    world.write("images/a.png", POINTER)
    world.manifest(BIRDS, checks={"images": "warn"})
    assert "birds/a.png: is a Git LFS pointer" in world.good("apply", "manifest.yaml").out


def codes(document: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in document["warnings"]]


def test_a_saved_plan_is_stopped_too(world: World) -> None:
    world.images("a.png")
    world.write("images/b.png", POINTER)
    world.manifest(BIRDS)
    assert world.run("plan", "manifest.yaml", "--out", "birds.plan").code == 7
    assert "check_failed" in codes(json.loads((world.folder / "birds.plan").read_text())["plan"])
    assert world.run("apply", "birds.plan").code == 7
    world.images("b.png")
    assert world.run("plan", "manifest.yaml", "--out", "birds.plan").code == 0
    world.good("apply", "birds.plan")
    assert world.names() == ["a.png", "b.png"]
