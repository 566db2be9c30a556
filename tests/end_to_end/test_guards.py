"""A guard cannot be passed by accident: each dangerous plan ends with exit code 7, even with --auto-approve, and the
lake keeps every file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.embedded_lake.talk import png
from tests.end_to_end.world import BIRDS, PRUNED, World, boxes, with_pruned

NAMES = [f"{letter}.png" for letter in "abcdefgh"]


@pytest.fixture
def full_world(world: World) -> World:
    """Eight images in the lake, of a manifest that prunes."""
    return with_pruned(world, *NAMES)


def stopped(world: World, *flags: str) -> str:
    """Apply with --auto-approve. The run must stop, write nothing, and trash nothing. Returns its output."""
    world.lake.requests.clear()
    done = world.run("apply", "--auto-approve", *flags, "manifest.yaml")
    assert done.code == 7, (done.code, done.out, done.err)
    assert world.lake.requests.writes == 0
    assert world.names() == NAMES
    return done.err


def empty_the_folder(world: World) -> None:
    for name in NAMES:
        (world.folder / "images" / name).unlink()


def lose_the_mount(world: World) -> None:
    """Replace a folder by an empty one with another inode, like an unmounted disk."""
    shutil.rmtree(world.folder / "images")
    (world.folder / "images").mkdir()


def lose_the_folder(world: World) -> None:
    shutil.rmtree(world.folder / "images")


def mistype_the_glob(world: World) -> None:
    world.manifest({**PRUNED, "folders": [{"path": "images", "include": ["*.pgn"]}]})


def exclude_too_much(world: World) -> None:
    world.manifest({**PRUNED, "folders": [{"path": "images", "exclude": ["[a-g].png"]}]})


def ignore_too_much(world: World) -> None:
    world.write("images/.metalakeignore", "*\n!h.png\n")


def take_the_wrong_manifest(world: World) -> None:
    """Write a manifest with the same name and collection for other data."""
    world.images("other.png", folder="others")
    world.manifest({**PRUNED, "folders": [{"path": "others"}]})


def take_a_manifest_without_sources(world: World) -> None:
    world.manifest({"name": "birds", "type": "image", "prune": True})


@pytest.mark.parametrize(
    ("mishap", "says"),
    [
        (empty_the_folder, "no file in 'images' matches any more, but the state has records of 8 files"),
        (lose_the_mount, "no file in 'images' matches any more, but the state has records of 8 files"),
        (lose_the_folder, "'images' does not exist, but the state has records of 8 files under it"),
        (mistype_the_glob, "no file in 'images' matches any more"),
        (exclude_too_much, "would lose 7 of 8 files, more than --max-delete allows"),
        (ignore_too_much, "would lose 7 of 8 files"),
        (take_the_wrong_manifest, "would lose 8 of 8 files"),
        (take_a_manifest_without_sources, "would lose 8 of 8 files"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_guard_stops_a_dangerous_plan(full_world: World, mishap: Callable[[World], None], says: str) -> None:
    mishap(full_world)
    assert says in stopped(full_world)


def test_a_guard_stops_a_saved_plan_too(full_world: World) -> None:
    exclude_too_much(full_world)
    full_world.good("plan", "--out", "the.plan", "manifest.yaml")
    assert full_world.run("apply", "the.plan").code == 7
    assert full_world.names() == NAMES
    assert full_world.run("apply", "--max-delete", "100%", "the.plan").code == 0
    assert full_world.names() == ["h.png"]


def test_files_that_no_longer_match_are_reported_with_this_reason(full_world: World) -> None:
    full_world.manifest({**PRUNED, "folders": [{"path": "images", "exclude": ["[ab].png"]}]})
    plan = full_world.good("plan", "--json", "manifest.yaml").document
    assert {(action["file"], action["reason"]) for action in plan["actions"]} == {
        ("a.png", "filtered_out"),
        ("b.png", "filtered_out"),
    }
    (note,) = [note for note in plan["warnings"] if note["code"] == "filtered_out"]
    assert note["message"] == "2 files are on disk, but the patterns exclude them now: a.png, b.png"


def test_pruning_needs_approval_and_is_limited_by_max_delete(full_world: World) -> None:
    (full_world.folder / "images/a.png").unlink()
    (full_world.folder / "images/b.png").unlink()
    assert full_world.run("apply", "manifest.yaml").code == 7
    assert "2 files would be trashed" in stopped(full_world, "--max-delete", "1")
    assert "would lose 2 of 8 files" in stopped(full_world, "--max-delete", "20%")
    full_world.talk.upload({"theirs.png": png(salt=b"theirs")}, "birds")
    full_world.good("apply", "--auto-approve", "manifest.yaml")
    assert full_world.names() == [*NAMES[2:], "theirs.png"]


@pytest.mark.parametrize("limit", ["", "many", "-1", "101%", "x%", "1.5"])
def test_an_invalid_limit_is_a_usage_error(full_world: World, limit: str) -> None:
    assert full_world.run("apply", f"--max-delete={limit}", "manifest.yaml").code == 64


def test_nothing_is_pruned_after_a_failure_in_the_collection(full_world: World) -> None:
    (full_world.folder / "images/a.png").unlink()
    full_world.write("images/new.png", png(salt=b"new"))
    # The lake refuses the new file's metadata, though not the fields of the manifest as such.
    full_world.manifest({**PRUNED, "file_metadata": ["metadata.json"]})
    full_world.write("metadata.json", {"files": [{"file": "new.png", "metadata": {"x" * 5000: 1}}]})
    done = full_world.run("apply", "--auto-approve", "manifest.yaml")
    assert done.code != 0
    assert "a.png" in full_world.names()


def test_adopted_files_are_never_pruned(world: World) -> None:
    world.images("a.png", "b.png", "c.png")
    world.talk.upload({"a.png": (world.folder / "images/a.png").read_bytes()}, "birds")
    world.manifest(PRUNED)
    world.good("apply", "manifest.yaml")
    (world.folder / "images/a.png").unlink()
    done = world.good("apply", "--auto-approve", "manifest.yaml")
    assert "it was adopted, so it is never pruned" in done.out
    assert world.names() == ["a.png", "b.png", "c.png"]


def test_prevent_destroy_stops_replacing_and_pruning(full_world: World) -> None:
    full_world.manifest({**PRUNED, "prevent_destroy": True})
    (full_world.folder / "images/a.png").unlink()
    assert "'prevent_destroy' is set" in stopped(full_world)
    full_world.images("a.png")
    full_world.write("images/b.png", b"other bytes")
    assert "'prevent_destroy' is set" in stopped(full_world)


@pytest.mark.parametrize(
    "rule", [{"collection": "birds", "type": "image"}, {"lake": "image", "query": "metadata.City=Rome"}]
)
def test_prevent_destroy_stops_a_trash_rule_that_matches_the_collections_files(
    full_world: World, rule: dict[str, Any]
) -> None:
    full_world.manifest({**PRUNED, "metadata": {"City": "Rome"}})
    full_world.good("apply", "manifest.yaml")
    full_world.manifest({**PRUNED, "metadata": {"City": "Rome"}, "prevent_destroy": True}, trash=[rule])
    assert "8 files match a trash rule, and 'prevent_destroy' is set" in stopped(full_world)


def test_two_manifests_with_one_name_do_not_prune_each_others_files(world: World) -> None:
    world.images("a.png", "b.png", folder="one")
    world.images("c.png", "d.png", folder="two")
    for name in ("one", "two"):
        world.manifest({**BIRDS, "folders": [{"path": name}], "prune": True}, name="birds")
        (world.folder / "manifest.yaml").rename(world.folder / f"{name}.yaml")
    world.good("apply", "one.yaml")
    other = world.run("apply", "--auto-approve", "two.yaml")
    assert (other.code, "belongs to another manifest" in other.err) == (7, True)
    assert world.names() == ["a.png", "b.png"]
    world.good("apply", "--state", "two.db", "two.yaml")
    assert world.names() == ["a.png", "b.png", "c.png", "d.png"]
    assert "Nothing was sent" in world.good("apply", "--auto-approve", "one.yaml").out
    # Renamed, a manifest keeps its state.
    (world.folder / "one.yaml").rename(world.folder / "three.yaml")
    assert "Nothing was sent" in world.good("apply", "three.yaml").out


# Replacements and annotation sets.


def test_emptied_files_are_replaced_only_up_to_the_limit(full_world: World) -> None:
    before = {name: (full_world.folder / "images" / name).read_bytes() for name in NAMES}
    for name in NAMES:
        full_world.write(f"images/{name}", b"")
    full_world.manifest(PRUNED, checks={"images": "off"})
    said = stopped(full_world, "--max-delete", "0")
    assert "8 files would be replaced, more than --max-delete allows (0 files)" in said
    assert "would lose the bytes of 8 (8 by replacement) of 8 files" in stopped(full_world, "--max-delete", "99%")
    assert {name: full_world.talk.read(f"birds_{name}") for name in NAMES} == before
    full_world.good("apply", "--auto-approve", "--max-delete", "8", "manifest.yaml")
    assert full_world.talk.read("birds_a.png") == b""


def lose_entries(world: World) -> None:
    world.write("people.json", boxes(a_png=[[1, 1, 2, 2]]))


def empty_entries(world: World) -> None:
    world.write("people.json", boxes(a_png=[[1, 1, 2, 2]], b_png=[], c_png=[]))


def allow_other_labels(world: World) -> None:
    document = boxes(a_png=[[1, 1, 2, 2]], b_png=[[3, 3, 4, 4]], c_png=[[5, 5, 2, 2]])
    document["images"][0]["annotations"][0]["label"] = "nest"
    world.write("people.json", document)
    world.manifest(annotated({"allow": ["nest"]}))


def annotated(labels: dict[str, Any] | None = None) -> dict[str, Any]:
    people = {"operation": "people", "kind": "human", "source": "people.json"}
    return {**BIRDS, "annotations": [people if labels is None else {**people, "labels": labels}]}


@pytest.mark.parametrize("mishap", [lose_entries, empty_entries, allow_other_labels], ids=lambda one: one.__name__)
def test_sets_that_their_source_no_longer_has_are_removed_only_after_approval(
    world: World, mishap: Callable[[World], None]
) -> None:
    world.images("a.png", "b.png", "c.png")
    world.write("people.json", boxes(a_png=[[1, 1, 2, 2]], b_png=[[3, 3, 4, 4]], c_png=[[5, 5, 2, 2]]))
    world.manifest(annotated())
    world.good("apply", "manifest.yaml")

    def drawn() -> list[int]:
        shapes = world.talk.annotations(world.collection_id())
        return [len(shapes[name]) for name in ("a.png", "b.png", "c.png")]

    mishap(world)
    summary = world.good("plan", "--json", "manifest.yaml").document["summary"]
    assert summary["remove_annotations"] == 2
    assert (world.run("apply", "manifest.yaml").code, drawn()) == (7, [1, 1, 1])
    world.good("apply", "--auto-approve", "manifest.yaml")
    assert drawn() == [1, 0, 0]
    assert "Nothing was sent" in world.good("apply", "manifest.yaml").out


# Folders below a source that may hide files.


@pytest.fixture
def nested_world(world: World) -> World:
    """Two images in each of three folders, in the lake, of a manifest that prunes."""
    for folder in ("a", "b", "c/deep"):
        start = folder[0]
        world.images(f"{start}1.png", f"{start}2.png", folder=f"images/{folder}")
    world.manifest(PRUNED)
    world.good("apply", "manifest.yaml")
    return world


NESTED = ["a1.png", "a2.png", "b1.png", "b2.png", "c1.png", "c2.png"]


def empty_folder(world: World, folder: str) -> None:
    shutil.rmtree(world.folder / "images" / folder)
    (world.folder / "images" / folder).mkdir()


def dangling_link(world: World, folder: str) -> None:
    shutil.rmtree(world.folder / "images" / folder)
    (world.folder / "images" / folder).symlink_to("/nowhere/at/all")


@pytest.mark.parametrize(("hide", "folder"), [(empty_folder, "a"), (empty_folder, "c"), (dangling_link, "b")])
def test_nothing_below_an_emptied_folder_is_pruned_because_it_may_be_unmounted(
    nested_world: World, hide: Callable[[World, str], None], folder: str
) -> None:
    hide(nested_world, folder)
    done = nested_world.run("apply", "--auto-approve", "manifest.yaml")
    assert nested_world.names() == NESTED
    assert f"'images/{folder}'" in done.out + done.err
    # Other folders are pruned as ever, and this one is as soon as the user removes it.
    (nested_world.folder / "images" / folder).unlink() if hide is dangling_link else (
        nested_world.folder / "images" / folder
    ).rmdir()
    nested_world.good("apply", "--auto-approve", "manifest.yaml")
    assert nested_world.names() == [name for name in NESTED if not name.startswith(folder)]


def test_files_that_moved_out_of_a_folder_are_found_although_it_is_empty(nested_world: World) -> None:
    images = nested_world.folder / "images"
    (images / "a/a1.png").rename(images / "b/a1.png")
    (images / "a/a2.png").rename(images / "b/renamed.png")
    nested_world.good("apply", "--auto-approve", "manifest.yaml")
    assert nested_world.names() == ["a1.png", "b1.png", "b2.png", "c1.png", "c2.png", "renamed.png"]
