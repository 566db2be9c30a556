"""The manifest's downloads and trash rules, and `pull`, through the command line."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from metalake_sync.errors import ExitCode
from tests.embedded_lake.talk import png
from tests.end_to_end.world import BIRDS, PROGRAM, World


@pytest.fixture
def stocked(world: World) -> World:
    """A lake with three images of another client, one of them tagged."""
    names = ("crow.png", "gull.png", "jay.png")
    session = world.talk.upload({name: png(salt=name.encode()) for name in names}, "birds")
    world.talk.asked(
        "/api/client/metadata/uploadMetadataByJson",
        {"metadata": [{"file": "jay.png", "metadata": {"Tags": ["skip"]}}], "collectionId": session.collection_id},
    )
    return world


def downloads(**more: Any) -> dict[str, Any]:
    return {"downloads": [{"collection": "birds", "to": "out", **more}]}


def test_files_are_downloaded_once_and_the_second_plan_is_empty(stocked: World) -> None:
    stocked.manifest(**downloads(annotations={"kind": "all"}))
    plan = stocked.good("plan", "manifest.yaml")
    assert "<= jay.png" in plan.out
    assert "4 to download" in plan.out
    assert not (stocked.folder / "out").exists()
    summary = stocked.good("apply", "manifest.yaml", "--json").summary
    assert summary["done"]["download"] == 4
    assert (stocked.folder / "out" / "birds_jay.png").read_bytes() == png(salt=b"jay.png")
    stocked.lake.requests.clear()
    again = stocked.good("plan", "manifest.yaml", "--json").document
    assert (again["summary"]["download"], again["summary"]["unchanged"]) == (0, 3)
    # The records have the ids, so no request about a file is needed.
    assert stocked.lake.requests.of("item_details") == stocked.lake.requests.of("get_object") == 0


def test_unchecked_records_of_older_versions_are_compared_with_the_lakes_sizes_once(stocked: World) -> None:
    stocked.manifest(**downloads())
    stocked.good("apply", "manifest.yaml")
    cut = stocked.folder / "out" / "birds_jay.png"
    cut.write_bytes(cut.read_bytes()[:50])
    found = cut.stat()
    (state,) = (stocked.folder / ".metalake-sync").glob("*.db")
    with sqlite3.connect(state) as db:
        db.execute("UPDATE downloads SET checked = 0")
        row = (found.st_size, found.st_mtime_ns, "birds_jay.png")
        db.execute("UPDATE downloads SET size_bytes = ?, mtime_ns = ? WHERE unique_name = ?", row)
    db.close()
    plan = stocked.good("plan", "manifest.yaml", "--json").document
    assert [(action["file"], action["reason"]) for action in plan["actions"]] == [("jay.png", "content_changed")]
    stocked.good("apply", "manifest.yaml")
    assert cut.read_bytes() == png(salt=b"jay.png")
    stocked.lake.requests.clear()
    assert "Nothing to do" in stocked.good("plan", "manifest.yaml").out
    assert stocked.lake.requests.of("item_details") == 0


def test_existing_files_with_the_lakes_bytes_are_not_downloaded(stocked: World) -> None:
    stocked.write("out/birds_jay.png", png(salt=b"jay.png"))
    stocked.write("out/birds_crow.png", b"incomplete")
    stocked.write("out/mine.txt", "not the lake's")
    stocked.manifest(**downloads())
    actions = {
        action["file"]: action["reason"]
        for action in stocked.good("plan", "manifest.yaml", "--json").document["actions"]
    }
    assert actions == {"crow.png": "content_changed", "gull.png": "new"}
    stocked.good("apply", "manifest.yaml")
    assert (stocked.folder / "out" / "mine.txt").read_text() == "not the lake's"
    assert "Nothing to do" in stocked.good("plan", "manifest.yaml").out


def test_files_that_changed_locally_or_in_the_lake_are_downloaded_again(stocked: World) -> None:
    stocked.manifest(**downloads())
    stocked.good("apply", "manifest.yaml")
    stocked.write("out/birds_jay.png", b"edited here")
    (stocked.folder / "out" / "birds_gull.png").unlink()
    crow = next(item for item in stocked.talk.items(stocked.collection_id()) if item["name"] == "crow.png")
    stocked.talk.trash(contentType=2, objectIdList=[crow["id"]])
    stocked.talk.upload({"crow.png": png(salt=b"new")}, "birds")
    actions = {
        action["file"]: action["reason"]
        for action in stocked.good("plan", "manifest.yaml", "--json").document["actions"]
    }
    assert actions == {"jay.png": "drifted", "gull.png": "drifted", "crow.png": "content_changed"}
    stocked.good("apply", "manifest.yaml")
    assert (stocked.folder / "out" / "birds_crow.png").read_bytes() == png(salt=b"new")


def test_an_apply_can_download_what_it_uploads(world: World) -> None:
    world.images("a.png")
    birds = {"name": "birds", "type": "image", "folders": [{"path": "images"}]}
    world.manifest(birds, **downloads(naming="name"))
    first = world.good("apply", "manifest.yaml", "--json")
    assert any(warning["code"] == "download_without_collection" for warning in first.events[0]["plan"]["warnings"])
    assert (world.folder / "out" / "a.png").read_bytes() == png(salt=b"a.png")
    assert "Nothing to do" in world.good("plan", "manifest.yaml").out


def test_unsafe_names_of_the_lake_stay_in_the_folder_and_do_not_fail_the_rest(world: World) -> None:
    names = ["../../evil.png", "CON", "C:\\x.png", "a" * 300 + ".png", "Twin.png", "twin.png", "good.png"]
    world.talk.upload({f"{number}.png": png(salt=name.encode()) for number, name in enumerate(names)}, "birds")
    # The embedded lake rejects such names. A real lake may have them from a bucket.
    with sqlite3.connect(world.folder.parent / "lake" / "lake.db") as db:
        for number, name in enumerate(names):
            db.execute("UPDATE items SET name = ?, unique_name = ? WHERE name = ?", (name, name, f"{number}.png"))
    db.close()
    world.manifest(**downloads())
    assert world.good("apply", "manifest.yaml", "--json").summary["done"]["download"] == len(names)
    found = [path.read_bytes() for path in (world.folder / "out").iterdir()]
    assert sorted(found) == sorted(png(salt=name.encode()) for name in names)
    assert sorted(path.name for path in world.folder.iterdir()) == [".metalake-sync", "manifest.yaml", "out"]
    assert "Nothing to do" in world.good("plan", "manifest.yaml").out


def test_items_with_one_name_in_several_collections_are_distinguished(stocked: World) -> None:
    stocked.talk.upload({"jay.png": png(80, 60)}, "cats")
    stocked.write("out/birds_jay.png", png(salt=b"jay.png"))
    stocked.write("out/cats_jay.png", png(80, 60))
    stocked.manifest(downloads=[{"lake": "image", "to": "out"}])
    files = [action["path"] for action in stocked.good("plan", "manifest.yaml", "--json").document["actions"]]
    assert files == ["out/birds_crow.png", "out/birds_gull.png"]


def test_another_naming_downloads_the_files_under_their_other_names(stocked: World) -> None:
    stocked.manifest(**downloads())
    stocked.good("apply", "manifest.yaml")
    stocked.manifest(**downloads(naming="name"))
    assert stocked.good("apply", "manifest.yaml", "--json").summary["done"]["download"] == 3
    assert (stocked.folder / "out" / "jay.png").read_bytes() == png(salt=b"jay.png")
    assert "Nothing to do" in stocked.good("plan", "manifest.yaml").out


def test_changed_annotations_are_written_again(stocked: World) -> None:
    stocked.manifest(**downloads(annotations={"kind": "human"}, media=False))
    stocked.good("apply", "manifest.yaml")
    boxes = {
        "images": [{"image": "jay.png", "annotations": [{"type": "rectangle", "bbox": [1, 2, 3, 4], "label": "b"}]}]
    }
    stocked.write("boxes.json", boxes)
    stocked.good("annotations", "upload", "boxes.json", "--operation", "op", "--kind", "human", "--collection", "birds")
    (action,) = stocked.good("plan", "manifest.yaml", "--json").document["actions"]
    assert (action["reason"], action["path"]) == ("annotations_changed", "out/annotations.json")
    stocked.good("apply", "manifest.yaml")
    images = json.loads((stocked.folder / "out" / "annotations.json").read_text())["images"]
    assert {entry["image"]: len(entry["annotations"]) for entry in images}["birds_jay.png"] == 1
    assert "Nothing to do" in stocked.good("plan", "manifest.yaml").out


SHAPES: list[dict[str, Any]] = [
    {"type": "rectangle", "bbox": [1, 2, 30, 4], "label": "crow"},
    {"type": "polygon", "polygon": [[0, 0], [20, 0], [0, 10]], "label": "gull"},
]


@pytest.fixture
def drawn(stocked: World) -> World:
    """The stocked lake with two boxes in one image and a polygon in another."""
    boxes = [SHAPES[0], {**SHAPES[0], "bbox": [5, 6, 7, 8], "label": "gull"}]
    images = [{"image": "jay.png", "annotations": boxes}, {"image": "gull.png", "annotations": [SHAPES[1]]}]
    stocked.write("boxes.json", {"images": images})
    stocked.good("annotations", "upload", "boxes.json", "--operation", "op", "--kind", "human", "--collection", "birds")
    return stocked


def shapes_in_lake(world: World, collection: str) -> dict[str, list[Any]]:
    def drawing(shape: dict[str, Any]) -> Any:
        numbers = shape.get("bbox") or [part for point in shape["polygon"] for part in point]
        return shape["type"], shape["label"], [round(number, 6) for number in numbers]

    sets = world.talk.annotations(world.collection_id(collection))
    return {name.rpartition("_")[2]: [drawing(one) for one in shapes] for name, shapes in sets.items()}


@pytest.mark.parametrize(
    ("format_name", "written"),
    [
        ("metalake", ["annotations.json"]),
        ("coco", ["annotations.json"]),
        ("yolo", ["birds_crow.txt", "birds_gull.txt", "birds_jay.txt", "classes.txt", "data.yaml"]),
        ("voc", ["birds_crow.xml", "birds_gull.xml", "birds_jay.xml"]),
    ],
)
def test_annotations_downloaded_in_any_format_can_be_uploaded_unchanged(
    drawn: World, format_name: str, written: list[str]
) -> None:
    drawn.manifest(**downloads(annotations={"kind": "human", "format": format_name}))
    plan = drawn.good("plan", "manifest.yaml", "--json").document
    paths = {action["path"].removeprefix("out/") for action in plan["actions"] if "file" not in action}
    assert paths == set(written)
    drawn.good("apply", "manifest.yaml")
    assert {path.name for path in (drawn.folder / "out").iterdir()} == {
        *written,
        *(f"birds_{name}.png" for name in ("crow", "gull", "jay")),
    }
    assert "Nothing to do" in drawn.good("plan", "manifest.yaml").out
    source = "out/annotations.json" if "annotations.json" in written else "out"
    drawn.manifest(
        {
            "name": "again",
            "type": "image",
            "folders": [{"path": "out", "include": ["*.png"]}],
            "annotations": [{"operation": "op", "kind": "human", "source": source}],
        }
    )
    drawn.good("apply", "manifest.yaml")
    before = shapes_in_lake(drawn, "birds")
    assert {name: len(shapes) for name, shapes in before.items()} == {"jay.png": 2, "gull.png": 1, "crow.png": 0}
    assert shapes_in_lake(drawn, "again") == before


BOX_OF = {"jay.png": ["wren", "owl"], "gull.png": ["owl", "auk"], "crow.png": ["tit"]}
"""Labels of one box each. The lake does not list them in alphabetical order."""


def draw(world: World, labels: dict[str, list[str]], operation: str = "op") -> None:
    images = [
        {"image": image, "annotations": [{**SHAPES[0], "label": label} for label in names]}
        for image, names in labels.items()
    ]
    world.write(f"{operation}.json", {"images": images})
    command = ("annotations", "upload", f"{operation}.json", "--operation", operation, "--kind", "human")
    world.good(*command, "--collection", "birds")


def classes_in(folder: Path) -> list[str]:
    """The names of classes in the order of their ids, from classes.txt or annotations.json."""
    if (folder / "classes.txt").exists():
        return (folder / "classes.txt").read_text().splitlines()
    document = json.loads((folder / "annotations.json").read_text())
    found = sorted((category["id"], category["name"]) for category in document["categories"])
    assert [number for number, _ in found] == [*range(1, len(found) + 1)]
    return [name for _, name in found]


def labels_in(folder: Path, image: str) -> list[str]:
    """The labels of an image, from the class ids of its shapes."""
    classes = classes_in(folder)
    if (folder / "classes.txt").exists():
        return [classes[int(line.split()[0])] for line in (folder / f"{image}.txt").read_text().splitlines()]
    document = json.loads((folder / "annotations.json").read_text())
    (number,) = (one["id"] for one in document["images"] if one["file_name"] == f"{image}.png")
    return [classes[one["category_id"] - 1] for one in document["annotations"] if one["image_id"] == number]


def test_class_ids_are_the_same_in_every_download_format_and_run(stocked: World) -> None:
    draw(stocked, BOX_OF)
    queries = {"jays": "annotation.label=wren", "gulls": "annotation.label=auk", "all": None}
    blocks = [
        {"collection": "birds", "to": f"{name}-{form}", "annotations": {"format": form}, "media": False}
        | ({"query": query} if query else {})
        for name, query in queries.items()
        for form in ("yolo", "coco", "voc")
    ]
    stocked.manifest(downloads=blocks)
    stocked.good("apply", "manifest.yaml")
    folders = [stocked.folder / f"{name}-{form}" for name in queries for form in ("yolo", "coco")]
    assert {tuple(classes_in(folder)) for folder in folders} == {("auk", "owl", "tit", "wren")}
    for folder in folders:
        bird = "birds_gull" if folder.name.startswith("gulls") else "birds_jay"
        assert sorted(labels_in(folder, bird)) == sorted(BOX_OF[f"{bird.removeprefix('birds_')}.png"])
    assert "Nothing to do" in stocked.good("plan", "manifest.yaml").out
    # The lake returns the images and the annotations in another order.
    stocked.manifest(downloads=[{**block, "sort": {"by": "name", "order": "desc"}} for block in reversed(blocks)])
    stocked.good("apply", "manifest.yaml")
    assert {tuple(classes_in(folder)) for folder in folders} == {("auk", "owl", "tit", "wren")}


def test_a_new_class_changes_the_ids_of_every_download_in_the_same_run(stocked: World) -> None:
    draw(stocked, BOX_OF)
    blocks = [
        {"collection": "birds", "to": name, "annotations": {"format": "yolo"}, "media": False, "query": query}
        for name, query in (("jays", "annotation.label=wren"), ("tits", "annotation.label=tit"))
    ]
    stocked.manifest(downloads=blocks)
    stocked.good("apply", "manifest.yaml")
    draw(stocked, {"crow.png": ["ani"]}, "more")
    plan = stocked.good("plan", "manifest.yaml", "--json").document
    changed = {action["path"] for action in plan["actions"]}
    assert changed >= {f"{name}/classes.txt" for name in ("jays", "tits")} | {"jays/birds_jay.txt"}
    stocked.good("apply", "manifest.yaml")
    classes = ["ani", "auk", "owl", "tit", "wren"]
    assert classes_in(stocked.folder / "jays") == classes_in(stocked.folder / "tits") == classes
    assert labels_in(stocked.folder / "jays", "birds_jay") == ["wren", "owl"]


def labels_for_trainers(data_file: Path) -> dict[str, Path]:
    """The path at which a trainer expects the label file of each image, by image name.

    The rule of Ultralytics and compatible trainers: folders are relative to the data file. In the whole path of an
    image, the last `/images/` becomes `/labels/` and the extension becomes `.txt`.
    """
    data = yaml.safe_load(data_file.read_text())
    found: dict[str, Path] = {}
    for part in ("train", "val"):
        for image in (data_file.parent / data[part]).resolve().glob("**/*.png"):
            before, images, after = str(image).rpartition("/images/")
            label = f"{before}/labels/{after}" if images else str(image)
            found[image.name] = Path(label.rpartition(".")[0] + ".txt")
    return found


def test_a_written_data_yaml_leads_trainers_to_images_and_labels(stocked: World) -> None:
    draw(stocked, {"jay.png": ["wren", "no"], "gull.png": ["010"]})
    stocked.manifest(**downloads(annotations={"format": "yolo"}))
    assert stocked.good("plan", "manifest.yaml", "--json").document["warnings"] == []
    stocked.good("apply", "manifest.yaml")
    folder = stocked.folder / "out"
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert (data["nc"], data["names"]) == (3, ["010", "no", "wren"])
    labels = labels_for_trainers(folder / "data.yaml")
    lines = {name: path.read_text().splitlines() for name, path in labels.items()}
    assert all(len(line.split()) == 5 for these in lines.values() for line in these), "trainers read five columns"
    found = {name: [data["names"][int(line.split()[0])] for line in these] for name, these in lines.items()}
    assert found == {"birds_crow.png": [], "birds_gull.png": ["010"], "birds_jay.png": ["wren", "no"]}


def test_a_folder_in_which_trainers_find_no_labels_causes_a_warning(stocked: World) -> None:
    block = {"collection": "birds", "to": "images/train", "annotations": {"format": "yolo"}}
    stocked.manifest(downloads=[block])
    (note,) = stocked.good("plan", "manifest.yaml", "--json").document["warnings"]
    assert note["code"] == "labels_not_found_by_trainers"
    assert "'images/train' is inside a folder 'images'" in note["message"]
    stocked.good("apply", "manifest.yaml")
    labels = labels_for_trainers(stocked.folder / "images/train/data.yaml")
    assert [path.exists() for path in labels.values()] == [False, False, False]


def test_labels_that_one_format_cannot_hold_are_last_in_the_others(stocked: World) -> None:
    draw(stocked, {"jay.png": [" a", "wren"], "gull.png": ["owl"]})
    blocks = [{"collection": "birds", "to": form, "annotations": {"format": form}} for form in ("yolo", "coco")]
    stocked.manifest(downloads=blocks)
    stocked.good("apply", "manifest.yaml")
    assert classes_in(stocked.folder / "yolo") == ["owl", "wren"]
    assert classes_in(stocked.folder / "coco") == ["owl", "wren", " a"]


@pytest.mark.parametrize(("form", "extension"), [("yolo", "txt"), ("voc", "xml"), ("coco", "json")])
def test_files_of_an_earlier_query_cause_a_warning(stocked: World, form: str, extension: str) -> None:
    draw(stocked, BOX_OF)
    stocked.manifest(**downloads(annotations={"format": form}))
    stocked.good("apply", "manifest.yaml")
    stocked.write("out/notes.txt", "bought in May")
    stocked.write("out/project.xml", "<project/>")
    assert stocked.good("plan", "manifest.yaml", "--json").document["warnings"] == []
    stocked.manifest(**downloads(annotations={"format": form}, query="annotation.label=auk"))
    (note,) = stocked.good("plan", "manifest.yaml", "--json").document["warnings"]
    stale = [f"birds_{name}.png" for name in ("crow", "jay")]
    if form != "coco":
        stale += [f"birds_{name}.{extension}" for name in ("crow", "jay")]
    assert note["code"] == "stale_downloads"
    assert note["message"].startswith(f"'out' has {len(stale)} files that this download does not write")
    assert note["message"].endswith(": " + ", ".join(stale))
    stocked.good("apply", "manifest.yaml")
    assert all((stocked.folder / "out" / name).exists() for name in stale)
    os.unlink(stocked.folder / "out" / stale[0])
    (note,) = stocked.good("plan", "manifest.yaml", "--json").document["warnings"]
    assert note["message"].endswith(": " + ", ".join(stale[1:]))


def test_annotations_without_images_use_the_sizes_from_the_lake(drawn: World) -> None:
    drawn.manifest(**downloads(annotations={"format": "yolo"}, media=False))
    drawn.good("apply", "manifest.yaml")
    label, numbers = (drawn.folder / "out" / "birds_jay.txt").read_text().splitlines()[0].split(" ", 1)
    assert (drawn.folder / "out" / "classes.txt").read_text().splitlines()[int(label)] == "crow"
    assert numbers == "0.4 0.2 0.75 0.2"
    assert "Nothing to do" in drawn.good("plan", "manifest.yaml").out


def test_shapes_that_a_format_cannot_hold_are_a_note_of_the_plan(drawn: World) -> None:
    line = {"type": "line", "line": [[0, 0], [5, 5]], "label": "rail"}
    drawn.write("boxes.json", {"images": [{"image": "crow.png", "annotations": [line]}]})
    drawn.good("annotations", "upload", "boxes.json", "--operation", "op", "--kind", "human", "--collection", "birds")
    drawn.manifest(**downloads(annotations={"format": "voc"}))
    (note,) = drawn.good("plan", "manifest.yaml", "--json").document["warnings"]
    assert note["code"] == "annotations_not_held"
    assert note["message"].endswith("shapes of type line; they are left out: 1, first in birds_crow.png")
    drawn.good("apply", "manifest.yaml")


def test_an_unreadable_image_fails_in_a_format_that_needs_its_size(drawn: World) -> None:
    drawn.talk.upload({"junk.png": b"not an image"}, "birds")
    drawn.write("boxes.json", {"images": [{"image": "junk.png", "annotations": [SHAPES[0]]}]})
    drawn.good("annotations", "upload", "boxes.json", "--operation", "op", "--kind", "human", "--collection", "birds")
    drawn.manifest(**downloads(annotations={"format": "yolo"}))
    done = drawn.run("apply", "manifest.yaml")
    assert done.code == ExitCode.SOME_FAILED
    assert "first in birds_junk.png" in done.err
    assert (drawn.folder / "out" / "birds_jay.txt").exists()


def test_a_killed_download_continues_at_its_last_byte(world: World) -> None:
    film = os.urandom(6 << 20)
    world.talk.upload({"film.mp4": film, "short.mp4": b"short"}, "films", kind=4)
    world.manifest(downloads=[{"collection": "films", "to": "out"}])
    partial = world.folder / "out" / ".metalake-sync-partial"

    def parts() -> list[Path]:
        return [path for path in partial.glob("*.*") if path.stat().st_size > 1 << 20]

    command = [str(PROGRAM), "pull", "manifest.yaml", "--bwlimit", "2M"]
    with subprocess.Popen(command, cwd=world.folder, env=world.environment(), stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while not parts():
            assert process.poll() is None, "the run was over before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    assert not (world.folder / "out" / "films_film.mp4").exists()
    (part,) = parts()
    assert part.read_bytes() == film[: part.stat().st_size]
    # An equal inode proves that the rest was appended. The second link prevents its reuse by another file.
    os.link(part, world.folder / "part")
    world.good("pull", "manifest.yaml")
    downloaded = world.folder / "out" / "films_film.mp4"
    assert downloaded.samefile(world.folder / "part")
    assert downloaded.read_bytes() == film
    assert sorted(path.name for path in (world.folder / "out").iterdir()) == ["films_film.mp4", "films_short.mp4"]


def test_a_trash_rule_needs_approval_and_trashes_the_planned_items(stocked: World) -> None:
    stocked.manifest(trash=[{"lake": "image", "query": "metadata.Tags=skip"}])
    plan = stocked.good("plan", "manifest.yaml")
    assert "- birds_jay.png" in plan.out
    assert "1 to trash" in plan.out
    assert stocked.run("apply", "manifest.yaml").code == ExitCode.GUARDED
    assert stocked.names() == ["crow.png", "gull.png", "jay.png"]
    assert stocked.good("apply", "manifest.yaml", "--auto-approve", "--json").summary["done"]["trash"] == 1
    assert stocked.names() == ["crow.png", "gull.png"]
    assert "Nothing to do" in stocked.good("plan", "manifest.yaml").out
    stocked.good("apply", "manifest.yaml")


def test_a_trash_rule_is_limited_by_max_delete(stocked: World) -> None:
    stocked.manifest(trash=[{"collection": "birds"}])
    done = stocked.run("apply", "manifest.yaml", "--auto-approve", "--max-delete", "2")
    assert done.code == ExitCode.GUARDED
    assert "3 files would be trashed" in done.err
    assert len(stocked.names()) == 3
    stocked.good("apply", "manifest.yaml", "--auto-approve", "--max-delete", "3")
    assert stocked.names() == []


def test_a_rule_trashes_a_whole_collection_once_it_is_approved(stocked: World) -> None:
    rule = {"collection": "birds", "type": "image", "whole": True}
    stocked.manifest(trash=[rule])
    plan = stocked.good("plan", "manifest.yaml", "--json").document
    (action,) = plan["actions"]
    assert (action["action"], action["collection"], action["items"]) == ("trash", "birds", 3)
    assert plan["summary"]["trash"] == 3
    assert "- the collection with 3 items" in stocked.good("plan", "manifest.yaml").out
    assert stocked.run("apply", "manifest.yaml").code == ExitCode.GUARDED
    done = stocked.run("apply", "manifest.yaml", "--auto-approve", "--max-delete", "2")
    assert (done.code, "3 files would be trashed" in done.err) == (ExitCode.GUARDED, True)
    assert len(stocked.names()) == 3

    assert stocked.good("apply", "manifest.yaml", "--auto-approve", "--json").summary["done"]["trash"] == 3
    assert stocked.talk.names(contentType=5) == []
    assert stocked.talk.count(contentType=2) == 0
    stocked.lake.requests.clear()
    assert "Nothing to do" in stocked.good("plan", "manifest.yaml").out
    stocked.good("apply", "manifest.yaml")
    assert stocked.lake.requests.writes == 0


def test_a_saved_plan_of_a_whole_collection_holds_until_it_gets_another_item(stocked: World) -> None:
    stocked.manifest(trash=[{"collection": "birds", "whole": True}])
    stocked.good("plan", "manifest.yaml", "--out", "p.plan")
    stocked.talk.upload({"new.png": png(salt=b"new")}, "birds")
    done = stocked.run("apply", "p.plan")
    assert (done.code, "items 3 → 4" in done.err) == (ExitCode.GUARDED, True)
    assert len(stocked.names()) == 4
    stocked.good("plan", "manifest.yaml", "--out", "p.plan")
    assert "birds: trashed the collection with 4 items" in stocked.good("apply", "p.plan").out
    assert stocked.talk.names(contentType=5) == []


@pytest.mark.parametrize("rule", [{"whole": True}, {"query": "metadata.Tags=skip"}, {"type": "video"}])
def test_a_trash_rule_for_a_missing_collection_causes_a_warning(stocked: World, rule: dict[str, Any]) -> None:
    stocked.manifest(trash=[{"collection": "birds" if "type" in rule else "brids", **rule}])
    plan = stocked.good("plan", "manifest.yaml", "--json").document
    (note,) = plan["warnings"]
    assert (plan["actions"], note["code"]) == ([], "trash_without_collection")
    assert note["where"].startswith("manifest.yaml:")
    assert f"of type {rule.get('type', 'image')}, so the rule trashes nothing" in note["message"]
    stocked.good("apply", "manifest.yaml")
    assert len(stocked.names()) == 3


def test_the_records_of_a_trashed_collection_are_removed(world: World) -> None:
    world.images("crow.png")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    world.manifest(trash=[{"collection": "birds", "whole": True}])
    world.good("apply", "manifest.yaml", "--auto-approve")
    (note,) = world.good("plan", "manifest.yaml", "--json").document["warnings"]
    assert note["code"] == "trash_without_collection"
    world.manifest(BIRDS)
    assert world.good("apply", "manifest.yaml", "--json").summary["done"]["upload"] == 1


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"lake": "image", "whole": True}, "'whole' needs 'collection'"),
        (
            {"collection": "old", "whole": True, "query": "metadata.Tags=a"},
            "'whole' and 'query' cannot be used together",
        ),
        (
            {"collection": "old", "whole": True, "filter": {"to_date": "2022-01-01"}},
            "'whole' and 'filter' cannot be",
        ),
        ({"collection": "birds", "whole": True}, "the rule trashes the collection 'birds', and this manifest syncs it"),
    ],
)
def test_whole_excludes_queries_filters_and_synced_collections(
    world: World, rule: dict[str, Any], message: str
) -> None:
    world.images("crow.png")
    world.manifest(BIRDS, trash=[rule])
    done = world.run("validate", "manifest.yaml")
    assert (done.code, message in done.err) == (ExitCode.USAGE, True)


def test_a_plan_warns_of_files_that_are_synced_and_trashed(world: World) -> None:
    world.images("crow.png", "jay.png")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    world.manifest(BIRDS, trash=[{"collection": "birds", "type": "image", "filter": {"annotation_types": ["raw"]}}])
    warnings = world.good("plan", "manifest.yaml", "--json").document["warnings"]
    assert [warning["code"] for warning in warnings] == ["synced_and_trashed"]
    assert "crow.png and 1 more" in warnings[0]["message"]
    (world.folder / "images" / "jay.png").unlink()
    (warning,) = [
        warning
        for warning in world.good("plan", "manifest.yaml", "--json").document["warnings"]
        if warning["code"] == "synced_and_trashed"
    ]
    assert "crow.png are" in warning["message"]
    # A file that the folder's rules exclude is not sent again.
    world.images("gull.png")
    left_out = {**BIRDS, "folders": [{"path": "images", "exclude": ["crow.png"]}], "prune": False}
    world.manifest(left_out, trash=[{"collection": "birds", "type": "image", "filter": {"annotation_types": ["raw"]}}])
    codes = [one["code"] for one in world.good("plan", "manifest.yaml", "--json").document["warnings"]]
    assert "synced_and_trashed" not in codes


def test_a_run_with_a_target_does_not_include_downloads_and_trash_rules(stocked: World) -> None:
    stocked.images("new.png")
    stocked.manifest(BIRDS, trash=[{"lake": "image", "query": "metadata.Tags=skip"}], **downloads())
    summary = stocked.good("apply", "manifest.yaml", "--target", "birds", "--json").summary["done"]
    assert (summary["upload"], summary["download"], summary["trash"]) == (1, 0, 0)


def test_trash_rules_are_not_applied_after_a_failure(stocked: World) -> None:
    stocked.write("out/birds_crow.png/in_the_way", "x")
    stocked.manifest(trash=[{"collection": "birds", "query": "metadata.Tags=skip"}], **downloads())
    done = stocked.run("apply", "manifest.yaml", "--auto-approve")
    assert done.code == ExitCode.SOME_FAILED
    assert "no trash rule is applied" in done.err
    assert "jay.png" in stocked.names()


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"downloads": [{"to": "out"}]}, "needs either 'collection' or 'lake'"),
        ({"downloads": [{"lake": "image", "collection": "birds", "to": "out"}]}, "cannot be used together"),
        (
            {"downloads": [{"lake": "image", "to": "out", "annotations": {}}]},
            "annotations cannot be downloaded for the whole lake",
        ),
        ({"downloads": [{"lake": "image", "to": "o"}, {"lake": "video", "to": "./o"}]}, "two downloads go into"),
        ({"downloads": [{"lake": "image", "to": "o", "filter": {"from_date": "soon"}}]}, "is not a date"),
        ({"downloads": [{"collection": "birds", "to": "o", "media": False}]}, "neither files nor annotations"),
        ({"trash": [{"lake": "image"}]}, "would trash everything"),
        ({"downloads": [{"collection": "b", "to": "o", "annotations": {"format": "paint"}}]}, "is 'paint'. Write"),
    ],
)
def test_an_invalid_block_is_an_error_with_its_line(world: World, block: dict[str, Any], message: str) -> None:
    world.manifest(**block)
    done = world.run("validate", "manifest.yaml")
    assert done.code == ExitCode.USAGE
    assert message in done.err
    assert "manifest.yaml:" in done.err


@pytest.mark.parametrize("section", ["downloads", "trash"])
def test_a_query_that_the_lake_rejects_is_an_error_with_its_line(stocked: World, section: str) -> None:
    to = {"to": "out"} if section == "downloads" else {}
    stocked.manifest(**{section: [{"collection": "birds", "query": "Tags:x", **to}]})
    done = stocked.run("plan", "manifest.yaml")
    assert done.code == ExitCode.USAGE
    line = (stocked.folder / "manifest.yaml").read_text().splitlines().index("  query: Tags:x") + 1
    assert f"manifest.yaml:{line}:" in done.err
    assert "annotation.label=X" in done.err


def test_pull_runs_the_downloads_and_nothing_else(stocked: World) -> None:
    stocked.images("new.png")
    cats = {"name": "cats", "type": "image", "folders": [{"path": "images"}]}
    stocked.manifest(cats, trash=[{"lake": "image", "query": "metadata.Tags=skip"}], **downloads())
    out = stocked.good("pull", "manifest.yaml").out
    assert "3 files downloaded" in out
    assert stocked.names() == ["crow.png", "gull.png", "jay.png"]
    assert stocked.talk.count(contentType=5) == 1
    assert stocked.good("pull", "manifest.yaml", "--json").summary["done"]["download"] == 0


def test_pull_downloads_one_collection_from_the_manifests_remote(stocked: World) -> None:
    stocked.manifest()
    assert stocked.run("pull", "manifest.yaml").code == ExitCode.USAGE
    stocked.good("pull", "manifest.yaml", "--collection", "birds", "--to", "here", "--annotations", "none")
    assert len(list((stocked.folder / "here").iterdir())) == 3
    refused = stocked.run("pull", "manifest.yaml", "--collection", "birds", "--to", "x", "--format", "paint")
    assert refused.code == ExitCode.USAGE
    assert "'paint'" in refused.err
    assert stocked.run("pull", "manifest.yaml", "--to", "x").code == ExitCode.USAGE


def test_a_link_in_place_of_the_partial_folder_fails_its_block_alone(stocked: World) -> None:
    stocked.write("precious/key", "mine")
    (stocked.folder / "out").mkdir()
    (stocked.folder / "out" / ".metalake-sync-partial").symlink_to("../precious")
    stocked.manifest(downloads=[{"collection": "birds", "to": "out"}, {"collection": "birds", "to": "other"}])
    done = stocked.run("pull", "manifest.yaml")
    assert done.code == ExitCode.SOME_FAILED
    assert "out/.metalake-sync-partial: '.metalake-sync-partial' is a link" in done.out + done.err
    assert [path.name for path in (stocked.folder / "precious").iterdir()] == ["key"]
    assert len(list((stocked.folder / "other").iterdir())) == 3


def test_a_run_that_uploads_what_it_downloads_names_what_the_format_loses(world: World) -> None:
    """The plan can't read annotations that this run sends, and what a format can't hold is no failure."""
    world.images("crow.png", "jay.png")
    line = {"type": "line", "line": [[1, 1], [5, 5]], "label": "wire"}
    box = {"type": "rectangle", "label": "crow", "bbox": [1, 1, 2, 2], "metadata": {"by": "me"}}
    world.write("drawn.json", {"images": [{"image": "crow.png", "annotations": [box, line]}]})
    annotations = [{"operation": "op", "kind": "human", "source": "drawn.json"}]
    world.manifest(
        {"name": "birds", "type": "image", "folders": [{"path": "images"}], "annotations": annotations},
        downloads=[{"collection": "birds", "to": "out", "naming": "name", "annotations": {"format": "yolo"}}],
    )
    done = world.good("apply", "manifest.yaml")
    assert "out: the annotation format cannot express everything: metadata fields: 1, first in crow.png" in done.out
    assert "shapes of type line; they are left out: 1, first in crow.png" in done.out
    assert (world.folder / "out/crow.txt").read_text().startswith("0 ")
    plan = world.good("plan", "manifest.yaml", "--json").document
    assert plan["actions"] == []
    assert [one["code"] for one in plan["warnings"]].count("annotations_not_held") == 2


def test_a_run_that_uploads_what_it_downloads_fails_for_an_image_of_unknown_size(world: World) -> None:
    box = {"type": "rectangle", "label": "crow", "bbox": [1, 1, 2, 2]}
    world.write("images/crow.png", b"\x89PNG no header")
    world.write("drawn.json", {"images": [{"image": "crow.png", "annotations": [box]}]})
    annotations = [{"operation": "op", "kind": "human", "source": "drawn.json"}]
    world.manifest(
        {"name": "birds", "type": "image", "folders": [{"path": "images"}], "annotations": annotations},
        checks={"images": "off"},
        downloads=[{"collection": "birds", "to": "out", "naming": "name", "annotations": {"format": "yolo"}}],
    )
    done = world.run("apply", "manifest.yaml")
    assert done.code == ExitCode.SOME_FAILED
    assert "not all annotations could be written (images of unknown size" in done.err + done.out
