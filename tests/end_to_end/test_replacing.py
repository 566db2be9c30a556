"""Replacing is trash, then upload: what is checked before, and what a failure in between leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.core.plan import Plan
from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.embedded_lake.faults import FaultPlan
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.engine import Engine
from metalake_sync.manifest import load_manifest
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.state.store import StateStore
from tests.embedded_lake.talk import png, settings, talk_to
from tests.end_to_end.world import BIRDS, World, boxes

NAMES = ["a.png", "b.png", "c.png"]
PEOPLE = [{"operation": "people", "kind": "human", "source": "people.json"}]


@pytest.fixture
def stubborn_world(tmp_path: Path) -> Iterator[World]:
    """A lake that rejects the name of a trashed file, with three images of which two changed locally."""
    with served_world(tmp_path, quirks=frozenset({Quirk.TRASHED_NAMES_TAKEN})) as world:
        start(world)
        yield world


@contextmanager
def served_world(tmp_path: Path, **changes: Any) -> Iterator[World]:
    """The same project and the same lake each time. `changes`: of the lake's settings."""
    folder = tmp_path / "project"
    folder.mkdir(exist_ok=True)
    with EmbeddedLake(settings(tmp_path / "lake", **changes)) as lake, talk_to(lake.url) as talk:
        yield World(folder, lake, talk)


def port_of(world: World) -> int:
    return int(world.lake.url.rpartition(":")[2])


def start(world: World) -> None:
    world.images(*NAMES)
    world.write("people.json", boxes(a_png=[[1, 1, 2, 2]], b_png=[[1, 1, 2, 2]]))
    world.manifest({**BIRDS, "metadata": {"City": "Rome"}, "annotations": PEOPLE})
    world.good("apply", "manifest.yaml")
    for name in ("a.png", "b.png"):
        world.write(f"images/{name}", png(60, 30, salt=name.encode()))


def ids(world: World) -> dict[str, str]:
    return {item["name"]: item["id"] for item in world.talk.items(world.collection_id())}


def test_one_file_shows_that_a_lake_rejects_names_of_trashed_files(stubborn_world: World) -> None:
    before = ids(stubborn_world)
    done = stubborn_world.run("apply", "--json", "--auto-approve", "manifest.yaml")
    assert done.code == 3
    failed = {item["file"]: item["error"] for item in done.summary["failed"] if item["action"] == "replace"}
    assert f"Lost in trash: the old file is in the lake's trash (id {before['a.png']})" in failed["a.png"]
    assert "rejects the name of a trashed file" in failed["a.png"]
    assert "not replaced and not trashed" in failed["b.png"]
    assert stubborn_world.names() == ["b.png", "c.png"]
    # It is remembered: another run trashes nothing more, and still says where the old bytes are.
    again = stubborn_world.run("apply", "--json", "--auto-approve", "manifest.yaml")
    assert again.code == 3
    failed = {item["file"]: item["error"] for item in again.summary["failed"]}
    assert "rejects the name of a trashed file" in failed["a.png"]
    assert f"the old file is in the lake's trash (id {before['a.png']})" in failed["a.png"]
    assert stubborn_world.names() == ["b.png", "c.png"]
    text = stubborn_world.run("apply", "--auto-approve", "manifest.yaml")
    assert (text.err.count("not replaced and not trashed"), text.err.count("The next run")) == (1, 2)
    rows = [row for run in stubborn_world.good("history", "--json", "manifest.yaml").document for row in run["actions"]]
    assert [row["before"] for row in rows if row["action"] == "trash"] == [before["a.png"]]


@pytest.mark.parametrize(
    ("status", "route"), [(409, "begin_file"), (406, "finalize_file"), (409, "open_upload"), (406, "complete_upload")]
)
def test_later_runs_trash_no_other_file_after_the_lake_rejected_a_trashed_name(
    world: World, status: int, route: str
) -> None:
    start(world)
    world.write("images/c.png", png(60, 30, salt=b"c"))
    old = ids(world)["a.png"]
    fault = {"kind": "status", "status": status, "route": route, "times": None}
    world.lake.faults.use(FaultPlan.model_validate({"faults": [fault]}))
    for flags in ((), (), ("--target", "birds/c*"), ("--target", "birds/b*"), ()):
        done = world.run("apply", "--json", "--auto-approve", *flags, "manifest.yaml")
        assert done.code == 3
        failed = {item["file"]: item["error"] for item in done.summary["failed"] if item["action"] != "annotate"}
        assert world.names() == ["b.png", "c.png"]
        if not flags:
            assert f"(id {old})" in failed["a.png"]
    notes = {note["code"]: note for note in world.good("plan", "--json", "manifest.yaml").document["warnings"]}
    assert (notes["lost_in_trash"]["where"], f"(id {old})" in notes["lost_in_trash"]["message"]) == (
        "birds/a.png",
        True,
    )
    assert "2 replacements" in notes["names_refused"]["message"]
    if route == "complete_upload":
        return  # The session stays open, and is finished as soon as the lake takes it.
    # The user gives the lost file another name: that is no reason to lose the next one.
    (world.folder / "images/a.png").rename(world.folder / "images/d.png")
    world.lake.faults.use(FaultPlan())
    for _ in range(2):
        assert world.run("apply", "--auto-approve", "manifest.yaml").code == 3
        assert world.names() == ["b.png", "c.png", "d.png"]
    world.good("state", "forget", "--trashed-names", "manifest.yaml")
    assert "2 files replaced" in world.good("apply", "--auto-approve", "manifest.yaml").out
    assert world.talk.read("birds_b.png") == (world.folder / "images/b.png").read_bytes()


def test_a_part_of_the_manifest_is_not_replaced_while_another_part_has_a_file_in_the_trash(world: World) -> None:
    start(world)
    fault = {"kind": "status", "status": 400, "route": "begin_file", "times": None}
    world.lake.faults.use(FaultPlan.model_validate({"faults": [fault]}))
    assert world.run("apply", "--auto-approve", "manifest.yaml").code == 3
    assert world.names() == ["b.png", "c.png"]
    done = world.run("apply", "--json", "--auto-approve", "--target", "birds/b*", "manifest.yaml")
    (failure,) = [item for item in done.summary["failed"] if item["action"] == "replace"]
    assert "an earlier replacement failed: birds/a.png (id " in failure["error"]
    assert "An apply of the whole manifest uploads that file first" in failure["error"]
    assert world.names() == ["b.png", "c.png"]
    world.lake.faults.use(FaultPlan())
    assert "1 file uploaded, 1 file replaced" in world.good("apply", "--auto-approve", "manifest.yaml").out


CATS = {"name": "cats", "type": "image", "folders": [{"path": "cats"}], "prune": True}


def begin_replacement(world: World, name: str, *, trash: bool, collection: str = "birds") -> None:
    """Leave what a run leaves that is killed during a replacement. `trash`: whether the old file is trashed by then."""
    (item,) = [one for one in world.talk.items(world.collection_id(collection)) if one["name"] == name]
    with StateStore(world.folder / ".metalake-sync/manifest.db") as state:
        recorded = {key.name: row for key, (row, _) in state.collections.of_lake(world.lake.url).items()}
        with state.write():
            state.pending_replacements.put(recorded[collection], [(name, item["id"], [])])
    if trash:
        world.talk.trash(isAllSelected=False, contentType=2, objectIdList=[item["id"]])


@pytest.mark.parametrize("then", ["deleted", "restored", "excluded", "in a target"])
def test_a_replacement_that_was_killed_before_the_trash_does_not_stop_other_replacements(
    world: World, then: str
) -> None:
    old = png(60, 30, salt=b"old")
    world.write("images/a.png", old)
    world.images("b.png", "c.png")
    birds = {**BIRDS, "prune": True}
    world.manifest(birds)
    world.good("apply", "manifest.yaml")
    for name in ("a.png", "b.png"):
        world.write(f"images/{name}", png(60, 30, salt=b"new" + name.encode()))
    begin_replacement(world, "a.png", trash=False)
    before = ids(world)
    if then == "deleted":
        (world.folder / "images/a.png").unlink()
    elif then == "restored":
        world.write("images/a.png", old)
    elif then == "excluded":
        world.manifest({**birds, "folders": [{"path": "images", "exclude": ["a.png"]}]})
    flags = ("--target", "birds/b*") if then == "in a target" else ()
    world.good("apply", "--auto-approve", *flags, "manifest.yaml")
    after = ids(world)
    assert after["b.png"] != before["b.png"]
    assert after.get("a.png") == (before["a.png"] if then in ("restored", "in a target") else None)


@pytest.mark.parametrize("gone", [None, "file", "collection"])
def test_a_collection_with_a_file_in_the_trash_comes_before_the_others(world: World, gone: str | None) -> None:
    """`gone`: what the manifest has no more when the next run starts."""
    start(world)
    world.images("x.png", "y.png", folder="cats")
    world.manifest({**BIRDS, "metadata": {"City": "Rome"}, "annotations": PEOPLE}, CATS)
    world.good("apply", "--target", "cats", "manifest.yaml")
    begin_replacement(world, "x.png", trash=True, collection="cats")
    if gone == "file":
        (world.folder / "cats/x.png").unlink()
    cats = () if gone == "collection" else (CATS,)
    world.manifest({**BIRDS, "metadata": {"City": "Rome"}, "annotations": PEOPLE}, *cats)
    assert "2 files replaced" in world.good("apply", "--auto-approve", "manifest.yaml").out
    assert world.names("cats") == (["y.png"] if gone else ["x.png", "y.png"])


def test_a_failed_first_replacement_stops_replacements_in_other_collections_too(world: World) -> None:
    start(world)
    world.images("x.png", folder="cats")
    birds = {**BIRDS, "metadata": {"City": "Rome"}, "annotations": PEOPLE}
    world.manifest(birds, CATS)
    world.good("apply", "--target", "cats", "manifest.yaml")
    world.write("cats/x.png", png(60, 30, salt=b"x"))
    fault = {"kind": "status", "status": 400, "route": "begin_file", "times": None}
    world.lake.faults.use(FaultPlan.model_validate({"faults": [fault]}))
    assert world.run("apply", "--auto-approve", "manifest.yaml").code == 3
    assert (world.names(), world.names("cats")) == (["b.png", "c.png"], ["x.png"])


def test_a_missing_file_without_a_record_does_not_stop_replacements(world: World) -> None:
    """The file of another client was about to be taken over. It was trashed, and then deleted locally."""
    start(world)
    world.talk.upload({"d.png": png(60, 30, salt=b"theirs")}, "birds")
    begin_replacement(world, "d.png", trash=True)
    assert "2 files replaced" in world.good("apply", "--auto-approve", "manifest.yaml").out


def test_an_unfinished_replacement_is_finished_when_the_lake_accepts_it(tmp_path: Path) -> None:
    with served_world(tmp_path, quirks=frozenset({Quirk.TRASHED_NAMES_TAKEN})) as world:
        start(world)
        assert world.run("apply", "--auto-approve", "manifest.yaml").code == 3
        port = port_of(world)
    with served_world(tmp_path, port=port) as world:
        assert "1 file uploaded, 1 file replaced" in world.good("apply", "--auto-approve", "manifest.yaml").out
        assert world.names() == NAMES
        for name in NAMES:
            assert world.talk.read(f"birds_{name}") == (world.folder / "images" / name).read_bytes()
            assert world.talk.details(f"birds_{name}", "City")["City"] == "Rome"
        shapes = world.talk.annotations(world.collection_id())
        assert [len(shapes[name]) for name in NAMES] == [1, 1, 0]
        assert world.good("plan", "--json", "--refresh", "full", "manifest.yaml").document["actions"] == []


def test_nothing_is_trashed_for_an_unreadable_file(world: World) -> None:
    """The file changes once more between the plan and the moment in which it would be replaced."""
    start(world)
    before = ids(world)
    manifest = load_manifest(str(world.folder / "manifest.yaml"), environment=world.environment())
    session = Engine(manifest, RunOptions(), lambda event: None)

    def approve(plan: Plan) -> bool:
        (world.folder / "images/a.png").write_bytes(b"moved on")
        return True

    applied = session.apply(approve)
    assert [(failure.action.collection.name, failure.retryable) for failure in applied.finished.failed] == [
        ("birds", True)
    ]
    assert ids(world)["a.png"] == before["a.png"]
    assert ids(world)["b.png"] != before["b.png"]


def test_all_changed_files_are_replaced_if_the_lake_accepts_the_names(world: World) -> None:
    start(world)
    before = ids(world)
    assert "2 files replaced" in world.good("apply", "--auto-approve", "manifest.yaml").out
    after = ids(world)
    assert {name for name in NAMES if before[name] != after[name]} == {"a.png", "b.png"}
    assert "Nothing was sent" in world.good("apply", "manifest.yaml").out


@pytest.mark.parametrize(("on_change", "code"), [("keep", 0), ("fail", 1)])
def test_on_change_can_keep_or_refuse_changes(world: World, on_change: str, code: int) -> None:
    start(world)
    before = ids(world)
    world.manifest({**BIRDS, "metadata": {"City": "Rome"}, "annotations": PEOPLE, "on_change": on_change})
    world.lake.requests.clear()
    assert world.run("apply", "--auto-approve", "manifest.yaml").code == code
    assert (ids(world), world.lake.requests.writes) == (before, 0)


# Files of colleagues.


def upload_anew(world: World, name: str, content: bytes) -> str:
    """A colleague trashes a file and uploads another one under its name. Returns its id."""
    world.talk.trash(isAllSelected=False, contentType=2, objectIdList=[ids(world)[name]])
    world.talk.upload({name: content}, "birds")
    return ids(world)[name]


@pytest.mark.parametrize("refresh", ["list", "full"])
@pytest.mark.parametrize(("on_change", "code"), [("keep", 0), ("fail", 1), ("replace", 7)])
def test_a_file_of_another_client_under_our_name_is_replaced_only_with_policy_and_approval(
    world: World, refresh: str, on_change: str, code: int
) -> None:
    world.images(*NAMES)
    world.manifest({**BIRDS, "on_change": on_change})
    world.good("apply", "manifest.yaml")
    theirs = upload_anew(world, "a.png", png(60, 30, salt=b"colleague"))
    approved = () if on_change == "replace" else ("--auto-approve",)
    assert world.run("apply", "--refresh", refresh, *approved, "manifest.yaml").code == code
    assert ids(world)["a.png"] == theirs
    if on_change == "replace":
        plan = world.good("plan", "--json", "manifest.yaml").document
        (replace,) = plan["actions"]
        assert (replace["action"], replace["reason"], replace["lake_id"]) == ("replace", "drifted", theirs)


@pytest.mark.parametrize("refresh", ["list", "full"])
def test_another_clients_replacement_of_an_adopted_file_is_adopted_or_left_alone(world: World, refresh: str) -> None:
    world.images(*NAMES)
    world.talk.upload({name: (world.folder / "images" / name).read_bytes() for name in NAMES}, "birds")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    theirs = upload_anew(world, "a.png", png(60, 30, salt=b"colleague, larger"))
    again = upload_anew(world, "b.png", (world.folder / "images/b.png").read_bytes())
    done = world.good("apply", "--auto-approve", "--refresh", refresh, "manifest.yaml")
    assert "1 file adopted" in done.out
    assert "'adopt: take_over' takes it over" in done.out
    assert {name: ids(world)[name] for name in ("a.png", "b.png")} == {"a.png": theirs, "b.png": again}
    assert world.good("plan", "--json", "--refresh", refresh, "manifest.yaml").document["actions"] == []


# A run that ends between the trash and the new file.


def break_off_a_replacement(world: World) -> None:
    """The new file is refused; a colleague's Tag was on the old one."""
    start(world)
    world.manifest({**BIRDS, "metadata": {"City": "Rome", "Tags": ["ours"]}})
    world.good("apply", "--auto-approve", "--target", "birds/c*", "manifest.yaml")
    entries = [{"file": f"birds_{name}", "metadata": {"Tags": ["theirs"]}} for name in ("a.png", "b.png")]
    world.talk.asked("/api/client/metadata/uploadMetadataByJson", {"metadata": entries})
    world.lake.faults.use(
        FaultPlan.model_validate({"faults": [{"kind": "status", "status": 400, "route": "begin_file", "times": 9}]})
    )
    assert world.run("apply", "--auto-approve", "manifest.yaml").code == 3
    assert "a.png" not in world.names()
    world.lake.faults.use(FaultPlan())


def test_tags_of_other_clients_survive_an_interrupted_replacement(world: World) -> None:
    break_off_a_replacement(world)
    world.good("apply", "--auto-approve", "manifest.yaml")
    for name in ("a.png", "b.png"):
        assert sorted(world.talk.details(f"birds_{name}", "Tags")["Tags"]) == ["ours", "theirs"]
    assert "Nothing was sent" in world.good("apply", "manifest.yaml").out


def test_state_forget_makes_the_next_run_try_trashed_names_again(tmp_path: Path) -> None:
    with served_world(tmp_path, quirks=frozenset({Quirk.TRASHED_NAMES_TAKEN})) as world:
        start(world)
        assert world.run("apply", "--auto-approve", "manifest.yaml").code == 3
        (world.folder / "images/a.png").unlink()
        port = port_of(world)
    with served_world(tmp_path, port=port) as world:
        assert world.run("apply", "--auto-approve", "manifest.yaml").code == 3
        world.good("state", "forget", "--trashed-names", "manifest.yaml")
        assert "1 file replaced" in world.good("apply", "--auto-approve", "manifest.yaml").out
        assert world.talk.read("birds_b.png") == (world.folder / "images/b.png").read_bytes()


def test_tags_missing_after_a_killed_upload_are_restored_by_the_next_run(world: World) -> None:
    start(world)
    world.good("apply", "--auto-approve", "manifest.yaml")
    with StateStore(world.folder / ".metalake-sync/manifest.db") as state:
        ((row, _),) = state.collections.of_lake(world.lake.url).values()
        with state.write():
            state.pending_replacements.put(row, [("a.png", "an id that is in the trash", ["theirs"])])
    world.good("apply", "manifest.yaml")
    found = world.talk.details("birds_a.png", "Tags", "City")
    assert (found["Tags"], found["City"]) == (["theirs"], "Rome")
    assert "Nothing was sent" in world.good("apply", "manifest.yaml").out
