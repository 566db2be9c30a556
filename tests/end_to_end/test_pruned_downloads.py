"""Downloads with `prune`: the folder mirrors what the query matches, and only files that the download wrote go."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.errors import ExitCode
from tests.embedded_lake.talk import png
from tests.end_to_end.world import PROGRAM, World

SITES = {"dune.png": "coast", "reef.png": "coast", "peak.png": "alps", "glacier.png": "alps"}


@pytest.fixture
def places(world: World) -> World:
    """A lake with four annotated images of two sites."""
    session = world.talk.upload({name: png(salt=name.encode()) for name in SITES}, "places")
    described = [{"file": name, "metadata": {"site": site}} for name, site in SITES.items()]
    world.talk.asked(
        "/api/client/metadata/uploadMetadataByJson", {"metadata": described, "collectionId": session.collection_id}
    )
    shape = {"type": "rectangle", "bbox": [4, 4, 10, 8], "label": "rock"}
    world.write("drawn.json", {"images": [{"image": name, "annotations": [shape]} for name in SITES]})
    command = ("annotations", "upload", "drawn.json", "--operation", "op", "--kind", "human", "--collection", "places")
    world.good(*command)
    return world


def manifest(world: World, site: str | None = None, form: str = "yolo", **more: Any) -> None:
    block = {"collection": "places", "to": "out", "naming": "name", "annotations": {"format": form}, "prune": True}
    query = {} if site is None else {"query": f"metadata.site={site}"}
    world.manifest(downloads=[{**block, **query, **more}])


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def removals(world: World) -> list[str]:
    plan = world.good("plan", "manifest.yaml", "--json").document
    paths = [action["path"] for action in plan["actions"] if action["action"] == "remove_downloaded"]
    assert plan["summary"]["remove_downloaded"] == len(paths)
    return [path.removeprefix("out/") for path in paths]


COAST = {"dune.png", "reef.png"}
OF_FORMAT = {
    "yolo": {"dune.txt", "reef.txt", "classes.txt", "data.yaml"},
    "voc": {"dune.xml", "reef.xml"},
    "coco": {"annotations.json"},
}


@pytest.mark.parametrize("form", OF_FORMAT)
@pytest.mark.parametrize("command", ["apply", "pull"])
def test_a_changed_query_leaves_exactly_what_matches(places: World, form: str, command: str) -> None:
    manifest(places, form=form)
    places.good(command, "manifest.yaml")
    manifest(places, "coast", form)
    stale = removals(places)
    assert {Path(path).stem for path in stale} == {"peak", "glacier"}
    before = files_in(places.folder / "out")
    refused = places.run(command, "manifest.yaml")
    assert refused.code == ExitCode.GUARDED
    assert files_in(places.folder / "out") == before
    done = places.good(command, "manifest.yaml", "--auto-approve", "--json").summary["done"]
    assert done["remove_downloaded"] == len(stale)
    assert files_in(places.folder / "out") == COAST | OF_FORMAT[form]
    assert "Nothing to do" in places.good("plan", "manifest.yaml").out
    # What was removed is downloaded again if it matches again.
    manifest(places, form=form)
    places.good(command, "manifest.yaml")
    assert files_in(places.folder / "out") == before


def test_the_plan_shows_each_removal_with_its_reason(places: World) -> None:
    manifest(places)
    places.good("apply", "manifest.yaml")
    manifest(places, "alps")
    out = places.good("plan", "manifest.yaml").out
    assert "- out/dune.png" in out
    assert "filtered out" in out
    assert "4 local files to remove" in out
    assert "4 local files removed" in places.good("apply", "manifest.yaml", "--auto-approve").out
    assert "4 local files removed" in places.good("history", "manifest.yaml", "-v").out


def test_files_that_a_person_edited_or_added_are_kept_and_named(places: World) -> None:
    manifest(places)
    places.good("apply", "manifest.yaml")
    places.write("out/peak.png", b"retouched")
    places.write("out/glacier.txt", "0 0.5 0.5 0.1 0.1\n")
    places.write("out/notes.md", "Mine.")
    places.write("out/old.txt", "0 0.5 0.5 0.1 0.1\n")
    manifest(places, "coast")
    document = places.good("plan", "manifest.yaml", "--json").document
    assert {Path(action["path"]).name for action in document["actions"]} == {"glacier.png", "peak.txt"}
    ((code, message),) = [(note["code"], note["message"]) for note in document["warnings"]]
    assert code == "stale_downloads"
    assert message.endswith("it is not known that a download wrote them: peak.png, glacier.txt, old.txt")
    places.good("apply", "manifest.yaml", "--auto-approve")
    extra = {"peak.png", "glacier.txt", "notes.md", "old.txt"}
    assert files_in(places.folder / "out") == COAST | OF_FORMAT["yolo"] | extra
    assert (places.folder / "out" / "peak.png").read_bytes() == b"retouched"
    assert removals(places) == []


def test_files_that_were_in_the_folder_before_are_never_removed(places: World) -> None:
    places.write("out/peak.png", png(salt=b"peak.png"))
    manifest(places)
    places.good("apply", "manifest.yaml")
    manifest(places, "coast")
    assert sorted(removals(places)) == ["glacier.png", "glacier.txt", "peak.txt"]
    places.good("apply", "manifest.yaml", "--auto-approve")
    assert (places.folder / "out" / "peak.png").exists()


def test_without_prune_nothing_is_removed_and_stale_files_are_named(places: World) -> None:
    manifest(places, prune=False)
    places.good("apply", "manifest.yaml")
    before = files_in(places.folder / "out")
    manifest(places, "coast", prune=False)
    plan = places.good("plan", "manifest.yaml", "--json").document
    assert plan["actions"] == []
    (note,) = plan["warnings"]
    assert note["message"].endswith(": glacier.png, peak.png, glacier.txt, peak.txt")
    places.good("apply", "manifest.yaml")
    assert files_in(places.folder / "out") == before


def test_another_format_or_naming_leaves_no_file_behind(places: World) -> None:
    manifest(places, "coast")
    places.good("apply", "manifest.yaml")
    manifest(places, "coast", "coco", naming="unique_name")
    places.good("apply", "manifest.yaml", "--auto-approve")
    assert files_in(places.folder / "out") == {"places_dune.png", "places_reef.png", "annotations.json"}
    assert "Nothing to do" in places.good("plan", "manifest.yaml").out


@pytest.mark.parametrize(("limit", "stopped"), [("3", True), ("4", False), ("39%", True), ("40%", False)])
def test_removals_count_for_max_delete(places: World, limit: str, stopped: bool) -> None:
    manifest(places)
    places.good("apply", "manifest.yaml")
    manifest(places, "coast")
    done = places.run("apply", "manifest.yaml", "--auto-approve", "--max-delete", limit)
    assert done.code == (ExitCode.GUARDED if stopped else 0)
    assert (places.folder / "out" / "peak.png").exists() is stopped
    if limit == "3":
        assert "4 files would be removed, more than --max-delete allows (3 files)" in done.err
    if limit == "39%":
        assert "the download would remove 4 of 10 local files" in done.err


def test_a_query_that_matches_nothing_removes_nothing(places: World) -> None:
    manifest(places)
    places.good("apply", "manifest.yaml")
    before = files_in(places.folder / "out")
    manifest(places, "costa")
    places.good("apply", "manifest.yaml", "--auto-approve")
    (note,) = places.good("plan", "manifest.yaml", "--json").document["warnings"]
    assert "nothing is removed, because it selects no file of the lake" in note["message"]
    assert files_in(places.folder / "out") >= before


def test_a_saved_plan_removes_what_it_showed_and_nothing_else(places: World) -> None:
    manifest(places)
    places.good("apply", "manifest.yaml")
    manifest(places, "coast")
    places.good("plan", "manifest.yaml", "--out", "p.plan")
    places.write("out/peak.png", b"retouched")
    stale = places.run("apply", "p.plan")
    assert (stale.code, "'remove_downloaded places of out/peak.png' is no longer needed" in stale.err) == (
        ExitCode.GUARDED,
        True,
    )
    places.good("plan", "manifest.yaml", "--out", "p.plan")
    places.good("apply", "p.plan")
    assert files_in(places.folder / "out") == COAST | OF_FORMAT["yolo"] | {"peak.png"}


def test_removed_files_are_kept_in_the_backup_folder(places: World) -> None:
    manifest(places)
    places.good("apply", "manifest.yaml")
    places.write("old/peak.png", b"kept in March")
    manifest(places, "coast", backup_dir="old")
    places.good("apply", "manifest.yaml", "--auto-approve")
    assert files_in(places.folder / "old") == {"peak.png", "peak.png.~1~", "peak.txt", "glacier.png", "glacier.txt"}
    assert (places.folder / "old" / "peak.png").read_bytes() == b"kept in March"
    assert (places.folder / "old" / "peak.png.~1~").read_bytes() == png(salt=b"peak.png")
    assert files_in(places.folder / "out") == COAST | OF_FORMAT["yolo"]


def test_a_failure_in_a_download_keeps_its_stale_files(places: World) -> None:
    manifest(places, "alps")
    places.good("apply", "manifest.yaml")
    (places.folder / "out" / "dune.png").mkdir()
    manifest(places, "coast")
    done = places.run("apply", "manifest.yaml", "--auto-approve")
    assert done.code == ExitCode.SOME_FAILED
    assert "it is not removed, because something in this download failed" in done.out + done.err
    assert (places.folder / "out" / "peak.png").exists()
    (places.folder / "out" / "dune.png").rmdir()
    places.good("apply", "manifest.yaml", "--auto-approve")
    assert files_in(places.folder / "out") == COAST | OF_FORMAT["yolo"]


def test_a_link_in_place_of_a_file_is_not_followed(places: World) -> None:
    manifest(places)
    places.good("apply", "manifest.yaml")
    precious = places.write("precious.png", png(salt=b"peak.png"))
    peak = places.folder / "out" / "peak.png"
    found = peak.stat()
    os.utime(precious, ns=(found.st_atime_ns, found.st_mtime_ns))
    peak.unlink()
    peak.symlink_to(precious)
    manifest(places, "coast")
    assert "peak.png" not in removals(places)
    places.good("apply", "manifest.yaml", "--auto-approve")
    assert precious.read_bytes() == png(salt=b"peak.png")
    assert peak.is_symlink()


def test_a_run_that_is_killed_leaves_a_state_from_which_the_next_completes(places: World) -> None:
    """Files and annotations that the killed run wrote without recording them are pruned later all the same."""
    manifest(places)
    places.good("apply", "manifest.yaml")
    (state,) = (places.folder / ".metalake-sync").glob("*.db")
    # As after a kill between the last file and its record: intentions are recorded before, results after.
    with sqlite3.connect(state) as db:
        db.execute("DELETE FROM downloads")
        db.execute("UPDATE download_files SET size_bytes = -1, mtime_ns = 0, inode = 0, ctime_ns = 0")
        db.executemany(
            "INSERT INTO download_files SELECT lake, folder, ?, -1, 0, 0, 0 FROM download_files LIMIT 1",
            [(name,) for name in SITES],
        )
    db.close()
    places.good("apply", "manifest.yaml")
    manifest(places, "coast")
    places.good("apply", "manifest.yaml", "--auto-approve")
    assert files_in(places.folder / "out") == COAST | OF_FORMAT["yolo"]


def test_a_removal_without_a_record_of_it_is_completed_by_the_next_run(places: World) -> None:
    manifest(places)
    places.good("apply", "manifest.yaml")
    manifest(places, "coast", backup_dir="old")
    # As after a kill between the removal and its record, with one file kept and not yet removed.
    (places.folder / "old").mkdir()
    for name in ("peak.png", "peak.txt"):
        os.link(places.folder / "out" / name, places.folder / "old" / name)
    (places.folder / "out" / "peak.txt").unlink()
    places.good("apply", "manifest.yaml", "--auto-approve")
    assert files_in(places.folder / "old") == {"peak.png", "peak.txt", "glacier.png", "glacier.txt"}
    assert files_in(places.folder / "out") == COAST | OF_FORMAT["yolo"]
    # The records are gone too: a file of a person under that name is never touched.
    places.write("out/peak.txt", "0 0.1 0.1 0.1 0.1\n")
    assert removals(places) == []


def test_a_run_killed_at_any_moment_is_completed_by_the_next(places: World) -> None:
    manifest(places)
    places.good("apply", "manifest.yaml")
    manifest(places, "coast", "coco", backup_dir="old")
    command = [str(PROGRAM), "apply", "manifest.yaml", "--auto-approve"]
    for lines in _until_lines(2):
        with subprocess.Popen(
            command, cwd=places.folder, env=places.environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(lines):
                process.stdout.readline()
            process.kill()
    places.good("apply", "manifest.yaml", "--auto-approve")
    assert files_in(places.folder / "out") == COAST | OF_FORMAT["coco"]
    kept = {f"{name}.{extension}" for name in ("peak", "glacier") for extension in ("png", "txt")}
    assert files_in(places.folder / "old") == kept | {"dune.txt", "reef.txt", "classes.txt", "data.yaml"}


def _until_lines(most: int) -> Iterator[int]:
    """After how many lines of output a run is killed."""
    yield from range(most + 1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"prune": False, "backup_dir": "old"}, "'backup_dir' has no effect without 'prune'"),
        ({"backup_dir": "out/old"}, "'backup_dir' and 'to' overlap"),
        ({"backup_dir": "."}, "'backup_dir' and 'to' overlap"),
    ],
)
def test_an_unusable_backup_folder_is_an_error_with_its_line(places: World, more: dict[str, Any], message: str) -> None:
    manifest(places, **more)
    done = places.run("validate", "manifest.yaml")
    assert (done.code, message in done.err, "manifest.yaml:" in done.err) == (ExitCode.USAGE, True, True)
