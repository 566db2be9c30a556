"""A plan shows what changes in annotation sets, shape by shape, in every form of output."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.end_to_end.test_annotation_sources import manifest
from tests.end_to_end.world import World, boxes

IMAGES = [f"cell_{number:02}.png" for number in range(14)]
BOXES = [("RBC", 1, 1, 8, 8), ("RBC", 12, 1, 8, 8), ("RBC", 24, 2, 9, 9), ("WBC", 5, 10, 9, 9)]


def voc(number: int) -> str:
    """Four boxes, at a place that depends on the image's number. Images of 40 x 20 pixels."""
    objects = "".join(
        f"<object><name>{label}</name><pose>Unspecified</pose><difficult>0</difficult><bndbox><xmin>{x + number % 3}"
        f"</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for label, x, y, w, h in BOXES
    )
    return f"<annotation><filename>{IMAGES[number]}</filename>{objects}</annotation>"


def edit(world: World, number: int, change: Callable[[str], str]) -> None:
    path = world.folder / "voc" / f"cell_{number:02}.xml"
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))


def without_two_boxes(text: str) -> str:
    return re.sub(r"<object>.*?</object>", "", text, count=2)


@pytest.fixture
def relabeled(world: World) -> World:
    """VOC sources that the lake has. Then a label is renamed, a box moved, two deleted, and an attribute changed."""
    world.images(*IMAGES)
    for number in range(len(IMAGES)):
        world.write(f"voc/cell_{number:02}.xml", voc(number))
    manifest(world, "voc")
    world.good("apply", "manifest.yaml")
    for number in range(len(IMAGES)):
        edit(world, number, lambda text: text.replace("RBC", "Erythrocyte"))
    edit(world, 3, lambda text: text.replace("<xmin>1</xmin>", "<xmin>3</xmin>", 1))
    edit(world, 5, without_two_boxes)
    edit(world, 8, lambda text: text.replace("<difficult>0<", "<difficult>1<", 1))
    return world


def test_a_plan_shows_exactly_what_changed_on_one_screen(relabeled: World) -> None:
    world = relabeled
    world.lake.requests.clear()
    lines = world.good("plan", "--out", "p.plan", "manifest.yaml").out.splitlines()
    assert lines[:13] == [
        "birds (image)",
        "    ~ cell_03.png  op: 1 box moved and relabeled, 2 boxes relabeled, 1 unchanged",
        "          RBC → Erythrocyte  (1,1 8×8) → (3,1 6×8)",
        "          RBC → Erythrocyte  (12,1 8×8)",
        "          RBC → Erythrocyte  (24,2 9×9)",
        "    ~ cell_05.png  op: 2 boxes removed, 1 box relabeled, 1 unchanged",
        "          RBC → Erythrocyte  (26,2 7×9)",
        "          RBC  (3,1 6×8) removed",
        "          RBC  (14,1 6×8) removed",
        "    ~ cell_08.png  op: 2 boxes relabeled, 1 box relabeled and attributes changed, 1 unchanged",
        "          RBC → Erythrocyte  (3,1 6×8)  metadata.difficult '0' → '1'",
        "          RBC → Erythrocyte  (14,1 6×8)",
        "          RBC → Erythrocyte  (26,2 7×9)",
    ]
    assert lines[13] == "    ~ 11 files     op: RBC relabeled to Erythrocyte, 33 boxes"
    assert "labels: RBC −42, Erythrocyte +40" in lines[-2]
    assert sum(1 + len(line) // 80 for line in lines) <= 40
    assert world.lake.requests.writes == 0
    assert world.good("show", "p.plan").out.splitlines()[:14] == lines[:14]

    actions = {one["file"]: one for one in world.good("plan", "--json", "manifest.yaml").document["actions"]}
    assert list(actions) == IMAGES
    counts = {name: one["shape_changes"]["counts"] for name, one in actions.items()}
    assert (counts["cell_03.png"]["moved"], counts["cell_05.png"]["removed"]) == (1, 2)
    assert counts["cell_08.png"]["attributes"] == 1
    assert sum(one["relabeled"] for one in counts.values()) == 40
    for one in actions.values():
        listed = one["shape_changes"]["changes"]
        assert all(("before" in shape, "after" in shape) == (True, "removed" not in shape["what"]) for shape in listed)
        assert one["shape_changes"]["left_out"] == 0

    explained = world.good("plan", "--explain", "cell_03.png", "manifest.yaml").out
    assert "~ cell_03.png  op: 1 box moved and relabeled, 2 boxes relabeled, 1 unchanged" in explained
    assert "RBC → Erythrocyte  (1,1 8×8) → (3,1 6×8)" in explained
    assert "| `~` | `11 files` |" in world.good("plan", "--markdown", "manifest.yaml").out

    world.good("apply", "manifest.yaml")
    assert "Nothing to do: 14 unchanged." in world.good("plan", "manifest.yaml").out


def test_events_carry_the_changes_of_the_plan(relabeled: World) -> None:
    plan = relabeled.good("apply", "--json", "manifest.yaml").events[0]["plan"]
    (moved,) = [one for one in plan["actions"] if one["file"] == "cell_03.png"]
    assert moved["shape_changes"]["counts"]["moved"] == 1


def one_box(left: float, label: str = "bird") -> dict[str, Any]:
    document = boxes(crow_png=[[left, 2, 10, 7], [20, 2, 10, 7]])
    for shape in document["images"][0]["annotations"]:
        shape["label"] = label
    return document


def test_a_new_operation_of_files_in_the_lake_has_no_shapes_before_if_the_plan_looked(world: World) -> None:
    world.images("crow.png")
    world.manifest({"name": "birds", "type": "image", "folders": [{"path": "images"}]})
    world.good("apply", "manifest.yaml")
    world.write("boxes.json", one_box(1))
    manifest(world, "boxes.json")
    for refresh, before in (("none", "unknown"), ("list", "none"), ("full", "none")):
        shown = world.good("plan", "--refresh", refresh, "manifest.yaml").out
        assert f"    ~ crow.png  new, op: {before} → 2 shapes" in shown


def test_sets_of_unmanaged_files_show_their_changes(world: World) -> None:
    from tests.embedded_lake.talk import png

    world.talk.upload({"crow.png": png(salt=b"c")}, "theirs")
    block = {"operation": "op", "kind": "human", "source": "boxes.json", "by": "collection", "collection": "theirs"}
    world.manifest(annotations=[block])
    world.write("boxes.json", one_box(1))
    world.good("apply", "manifest.yaml")
    world.write("boxes.json", one_box(3))
    lines = world.good("plan", "manifest.yaml").out.splitlines()
    assert lines[1:3] == [
        "    ~ crow.png  op: 1 box moved, 1 unchanged",
        "          bird  (1,2 10×7) → (3,2 10×7)",
    ]


def test_pixels_after_fractions_are_compared_in_pixels(world: World) -> None:
    world.images("crow.png")
    world.write("labels/classes.txt", "bird\n")
    world.write("labels/crow.txt", "0 0.5 0.5 0.5 0.5\n")
    manifest(world, "labels", normalized=True)
    world.good("apply", "manifest.yaml")
    world.write("labels/crow.txt", "0 0.5 0.5 0.5 0.6\n")
    manifest(world, "labels", normalized=False)
    lines = world.good("plan", "manifest.yaml").out.splitlines()
    assert lines[1:3] == ["    ~ crow.png  op: 1 box moved", "          bird  (10,5 20×10) → (10,4 20×12)"]


def test_a_renamed_file_says_what_moves_with_it(world: World) -> None:
    world.images("crow.png", "jay.png")
    entry = {"image": "jay.png", "annotations": one_box(1)["images"][0]["annotations"]}
    world.write("boxes.json", {"images": [*one_box(1)["images"], entry]})
    manifest(world, "boxes.json")
    world.good("apply", "manifest.yaml")
    (world.folder / "images/crow.png").rename(world.folder / "images/gull.png")
    lost = world.good("plan", "manifest.yaml").out
    assert "keeps its metadata, loses 2 shapes of op, because the source has none for the new name" in lost
    renamed = {**one_box(1)["images"][0], "image": "gull.png"}
    world.write("boxes.json", {"images": [renamed, entry]})
    assert "keeps its metadata and annotations of op" in world.good("plan", "manifest.yaml").out
