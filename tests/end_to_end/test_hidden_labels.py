"""Annotation sources that are partly hidden: the sets of their images stay, and the place is reported."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.world import BIRDS, World, boxes

LABELS = ("train/crow", "train/gull", "val/jay")


@pytest.fixture
def labelled(world: World) -> World:
    """Three images in two folders, each with one box, in the lake."""
    for name in LABELS:
        world.images(f"{name}.png")
        world.write(f"labels/{name}.txt", "0 0.5 0.5 0.2 0.2\n")
    world.write("labels/classes.txt", "bird\n")
    describe(world, "labels")
    assert world.good("apply", "manifest.yaml", "--json").summary["done"]["annotate"] == 3
    return world


def describe(world: World, source: str) -> None:
    world.manifest({**BIRDS, "annotations": [{"operation": "op", "kind": "human", "source": source}]})


def link_it(train: Path) -> None:
    train.rename(train.parent.parent / "disk2")
    train.symlink_to("../disk2")


def let_it_dangle(train: Path) -> None:
    link_it(train)
    (train.parent.parent / "disk2").rename(train.parent.parent / "unmounted")


def empty_it(train: Path) -> None:
    for path in train.iterdir():
        path.unlink()


@pytest.mark.parametrize("source", ["labels", "labels/*/*.txt"])
@pytest.mark.parametrize(
    ("hide", "named"),
    [(link_it, "are links, which are not followed"), (let_it_dangle, "are broken"), (empty_it, "are empty")],
)
def test_a_hidden_label_folder_clears_nothing(
    labelled: World, source: str, hide: Callable[[Path], None], named: str
) -> None:
    describe(labelled, source)
    hide(labelled.folder / "labels" / "train")
    plan = labelled.good("plan", "manifest.yaml", "--json").document
    assert plan["summary"]["remove_annotations"] == 0
    if source == "labels" or hide is not link_it:
        assert [note for note in plan["warnings"] if named in note["message"] and "train'" in note["message"]]
    assert (
        labelled.good("apply", "--auto-approve", "manifest.yaml", "--json").summary["done"]["remove_annotations"] == 0
    )


def test_labels_that_disappeared_from_a_folder_with_others_are_removed(labelled: World) -> None:
    (labelled.folder / "labels/train/gull.txt").unlink()
    assert labelled.good("plan", "manifest.yaml", "--json").document["summary"]["remove_annotations"] == 1


def test_brackets_in_the_manifests_folder_are_not_part_of_a_sources_pattern(world: World) -> None:
    world.folder = world.folder / "birds [v2]"
    world.images("crow.png")
    world.write("ann/one.json", boxes(crow_png=[[1, 2, 3, 4]]))
    for source in ("ann/*.json", "ann/[a-z]*.json", "ann/**/*.json", str(world.folder / "ann/one.json")):
        describe(world, source)
        assert "1 annotation set" in world.good("validate", "manifest.yaml").out
    assert os.fspath(world.folder).endswith("[v2]")
