"""A source that is not a regular file is an error, because a pipe might never end."""

from __future__ import annotations

import os

import pytest

from tests.end_to_end.world import BIRDS, World, boxes

PIPES = ["boxes.json", "coco.txt", "voc.xml", "yolo/a.txt", "data.yaml"]


@pytest.mark.parametrize("source", PIPES)
def test_a_pipe_as_a_source_of_annotations_is_an_error(world: World, source: str) -> None:
    world.images("a.png")
    world.write("classes.txt", "bird\n")
    (world.folder / "yolo").mkdir()
    os.mkfifo(world.folder / source)
    world.manifest({**BIRDS, "annotations": [{"operation": "op", "kind": "human", "source": source.split("/")[0]}]})
    done = world.run("validate", "manifest.yaml")
    assert done.code == 64
    assert f"{source}: it is not a regular file" in done.err


def test_a_pipe_among_the_files_of_a_glob_is_an_error_too(world: World) -> None:
    world.images("a.png")
    world.write("a.json", boxes(a_png=[]))
    os.mkfifo(world.folder / "b.json")
    world.manifest({**BIRDS, "annotations": [{"operation": "op", "kind": "human", "source": "*.json"}]})
    assert "b.json: it is not a regular file" in world.run("validate", "manifest.yaml").err


@pytest.mark.parametrize("source", ["meta.json", "meta.csv", "meta.jsonl"])
def test_a_pipe_as_a_source_of_metadata_is_an_error(world: World, source: str) -> None:
    world.images("a.png")
    os.mkfifo(world.folder / source)
    world.manifest({**BIRDS, "file_metadata": [source]})
    done = world.run("validate", "manifest.yaml")
    assert (done.code, f"{source}: it is not a regular file" in done.err) == (64, True)


def test_a_link_to_a_file_is_a_valid_source(world: World) -> None:
    world.images("crow.png")
    world.write("elsewhere.json", boxes(crow_png=[[1, 2, 3, 4]]))
    (world.folder / "boxes.json").symlink_to("elsewhere.json")
    world.manifest({**BIRDS, "annotations": [{"operation": "op", "kind": "human", "source": "boxes.json"}]})
    assert "1 annotation set" in world.good("validate", "manifest.yaml").out
