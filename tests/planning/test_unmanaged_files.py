"""Annotations and metadata of unmanaged files: by every kind of address, and only what changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from metalake_sync import Project
from metalake_sync.core.diff_sets import OnDrift
from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.embedded_lake.crawl import crawl
from tests.embedded_lake.talk import Session, box, image_set, png, settings, talk_to
from tests.end_to_end.world import BIRDS, World, boxes

MODEL = {"operation": "yolo", "kind": "machine", "source": "pred.json"}


@pytest.fixture
def two_buckets(tmp_path: Path) -> Iterator[World]:
    """A lake with `shelf/crow.png` in each of two buckets in addition to its own."""
    for bucket in ("cold", "warm"):
        image = tmp_path / bucket / "shelf/crow.png"
        image.parent.mkdir(parents=True)
        image.write_bytes(png(salt=bucket.encode()))
        crawl(settings(tmp_path / "lake"), str(tmp_path / bucket), lambda _: None)
    folder = tmp_path / "project"
    folder.mkdir()
    with EmbeddedLake(settings(tmp_path / "lake")) as lake, talk_to(lake.url) as talk:
        yield World(folder, lake, talk)


@pytest.fixture
def their_upload(world: World) -> Session:
    """Two images that another client uploaded in one session."""
    world.manifest()
    return world.talk.upload({"crow.png": png(salt=b"c"), "gull.png": png(salt=b"g")}, "theirs")


def prediction(world: World, form: str, **drawn: Any) -> None:
    """Write pred.json. `form`: turns the name of a file into the name that its entry uses."""
    document = boxes(**drawn)
    for image in document["images"]:
        image["image"] = form.format(image["image"])
    world.write("pred.json", document)


def drawn(world: World, collection: str = "theirs") -> Mapping[str, list[list[float]]]:
    found = world.talk.annotations(world.collection_id(collection))
    return {name: [shape["bbox"] for shape in shapes] for name, shapes in found.items()}


def addresses(job_id: str) -> list[tuple[dict[str, str], str]]:
    return [
        ({"by": "storage_path"}, "theirs/{}"),
        ({"by": "storage_path"}, "/theirs/{}"),
        ({"by": "storage_path", "bucket": "DEFAULT"}, "theirs/{}"),
        ({"by": "unique_name"}, "theirs_{}"),
        ({"by": "job", "job": job_id}, "{}"),
        ({"by": "collection", "collection": "theirs"}, "{}"),
    ]


@pytest.mark.parametrize("number", range(6))
def test_annotations_reach_images_by_every_address_and_only_once(
    world: World, their_upload: Session, number: int
) -> None:
    address, form = addresses(their_upload.job_id)[number]
    prediction(world, form, crow_png=[[1, 2, 10, 7]], gull_png=[[0, 0, 4, 4]])
    world.manifest(annotations=[{**MODEL, **address}])
    first = world.good("apply", "--json", "manifest.yaml").summary
    assert first["done"]["annotate"] == 2
    assert drawn(world) == {"crow.png": [[1, 2, 10, 7]], "gull.png": [[0, 0, 4, 4]]}

    world.lake.requests.clear()
    assert "Nothing was sent" in world.good("apply", "manifest.yaml").out
    assert world.lake.requests.writes == 0

    prediction(world, form, crow_png=[[1, 2, 10, 7]], gull_png=[[0, 0, 5, 5]])
    plan = world.good("plan", "--json", "manifest.yaml").document
    assert [(one["action"], one["file"], one["reason"], one["operation"]) for one in plan["actions"]] == [
        ("annotate", form.format("gull.png"), "annotations_changed", "yolo")
    ]
    world.good("apply", "manifest.yaml")
    assert world.lake.requests.of("update_annotations") == 1
    assert drawn(world)["gull.png"] == [[0, 0, 5, 5]]

    prediction(world, form, crow_png=[[1, 2, 10, 7]])
    assert world.run("apply", "manifest.yaml").code == 7, "a set that goes needs approval"
    assert drawn(world)["gull.png"] == [[0, 0, 5, 5]]
    cleared = world.good("apply", "--json", "--auto-approve", "manifest.yaml").summary["done"]
    assert (cleared["annotate"], cleared["remove_annotations"]) == (0, 1)
    assert drawn(world) == {"crow.png": [[1, 2, 10, 7]], "gull.png": []}
    world.lake.requests.clear()
    world.good("apply", "manifest.yaml")
    assert world.lake.requests.writes == 0


@pytest.mark.parametrize("number", range(6))
def test_metadata_reaches_files_by_every_address_and_only_once(
    world: World, their_upload: Session, number: int
) -> None:
    address, form = addresses(their_upload.job_id)[number]
    crow = form.format("crow.png")
    world.write("meta.csv", f"file,City,Height,Tags\n{crow},Rome,3,a;b\n{form.format('gull.png')},Oslo,,\n")
    world.manifest(metadata=[{"source": "meta.csv", "types": {"Height": "integer"}, **address}])
    assert world.good("apply", "--json", "manifest.yaml").summary["done"]["update_metadata"] == 2
    details = world.talk.details("theirs_crow.png", "City", "Height", "Tags")
    assert (details["City"], details["Height"], details["Tags"]) == ("Rome", 3, ["a", "b"])

    world.lake.requests.clear()
    world.good("apply", "manifest.yaml")
    assert world.lake.requests.writes == 0

    world.write("meta.csv", f"file,City,Height,Tags\n{crow},Bern,3,a;b\n{form.format('gull.png')},Oslo,,\n")
    assert world.good("apply", "--json", "manifest.yaml").summary["done"]["update_metadata"] == 1
    assert world.talk.details("theirs_crow.png", "City")["City"] == "Bern"

    world.write("meta.csv", f"file,City,Height,Tags\n{form.format('gull.png')},Oslo,,\n")
    left = world.good("plan", "manifest.yaml").out
    assert "keeps 'City', 'Height' in the lake: no call removes a metadata field" in left
    world.good("apply", "manifest.yaml")
    assert world.talk.details("theirs_crow.png", "Tags").get("Tags", []) == []
    again = world.good("plan", "manifest.yaml").out
    assert "Nothing to do" in again
    assert "keeps" not in again


def test_a_removed_operation_is_cleared_from_its_images_after_approval(world: World, their_upload: Session) -> None:
    prediction(world, "theirs_{}", crow_png=[[1, 2, 10, 7]])
    world.manifest(annotations=[{**MODEL, "by": "unique_name"}])
    world.good("apply", "manifest.yaml")
    world.manifest()
    assert world.run("apply", "manifest.yaml").code == 7
    assert drawn(world)["crow.png"] == [[1, 2, 10, 7]]
    done = world.good("apply", "--json", "--auto-approve", "manifest.yaml").summary["done"]
    assert done["remove_annotations"] == 1
    assert drawn(world)["crow.png"] == []
    assert "Nothing to do" in world.good("plan", "manifest.yaml").out


def test_an_operation_that_gets_another_address_is_not_lost(world: World, their_upload: Session) -> None:
    prediction(world, "theirs_{}", crow_png=[[1, 2, 10, 7]])
    world.manifest(annotations=[{**MODEL, "by": "unique_name"}])
    world.good("apply", "manifest.yaml")
    prediction(world, "{}", crow_png=[[1, 2, 10, 7]])
    world.manifest(annotations=[{**MODEL, "by": "collection", "collection": "theirs"}])
    world.good("apply", "--auto-approve", "manifest.yaml")
    assert drawn(world)["crow.png"] == [[1, 2, 10, 7]]


def test_append_mode_keeps_sets_of_images_that_the_source_does_not_name(world: World, their_upload: Session) -> None:
    block = {**MODEL, "by": "unique_name", "mode": "append"}
    prediction(world, "theirs_{}", crow_png=[[1, 2, 10, 7]])
    world.manifest(annotations=[block])
    world.good("apply", "manifest.yaml")
    prediction(world, "theirs_{}", gull_png=[[0, 0, 4, 4]])
    world.good("apply", "manifest.yaml")
    assert drawn(world) == {"crow.png": [[1, 2, 10, 7]], "gull.png": [[0, 0, 4, 4]]}


@pytest.mark.parametrize("number", [3, 5])
def test_entries_without_a_file_are_noted_and_retried_by_the_next_run(
    world: World, their_upload: Session, number: int
) -> None:
    address, form = addresses(their_upload.job_id)[number]
    prediction(world, form, crow_png=[[1, 2, 10, 7]], jay_png=[[1, 1, 2, 2]])
    world.manifest(annotations=[{**MODEL, **address}])
    done = world.good("apply", "manifest.yaml")
    assert (
        f"1 entry does not match a file in the lake (by {'unique names' if number == 3 else 'files of theirs'})"
        in done.out
    )
    world.talk.upload({"jay.png": png(salt=b"j")}, "theirs")
    assert world.good("apply", "--json", "manifest.yaml").summary["done"]["annotate"] == 1
    assert drawn(world)["jay.png"] == [[1, 1, 2, 2]]
    world.manifest(annotations=[{**MODEL, **address, "strict": True}])
    prediction(world, form, nobody_png=[[1, 2, 10, 7]])
    assert "not match a file in the lake" in world.run("plan", "manifest.yaml").err


def test_tags_of_other_clients_stay(world: World, their_upload: Session) -> None:
    body = {"metadata": [{"file": "theirs_crow.png", "metadata": {"Tags": ["theirs"]}}]}
    world.talk.asked("/api/client/metadata/uploadMetadataByJson", body)
    for tags in ("one;two", "two"):
        world.write("meta.csv", f"file,Tags\ntheirs_crow.png,{tags}\n")
        world.manifest(metadata=[{"source": "meta.csv", "by": "unique_name"}])
        world.good("apply", "manifest.yaml")
    assert world.talk.details("theirs_crow.png", "Tags")["Tags"] == ["theirs", "two"]


def test_many_unique_names_are_found_by_listing_the_lake(world: World, their_upload: Session) -> None:
    world.write(
        "meta.csv", "file,City\n" + "".join(f"theirs_{n}.png,Rome\n" for n in range(50)) + "theirs_crow.png,x\n"
    )
    world.manifest(metadata=[{"source": "meta.csv", "by": "unique_name"}])
    world.lake.requests.clear()
    assert "50 entries do not match a file" in world.good("apply", "manifest.yaml").out
    assert world.lake.requests.of("item_details") == 0
    assert world.talk.details("theirs_crow.png", "City")["City"] == "x"


def test_a_source_that_lost_all_its_entries_stops_the_run(world: World, their_upload: Session) -> None:
    prediction(world, "theirs_{}", crow_png=[[1, 2, 10, 7]])
    world.write("meta.csv", "file,City\ntheirs_crow.png,Rome\n")
    blocks = {
        "annotations": [{**MODEL, "by": "unique_name"}],
        "metadata": [{"source": "meta.csv", "by": "unique_name"}],
    }
    world.manifest(**blocks)
    world.good("apply", "manifest.yaml")
    prediction(world, "{}")
    assert "the state has records of 1 set" in (done := world.run("apply", "manifest.yaml")).err
    assert done.code == 7
    prediction(world, "theirs_{}", crow_png=[[1, 2, 10, 7]])
    world.write("meta.csv", "file,City\n")
    assert "the state has records of 1 file" in world.run("apply", "manifest.yaml").err


def test_a_missing_bucket_fails_every_entry_after_a_few_calls(world: World, their_upload: Session) -> None:
    world.write("meta.csv", "file,City\n" + "".join(f"p/{n}.png,Rome\n" for n in range(500)))
    world.manifest(metadata=[{"source": "meta.csv", "by": "storage_path", "bucket": "nowhere"}])
    world.lake.requests.clear()
    done = world.run("apply", "--json", "manifest.yaml")
    assert (done.code, len(done.summary["failed"])) == (3, 500)
    assert world.lake.requests.of("metadata_by_json") < 60


def test_a_missing_job_and_a_missing_collection_are_reported(world: World, their_upload: Session) -> None:
    prediction(world, "{}", crow_png=[[1, 2, 10, 7]])
    world.manifest(annotations=[{**MODEL, "by": "job", "job": "nojob"}])
    done = world.run("apply", "manifest.yaml")
    assert (done.code, "the lake does not have the job 'nojob'" in done.err) == (64, True)
    world.manifest(annotations=[{**MODEL, "by": "collection", "collection": "nobody"}])
    assert "the lake does not have this collection, so nothing is sent" in world.good("apply", "manifest.yaml").out


def test_the_lake_is_asked_about_tags_and_fields_first(world: World, their_upload: Session) -> None:
    world.write("meta.jsonl", '{"file": "theirs_crow.png", "bad.$field": 1}\n')
    world.manifest(metadata=[{"source": "meta.jsonl", "by": "unique_name"}])
    world.lake.requests.clear()
    world.run("apply", "manifest.yaml")
    assert world.lake.requests.of("validate_fields") == 1


def test_several_sources_of_one_address_are_merged(world: World, their_upload: Session) -> None:
    world.write("a.csv", "file,City,Tags\ntheirs_crow.png,Rome,one\n")
    world.write("b.jsonl", '{"file": "theirs_crow.png", "metadata": {"City": "Oslo", "Tags": ["two"]}}\n')
    world.manifest(metadata=[{"source": name, "by": "unique_name"} for name in ("a.csv", "b.jsonl")])
    world.good("apply", "manifest.yaml")
    details = world.talk.details("theirs_crow.png", "City", "Tags")
    assert (details["City"], details["Tags"]) == ("Oslo", ["one", "two"])


def test_a_file_that_was_uploaded_again_gets_its_set_again(world: World, their_upload: Session) -> None:
    prediction(world, "{}", crow_png=[[1, 2, 10, 7]])
    world.manifest(annotations=[{**MODEL, "by": "collection", "collection": "theirs"}])
    world.good("apply", "manifest.yaml")
    crow = next(
        item for item in world.talk.items(world.collection_id("theirs"), contentType=2) if item["name"] == "crow.png"
    )
    selection = {"isAllSelected": False, "contentType": 2, "objectIdList": [crow["id"]], "filterData": {}, "query": ""}
    tag = world.talk.asked("/api/client/query/getSelectionId", selection)["selectionTag"]
    world.talk.asked("/api/client/file/trash", {"selectionId": tag, "userId": "x"})
    world.talk.upload({"crow.png": png(salt=b"anew")}, "theirs")
    plan = world.good("plan", "--json", "manifest.yaml").document
    assert [(one["file"], one["reason"]) for one in plan["actions"]] == [("crow.png", "drifted")]
    world.good("apply", "manifest.yaml")
    assert drawn(world)["crow.png"] == [[1, 2, 10, 7]]


def test_one_operation_of_a_collection_has_one_place_in_the_manifest(world: World) -> None:
    world.images("crow.png")
    prediction(world, "{}", crow_png=[[1, 2, 10, 7]])
    world.manifest(
        {**BIRDS, "annotations": [MODEL]}, annotations=[{**MODEL, "by": "collection", "collection": "birds"}]
    )
    done = world.run("validate", "manifest.yaml")
    assert (done.code, "is in the collection itself, too" in done.err) == (64, True)


def test_metadata_of_a_removed_block_stays_and_is_noted_once(world: World, their_upload: Session) -> None:
    world.write("meta.csv", "file,City,Tags\ntheirs_crow.png,Rome,a\n")
    world.manifest(metadata=[{"source": "meta.csv", "by": "unique_name"}])
    world.good("apply", "manifest.yaml")
    world.manifest()
    world.lake.requests.clear()
    assert "1 file keeps what was sent" in world.good("apply", "manifest.yaml").out
    assert world.lake.requests.writes == 0
    assert world.talk.details("theirs_crow.png", "Tags")["Tags"] == ["a"]
    assert "keeps what was sent" not in world.good("plan", "manifest.yaml").out


def test_a_saved_plan_contains_the_actions_on_unmanaged_files(world: World, their_upload: Session) -> None:
    prediction(world, "theirs_{}", crow_png=[[1, 2, 10, 7]])
    world.manifest(annotations=[{**MODEL, "by": "unique_name"}])
    assert "annotations of yolo, by unique names" in world.good("plan", "manifest.yaml", "--out", "p.json").out
    world.good("apply", "p.json")
    assert drawn(world)["crow.png"] == [[1, 2, 10, 7]]


def test_one_image_by_two_addresses_is_an_error_that_names_both_entries(world: World, their_upload: Session) -> None:
    prediction(world, "theirs_{}", crow_png=[[1, 2, 10, 7]])
    world.write("b.json", boxes(crow_png=[[0, 0, 4, 4]]))
    by_collection = {**MODEL, "source": "b.json", "by": "collection", "collection": "theirs"}
    world.manifest(annotations=[{**MODEL, "by": "unique_name"}, by_collection])
    for command in ("plan", "apply"):
        done = world.run(command, "manifest.yaml")
        assert done.code == 64
        assert "pred.json: images[0] (by unique names) and b.json: images[0] (by files of theirs)" in done.err
    assert drawn(world)["crow.png"] == []


def test_an_image_of_a_collection_is_not_annotated_from_the_top_level_too(world: World) -> None:
    world.images("crow.png", "gull.png")
    prediction(world, "{}", crow_png=[[1, 2, 10, 7]])
    world.manifest({**BIRDS, "annotations": [MODEL]})
    world.good("apply", "manifest.yaml")
    world.write("b.json", json.dumps(boxes(crow_png=[[0, 0, 4, 4]])).replace("crow.png", "birds_crow.png"))
    top = {**MODEL, "source": "b.json", "by": "unique_name"}
    world.manifest({**BIRDS, "annotations": [MODEL]}, annotations=[top])
    done = world.run("plan", "manifest.yaml")
    assert (done.code, "pred.json: images[0] (in collection 'birds') and b.json: images[0]" in done.err) == (64, True)
    world.write("b.json", json.dumps(boxes(gull_png=[[0, 0, 4, 4]])).replace("gull.png", "birds_gull.png"))
    world.good("plan", "manifest.yaml")


def test_removing_a_block_keeps_sets_that_another_block_still_names(world: World, their_upload: Session) -> None:
    prediction(world, "theirs_{}", crow_png=[[1, 2, 10, 7]])
    world.write("b.json", boxes(crow_png=[[0, 0, 4, 4]]))
    by_name = {**MODEL, "by": "unique_name"}
    by_collection = {**MODEL, "source": "b.json", "by": "collection", "collection": "theirs"}
    world.manifest(annotations=[by_name])
    world.good("apply", "manifest.yaml")
    world.manifest(annotations=[by_collection])
    plan = world.good("plan", "--json", "manifest.yaml").document
    assert [one["action"] for one in plan["actions"]] == ["annotate"]
    world.good("apply", "manifest.yaml")
    assert drawn(world)["crow.png"] == [[0, 0, 4, 4]]
    assert "Nothing to do" in world.good("plan", "manifest.yaml").out


def test_new_labels_are_shown_for_unmanaged_files_too(world: World, their_upload: Session) -> None:
    prediction(world, "theirs_{}", crow_png=[[1, 2, 10, 7]])
    world.manifest(annotations=[{**MODEL, "by": "unique_name"}])
    notes = world.good("plan", "--json", "manifest.yaml").document["warnings"]
    assert ["'bird'" in note["message"] for note in notes if note["code"] == "new_label"] == [True]
    world.good("apply", "manifest.yaml")
    codes = [note["code"] for note in world.good("plan", "--json", "manifest.yaml").document["warnings"]]
    assert "new_label" not in codes


def test_a_label_list_that_allows_nothing_does_not_clear_every_image(world: World, their_upload: Session) -> None:
    prediction(world, "theirs_{}", crow_png=[[1, 2, 10, 7]])
    world.manifest(annotations=[{**MODEL, "by": "unique_name"}])
    world.good("apply", "manifest.yaml")
    world.manifest(annotations=[{**MODEL, "by": "unique_name", "labels": {"allow": ["brid"]}}])
    assert world.run("apply", "manifest.yaml").code == 7
    assert drawn(world)["crow.png"] == [[1, 2, 10, 7]]


def test_a_change_of_metadata_names_its_fields(world: World, their_upload: Session) -> None:
    for city in ("Rome", "Oslo"):
        world.write("meta.csv", f"file,City,Height\ntheirs_crow.png,{city},3\n")
        world.manifest(metadata=[{"source": "meta.csv", "by": "unique_name"}])
        told = world.good("plan", "manifest.yaml").out
        world.good("apply", "manifest.yaml")
    assert "~ theirs_crow.png  metadata changed, City: Rome → Oslo" in told
    assert "Height" not in told


def test_a_plan_notes_that_the_lake_does_not_report_storage_paths(world: World, their_upload: Session) -> None:
    prediction(world, "nowhere/{}", crow_png=[[1, 2, 10, 7]])
    world.manifest(annotations=[{**MODEL, "by": "storage_path"}])
    unknown = "the lake does not report which storage paths in the default bucket it has"
    assert unknown in world.good("plan", "manifest.yaml").out
    world.good("apply", "manifest.yaml")
    assert unknown not in world.good("plan", "manifest.yaml").out


def in_buckets(world: World) -> dict[str, list[list[float]]]:
    """Bucket → the boxes of its image."""
    return {
        bucket: [box for found in drawn(world, f"{bucket}/shelf").values() for box in found]
        for bucket in ("cold", "warm")
    }


def predicted(world: World, *entries: tuple[str | None, list[list[float]]], path: str = "pred.json") -> None:
    """Write predictions for `shelf/crow.png`: the bucket that the entry names, and its boxes."""
    images = []
    for bucket, found in entries:
        shapes = [{"type": "rectangle", "bbox": box, "label": "bird"} for box in found]
        named = {} if bucket is None else {"storageName": bucket}
        images.append({"image": "shelf/crow.png", **named, "annotations": shapes})
    world.write(path, {"images": images})


def test_an_entry_names_the_bucket_of_its_image(two_buckets: World) -> None:
    world = two_buckets
    block = {**MODEL, "by": "storage_path"}
    predicted(world, ("cold", [[1, 1, 2, 2]]), ("warm", [[2, 2, 3, 3]]))
    world.manifest(annotations=[block])
    assert world.good("apply", "--json", "manifest.yaml").summary["done"]["annotate"] == 2
    assert in_buckets(world) == {"cold": [[1, 1, 2, 2]], "warm": [[2, 2, 3, 3]]}
    assert "Nothing was sent" in world.good("apply", "manifest.yaml").out

    predicted(world, ("cold", [[1, 1, 2, 2]]), ("warm", [[4, 4, 3, 3]]))
    assert world.good("apply", "--json", "manifest.yaml").summary["done"]["annotate"] == 1
    assert in_buckets(world) == {"cold": [[1, 1, 2, 2]], "warm": [[4, 4, 3, 3]]}

    predicted(world, ("cold", [[1, 1, 2, 2]]))
    world.good("apply", "--auto-approve", "manifest.yaml")
    assert in_buckets(world) == {"cold": [[1, 1, 2, 2]], "warm": []}


def test_an_entry_overrides_the_bucket_of_its_block(two_buckets: World) -> None:
    predicted(two_buckets, (None, [[1, 1, 2, 2]]), ("warm", [[2, 2, 3, 3]]))
    two_buckets.manifest(annotations=[{**MODEL, "by": "storage_path", "bucket": "cold"}])
    two_buckets.good("apply", "manifest.yaml")
    assert in_buckets(two_buckets) == {"cold": [[1, 1, 2, 2]], "warm": [[2, 2, 3, 3]]}


def test_naming_the_bucket_of_one_image_twice_is_an_error(two_buckets: World) -> None:
    predicted(two_buckets, (None, [[1, 1, 2, 2]]), ("cold", [[2, 2, 3, 3]]))
    block = {**MODEL, "by": "storage_path", "bucket": "cold"}
    two_buckets.manifest(annotations=[block])
    done = two_buckets.run("plan", "manifest.yaml")
    assert (done.code, "'shelf/crow.png' has two entries for 'yolo'" in done.err) == (64, True)

    predicted(two_buckets, ("cold", [[2, 2, 3, 3]]))
    predicted(two_buckets, (None, [[1, 1, 2, 2]]), path="more.json")
    two_buckets.manifest(annotations=[{**MODEL, "by": "storage_path"}, {**block, "source": "more.json"}])
    done = two_buckets.run("plan", "manifest.yaml")
    assert (done.code, "operation 'yolo' has images of bucket 'cold' here and also in the block at" in done.err) == (
        64,
        True,
    )


def test_a_command_reads_buckets_from_the_entries(two_buckets: World) -> None:
    predicted(two_buckets, ("cold", [[1, 1, 2, 2]]), ("warm", [[2, 2, 3, 3]]))
    upload = ("annotations", "upload", "pred.json", "--operation", "yolo", "--kind", "machine", "--by-storage-path")
    two_buckets.good(*upload)
    assert in_buckets(two_buckets) == {"cold": [[1, 1, 2, 2]], "warm": [[2, 2, 3, 3]]}


def test_a_broken_entry_keeps_what_was_sent_and_the_others_are_written(world: World, their_upload: Session) -> None:
    world.manifest(metadata=[{"source": "meta.jsonl", "by": "unique_name"}])
    world.write("meta.jsonl", '{"file": "theirs_crow.png", "Depth": 1}\n{"file": "theirs_gull.png", "Depth": 1}\n')
    world.good("apply", "manifest.yaml")
    world.write("meta.jsonl", '{"file": "theirs_crow.png", "Depth": NaN}\n{"file": "theirs_gull.png", "Depth": 2}\n')
    done = world.run("apply", "--json", "manifest.yaml")
    assert done.code == 3
    assert done.summary["done"]["update_metadata"] == 1
    world.write("meta.jsonl", '{"file": "theirs_crow.png", "Depth": 1}\n{"file": "theirs_gull.png", "Depth": 2}\n')
    assert world.good("apply", "--json", "manifest.yaml").summary["done"]["update_metadata"] == 0


# What other clients did to the files.


def edit(world: World, name: str, **metadata: Any) -> None:
    """Another client edits a file's metadata."""
    body = {"metadata": [{"file": f"theirs_{name}", "metadata": metadata}]}
    world.talk.asked("/api/client/metadata/uploadMetadataByJson", body)


def upload_again(world: World, name: str) -> None:
    """Another client trashes a file and uploads another one under its name."""
    lake_id = world.talk.details(f"theirs_{name}", "id")["id"]
    world.talk.trash(objectIdList=[lake_id], contentType=2)
    world.talk.upload({name: png(salt=b"anew")}, "theirs")


def in_full(world: World) -> list[tuple[str, str, str, bool]]:
    plan = world.good("plan", "--json", "--refresh", "full", "manifest.yaml").document
    return [(one["action"], one["file"], one["reason"], one.get("overwrites", False)) for one in plan["actions"]]


def in_drift(world: World) -> tuple[int, list[tuple[str, str, str]]]:
    done = world.run("drift", "--json", "--detailed-exitcode", "manifest.yaml")
    return done.code, [(one["action"], one["file"], one["reason"]) for one in done.document["actions"]]


FOUND = [0, 1, 2, 3, 5]
"""The addresses whose files can be found. No call lists the files of a job."""


@pytest.mark.parametrize("number", FOUND)
def test_a_full_refresh_finds_metadata_that_another_client_edited(
    world: World, their_upload: Session, number: int
) -> None:
    address, form = addresses(their_upload.job_id)[number]
    crow = form.format("crow.png")
    world.write("meta.csv", f"file,City,Height,Tags\n{crow},Rome,3,a\n{form.format('gull.png')},Oslo,,\n")
    world.manifest(metadata=[{"source": "meta.csv", "types": {"Height": "integer"}, **address}])
    world.good("apply", "manifest.yaml")
    assert in_full(world) == []
    edit(world, "crow.png", City="Paris", Tags=["a", "theirs"], Note="theirs")
    assert world.good("plan", "--json", "manifest.yaml").document["actions"] == []
    assert in_full(world) == [("update_metadata", crow, "drifted", True)]
    assert in_drift(world) == (2, [("update_metadata", crow, "drifted")])
    assert world.run("apply", "--refresh", "full", "manifest.yaml").code == 7
    world.good("apply", "--refresh", "full", "--auto-approve", "manifest.yaml")
    details = world.talk.details("theirs_crow.png", "City", "Height", "Tags", "Note")
    assert [details[name] for name in ("City", "Height", "Tags", "Note")] == ["Rome", 3, ["a", "theirs"], "theirs"]
    assert in_full(world) == []


@pytest.mark.parametrize("number", FOUND)
def test_a_full_refresh_finds_sets_that_another_client_changed(
    world: World, their_upload: Session, number: int
) -> None:
    address, form = addresses(their_upload.job_id)[number]
    crow, gull = form.format("crow.png"), form.format("gull.png")
    prediction(world, form, crow_png=[[1, 2, 10, 7]], gull_png=[[0, 0, 4, 4]])
    world.manifest(annotations=[{**MODEL, **address}])
    world.good("apply", "manifest.yaml")
    assert in_full(world) == []
    world.talk.annotate("yolo", [image_set("theirs_crow.png", box("bird", 5, 5, 3, 3)), image_set("theirs_gull.png")])
    assert in_full(world) == [("annotate", crow, "drifted", True), ("annotate", gull, "drifted", False)]
    assert in_drift(world) == (2, [("annotate", crow, "drifted"), ("annotate", gull, "drifted")])
    assert world.run("apply", "--refresh", "full", "manifest.yaml").code == 7
    assert drawn(world)["crow.png"] == [[5, 5, 3, 3]]
    world.good("apply", "--refresh", "full", "--auto-approve", "manifest.yaml")
    assert drawn(world) == {"crow.png": [[1, 2, 10, 7]], "gull.png": [[0, 0, 4, 4]]}
    assert in_full(world) == []
    # A change of the source is none of the lake.
    prediction(world, form, crow_png=[[1, 2, 10, 8]], gull_png=[[0, 0, 4, 4]])
    assert in_drift(world) == (0, [])


@pytest.mark.parametrize("number", FOUND)
def test_an_entry_without_shapes_clears_shapes_of_other_clients_only_after_approval(
    world: World, their_upload: Session, number: int
) -> None:
    address, form = addresses(their_upload.job_id)[number]
    prediction(world, form, crow_png=[[1, 2, 10, 7]], gull_png=[])
    world.manifest(annotations=[{**MODEL, **address}])
    world.good("apply", "manifest.yaml")
    world.talk.annotate("yolo", [image_set("theirs_gull.png", box("bird", 5, 5, 3, 3))])
    assert in_full(world) == [("remove_annotations", form.format("gull.png"), "drifted", True)]
    assert world.run("apply", "--refresh", "full", "manifest.yaml").code == 7
    world.good("apply", "--refresh", "full", "--auto-approve", "manifest.yaml")
    assert drawn(world) == {"crow.png": [[1, 2, 10, 7]], "gull.png": []}


@pytest.mark.parametrize("address", [{"by": "unique_name"}, {"by": "collection", "collection": "theirs"}])
def test_fractions_are_compared_with_the_pixels_that_the_lake_returns(
    world: World, their_upload: Session, address: dict[str, str]
) -> None:
    name = "theirs_crow.png" if address["by"] == "unique_name" else "crow.png"
    world.write("pred.json", json.dumps(boxes(crow_png=[[0.25, 0.25, 0.5, 0.5]])).replace("crow.png", name))
    world.manifest(annotations=[{**MODEL, **address, "normalized": True}])
    world.good("apply", "manifest.yaml")
    assert drawn(world)["crow.png"] == [[10, 5, 20, 10]]
    assert in_full(world) == []
    world.talk.annotate("yolo", [image_set("theirs_crow.png", box("bird", 10, 5, 20, 9))])
    assert in_full(world) == [("annotate", name, "drifted", True)]


@pytest.mark.parametrize(("number", "refresh"), [(3, "list"), (5, "list"), (0, "full"), (3, "full"), (5, "full")])
def test_what_was_sent_to_a_file_survives_its_replacement_by_another_client(
    world: World, their_upload: Session, number: int, refresh: str
) -> None:
    address, form = addresses(their_upload.job_id)[number]
    prediction(world, form, crow_png=[[1, 2, 10, 7]], gull_png=[[0, 0, 4, 4]])
    world.write("meta.csv", f"file,City\n{form.format('crow.png')},Rome\n{form.format('gull.png')},Oslo\n")
    world.manifest(annotations=[{**MODEL, **address}], metadata=[{"source": "meta.csv", **address}])
    world.good("apply", "manifest.yaml")
    assert "Nothing to do" in world.good("plan", "--refresh", refresh, "manifest.yaml").out
    upload_again(world, "crow.png")
    plan = world.good("plan", "--json", "--refresh", refresh, "manifest.yaml").document
    crow = form.format("crow.png")
    assert [(one["action"], one["file"], one["reason"]) for one in plan["actions"]] == [
        ("annotate", crow, "drifted"),
        ("update_metadata", crow, "drifted"),
    ]
    world.good("apply", "--refresh", refresh, "manifest.yaml")
    assert drawn(world) == {"crow.png": [[1, 2, 10, 7]], "gull.png": [[0, 0, 4, 4]]}
    assert world.talk.details("theirs_crow.png", "City")["City"] == "Rome"
    assert "Nothing to do" in world.good("plan", "--refresh", refresh, "manifest.yaml").out


def test_unique_names_are_looked_up_only_after_files_were_added_or_removed(world: World, their_upload: Session) -> None:
    world.write("meta.csv", "file,City\ntheirs_crow.png,Rome\ntheirs_gull.png,Oslo\n")
    world.manifest(metadata=[{"source": "meta.csv", "by": "unique_name"}])
    world.good("apply", "manifest.yaml")
    world.good("plan", "manifest.yaml")
    world.lake.requests.clear()
    world.good("plan", "manifest.yaml")
    assert world.lake.requests.of("item_details") == 0
    world.talk.upload({"jay.png": png(salt=b"j")}, "theirs")
    world.lake.requests.clear()
    assert "Nothing to do" in world.good("plan", "manifest.yaml").out
    assert world.lake.requests.of("item_details") == 2


def test_a_full_refresh_ignores_files_of_a_job(world: World, their_upload: Session) -> None:
    prediction(world, "{}", crow_png=[[1, 2, 10, 7]])
    world.manifest(annotations=[{**MODEL, "by": "job", "job": their_upload.job_id}])
    world.good("apply", "manifest.yaml")
    assert in_full(world) == []


def write_conflict(world: World, on_drift: str, first: list[float] | None) -> None:
    """Write boxes of an image of another client. `first`: its first box. None: the source does not have the image."""
    sets: dict[str, list[list[float]]] = {"theirs_y_png": [[1, 1, 2, 2]]}
    if first is not None:
        sets["theirs_x_png"] = [first, [20, 10, 6, 6]]
    images = boxes(**sets)["images"]
    for image in images:
        image["image"] = image["image"].replace(".", "_", 1)
    world.write("top.json", {"images": images})
    top = {"operation": "people", "kind": "human", "source": "top.json", "by": "unique_name", "on_drift": on_drift}
    world.manifest(annotations=[top])


@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize("on_drift", ["ask", "keep", "merge", "overwrite"])
def test_a_conflict_of_an_unmanaged_set_is_decided_like_one_of_a_managed_set(
    world: World, on_drift: str, cleared: bool
) -> None:
    world.talk.upload({name: png(salt=name.encode()) for name in ("x.png", "y.png")}, "theirs")
    write_conflict(world, on_drift, [1, 1, 8, 8])
    world.good("apply", "manifest.yaml")
    theirs = [box("bird", 1, 1, 8, 8), box("bird", 20, 12, 6, 6)]
    assert world.talk.annotate("people", [image_set("theirs_x.png", *theirs)]).status_code == 200
    write_conflict(world, on_drift, None if cleared else [2, 1, 8, 8])

    def in_lake() -> list[list[float]]:
        query = {"operationIdList": json.dumps(["people"])}
        found = world.talk.annotations(world.collection_id("theirs"), pageNo="0", pageSize="250", **query)
        return sorted(shape["bbox"] for shape in found.get("x.png", []))

    full = ("--json", "--refresh", "full")
    asks = on_drift == "ask" or (cleared and on_drift == "merge")
    actions = world.good("plan", *full, "manifest.yaml").document["actions"]
    assert [one.get("overwrites", False) for one in actions] == ([] if on_drift == "keep" else [asks])
    for action in actions:
        (changed,) = action["shape_changes"]["by_others"]["changes"]
        assert (changed["before"]["bbox"], changed["after"]["bbox"]) == ([20, 10, 6, 6], [20, 12, 6, 6])
    needs_approval = asks or (cleared and on_drift == "overwrite")
    assert world.run("apply", *full, "manifest.yaml").code == (7 if needs_approval else 0)
    world.good("apply", *full, "--auto-approve", "manifest.yaml")
    sent = [] if cleared else [[2, 1, 8, 8], [20, 10, 6, 6]]
    # The source removed the box that the other client moved: it gets the version of the source.
    merged = [] if cleared else [[2, 1, 8, 8], [20, 12, 6, 6]]
    expected = {"keep": [[1, 1, 8, 8], [20, 12, 6, 6]], "merge": merged}.get(on_drift, sent)
    assert in_lake() == expected
    assert world.good("plan", *full, "manifest.yaml").document["actions"] == []
    if on_drift != "keep":
        runs = world.good("history", "--json", "manifest.yaml").document
        run = next(one["id"] for one in runs if one["actions"])
        world.good("revert", run, "--auto-approve", "manifest.yaml")
        assert in_lake() == [[1, 1, 8, 8], [20, 12, 6, 6]]


@pytest.mark.parametrize("on_drift", ["keep", "merge", "overwrite"])
def test_a_user_decides_a_conflict_of_an_unmanaged_set(
    world: World, on_drift: OnDrift, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.talk.upload({name: png(salt=name.encode()) for name in ("x.png", "y.png")}, "theirs")
    write_conflict(world, "ask", [1, 1, 8, 8])
    world.good("apply", "manifest.yaml")
    theirs = [box("bird", 1, 1, 8, 8), box("bird", 20, 12, 6, 6)]
    assert world.talk.annotate("people", [image_set("theirs_x.png", *theirs)]).status_code == 200
    write_conflict(world, "ask", [2, 1, 8, 8])
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    project = Project.load(world.folder / "manifest.yaml")
    (asks,) = project.plan(refresh="full").document.actions
    assert (asks.address, asks.overwrites) == ("unique names", True)
    key = ("unique names", asks.file or "", asks.operation or "")
    plan = project.plan(refresh="full", decisions={key: on_drift})
    assert [(one.overwrites, one.merges) for one in plan.document.actions] == (
        [] if on_drift == "keep" else [(None, True if on_drift == "merge" else None)]
    )
    project.apply(plan)
    assert project.plan(refresh="full").empty


@pytest.mark.parametrize("by", ["unique_name", "collection", "storage_path", "job"])
def test_a_set_and_a_field_that_another_client_changed_are_not_overwritten_unseen(
    world: World, their_upload: Session, by: str
) -> None:
    """At the default refresh. What the lake does not tell is noted."""
    path = world.talk.details("theirs_crow.png", "storagePath")["storagePath"]
    form = {"unique_name": "theirs_{}", "storage_path": path.replace("crow.png", "{}")}.get(by, "{}")
    extra = {"collection": {"collection": "theirs"}, "job": {"job": their_upload.job_id}}.get(by, {})

    def write(box_of_ours: list[float], city: str) -> None:
        prediction(world, form, crow_png=[box_of_ours])
        world.write("meta.json", {"files": [{"file": form.format("crow.png"), "metadata": {"City": city}}]})
        world.manifest(
            annotations=[{**MODEL, "by": by, **extra}], metadata=[{"source": "meta.json", "by": by, **extra}]
        )

    write([1, 2, 10, 7], "Rome")
    world.good("apply", "manifest.yaml")
    theirs = image_set("theirs_crow.png", box("bird", 3, 3, 3, 3))
    assert world.talk.annotate(MODEL["operation"], [theirs], mode=2).status_code == 200
    edit(world, "crow.png", City="Oslo")
    write([1, 2, 10, 9], "Bern")
    document = world.good("plan", "--json", "manifest.yaml").document
    overwrites = [one.get("overwrites", False) for one in document["actions"]]
    codes = {one["code"] for one in document["warnings"]}
    if by == "job":
        assert overwrites == [False, False]
        assert codes == {"sets_unverified", "metadata_unverified", "address_unknown"}
        return
    assert overwrites == [True, True]
    assert not codes & {"sets_unverified", "metadata_unverified"}
    changed = document["actions"][1]["changes"]
    assert changed == [{"what": "City", "before": "Oslo", "after": "Bern"}]
    assert world.run("apply", "manifest.yaml").code == 7
    assert drawn(world)["crow.png"] == [[3, 3, 3, 3]]
    world.good("apply", "--auto-approve", "manifest.yaml")
    assert drawn(world)["crow.png"] == [[1, 2, 10, 9]]
