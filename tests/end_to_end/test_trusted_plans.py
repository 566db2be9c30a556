"""Plans with drift, replacements, adopted and renamed files, saved plans, targets, explanations and history."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest

from tests.embedded_lake.talk import box, image_set, png
from tests.end_to_end.world import BIRDS, World, boxes

PEOPLE = [{"operation": "people", "kind": "human", "source": "people.json"}]


@pytest.fixture
def synced(world: World) -> World:
    """Three images with a tag and boxes, applied."""
    world.images("a.png", "b.png", "c.png")
    world.write("people.json", boxes(a_png=[[1, 1, 2, 2]], b_png=[[3, 3, 4, 4], [5, 5, 2, 2]]))
    world.manifest({**BIRDS, "annotations": PEOPLE, "metadata": {"City": "Rome", "Tags": ["ours"]}})
    world.good("apply", "manifest.yaml")
    return world


def actions(plan: Any) -> list[tuple[str, str | None, str]]:
    return [(action["action"], action.get("file"), action["reason"]) for action in plan["actions"]]


def details(world: World, name: str, *fields: str) -> dict[str, Any]:
    found: dict[str, Any] = world.talk.details(f"birds_{name}", *fields)
    return found


def set_metadata(world: World, name: str, **values: Any) -> None:
    """Edit a file's metadata like another client."""
    entry = {"file": f"birds_{name}", "metadata": values}
    world.talk.asked("/api/client/metadata/uploadMetadataByJson", {"metadata": [entry]})


def plan_in_full(world: World) -> Any:
    return world.good("plan", "--json", "--refresh", "full", "manifest.yaml").document


# Drift.


def test_a_full_refresh_after_an_apply_finds_nothing(synced: World) -> None:
    assert plan_in_full(synced)["actions"] == []
    assert synced.run("drift", "--detailed-exitcode", "manifest.yaml").code == 0


def test_a_full_refresh_requests_details_only_down_to_the_last_item_seen(synced: World) -> None:
    plan_in_full(synced)
    set_metadata(synced, "b.png", Comment="seen")
    synced.lake.requests.clear()
    assert plan_in_full(synced)["actions"] == []
    first = synced.lake.requests.of("item_details")
    synced.images(*(f"{number}.png" for number in range(120)))
    synced.good("apply", "manifest.yaml")
    set_metadata(synced, "b.png", Comment="seen again")
    plan_in_full(synced)
    synced.lake.requests.clear()
    assert plan_in_full(synced)["actions"] == []
    assert (first, synced.lake.requests.of("item_details")) == (3, 100)


def test_metadata_that_another_client_edited_is_found_by_a_full_refresh_and_restored(synced: World) -> None:
    set_metadata(synced, "a.png", City="Paris", Tags=["theirs"])
    assert synced.good("plan", "--json", "manifest.yaml").document["actions"] == []
    plan = plan_in_full(synced)
    assert actions(plan) == [("update_metadata", "a.png", "drifted")]
    assert plan["actions"][0]["changes"] == [
        {"what": "Tags", "before": ["theirs"], "after": ["theirs", "ours"]},
        {"what": "City", "before": "Paris", "after": "Rome"},
    ]
    drift = synced.run("drift", "--json", "--detailed-exitcode", "manifest.yaml")
    assert (drift.code, actions(drift.document)) == (2, actions(plan))
    assert plan["actions"][0]["overwrites"] is True
    assert synced.run("apply", "--refresh", "full", "manifest.yaml").code == 7
    assert details(synced, "a.png", "City")["City"] == "Paris"
    synced.good("apply", "--refresh", "full", "--auto-approve", "manifest.yaml")
    assert details(synced, "a.png", "City", "Tags")["City"] == "Rome"
    assert details(synced, "a.png", "City", "Tags")["Tags"] == ["theirs", "ours"]
    assert plan_in_full(synced)["actions"] == []


def test_tags_of_other_clients_are_drift_only_with_exact_tags(synced: World) -> None:
    set_metadata(synced, "a.png", Tags=["ours", "theirs"])
    assert plan_in_full(synced)["actions"] == []
    exact = {**BIRDS, "annotations": PEOPLE, "metadata": {"City": "Rome", "Tags": ["ours"]}, "tags": "exact"}
    synced.manifest(exact)
    assert actions(plan_in_full(synced)) == [("update_metadata", "a.png", "drifted")]
    synced.good("apply", "--refresh", "full", "manifest.yaml")
    assert details(synced, "a.png", "Tags")["Tags"] == ["ours"]


def test_drift_of_a_collections_head_is_found(synced: World) -> None:
    synced.talk.asked(
        "/api/client/metadata/uploadMetadataByMetaObject",
        {"collectionName": "birds", "objectType": 5, "metadata": {"City": "Oslo"}, "isApplyToAllFiles": False},
    )
    assert actions(plan_in_full(synced)) == [("update_metadata", None, "drifted")]
    assert synced.run("apply", "--refresh", "full", "manifest.yaml").code == 7
    synced.good("apply", "--refresh", "full", "--auto-approve", "manifest.yaml")
    assert plan_in_full(synced)["actions"] == []


def test_shapes_that_another_client_drew_under_our_operation_are_found_and_replaced(synced: World) -> None:
    for drawn_before_the_first_look in (True, False):
        if not drawn_before_the_first_look:
            plan_in_full(synced)
        synced.talk.annotate("people", [image_set("birds_b.png")])
        plan = plan_in_full(synced)
        assert actions(plan) == [("annotate", "b.png", "drifted")]
        assert plan["actions"][0]["changes"] == [{"what": "shapes of people", "before": 0, "after": 2}]
        synced.good("apply", "--refresh", "full", "manifest.yaml")
        assert plan_in_full(synced)["actions"] == []


def shapes_in_lake(world: World) -> dict[str, int]:
    return {name: len(shapes) for name, shapes in world.talk.annotations(world.collection_id()).items()}


def test_shapes_that_another_client_drew_where_we_sent_none_are_removed_only_after_approval(
    synced: World,
) -> None:
    synced.talk.annotate("people", [image_set("birds_c.png", box("bird", 1, 1, 3, 3))])
    plan = plan_in_full(synced)
    assert actions(plan) == [("remove_annotations", "c.png", "drifted")]
    assert plan["actions"][0]["changes"] == [{"what": "shapes of people", "before": 1, "after": 0}]
    drift = synced.run("drift", "--json", "--detailed-exitcode", "manifest.yaml")
    assert (drift.code, actions(drift.document)) == (2, actions(plan))
    assert synced.run("apply", "--refresh", "full", "manifest.yaml").code == 7
    assert shapes_in_lake(synced)["c.png"] == 1
    synced.good("apply", "--refresh", "full", "--auto-approve", "manifest.yaml")
    assert shapes_in_lake(synced)["c.png"] == 0
    assert plan_in_full(synced)["actions"] == []


def test_a_new_set_replaces_a_set_of_another_client_only_after_approval(synced: World) -> None:
    synced.talk.annotate("people", [image_set("birds_c.png", box("bird", 1, 1, 3, 3))])
    drawn = {"a_png": [[1, 1, 2, 2]], "b_png": [[3, 3, 4, 4], [5, 5, 2, 2]]}
    synced.write("people.json", boxes(**drawn, c_png=[[2, 2, 9, 9], [4, 4, 5, 5]]))
    plan = plan_in_full(synced)
    assert actions(plan) == [("annotate", "c.png", "drifted")]
    assert plan["actions"][0]["overwrites"] is True
    assert synced.run("apply", "--refresh", "full", "manifest.yaml").code == 7
    # The same shapes as the source has are ours from now on, and not sent.
    synced.write("people.json", boxes(**drawn, c_png=[[1, 1, 3, 3]]))
    synced.lake.requests.clear()
    synced.good("apply", "--refresh", "full", "manifest.yaml")
    assert synced.lake.requests.of("update_annotations") == 0
    assert synced.good("plan", "--json", "manifest.yaml").document["actions"] == []


def test_shapes_on_adopted_images_and_of_other_annotation_blocks_are_not_drift(world: World) -> None:
    world.images("a.png", "b.png")
    world.talk.upload({"c.png": png(salt=b"c.png")}, "birds")
    world.images("c.png")
    world.write("people.json", boxes(a_png=[[1, 1, 2, 2]]))
    world.write("more.json", {"images": [{**boxes(b_png=[[3, 3, 4, 4]])["images"][0], "image": "birds_b.png"}]})
    top = {"operation": "people", "kind": "human", "source": "more.json", "by": "unique_name"}
    world.manifest({**BIRDS, "annotations": PEOPLE}, annotations=[top])
    world.good("apply", "manifest.yaml")
    world.good("apply", "manifest.yaml")
    world.manifest({**BIRDS, "annotations": PEOPLE})
    world.good("apply", "--auto-approve", "manifest.yaml")
    world.talk.annotate("people", [image_set("birds_c.png", box("bird", 1, 1, 3, 3))])
    assert plan_in_full(world)["actions"] == []
    world.manifest({**BIRDS, "annotations": PEOPLE}, annotations=[top])
    world.good("apply", "manifest.yaml")
    assert shapes_in_lake(world) == {"a.png": 1, "b.png": 1, "c.png": 1}
    assert plan_in_full(world)["actions"] == []


def test_an_unchanged_collection_is_not_listed(synced: World) -> None:
    synced.good("plan", "manifest.yaml")
    synced.lake.requests.clear()
    plan = synced.good("plan", "--json", "manifest.yaml").document
    assert plan["summary"]["unchanged"] == 3
    assert synced.lake.requests.of("list_collection_items") == 1, "the newest file, and no more"
    synced.talk.upload({"theirs.png": png(salt=b"theirs")}, "birds")
    assert synced.good("plan", "--json", "manifest.yaml").document["summary"]["unmanaged"] == 1
    assert synced.good("plan", "--json", "manifest.yaml").document["summary"]["unmanaged"] == 1


# Replacing.


def test_a_replacement_shows_both_content_hashes_and_keeps_tags_of_other_clients(synced: World) -> None:
    old = details(synced, "a.png", "id")["id"]
    set_metadata(synced, "a.png", Tags=["ours", "theirs"])
    synced.write("images/a.png", png(50, 30))
    plan = synced.good("plan", "--json", "manifest.yaml").document
    (replace,) = [action for action in plan["actions"] if action["action"] == "replace"]
    assert (replace["lake_id"], [change["what"] for change in replace["changes"]]) == (old, ["content", "size"])
    synced.good("apply", "--auto-approve", "manifest.yaml")
    assert set(details(synced, "a.png", "Tags")["Tags"]) == {"ours", "theirs"}
    assert details(synced, "a.png", "id")["id"] != old
    assert plan_in_full(synced)["actions"] == []
    rows = synced.good("history", "--json", "manifest.yaml").document[0]["actions"]
    assert ("trash", old) in [(row["action"], row["before"]) for row in rows]


def test_shapes_of_other_clients_that_a_replacement_removes_are_counted(synced: World) -> None:
    drawn = [box("bird", 1, 1, 3, 3), box("bird", 2, 2, 3, 3)]
    synced.talk.annotate("strangers", [image_set("birds_a.png", *drawn)])
    synced.write("images/a.png", png(50, 30))
    notes = synced.good("plan", "--json", "manifest.yaml").document["warnings"]
    (lost,) = [note for note in notes if note["code"] == "sets_lost"]
    assert (lost["where"], lost["message"]) == (
        "birds/a.png", "loses 2 shapes that were not drawn by this manifest",
    )  # fmt: skip


def test_a_file_with_another_id_is_drift_and_is_replaced_after_approval(synced: World) -> None:
    synced.talk.trash(objectIdList=[details(synced, "a.png", "id")["id"]], contentType=2)
    synced.talk.upload({"a.png": png(salt=b"theirs")}, "birds")
    plan = synced.good("plan", "--json", "manifest.yaml").document
    assert ("replace", "a.png", "drifted") in actions(plan)
    assert synced.run("apply", "manifest.yaml").code == 7
    synced.good("apply", "--auto-approve", "manifest.yaml")
    assert details(synced, "a.png", "fileSize")["fileSize"] == (synced.folder / "images/a.png").stat().st_size
    assert plan_in_full(synced)["actions"] == []


# Renames.


def test_a_renamed_file_is_reported_and_its_old_name_is_trashed_with_prune(synced: World) -> None:
    (synced.folder / "images/c.png").rename(synced.folder / "images/d.png")
    plan = synced.good("plan", "--json", "manifest.yaml").document
    assert actions(plan) == [("upload", "d.png", "renamed")]
    assert plan["actions"][0]["renamed_from"] == "c.png"
    synced.manifest({**BIRDS, "annotations": PEOPLE, "metadata": {"City": "Rome", "Tags": ["ours"]}, "prune": True})
    assert actions(synced.good("plan", "--json", "manifest.yaml").document) == [
        ("upload", "d.png", "renamed"),
        ("trash", "c.png", "renamed"),
    ]
    synced.good("apply", "--auto-approve", "manifest.yaml")
    assert synced.names() == ["a.png", "b.png", "d.png"]


# Taking over.


def test_import_adopts_matching_files_and_sends_nothing(world: World) -> None:
    world.images("a.png", "b.png", "c.png")
    content = {name: (world.folder / "images" / name).read_bytes() for name in ("a.png", "b.png")}
    world.talk.upload({**content, "b.png": b"other size"}, "birds")
    world.manifest({**BIRDS, "metadata": {"City": "Rome"}})
    world.lake.requests.clear()
    done = world.good("import", "manifest.yaml")
    assert "1 file adopted" in done.out
    assert "has different metadata in the lake ('City')" in done.out
    assert "b.png: is in the lake with 10 bytes" in done.out
    assert world.lake.requests.writes == 0
    plan = world.good("plan", "--json", "manifest.yaml").document
    assert [action for action in actions(plan) if action[1]] == [("upload", "c.png", "new")]


def test_metadata_of_adopted_files_is_written_only_with_override_and_if_it_differs(world: World) -> None:
    world.images("a.png", "b.png")
    world.talk.upload({n: (world.folder / "images" / n).read_bytes() for n in ("a.png", "b.png")}, "birds")
    set_metadata(world, "a.png", City="Rome")
    world.manifest({**BIRDS, "metadata": {"City": "Rome"}, "metadata_override": True})
    plan = world.good("plan", "--json", "manifest.yaml").document
    assert actions(plan) == [
        ("update_metadata", None, "metadata_changed"),
        ("adopt", "a.png", "already_in_lake"),
        ("adopt", "b.png", "already_in_lake"),
        ("update_metadata", "b.png", "already_in_lake"),
    ]
    world.good("apply", "manifest.yaml")
    assert details(world, "b.png", "City")["City"] == "Rome"
    assert plan_in_full(world)["actions"] == []


def test_import_writes_a_manifest_of_the_lakes_collections(world: World) -> None:
    world.talk.upload({"a.png": png()}, "my birds")
    assert "Wrote found.yaml with 1 collections." in world.good("import", "--emit", "found.yaml").out
    world.images("a.png", folder="my_birds")
    world.write("my_birds/a.png", png())
    assert "1 file adopted" in world.good("apply", "found.yaml").out
    world.talk.upload({"b.png": png()}, "others")
    printed = world.good("import", "--emit", "found.yaml").out
    assert "others" in printed
    assert "my birds" not in printed


# Saved plans.


def test_a_saved_plan_is_shown_and_applied_without_a_prompt(synced: World) -> None:
    synced.write("images/a.png", png(50, 30))
    synced.good("plan", "--out", "the.plan", "manifest.yaml")
    plan_file = synced.folder / "the.plan"
    assert stat.S_IMODE(plan_file.stat().st_mode) == 0o600
    assert "secret_of_tests" not in plan_file.read_text()
    assert "key_of_tests" not in plan_file.read_text()
    assert "content changed" in synced.good("show", "the.plan").out
    assert synced.good("show", "--json", "the.plan").document["summary"]["replace"] == 1
    # What comes up later waits for the next plan.
    synced.images("later.png")
    assert "1 file replaced" in synced.good("apply", "the.plan").out
    assert "later.png" not in synced.names()


@pytest.mark.parametrize("moved", ["file", "lake", "manifest", "state"])
def test_a_stale_plan_is_refused_with_the_changes(synced: World, moved: str) -> None:
    synced.write("images/a.png", png(50, 30))
    synced.images("d.png")
    synced.good("plan", "--out", "the.plan", "manifest.yaml")
    match moved:
        case "file":
            synced.write("images/d.png", b"longer than it was, by far" * 100)
        case "lake":
            synced.talk.trash(objectIdList=[details(synced, "a.png", "id")["id"]], contentType=2)
        case "manifest":
            synced.manifest({**BIRDS, "annotations": PEOPLE, "metadata": {"City": "Oslo"}})
        case "state":
            synced.good("apply", "--target", "birds/d.png", "manifest.yaml")
    before = synced.names()
    synced.lake.requests.clear()
    done = synced.run("apply", "the.plan")
    assert done.code == 7
    assert "the plan is stale" in done.err
    says = {"file": "size ", "lake": "no longer needed", "manifest": "manifest has changed", "state": "another run"}
    assert says[moved] in done.err
    assert (synced.names(), synced.lake.requests.writes) == (before, 0)


def test_an_invalid_file_is_not_a_plan(world: World) -> None:
    world.write("the.plan", '{"kind":"metalake-sync plan"}')
    assert world.run("show", "the.plan").code == 64
    assert world.run("apply", "the.plan").code == 64


# Parts.


def test_a_target_selects_a_collection_or_some_of_its_files(world: World) -> None:
    world.images("a1.png", "a2.png", "b1.png")
    world.images("x.png", folder="beasts")
    beasts = {"name": "beasts", "type": "image", "folders": [{"path": "beasts"}]}
    world.manifest(BIRDS, beasts)
    world.good("apply", "--target", "birds/a*.png", "manifest.yaml")
    assert world.names() == ["a1.png", "a2.png"]
    world.good("apply", "--target", "birds", "--target", "beasts", "manifest.yaml")
    assert (world.names(), world.names("beasts")) == (["a1.png", "a2.png", "b1.png"], ["x.png"])
    done = world.run("plan", "--target", "bird", "manifest.yaml")
    assert done.code == 64
    assert "does not name a collection" in done.err


# What is told.


def test_explain_shows_rule_record_lake_and_actions(synced: World) -> None:
    synced.write("images/a.png", png(50, 30))
    synced.write("images/.metalakeignore", "c*\n")
    told = synced.good("plan", "--explain", "images/a.png", "manifest.yaml").out
    assert "taken: every file of type 'image' is included" in told
    assert "recorded  uploaded" in told
    assert "follows   -/+ a.png  content changed" in told
    (one,) = synced.good("plan", "--json", "--explain", "images/c.png", "manifest.yaml").document
    assert "a .metalakeignore file excludes it" in one["rules"][0]
    assert one["recorded"]["origin"] == "uploaded"
    assert one["lake"]["City"] == "Rome"
    assert synced.run("plan", "--explain", "nobody.png", "manifest.yaml").code == 64


@pytest.mark.parametrize("name", ["deep__a.png", "birds/deep__a.png"])
def test_explain_accepts_a_name_as_the_plan_shows_it(world: World, name: str) -> None:
    world.images("a.png", "b.png", folder="images/deep")
    world.manifest({"name": "birds", "type": "image", "folders": [{"path": "images", "naming": "path"}]})
    for _ in range(2):
        told = world.good("plan", "--explain", name, "manifest.yaml").out
        assert "taken: every file of type 'image' is included" in told
        assert "no source of the manifest has it" not in told
        world.good("apply", "manifest.yaml")
    (world.folder / "images/deep/a.png").unlink()
    assert "recorded  uploaded" in world.good("plan", "--explain", name, "manifest.yaml").out


@pytest.mark.parametrize(
    ("folder", "path", "why"),
    [
        ({"include": ["*.png"]}, "x.jpg", "no include pattern matches it ('*.png')"),
        ({"include": ["*.png"]}, "x.png", "include pattern '*.png' matches it"),
        ({"exclude": ["x*"]}, "x.png", "exclude pattern 'x*' excludes it"),
        ({"exclude": ["sub/"]}, "sub/x.png", "exclude pattern 'sub/' excludes the folder 'sub'"),
        ({"recursive": False}, "sub/x.png", "'recursive' is false"),
        ({}, "x.txt", "it does not have an extension of type 'image'"),
        ({}, ".git/x.png", "files in '.git' are never uploaded (Git)"),
    ],
)
def test_explain_shows_the_rule_that_decides(world: World, folder: dict[str, Any], path: str, why: str) -> None:
    world.write(f"images/{path}", png())
    world.manifest({"name": "birds", "type": "image", "folders": [{"path": "images", **folder}]})
    told = world.good("plan", "--refresh", "none", "--explain", f"images/{path}", "manifest.yaml").out
    assert why in told


def test_names_cannot_break_the_table_of_a_plan_in_markdown(world: World) -> None:
    world.images("a|b<i>.png")
    world.manifest(BIRDS)
    text = world.good("plan", "--markdown", "manifest.yaml").out
    assert text.startswith("### metalake-sync plan: manifest.yaml")
    assert "| `+` | <code>a&#124;b&#60;i&#62;.png</code> | new, " in text


# Checking and history.


def test_check_finds_missing_files_and_other_bytes(synced: World) -> None:
    assert "3 files checked: 0 wrong." in synced.good("check", "manifest.yaml").out
    assert "3 files checked, " in synced.good("check", "--download", "manifest.yaml").out
    synced.talk.trash(objectIdList=[details(synced, "a.png", "id")["id"]], contentType=2)
    for blob in (synced.folder.parent / "lake").rglob("*"):
        if blob.is_file() and blob.read_bytes() == (synced.folder / "images/b.png").read_bytes():
            blob.write_bytes(b"x" * blob.stat().st_size)
    done = synced.run("check", "--download", "--json", "manifest.yaml")
    assert done.code == 1
    assert {(one["file"], one["problem"]) for one in done.document["mismatches"]} == {
        ("a.png", "is not in the lake"),
        ("b.png", "has different bytes in the lake than recorded"),
    }
    assert synced.run("check", "--detailed-exitcode", "manifest.yaml").code == 2


def test_history_shows_each_run_with_its_actions(synced: World) -> None:
    runs = synced.good("history", "--json", "manifest.yaml").document
    assert [run["outcome"] for run in runs] == ["done"]
    told = synced.good("history", "--run", runs[0]["id"], "manifest.yaml").out
    assert "uploaded   birds/a.png  new" in told
    provenance = runs[0]["provenance"]
    assert f"by {provenance['user']} on {provenance['host']}" in told
    assert provenance["command_line"].startswith("metalake-sync apply")
    assert f"$ {provenance['command_line']}" in told
    assert synced.run("history", "--run", "nobody", "manifest.yaml").code == 64


def test_json_of_a_plan_is_valid_json_with_the_values_that_differ(synced: World) -> None:
    synced.manifest({**BIRDS, "annotations": PEOPLE, "metadata": {"City": "Rome", "Tags": ["ours", "more"]}})
    plan = json.loads(synced.good("plan", "--json", "manifest.yaml").out)
    changes = [action["changes"] for action in plan["actions"]]
    assert changes == [[{"what": "Tags", "before": ["ours"], "after": ["ours", "more"]}]] * 4
    assert "Tags: [ours] → [ours, more]" in synced.good("plan", "manifest.yaml").out


def test_a_target_that_matches_no_file_is_an_error(world: World) -> None:
    world.images("a.png", "b.png")
    world.manifest(BIRDS)
    new = world.run("apply", "--target", "birds/c*", "manifest.yaml")
    assert new.code == 64
    assert "'--target birds/c*' matches no file on disk or in the state" in new.err
    world.good("apply", "--target", "birds/a*", "manifest.yaml")
    assert world.names() == ["a.png"]
    # A recorded file is matched though nothing is to be done, and a file that is gone from disk, too.
    world.good("plan", "--target", "birds/a*", "--target", "birds/b*", "manifest.yaml")
    (world.folder / "images" / "a.png").unlink()
    world.good("plan", "--target", "birds/a.png", "manifest.yaml")
    for command in (("plan",), ("drift",), ("check",), ("state", "show"), ("state", "forget")):
        done = world.run(*command, "--target", "birds/z.png", "manifest.yaml")
        assert done.code == 64, command
        assert "matches no file" in done.err, command
