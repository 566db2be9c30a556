"""Another client edits annotation sets of this manifest in the lake: its work is not overwritten unseen."""

from __future__ import annotations

import json
import shutil
import sqlite3
from typing import Any

import pytest

from metalake_sync import MetaLake
from metalake_sync.core.metadata import metadata_set
from metalake_sync.core.snapshots import CollectionKey, MediaType, RemoteFile
from metalake_sync.planning.lake_metadata import FILES_LIMIT, ChangedMetadata, read_changed_metadata
from tests.embedded_lake.talk import API_KEY, SECRET, box, image_set
from tests.end_to_end.world import BIRDS, Done, World, boxes

CROW, GULL, JAY = "crow.png", "gull.png", "jay.png"
FIRST = {"crow_png": [[1, 1, 8, 8], [20, 10, 6, 6]], "gull_png": [[3, 3, 10, 10]], "jay_png": [[5, 5, 9, 9]]}
"""What both clients begin with."""

MOVED = {**FIRST, "crow_png": [[2, 1, 8, 8], [20, 10, 6, 6]]}
"""Our edit: the first box of the crow."""

THEIRS = [box("bird", 1, 1, 8, 8), box("bird", 20, 12, 6, 6)]
"""Their edit: the second box of the crow."""


ALL_OF_THE_CROW = [box("bird", 1, 1, 8, 8), box("bird", 20, 10, 6, 6)]
"""The crow's boxes as both clients begin with them."""


def manifest(world: World, **operation: Any) -> None:
    block = {"operation": "people", "kind": "human", "source": "boxes.json", **operation}
    world.manifest({**BIRDS, "annotations": [block]})


@pytest.fixture
def annotated(world: World) -> World:
    """A lake with three images and their boxes, as the manifest has them."""
    world.images(CROW, GULL, JAY)
    world.write("boxes.json", boxes(**FIRST))
    manifest(world)
    world.good("apply", "manifest.yaml")
    return world


def plan(world: World, *options: str) -> Any:
    return world.good("plan", "--json", *options, "manifest.yaml").document


def actions(world: World, *options: str) -> list[tuple[str, str, bool]]:
    return [
        (action["action"], action["file"], action.get("overwrites", False))
        for action in plan(world, *options)["actions"]
    ]


def codes(world: World, *options: str) -> list[str]:
    return [note["code"] for note in plan(world, *options)["warnings"]]


def in_lake(world: World, image: str) -> list[list[float]]:
    """The boxes of an image in the lake, sorted."""
    query = {"operationIdList": json.dumps(["people"])}
    found = world.talk.annotations(world.collection_id(), pageNo="0", pageSize="250", **query).get(image, [])
    return sorted(shape["bbox"] for shape in found)


def edit(world: World, image: str, *shapes: Any) -> None:
    """Another client writes a set of our operation."""
    assert world.talk.annotate("people", [image_set(f"birds_{image}", *shapes)]).status_code == 200


def apply(world: World, *options: str) -> Done:
    return world.run("apply", "--json", *options, "manifest.yaml")


def converged(world: World) -> bool:
    """Whether nothing is left to do and to say, with any refresh."""
    return all(
        not found["actions"] and not found["warnings"]
        for found in (plan(world, "--refresh", refresh) for refresh in ("none", "list", "full"))
    )


def test_an_unedited_set_is_sent_without_approval(annotated: World) -> None:
    annotated.write("boxes.json", boxes(**MOVED))
    assert actions(annotated) == [("annotate", CROW, False)]
    assert apply(annotated).code == 0
    assert in_lake(annotated, CROW) == [[2, 1, 8, 8], [20, 10, 6, 6]]
    assert converged(annotated)


def test_the_plan_reads_only_operations_in_which_something_changes(annotated: World) -> None:
    def pages() -> int:
        return annotated.lake.requests.of("download_annotations")

    annotated.lake.requests.clear()
    assert actions(annotated) == []
    assert pages() == 0
    annotated.write("boxes.json", boxes(**MOVED))
    plan(annotated)
    assert pages() == 1
    annotated.lake.requests.clear()
    plan(annotated, "--refresh", "none")
    assert pages() == 0
    manifest(annotated, on_drift="overwrite")
    plan(annotated)
    assert pages() == 1


def test_ask_shows_their_edit_and_stops(annotated: World) -> None:
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(**MOVED))
    assert actions(annotated) == [("annotate", CROW, True)]
    assert apply(annotated).code == 7
    assert in_lake(annotated, CROW) == [[1, 1, 8, 8], [20, 12, 6, 6]]
    assert apply(annotated, "--auto-approve").code == 0
    assert in_lake(annotated, CROW) == [[2, 1, 8, 8], [20, 10, 6, 6]]
    assert converged(annotated)


def test_ask_does_not_hold_back_the_sets_that_only_we_edited(annotated: World) -> None:
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(**{**MOVED, "gull_png": [[4, 3, 10, 10]]}))
    assert actions(annotated) == [("annotate", CROW, True), ("annotate", GULL, False)]


def test_keep_leaves_their_edit_and_says_so_once(annotated: World) -> None:
    manifest(annotated, on_drift="keep")
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(**MOVED))
    assert (actions(annotated), codes(annotated)) == ([], ["change_kept"])
    assert apply(annotated).code == 0
    assert in_lake(annotated, CROW) == [[1, 1, 8, 8], [20, 12, 6, 6]]
    assert converged(annotated)


def test_keep_still_holds_when_our_set_changes_again(annotated: World) -> None:
    manifest(annotated, on_drift="keep")
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(**MOVED))
    apply(annotated)
    annotated.write("boxes.json", boxes(**{**MOVED, "crow_png": [[3, 1, 8, 8]]}))
    assert (actions(annotated), codes(annotated)) == ([], ["change_kept"])
    apply(annotated)
    assert in_lake(annotated, CROW) == [[1, 1, 8, 8], [20, 12, 6, 6]]
    assert converged(annotated)


def test_a_kept_set_is_a_conflict_again_once_the_policy_asks(annotated: World) -> None:
    manifest(annotated, on_drift="keep")
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(**MOVED))
    apply(annotated)
    manifest(annotated)
    annotated.write("boxes.json", boxes(**{**MOVED, "crow_png": [[3, 1, 8, 8]]}))
    assert actions(annotated) == [("annotate", CROW, True)]


def test_merge_ends_with_both_edits(annotated: World) -> None:
    manifest(annotated, on_drift="merge")
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(**MOVED))
    assert actions(annotated) == [("annotate", CROW, False)]
    assert apply(annotated).code == 0
    assert in_lake(annotated, CROW) == [[2, 1, 8, 8], [20, 12, 6, 6]]
    assert converged(annotated)


def test_merge_keeps_both_edits_when_either_side_edits_again(annotated: World) -> None:
    manifest(annotated, on_drift="merge")
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(**MOVED))
    apply(annotated)
    edit(annotated, CROW, box("bird", 2, 1, 8, 8), box("bird", 20, 12, 6, 6), box("eye", 30, 3, 2, 2))
    annotated.write("boxes.json", boxes(**{**MOVED, "crow_png": [[2, 1, 8, 9], [20, 10, 6, 6]]}))
    assert actions(annotated) == [("annotate", CROW, False)]
    apply(annotated)
    assert in_lake(annotated, CROW) == [[2, 1, 8, 9], [20, 12, 6, 6], [30, 3, 2, 2]]
    assert converged(annotated)


def test_merge_asks_about_a_box_that_both_sides_moved(annotated: World) -> None:
    manifest(annotated, on_drift="merge")
    edit(annotated, CROW, box("bird", 1, 3, 8, 8), box("bird", 20, 12, 6, 6))
    annotated.write("boxes.json", boxes(**MOVED))
    assert actions(annotated) == [("annotate", CROW, True)]
    assert apply(annotated).code == 7
    assert apply(annotated, "--auto-approve").code == 0
    assert in_lake(annotated, CROW) == [[2, 1, 8, 8], [20, 12, 6, 6]]
    assert converged(annotated)


def test_merge_sends_nothing_where_only_they_edited(annotated: World) -> None:
    manifest(annotated, on_drift="merge")
    edit(annotated, CROW, *THEIRS)
    assert actions(annotated, "--refresh", "full") == []
    apply(annotated, "--refresh", "full")
    assert in_lake(annotated, CROW) == [[1, 1, 8, 8], [20, 12, 6, 6]]
    assert converged(annotated)
    annotated.write("boxes.json", boxes(**MOVED))
    apply(annotated)
    assert in_lake(annotated, CROW) == [[2, 1, 8, 8], [20, 12, 6, 6]]


@pytest.mark.parametrize("entry", ["absent", "empty", "in a block that the manifest dropped"])
def test_merge_keeps_a_box_of_theirs_in_an_image_that_lost_its_entry(annotated: World, entry: str) -> None:
    manifest(annotated, on_drift="merge")
    edit(annotated, CROW, *ALL_OF_THE_CROW, box("eye", 30, 3, 2, 2))
    ours = {**FIRST, "gull_png": [[4, 3, 10, 10]]}
    del ours["crow_png"]
    if entry == "empty":
        ours["crow_png"] = []
    if entry == "in a block that the manifest dropped":
        annotated.write("crow.json", boxes(crow_png=FIRST["crow_png"]))
        block = {"operation": "people", "kind": "human", "on_drift": "merge"}
        blocks = [{**block, "source": "boxes.json"}, {**block, "source": "crow.json"}]
        annotated.write("boxes.json", boxes(gull_png=FIRST["gull_png"], jay_png=FIRST["jay_png"]))
        annotated.manifest({**BIRDS, "annotations": blocks})
        assert actions(annotated) == []
        manifest(annotated, on_drift="merge")
    annotated.write("boxes.json", boxes(**ours))
    assert actions(annotated) == [("annotate", CROW, False), ("annotate", GULL, False)]
    annotated.good("plan", "--html", "plan.html", "manifest.yaml")
    assert apply(annotated).code == 0
    assert (in_lake(annotated, CROW), in_lake(annotated, GULL)) == ([[30, 3, 2, 2]], [[4, 3, 10, 10]])
    assert apply(annotated).code == 0
    for refresh in ("none", "list", "full"):
        assert actions(annotated, "--refresh", refresh) == []


def test_overwrite_sends_our_set_without_approval(annotated: World) -> None:
    manifest(annotated, on_drift="overwrite")
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(**MOVED))
    assert apply(annotated).code == 0
    assert in_lake(annotated, CROW) == [[2, 1, 8, 8], [20, 10, 6, 6]]
    assert converged(annotated)


def test_the_same_edit_on_both_sides_is_recorded_and_not_sent(annotated: World) -> None:
    edit(annotated, CROW, box("bird", 2, 1, 8, 8), box("bird", 20, 10, 6, 6))
    annotated.write("boxes.json", boxes(**MOVED))
    assert actions(annotated) == []
    annotated.lake.requests.clear()
    assert apply(annotated).code == 0
    assert annotated.lake.requests.writes == 0
    assert converged(annotated)


def test_a_set_that_they_cleared_is_sent_again_or_stays_cleared(annotated: World) -> None:
    edit(annotated, CROW)
    annotated.write("boxes.json", boxes(**MOVED))
    assert actions(annotated) == [("annotate", CROW, False)]
    manifest(annotated, on_drift="keep")
    assert (actions(annotated), codes(annotated)) == ([], ["change_kept"])
    apply(annotated)
    assert in_lake(annotated, CROW) == []
    assert converged(annotated)


def test_a_set_is_not_cleared_over_their_edit_where_sets_are_kept(annotated: World) -> None:
    manifest(annotated, on_drift="keep")
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(gull_png=FIRST["gull_png"], jay_png=FIRST["jay_png"]))
    assert (actions(annotated), "change_kept" in codes(annotated)) == ([], True)
    apply(annotated)
    assert in_lake(annotated, CROW) == [[1, 1, 8, 8], [20, 12, 6, 6]]
    assert actions(annotated, "--refresh", "full") == []


CLEARED = {"gull_png": FIRST["gull_png"], "jay_png": FIRST["jay_png"]}
"""Our edit: the crow has no boxes any more."""


@pytest.mark.parametrize("options", [(), ("--refresh", "full")])
@pytest.mark.parametrize("dropped", [False, True])
def test_clearing_a_set_that_they_edited_is_an_overwrite(
    annotated: World, options: tuple[str, ...], dropped: bool
) -> None:
    edit(annotated, CROW, *THEIRS)
    if dropped:
        annotated.manifest(BIRDS)
    else:
        annotated.write("boxes.json", boxes(**CLEARED))
    found = {action["file"]: action for action in plan(annotated, *options)["actions"]}
    assert [name for name, action in found.items() if action.get("overwrites")] == [CROW]
    changes = found[CROW]["shape_changes"]
    assert [one["before"]["bbox"] for one in changes["changes"]] == [[1, 1, 8, 8], [20, 12, 6, 6]]
    assert moved(changes["by_others"]) == [([20, 10, 6, 6], [20, 12, 6, 6])]
    text = annotated.good("plan", *options, "manifest.yaml").out
    assert "overwrites what another client wrote" in text
    assert "bird  (20,12 6×6) removed" in text
    assert "the other client: 1 box moved, 1 unchanged" in text
    assert "overwrites what another client wrote" in annotated.good("plan", "--markdown", *options, "manifest.yaml").out
    assert apply(annotated, *options).code == 7
    annotated.good("plan", *options, "--out", "clear.plan", "manifest.yaml")
    edit(annotated, CROW, box("bird", 3, 3, 3, 3))
    assert annotated.run("apply", *options, "clear.plan").code == 7
    assert in_lake(annotated, CROW) == [[3, 3, 3, 3]]
    assert apply(annotated, "--auto-approve", *options).code == 0
    assert in_lake(annotated, CROW) == []


def test_a_cleared_set_has_the_number_of_shapes_that_the_lake_has(annotated: World) -> None:
    edit(annotated, CROW, *THEIRS, box("eye", 30, 3, 2, 2))
    edit(annotated, GULL)
    annotated.manifest(BIRDS)
    shapes = {action["file"]: action["shapes"] for action in plan(annotated)["actions"]}
    assert shapes == {CROW: 3, JAY: 1}, "the other client has cleared the set of the gull"
    assert "overwrites what another client wrote, 3 shapes in people" in annotated.good("plan", "manifest.yaml").out
    assert apply(annotated, "--auto-approve").code == 0
    assert [in_lake(annotated, image) for image in (CROW, GULL, JAY)] == [[], [], []]
    assert converged(annotated)


def test_a_set_that_they_cleared_shows_what_they_removed(annotated: World) -> None:
    edit(annotated, CROW)
    annotated.write("boxes.json", boxes(**MOVED))
    changes = shape_changes(annotated)
    assert (changes["base"], changes["summary"]) == ("lake", "2 boxes added")
    assert changes["by_others"]["summary"] == "2 boxes removed"


def test_clearing_a_set_that_nobody_edited_lists_its_shapes(annotated: World) -> None:
    annotated.write("boxes.json", boxes(**CLEARED))
    assert actions(annotated) == [("remove_annotations", CROW, False)]
    text = annotated.good("plan", "manifest.yaml").out
    assert "- crow.png  annotations changed, shapes of people: 2 → 0\n" in text
    assert "bird  (1,1 8×8) removed" in text
    assert "labels: bird −2" in text


def test_a_lost_state_sends_only_what_differs_and_asks_about_it(annotated: World) -> None:
    edit(annotated, CROW, *THEIRS)
    for path in (annotated.folder / ".metalake-sync").glob("*.db*"):
        path.unlink()
    assert actions(annotated) == [
        ("adopt", CROW, False),
        ("adopt", GULL, False),
        ("adopt", JAY, False),
        ("annotate", CROW, True),
    ]
    assert apply(annotated).code == 7
    manifest(annotated, on_drift="keep")
    assert apply(annotated).code == 0
    assert in_lake(annotated, CROW) == [[1, 1, 8, 8], [20, 12, 6, 6]]
    assert converged(annotated)


def test_a_state_of_an_earlier_version_sends_and_says_that_it_did_not_compare(annotated: World) -> None:
    (path,) = (annotated.folder / ".metalake-sync").glob("*.db")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE annotation_sets SET base = NULL")
    annotated.write("boxes.json", boxes(**MOVED))
    assert (actions(annotated), codes(annotated)) == ([("annotate", CROW, False)], ["sets_unverified"])


def test_their_label_survives_a_merge(annotated: World) -> None:
    """A label that no source of the manifest has is sent with the merged set."""
    manifest(annotated, on_drift="merge")
    annotated.talk.label("nest")
    edit(annotated, CROW, box("bird", 1, 1, 8, 8), box("bird", 20, 10, 6, 6), box("nest", 0, 0, 3, 3))
    annotated.write("boxes.json", boxes(**MOVED))
    assert apply(annotated).code == 0
    query = {"operationIdList": json.dumps(["people"])}
    found = annotated.talk.annotations(annotated.collection_id(), pageNo="0", pageSize="250", **query)[CROW]
    assert sorted(shape["label"] for shape in found) == ["bird", "bird", "nest"]


@pytest.mark.parametrize(("on_trashed", "code"), [("restore", 0), ("ask", 7), ("keep", 0)])
def test_a_file_that_they_trashed(annotated: World, on_trashed: str, code: int) -> None:
    world = annotated
    block = {"operation": "people", "kind": "human", "source": "boxes.json"}
    world.manifest({**BIRDS, "annotations": [block], "on_trashed": on_trashed})
    lake_id = world.talk.details("birds_crow.png", "id")["id"]
    world.talk.trash(objectIdList=[lake_id], contentType=2)
    assert apply(world).code == code
    there = [GULL, JAY] if on_trashed != "restore" else [CROW, GULL, JAY]
    assert world.names() == there
    if on_trashed == "ask":
        assert apply(world, "--auto-approve").code == 0
        assert world.names() == [CROW, GULL, JAY]
        assert converged(world)
    if on_trashed == "keep":
        assert (actions(world), codes(world)) == ([], ["change_kept"])


def shape_changes(world: World) -> Any:
    (action,) = plan(world)["actions"]
    return action["shape_changes"]


def moved(document: Any) -> list[tuple[list[float], list[float]]]:
    return [(one["before"]["bbox"], one["after"]["bbox"]) for one in document["changes"] if one["what"] == ["moved"]]


def test_a_conflict_shows_both_sides(annotated: World) -> None:
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(**MOVED))
    found = shape_changes(annotated)
    assert found["base"] == "lake"
    assert sorted(moved(found)) == [([1, 1, 8, 8], [2, 1, 8, 8]), ([20, 12, 6, 6], [20, 10, 6, 6])]
    assert moved(found["by_others"]) == [([20, 10, 6, 6], [20, 12, 6, 6])]
    text = annotated.good("plan", "manifest.yaml").out
    assert "overwrites what another client wrote, people: 2 boxes moved" in text
    assert "the other client: 1 box moved, 1 unchanged" in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_merge_shows_what_it_changes_in_the_lake_and_what_the_other_client_changed(annotated: World) -> None:
    manifest(annotated, on_drift="merge")
    edit(annotated, CROW, *THEIRS)
    annotated.write("boxes.json", boxes(**MOVED))
    found = shape_changes(annotated)
    assert moved(found) == [([1, 1, 8, 8], [2, 1, 8, 8])]
    assert moved(found["by_others"]) == [([20, 10, 6, 6], [20, 12, 6, 6])]
    assert "merged with another client's changes" in annotated.good("plan", "manifest.yaml").out


def test_a_conflict_after_a_lost_state_shows_the_set_of_the_lake(annotated: World) -> None:
    edit(annotated, CROW, *THEIRS)
    for path in (annotated.folder / ".metalake-sync").glob("*.db*"):
        path.unlink()
    (action,) = [one for one in plan(annotated)["actions"] if one["action"] == "annotate"]
    assert moved(action["shape_changes"]) == [([20, 12, 6, 6], [20, 10, 6, 6])]
    assert "by_others" not in action["shape_changes"]


# Metadata.


@pytest.fixture
def described(world: World) -> World:
    """A lake with two images and their metadata, as the manifest has them."""
    world.images(CROW, GULL)
    describe(world, City="Rome", Weather="sunny")
    world.good("apply", "manifest.yaml")
    return world


def describe(world: World, collection: Any = None, **metadata: Any) -> None:
    """The manifest, with metadata of the files, and of the collection itself."""
    folder = {"path": "images", "metadata": metadata}
    head = {"metadata": collection, "metadata_scope": "collection"} if collection else {}
    world.manifest({**BIRDS, "folders": [folder], **head})


def edit_metadata(world: World, image: str, **values: Any) -> None:
    """Another client writes metadata of one file."""
    entry = {"file": f"birds_{image}", "metadata": values}
    world.talk.asked("/api/client/metadata/uploadMetadataByJson", {"metadata": [entry]})


def metadata_of(world: World, image: str, *fields: str) -> list[Any]:
    found = world.talk.details(f"birds_{image}", *fields)
    return [found.get(name) for name in fields]


def test_a_field_that_both_sides_changed_is_shown_and_asks(described: World) -> None:
    edit_metadata(described, CROW, City="Paris")
    describe(described, City="Oslo", Weather="sunny")
    assert actions(described) == [("update_metadata", CROW, True), ("update_metadata", GULL, False)]
    changes = {action["file"]: action["changes"] for action in plan(described)["actions"]}
    assert changes == {
        CROW: [{"what": "City", "before": "Paris", "after": "Oslo"}],
        GULL: [{"what": "City", "before": "Rome", "after": "Oslo"}],
    }
    assert apply(described).code == 7
    assert metadata_of(described, CROW, "City") == ["Paris"]
    assert apply(described, "--auto-approve").code == 0
    assert metadata_of(described, CROW, "City") == ["Oslo"]
    assert converged(described)
    run = described.good("history", "--json", "--diff", "--limit", "1", "manifest.yaml").document[0]
    (theirs,) = [action["changes"] for action in run["actions"] if action["file"] == CROW]
    assert theirs == [{"what": "City", "before": "Paris", "after": "Oslo"}], "their value is in the history"


def test_a_new_field_that_they_wrote_before_asks(described: World) -> None:
    edit_metadata(described, CROW, Comment="theirs")
    describe(described, City="Rome", Weather="sunny", Comment="ours")
    for refresh in ("list", "full"):
        assert actions(described, "--refresh", refresh) == [
            ("update_metadata", CROW, True),
            ("update_metadata", GULL, False),
        ]


def test_different_fields_of_both_sides_are_both_kept(described: World) -> None:
    edit_metadata(described, CROW, City="Paris")
    describe(described, City="Rome", Weather="rainy")
    assert actions(described) == [("update_metadata", CROW, False), ("update_metadata", GULL, False)]
    assert apply(described).code == 0
    assert metadata_of(described, CROW, "City", "Weather") == ["Paris", "rainy"]


def test_a_field_that_both_sides_changed_in_the_same_way_is_recorded_and_not_sent(described: World) -> None:
    for image in (CROW, GULL):
        edit_metadata(described, image, City="Oslo")
    describe(described, City="Oslo", Weather="sunny")
    assert actions(described) == []
    described.lake.requests.clear()
    assert apply(described).code == 0
    assert described.lake.requests.writes == 0
    assert converged(described)


def test_metadata_override_overwrites_without_reading(described: World) -> None:
    edit_metadata(described, CROW, City="Paris")
    folder = {"path": "images", "metadata": {"City": "Oslo", "Weather": "sunny"}}
    described.manifest({**BIRDS, "folders": [folder], "metadata_override": True})
    described.lake.requests.clear()
    assert actions(described) == [("update_metadata", CROW, False), ("update_metadata", GULL, False)]
    assert described.lake.requests.of("item_details") == 0


def test_only_files_with_a_changed_field_are_read(described: World) -> None:
    described.lake.requests.clear()
    plan(described)
    describe(described, City="Rome", Weather="sunny", Tags=["new"])
    plan(described)
    assert described.lake.requests.of("item_details") == 0
    describe(described, City="Oslo", Weather="sunny")
    plan(described)
    assert described.lake.requests.of("item_details") == 2
    described.lake.requests.clear()
    plan(described, "--refresh", "none")
    assert described.lake.requests.of("item_details") == 0


def test_metadata_of_too_many_files_is_not_read_and_a_note_says_so(described: World) -> None:
    key = CollectionKey(MediaType.IMAGE, "birds")
    files = [
        ChangedMetadata(RemoteFile(name, name, name), {"City": "Rome"}, metadata_set({"City": "Oslo"}))
        for name in map(str, range(FILES_LIMIT + 1))
    ]
    described.lake.requests.clear()
    with MetaLake(described.lake.url, API_KEY, SECRET) as lake:
        found, (note,) = read_changed_metadata(lake._client, key, files, 4)
    assert (found, described.lake.requests.of("item_details")) == ({}, 0)
    assert (note.code, note.where) == ("metadata_unverified", "birds")
    assert "changed metadata of 1001 files was not compared with the lake" in note.message


def test_a_head_that_both_sides_changed_asks(world: World) -> None:
    world.images(CROW)
    describe(world, {"City": "Rome", "Weather": "sunny"})
    world.good("apply", "manifest.yaml")
    edited = {"collectionName": "birds", "objectType": 5, "metadata": {"City": "Paris"}, "isApplyToAllFiles": False}
    world.talk.asked("/api/client/metadata/uploadMetadataByMetaObject", edited)
    describe(world, {"City": "Oslo", "Weather": "sunny"})
    (action,) = plan(world)["actions"]
    assert (action["action"], action["overwrites"]) == ("update_metadata", True)
    assert action["changes"] == [{"what": "City", "before": "Paris", "after": "Oslo"}]
    assert apply(world).code == 7
    assert apply(world, "--auto-approve").code == 0
    assert converged(world)


def test_after_a_lost_state_an_equal_head_is_recorded_and_another_one_asks(world: World) -> None:
    world.images(CROW)
    world.manifest({**BIRDS, "metadata": {"City": "Rome", "Tags": ["#birds"]}})
    world.good("apply", "manifest.yaml")
    shutil.rmtree(world.folder / ".metalake-sync")
    assert actions(world) == [("adopt", CROW, False)]
    world.manifest({**BIRDS, "metadata": {"City": "Oslo", "Tags": ["#birds"]}})
    found = plan(world)["actions"]
    (update,) = [one for one in found if one["action"] == "update_metadata"]
    assert (update.get("file"), update["overwrites"]) == (None, True)
    assert update["changes"] == [{"what": "City", "before": "Rome", "after": "Oslo"}]
    assert apply(world).code == 7
    assert apply(world, "--auto-approve").code == 0
    assert plan(world)["actions"] == []


def test_files_that_keep_the_same_field_are_one_note(world: World) -> None:
    world.images(CROW, GULL, JAY)
    world.manifest({**BIRDS, "metadata": {"City": "Rome", "Site": "north"}, "metadata_scope": "files"})
    world.good("apply", "manifest.yaml")
    world.manifest({**BIRDS, "metadata": {"City": "Rome"}})
    (note,) = plan(world)["warnings"]
    message = "4 items keep 'Site' in the lake: no call removes a metadata field"
    assert (note["code"], note["message"]) == (
        "field_left",
        f"{message}: birds, birds/{CROW}, birds/{GULL}, birds/{JAY}",
    )
