"""Downloads with `metadata`: the metadata of each file beside the files, in the form that `file_metadata` reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metalake_sync.errors import ExitCode
from tests.end_to_end.world import World

TAKEN: dict[str, dict[str, Any]] = {
    "fern.png": {"Site": "bog", "Height": 2.5, "Tags": ["wet", "night"]},
    "moss.png": {"Site": "rock"},
}


@pytest.fixture
def plants(world: World) -> World:
    """A lake with three images that this manifest uploads with metadata, and a field of another client."""
    world.images(*TAKEN, "bare.png")
    world.write("taken.json", {"files": [{"file": name, "metadata": values} for name, values in TAKEN.items()]})
    uploads(world)
    world.good("apply", "manifest.yaml")
    world.talk.asked(
        "/api/client/metadata/uploadMetadataByJson",
        {
            "metadata": [{"file": "moss.png", "metadata": {"Soil": "sour"}}],
            "collectionId": world.collection_id("plants"),
        },
    )
    return world


def uploads(world: World, **download: Any) -> None:
    collection = {
        "name": "plants",
        "type": "image",
        "folders": [{"path": "images"}],
        "file_metadata": ["taken.json"],
    }
    block = {"collection": "plants", "to": "out", "naming": "name", "metadata": True, **download}
    world.manifest(collection, **({"downloads": [block]} if download else {}))


def metadata_in(world: World, folder: str = "out") -> dict[str, dict[str, Any]]:
    document = json.loads((world.folder / folder / "metadata.json").read_text())
    assert list(document) == ["files"]
    return {entry["file"]: entry["metadata"] for entry in document["files"]}


def test_tags_and_the_fields_of_the_manifest_are_written_and_read_back(plants: World) -> None:
    uploads(plants, media=True)
    plan = plants.good("plan", "manifest.yaml", "--json").document
    assert [action["path"] for action in plan["actions"]][-1] == "out/metadata.json"
    plants.good("apply", "manifest.yaml")
    assert metadata_in(plants) == TAKEN
    assert "Nothing to do" in plants.good("plan", "manifest.yaml").out
    # The folder can be uploaded as it is, and the lake then has the same metadata.
    again = {"name": "again", "type": "image", "folders": [{"path": "out", "include": ["*.png"]}]}
    plants.manifest(
        {**again, "file_metadata": ["out/metadata.json"]},
        downloads=[{"collection": "again", "to": "back", "naming": "name", "metadata": True}],
    )
    plants.good("apply", "manifest.yaml")
    assert metadata_in(plants, "back") == TAKEN


def test_fields_of_other_clients_are_named_in_the_manifest(plants: World) -> None:
    uploads(plants, metadata_fields=["Soil", "Nowhere"], media=False)
    plants.good("pull", "manifest.yaml")
    assert metadata_in(plants) == {**TAKEN, "moss.png": {"Site": "rock", "Soil": "sour"}}
    assert [path.name for path in (plants.folder / "out").iterdir()] == ["metadata.json"]


def test_changed_metadata_is_written_again(plants: World) -> None:
    uploads(plants, media=True)
    plants.good("apply", "manifest.yaml")
    plants.talk.asked(
        "/api/client/metadata/uploadMetadataByJson",
        {
            "metadata": [{"file": "bare.png", "metadata": {"Tags": ["found"]}}],
            "collectionId": plants.collection_id("plants"),
        },
    )
    (action,) = plants.good("plan", "manifest.yaml", "--json").document["actions"]
    assert (action["path"], action["reason"]) == ("out/metadata.json", "metadata_changed")
    plants.good("pull", "manifest.yaml")
    assert metadata_in(plants)["bare.png"] == {"Tags": ["found"]}


def test_metadata_of_the_whole_lake_is_written_too(plants: World) -> None:
    plants.manifest(downloads=[{"lake": "image", "to": "all", "metadata": True, "metadata_fields": ["Soil"]}])
    plants.good("pull", "manifest.yaml")
    assert metadata_in(plants, "all")["plants_moss.png"]["Soil"] == "sour"


def test_a_manifest_that_knows_no_field_says_so(world: World) -> None:
    world.images("fern.png")
    world.manifest({"name": "plants", "type": "image", "folders": [{"path": "images"}]})
    world.good("apply", "manifest.yaml")
    block = {"collection": "plants", "to": "out", "metadata": True}
    world.manifest(name="another", downloads=[block])
    (note,) = world.good("plan", "manifest.yaml", "--json").document["warnings"]
    assert note["code"] == "metadata_fields_unknown"
    assert note["message"].startswith("metadata.json has only Tags")
    assert "list the fields in 'metadata_fields'" in note["message"]
    world.manifest(name="another", downloads=[{**block, "annotations": {"format": "labelme"}}])
    messages = [note["message"] for note in world.good("plan", "manifest.yaml", "--json").document["warnings"]]
    assert any(message.startswith("metadata.jsonl has only Tags") for message in messages)
    world.manifest(name="another", downloads=[{**block, "metadata_fields": ["Site"]}])
    assert world.good("plan", "manifest.yaml", "--json").document["warnings"] == []


def test_a_file_of_that_name_in_the_lake_gets_another_name(world: World) -> None:
    world.talk.upload({"metadata.json": b"{}"}, "papers", kind=7)
    world.manifest(downloads=[{"collection": "papers", "to": "out", "naming": "name", "metadata": True}])
    world.good("pull", "manifest.yaml")
    names = sorted(path.name for path in (world.folder / "out").iterdir())
    assert names[0] == "metadata.json"
    assert names[1].startswith("metadata~")
    assert metadata_in(world) == {}


@pytest.mark.parametrize("form", ["labelme", "darwin", "metalake"])
def test_metadata_never_replaces_the_annotations_of_an_image(world: World, form: str) -> None:
    world.images("metadata.png", "fern.png")
    shapes = [{"type": "rectangle", "label": "leaf", "bbox": [1, 1, 2, 2]}]
    images = [{"image": name, "annotations": shapes} for name in ("metadata.png", "fern.png")]
    world.write("drawn.json", {"images": images})
    collection = {
        "name": "plants",
        "type": "image",
        "folders": [{"path": "images"}],
        "metadata": {"Site": "bog"},
        "annotations": [{"operation": "op", "kind": "human", "source": "drawn.json"}],
    }
    download = {"collection": "plants", "naming": "name", "metadata": True, "annotations": {"format": form}}
    world.manifest(collection, downloads=[{**download, "to": "out"}])
    world.good("apply", "manifest.yaml")
    folder = world.folder / "out"
    documents = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    if form == "metalake":
        assert {entry["file"] for entry in documents["metadata.json"]["files"]} == {"metadata.png", "fern.png"}
        return
    # Each JSON file is the annotations of an image, so that readers of the folder accept it.
    assert sorted(documents) == ["fern.json", "metadata.json"]
    assert all("leaf" in json.dumps(document) for document in documents.values())
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert lines == [{"file": name, "metadata": {"Site": "bog"}} for name in ("fern.png", "metadata.png")]
    again = {
        "name": "again",
        "type": "image",
        "folders": [{"path": "out", "include": ["*.png"]}],
        "file_metadata": ["out/metadata.jsonl"],
        "annotations": [{"operation": "op", "kind": "human", "source": "out"}],
    }
    world.manifest(again, downloads=[{"collection": "again", "to": "back", "naming": "name", "metadata": True}])
    world.good("apply", "manifest.yaml")
    assert metadata_in(world, "back") == {name: {"Site": "bog"} for name in ("fern.png", "metadata.png")}
    sets = world.talk.annotations(world.collection_id("again"))
    assert [len(shapes) for shapes in sets.values()] == [1, 1]


def test_annotations_that_would_replace_the_class_names_are_left_out_and_named(world: World) -> None:
    world.images("classes.png", "fern.png")
    shapes = [{"type": "rectangle", "label": "leaf", "bbox": [1, 1, 2, 2]}]
    images = [{"image": name, "annotations": shapes} for name in ("classes.png", "fern.png")]
    world.write("drawn.json", {"images": images})
    annotations = [{"operation": "op", "kind": "human", "source": "drawn.json"}]
    collection = {"name": "plants", "type": "image", "folders": [{"path": "images"}], "annotations": annotations}
    download = {"collection": "plants", "to": "out", "naming": "name", "annotations": {"format": "yolo"}}
    # A run whose plan could not show it fails, because all shapes of an image are missing in the export.
    world.manifest(collection, downloads=[{**download, "to": "first"}])
    done = world.run("apply", "manifest.yaml")
    assert done.code == ExitCode.SOME_FAILED
    assert "first in classes.png" in done.err + done.out
    world.manifest(downloads=[download])
    (note,) = [
        note
        for note in world.good("plan", "manifest.yaml", "--json").document["warnings"]
        if "describes the folder" in note["message"]
    ]
    assert "first in classes.png" in note["message"]
    world.good("pull", "manifest.yaml")
    assert (world.folder / "out/classes.txt").read_text() == "leaf\n"
    assert (world.folder / "out/fern.txt").is_file()


def test_without_metadata_the_file_is_stale_and_prune_removes_it(plants: World) -> None:
    uploads(plants, media=True)
    plants.good("apply", "manifest.yaml")
    uploads(plants, metadata=False, prune=True)
    plants.good("apply", "manifest.yaml", "--auto-approve")
    assert sorted(path.name for path in (plants.folder / "out").iterdir()) == ["bare.png", "fern.png", "moss.png"]


def test_fields_without_metadata_are_an_error_with_its_line(world: World) -> None:
    world.manifest(downloads=[{"collection": "plants", "to": "out", "metadata_fields": ["Site"]}])
    done = world.run("validate", "manifest.yaml")
    assert done.code == ExitCode.USAGE
    assert "'metadata_fields' has no effect without 'metadata'" in done.err
