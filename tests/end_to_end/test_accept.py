"""`annotations accept`: what another client changed in the lake becomes a source of the manifest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metalake_sync.errors import ExitCode
from tests.embedded_lake.talk import box, image_set
from tests.end_to_end.world import BIRDS, World, boxes

CROW, GULL, JAY = "crow.png", "gull.png", "jay.png"
FIRST = {"crow_png": [[1, 1, 8, 8], [20, 10, 6, 6]], "gull_png": [[3, 3, 10, 10]], "jay_png": [[5, 5, 9, 9]]}
THEIRS = [box("bird", 1, 1, 8, 8), box("bird", 20, 12, 6, 6)]


def manifest(world: World, source: Any = "boxes.json", **block: Any) -> None:
    annotations = {"operation": "people", "kind": "human", "source": source, **block}
    world.manifest({**BIRDS, "annotations": [annotations]})


@pytest.fixture
def annotated(world: World) -> World:
    """A lake with three images and their boxes, as the manifest has them."""
    world.images(CROW, GULL, JAY)
    world.write("boxes.json", boxes(**FIRST))
    manifest(world)
    world.good("apply", "manifest.yaml")
    return world


def edit(world: World, image: str, *shapes: Any, operation: str = "people") -> None:
    """Another client writes a set of our operation."""
    assert world.talk.annotate(operation, [image_set(f"birds_{image}", *shapes)]).status_code == 200


def accept(world: World, *options: str) -> Any:
    return world.good("annotations", "accept", "manifest.yaml", "--json", *options).document


def sets_of(document: Any) -> list[tuple[str, int]]:
    return [(one["file"], one["shapes"]) for file in document["files"] for one in file["sets"]]


def entries(world: World, path: str = "accepted.json") -> dict[str, Any]:
    document = json.loads((world.folder / path).read_text("utf-8"))
    return {entry["image"]: entry["annotations"] for entry in document["images"]}


def assert_converged(world: World) -> None:
    """The manifest wants what the lake has: no plan has an action or a warning, and an apply sends nothing."""
    for refresh in ("list", "full"):
        found = world.good("plan", "--json", "--refresh", refresh, "manifest.yaml").document
        assert (found["actions"], found["warnings"]) == ([], [])
    world.lake.requests.clear()
    world.good("apply", "--refresh", "full", "manifest.yaml")
    assert world.lake.requests.writes == 0
    assert accept(world)["files"] == []


def test_an_accepted_set_becomes_the_manifests_own(annotated: World) -> None:
    edit(annotated, CROW, *THEIRS)
    annotated.lake.requests.clear()
    text = annotated.good("annotations", "accept", "manifest.yaml").out
    assert annotated.lake.requests.writes == 0
    assert "birds, people: wrote 1 set to accepted.json" in text
    assert "crow.png  2 shapes: 1 box moved, 1 unchanged" in text
    assert "bird  (20,10 6×6) → (20,12 6×6)" in text
    assert 'source: ["boxes.json", "accepted.json"]' in text
    manifest(annotated, ["boxes.json", "accepted.json"])
    assert_converged(annotated)


def test_our_own_edits_are_not_accepted(annotated: World) -> None:
    annotated.write("boxes.json", boxes(**{**FIRST, "gull_png": [[4, 3, 10, 10]]}))
    done = annotated.good("annotations", "accept", "manifest.yaml")
    assert done.out.startswith("Nothing to accept")
    assert not (annotated.folder / "accepted.json").exists()
    edit(annotated, CROW, *THEIRS)
    assert sets_of(accept(annotated)) == [(CROW, 2)]


def test_a_conflict_is_accepted_as_the_lake_has_it(annotated: World) -> None:
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(**{**FIRST, "crow_png": [[2, 1, 8, 8], [20, 10, 6, 6]]}))
    (written,) = accept(annotated)["files"]
    (one,) = written["sets"]
    assert one["shape_changes"]["counts"]["moved"] == 2
    assert written["source"] == ["boxes.json", "accepted.json"]
    manifest(annotated, written["source"])
    assert_converged(annotated)


def test_only_the_named_files_are_accepted_and_earlier_entries_stay(annotated: World) -> None:
    edit(annotated, CROW, *THEIRS)
    edit(annotated, GULL, box("bird", 3, 4, 10, 10))
    assert sets_of(accept(annotated, CROW)) == [(CROW, 2)]
    before = entries(annotated)[CROW]
    assert sets_of(accept(annotated, "images/gull.png")) == [(GULL, 1)]
    assert list(entries(annotated)) == [CROW, GULL]
    assert entries(annotated)[CROW] == before
    manifest(annotated, ["boxes.json", "accepted.json"])
    assert_converged(annotated)
    edit(annotated, CROW, box("bird", 7, 7, 3, 3))
    (written,) = accept(annotated)["files"]
    assert written["source"] is None
    assert {image: len(found) for image, found in entries(annotated).items()} == {CROW: 1, GULL: 1}
    assert_converged(annotated)


def test_an_unknown_file_or_operation_is_an_error(annotated: World) -> None:
    for wrong in (["owl.png"], ["--operation", "nobody"]):
        done = annotated.run("annotations", "accept", "manifest.yaml", *wrong)
        assert (done.code, wrong[-1] in done.err) == (ExitCode.USAGE, True)


def test_a_cleared_set_and_a_set_of_an_image_without_entry_are_accepted(annotated: World) -> None:
    annotated.images("owl.png")
    annotated.good("apply", "manifest.yaml")
    edit(annotated, CROW)
    edit(annotated, "owl.png", box("bird", 2, 2, 4, 4))
    assert sets_of(accept(annotated)) == [(CROW, 0), ("owl.png", 1)]
    assert entries(annotated)[CROW] == []
    manifest(annotated, ["boxes.json", "accepted.json"])
    assert_converged(annotated)


def test_a_kept_set_is_accepted(annotated: World) -> None:
    manifest(annotated, on_drift="keep")
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(**{**FIRST, "crow_png": [[2, 1, 8, 8]]}))
    annotated.good("apply", "manifest.yaml")
    assert sets_of(accept(annotated)) == [(CROW, 2)]
    manifest(annotated, ["boxes.json", "accepted.json"], on_drift="keep")
    assert_converged(annotated)


def test_a_set_is_accepted_after_a_lost_state(annotated: World) -> None:
    edit(annotated, CROW, *THEIRS)
    for path in (annotated.folder / ".metalake-sync").glob("*.db*"):
        path.unlink()
    assert sets_of(accept(annotated)) == [(CROW, 2)]
    manifest(annotated, ["boxes.json", "accepted.json"])
    annotated.good("apply", "manifest.yaml")
    assert_converged(annotated)


@pytest.mark.parametrize("normalized", [True, "convert"])
def test_fractions_and_attributes_survive(world: World, normalized: Any) -> None:
    world.images(CROW, GULL)
    shape = {"type": "rectangle", "bbox": [0.1, 0.1, 0.3, 0.3], "label": "bird", "confidence": 0.5}
    shape["attributes"] = {"age": [{"value": "young"}]}
    world.write("boxes.json", {"images": [{"image": name, "annotations": [shape]} for name in (CROW, GULL)]})
    manifest(world, normalized=normalized)
    world.good("apply", "manifest.yaml")
    age = [{"value": "old", "confidence": 0.75, "metadata": {"unit": "years"}}]
    theirs = [
        {
            "type": "rectangle",
            "bbox": [5, 3, 13, 7],
            "label": "bird",
            "metadata": {"by": "Ann"},
            "attributes": {"age": age},
        },
        {"type": "polygon", "polygon": [[30, 1], [33.5, 1], [33.5, 8.25]], "label": "bird"},
    ]
    world.write("theirs.json", {"images": [{"image": CROW, "annotations": theirs}]})
    to = ("--operation", "people", "--kind", "human", "--collection", "birds")
    world.good("annotations", "upload", "theirs.json", *to)
    assert sets_of(accept(world)) == [(CROW, 2)]
    first, second = entries(world)[CROW]
    assert first["attributes"]["age"][0]["value"] == "old"
    assert first["metadata"] == {"by": "Ann"}
    assert [number for point in second["polygon"] for number in point] == pytest.approx(
        [30 / 40, 1 / 20, 33.5 / 40, 1 / 20, 33.5 / 40, 8.25 / 20]
    )
    manifest(world, ["boxes.json", "accepted.json"], normalized=normalized)
    assert_converged(world)


def test_labels_are_written_as_the_source_spells_them(annotated: World) -> None:
    labels = {"map": {"bird": "Bird", "Bird": "Fowl"}}
    manifest(annotated, labels=labels)
    annotated.good("apply", "--auto-approve", "manifest.yaml")
    edit(annotated, CROW, box("Bird", 1, 2, 8, 8))
    accept(annotated)
    assert [shape["label"] for shape in entries(annotated)[CROW]] == ["bird"]
    manifest(annotated, ["boxes.json", "accepted.json"], labels={"map": {"bird": "Bird"}})
    assert accept(annotated)["files"] == []


def test_a_label_that_the_manifest_does_not_allow_is_told(annotated: World) -> None:
    manifest(annotated, labels={"allow": ["bird"]})
    annotated.talk.label("nest")
    edit(annotated, CROW, *THEIRS, box("nest", 0, 0, 3, 3))
    (note,) = accept(annotated)["notes"]
    assert "birds/crow.png: the manifest would not send the accepted set as the lake has it" in note


def test_each_operation_has_a_file_beside_its_source(world: World) -> None:
    world.images(CROW)
    sources = {"people": "human/boxes.json", "model 1": "machine/*.json"}
    for path in ("human/boxes.json", "machine/boxes.json"):
        world.write(path, boxes(crow_png=[[1, 1, 8, 8]]))
    blocks = [
        {"operation": name, "kind": "human" if name == "people" else "machine", "source": source}
        for name, source in sources.items()
    ]
    world.manifest({**BIRDS, "annotations": blocks})
    world.good("apply", "manifest.yaml")
    for operation in sources:
        edit(world, CROW, box("bird", 1, 2, 8, 8), operation=operation)
    done = world.run("annotations", "accept", "manifest.yaml", "--output", "one.json")
    assert (done.code, "--output names one file" in done.err) == (ExitCode.USAGE, True)
    (written,) = accept(world, "--operation", "people", "--output", "one.json")["files"]
    assert (written["path"], written["source"]) == ("one.json", ["human/boxes.json", "one.json"])
    found = {file["operation"]: file for file in accept(world)["files"]}
    assert {name: file["path"] for name, file in found.items()} == {
        "people": "human/accepted-people.json",
        "model 1": "accepted-model_1.json",
    }
    for block in blocks:
        block["source"] = found[block["operation"]]["source"]
    world.manifest({**BIRDS, "annotations": blocks})
    assert_converged(world)


def test_a_file_in_a_folder_that_is_a_source_is_hidden_from_it(world: World) -> None:
    world.images(CROW)
    world.write("boxes.json", boxes(crow_png=[[1, 1, 8, 8]]))
    manifest(world, ".")
    world.good("apply", "manifest.yaml")
    edit(world, CROW, box("bird", 1, 2, 8, 8))
    (written,) = accept(world)["files"]
    assert (written["path"], written["source"]) == (".accepted.json", [".", ".accepted.json"])
    world.good("plan", "manifest.yaml")
    manifest(world, written["source"])
    assert_converged(world)


def test_a_file_of_another_form_is_not_overwritten(annotated: World) -> None:
    edit(annotated, CROW, *THEIRS)
    annotated.write("accepted.json", "notes of mine")
    done = annotated.run("annotations", "accept", "manifest.yaml")
    assert (done.code, "'accepted.json' exists and is not MetaLake annotation JSON" in done.err) == (
        ExitCode.USAGE,
        True,
    )
    assert (annotated.folder / "accepted.json").read_text() == "notes of mine"
