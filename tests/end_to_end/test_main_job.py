"""The main use case: apply a manifest, apply it again, change something, apply it again."""

from __future__ import annotations

from typing import Any

import yaml

from tests.embedded_lake.talk import VIDEO, box, image_set, png
from tests.end_to_end.world import BIRDS, World, boxes

OPERATION = {"operation": "people", "kind": "human", "source": "people.json"}
FULL = {
    **BIRDS,
    "metadata": {"City": "Rome", "Tags": ["#birds"]},
    "folders": [{"path": "images", "metadata": {"split": "train"}}],
    "file_metadata": ["metadata.json", {"match": "*_night.png", "metadata": {"Tags": ["night"]}}],
    "annotations": [OPERATION],
}


def full_world(world: World) -> None:
    """Three pictures with metadata on each level and annotations."""
    world.images("crow.png", "gull.png", "jay_night.png")
    world.write("metadata.json", {"files": [{"file": "crow.png", "metadata": {"City": "Oslo", "Tags": ["black"]}}]})
    world.write("people.json", boxes(crow_png=[[1, 2, 10, 7], [5, 5, 4, 4]], gull_png=[[0, 0, 40, 20]]))
    world.manifest(FULL)


def test_an_apply_sends_files_metadata_and_annotations(world: World) -> None:
    full_world(world)
    done = world.good("apply", "manifest.yaml")
    assert "Plan: 3 to add, 0 to update, 0 to replace, 0 to trash, 0 unchanged" in done.out
    assert "Applied: 1 collection created, 3 files uploaded, 2 annotation sets sent" in done.out
    assert world.names() == ["crow.png", "gull.png", "jay_night.png"]
    assert world.talk.read("birds_crow.png") == png(salt=b"crow.png")
    fields = ("City", "Tags", "split")
    crow, jay = (world.talk.details(f"birds_{name}.png", *fields) for name in ("crow", "jay_night"))
    assert (crow["City"], crow["Tags"], crow["split"]) == ("Oslo", ["#birds", "black"], "train")
    assert (jay["City"], jay["Tags"]) == ("Rome", ["#birds", "night"])
    assert world.talk.head(world.collection_id(), "City")["City"] == "Rome"
    drawn = world.talk.annotations(world.collection_id())
    assert [shape["bbox"] for shape in drawn["crow.png"]] == [[1, 2, 10, 7], [5, 5, 4, 4]]
    assert drawn["jay_night.png"] == []


def test_a_second_apply_sends_nothing_and_says_so(world: World) -> None:
    full_world(world)
    world.good("apply", "manifest.yaml")
    world.lake.requests.clear()
    done = world.good("apply", "manifest.yaml")
    assert "Nothing to do: 3 unchanged." in done.out
    assert "Nothing was sent" in done.out
    assert world.lake.requests.writes == 0
    assert world.lake.requests.of("put_part") == 0


def test_one_more_file_one_changed_tag_and_one_moved_box_send_exactly_that(world: World) -> None:
    full_world(world)
    world.good("apply", "manifest.yaml")
    world.images("wren.png")
    world.write("metadata.json", {"files": [{"file": "crow.png", "metadata": {"City": "Oslo", "Tags": ["grey"]}}]})
    world.write("people.json", boxes(crow_png=[[1, 2, 10, 7], [5, 5, 4, 4]], gull_png=[[1, 0, 39, 20]]))
    plan = world.good("plan", "--json", "manifest.yaml").document
    assert [(one["action"], one["file"], one["reason"]) for one in plan["actions"]] == [
        ("upload", "wren.png", "new"),
        ("update_metadata", "crow.png", "metadata_changed"),
        ("annotate", "gull.png", "annotations_changed"),
    ]
    world.lake.requests.clear()
    summary = world.good("apply", "--json", "manifest.yaml").summary
    done = summary["done"]
    assert (done["upload"], done["update_metadata"], done["annotate"], done["unchanged"]) == (1, 1, 1, 1)
    requests = world.lake.requests
    assert (requests.of("put_part"), requests.of("metadata_by_json"), requests.of("update_annotations")) == (1, 2, 1)
    assert world.talk.details("birds_crow.png", "Tags")["Tags"] == ["#birds", "grey"]
    assert world.talk.annotations(world.collection_id())["gull.png"][0]["bbox"] == [1, 0, 39, 20]


def test_shapes_without_size_are_skipped_and_reported(world: World) -> None:
    full_world(world)
    world.write("people.json", boxes(crow_png=[[1, 2, 0, 7], [5, 5, 4, 4]]))
    done = world.good("apply", "manifest.yaml")
    assert "crow.png: people: rectangle 'bird' has no size (" in done.out
    assert len(world.talk.annotations(world.collection_id())["crow.png"]) == 1


def test_a_collection_includes_only_files_of_its_media_type(world: World) -> None:
    world.images("a.png", folder="mixed")
    for name in ("B.MP4", "c.mkv", "notes.txt", "empty.bin"):
        world.write(f"mixed/{name}", b"" if name == "empty.bin" else name.encode())
    mixed = {"folders": [{"path": "mixed"}]}
    world.manifest(
        {"name": "all", "type": "image", **mixed},
        {"name": "all", "type": "video", **mixed},
        {"name": "rest", "type": "other", "folders": [{"path": "mixed", "exclude": ["*.png", "*.MP4", "*.mkv"]}]},
    )
    world.good("apply", "manifest.yaml")
    assert world.names("all") == ["a.png"]
    assert world.names("all", VIDEO) == ["B.MP4", "c.mkv"]
    assert world.names("rest", 7) == ["empty.bin", "notes.txt"]
    assert world.talk.read("rest_empty.bin") == b""


def test_folders_can_become_part_of_the_names(world: World) -> None:
    world.images("a.png", folder="images/one")
    world.images("a.png", folder="images/two/deep")
    world.manifest({**BIRDS, "folders": [{"path": "images", "naming": "path"}]})
    world.good("apply", "manifest.yaml")
    assert world.names() == ["one__a.png", "two__deep__a.png"]


def test_two_files_with_one_name_are_an_error_that_names_both(world: World) -> None:
    world.images("a.png", folder="images/one")
    world.images("a.png", folder="images/two")
    world.manifest(BIRDS)
    done = world.run("apply", "manifest.yaml")
    assert done.code == 64
    assert "two files would be 'a.png'" in done.err
    assert "'images/one/a.png' and 'images/two/a.png'" in done.err
    assert world.lake.requests.writes == 0


def test_patterns_and_ignore_files_decide_which_files_are_included(world: World) -> None:
    world.images("keep.png", "skip_draft.png", "late.jpg", folder="images")
    world.images("hidden.png", "shown.png", folder="images/sub")
    world.write("images/sub/.metalakeignore", "hidden.*\n")
    world.manifest({**BIRDS, "folders": [{"path": "images", "include": ["*.png"], "exclude": ["*_draft*"]}]})
    world.good("apply", "manifest.yaml")
    assert world.names() == ["keep.png", "shown.png"]


def test_a_manifest_can_come_from_standard_input_or_be_a_folder(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS, name="piped")
    text = (world.folder / "manifest.yaml").read_text()
    assert world.run("apply", "-", stdin=text).code == 0
    assert (world.folder / ".metalake-sync/piped.db").exists()
    document = yaml.safe_load(text)
    for name, keys in {"a.yaml": ("version", "name", "remote"), "b.yaml": ("collections",)}.items():
        world.write(f"lake/{name}", yaml.safe_dump({key: document[key] for key in keys}))
    world.images("a.png", folder="lake/images")
    done = world.good("plan", "lake")
    assert "1 to adopt" in done.out


def test_variables_of_the_command_line_take_precedence_over_the_environment(world: World) -> None:
    world.images("a.png")
    world.manifest({**BIRDS, "name": "${NAME:-nobody}"})
    world.good("apply", "manifest.yaml", "--var", "NAME=jays", NAME="crows")
    assert world.names("jays") == ["a.png"]


def test_a_variable_that_nothing_uses_is_an_error(world: World) -> None:
    world.images("a.png")
    world.manifest({**BIRDS, "name": "birds-${ENV:-dev}"})
    wrong = world.run("plan", "manifest.yaml", "--var", "EVN=prod")
    assert wrong.code == 64
    assert "the manifest does not use the variable 'EVN', which --var sets" in wrong.err
    assert "Did you mean 'ENV'?" in wrong.err
    unlike = world.run("plan", "manifest.yaml", "--var", "ENV=prod", "--var", "REGION=eu")
    assert "Remove it, or use ${REGION} in the manifest." in unlike.err
    # Several manifests may share a file of variables.
    world.write("prod.env", "ENV=prod\nREGION=eu\n")
    assert "birds-prod" in world.good("plan", "manifest.yaml", "--var-file", "prod.env").out


def test_every_flag_has_an_environment_variable(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    assert world.run("plan", "manifest.yaml", METALAKE_SYNC_DETAILED_EXITCODE="1").code == 2


def test_files_of_other_clients_stay_and_are_counted(world: World) -> None:
    world.talk.upload({"theirs.png": png(salt=b"theirs")})
    world.images("ours.png")
    world.manifest({**BIRDS, "prune": True})
    done = world.good("apply", "manifest.yaml")
    assert "1 unmanaged, left alone" in done.out
    assert world.names() == ["ours.png", "theirs.png"]


def test_tags_of_other_clients_stay_unless_tags_are_exact(world: World) -> None:
    world.images("a.png")
    world.manifest({**BIRDS, "metadata": {"Tags": ["one"]}})
    world.good("apply", "manifest.yaml")
    theirs = {"metadata": [{"file": "birds_a.png", "metadata": {"Tags": ["one", "theirs"]}}]}
    assert world.talk.post("/api/client/metadata/uploadMetadataByJson", theirs).status_code in (200, 204)
    world.manifest({**BIRDS, "metadata": {"Tags": ["two"]}})
    world.good("apply", "manifest.yaml")
    assert world.talk.details("birds_a.png", "Tags")["Tags"] == ["theirs", "two"]
    world.manifest({**BIRDS, "metadata": {"Tags": ["three"]}, "tags": "exact"})
    world.good("apply", "manifest.yaml")
    assert world.talk.details("birds_a.png", "Tags")["Tags"] == ["three"]


def test_an_operation_of_other_clients_on_our_images_stays(world: World) -> None:
    full_world(world)
    world.good("apply", "manifest.yaml")
    world.talk.annotate("theirs", [image_set("birds_crow.png", box("x", 1, 1, 2, 2))])
    world.write("people.json", boxes(crow_png=[[3, 3, 3, 3]], gull_png=[[0, 0, 40, 20]]))
    world.good("apply", "manifest.yaml")
    drawn = world.talk.annotations(world.collection_id())["crow.png"]
    assert sorted(shape["label"] for shape in drawn) == ["bird", "x"]


def test_an_image_that_lost_its_entry_gets_an_empty_set_after_approval(world: World) -> None:
    full_world(world)
    world.good("apply", "manifest.yaml")
    world.write("people.json", boxes(gull_png=[[0, 0, 40, 20]]))
    assert world.run("apply", "manifest.yaml").code == 7
    done = world.good("apply", "--json", "--auto-approve", "manifest.yaml").summary["done"]
    assert (done["annotate"], done["remove_annotations"]) == (0, 1)
    assert world.talk.annotations(world.collection_id())["crow.png"] == []


def test_changed_files_are_replaced_after_approval(world: World) -> None:
    full_world(world)
    world.good("apply", "manifest.yaml")
    changed = png(salt=b"other bytes")
    world.write("images/crow.png", changed)
    stopped = world.run("apply", "manifest.yaml")
    assert stopped.code == 7
    assert "--auto-approve" in stopped.err
    assert world.talk.read("birds_crow.png") == png(salt=b"crow.png")
    world.good("apply", "--auto-approve", "manifest.yaml")
    assert world.talk.read("birds_crow.png") == changed
    assert world.talk.details("birds_crow.png", "Tags")["Tags"] == ["#birds", "black"]
    assert len(world.talk.annotations(world.collection_id())["crow.png"]) == 2
    assert "Nothing to do" in world.good("apply", "manifest.yaml").out


def test_a_touched_file_is_hashed_and_not_sent(world: World) -> None:
    full_world(world)
    world.good("apply", "manifest.yaml")
    (world.folder / "images/crow.png").touch()
    world.lake.requests.clear()
    assert "Nothing to do" in world.good("apply", "manifest.yaml").out
    assert world.lake.requests.writes == 0


def test_without_a_state_the_files_of_the_lake_are_adopted(world: World) -> None:
    full_world(world)
    world.good("apply", "manifest.yaml")
    for file in (world.folder / ".metalake-sync").iterdir():
        file.unlink()
    world.lake.requests.clear()
    done = world.good("apply", "--json", "manifest.yaml").summary["done"]
    assert (done["adopt"], done["upload"]) == (3, 0)
    assert world.lake.requests.of("put_part") == 0
    assert "Nothing to do" in world.good("apply", "manifest.yaml").out


def test_the_embedded_lake_runs_as_long_as_the_command(world: World) -> None:
    world.images("a.png")
    remote: dict[str, Any] = {"url": "embedded:.metalake"}
    world.manifest(BIRDS, remote=remote)
    assert "1 file uploaded" in world.good("apply", "manifest.yaml").out
    assert "Nothing was sent" in world.good("apply", "manifest.yaml").out
    assert world.lake.requests.counts == {}


def test_status_shows_synced_and_pending_files(world: World) -> None:
    full_world(world)
    assert "No run yet." in world.good("status", "manifest.yaml").out
    world.good("apply", "manifest.yaml")
    world.images("wren.png")
    status = world.good("status", "--json", "manifest.yaml").document
    (birds,) = status["collections"]
    assert (birds["synced"], birds["pending"], birds["annotation_sets"]) == (3, 1, 2)
    assert [run["outcome"] for run in status["runs"]] == ["done"]


def test_a_starter_manifest_is_valid_and_is_never_overwritten(world: World) -> None:
    done = world.good("init", "birds")
    assert "birds/manifest.yaml" in done.out
    assert ".metalake-sync/" in (world.folder / "birds/.gitignore").read_text()
    assert "is valid: 1 collection, 0 files" in world.good("validate", "birds/manifest.yaml").out
    # Git keeps the folder, so that a checkout is valid too.
    assert [path.name for path in (world.folder / "birds/images").iterdir()] == [".gitkeep"]
    world.images("a.png", folder="birds/images")
    assert "1 file" in world.good("validate", "birds/manifest.yaml").out
    again = world.run("init", "birds")
    assert (again.code, "exists already" in again.err) == (64, True)
