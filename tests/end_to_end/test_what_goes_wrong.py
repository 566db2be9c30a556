"""Every failure ends with one clear message and its exit code, and no data is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from metalake_sync.embedded_lake.faults import Fault
from metalake_sync.embedded_lake.request_log import RequestKind
from metalake_sync.state.backends.file import FileBackend
from tests.embedded_lake.talk import SECRET, png
from tests.end_to_end.world import BIRDS, World, boxes
from tests.security.repeating_lake import serving

STATE = Path(".metalake-sync/manifest.db")

WITHOUT_ROOTS_POWERS = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture
def small_world(world: World) -> World:
    world.images("a.png", "b.png")
    world.manifest(BIRDS)
    return world


@pytest.fixture
def mortal_world(small_world: World) -> World:
    """The same, with a command line that obeys file permissions even if root runs the tests."""
    if os.getuid() != 0:
        return small_world
    locked = small_world.folder / "locked"
    locked.mkdir(mode=0o000)
    probe = subprocess.run([*WITHOUT_ROOTS_POWERS, "ls", locked], capture_output=True, text=True, check=False)
    locked.rmdir()
    if "Permission denied" not in probe.stderr:
        pytest.skip(f"root's powers can't be put down here: {probe.stderr.strip() or 'permissions are not obeyed'}")
    return dataclasses.replace(small_world, prefix=WITHOUT_ROOTS_POWERS)


def test_wrong_credentials_are_rejected_at_once(small_world: World) -> None:
    done = small_world.run("apply", "manifest.yaml", LAYERNEXT_SECRET="wrong_secret")
    assert done.code == 12
    assert done.err == (
        "error: manifest.yaml:3:3: the lake rejected the credentials (401). Check their source: 'api_key' (or the"
        " variable in it) and 'secret' (or the variable in it).\n"
    )
    assert "wrong_secret" not in done.out


def test_an_unreachable_lake_is_an_error_with_its_address(small_world: World) -> None:
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = small_world.run("apply", "manifest.yaml", "--retry-for", "0.5", LAYERNEXT_URL=url)
    assert done.code == 5
    assert done.err.startswith(f"error: {url}: the lake could not be reached (connection refused), after ")
    assert done.err.count("\n") == 1


class NoLake(BaseHTTPRequestHandler):
    """A proxy's page instead of the lake's answer."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Please log in</html>")

    def log_message(self, *_: object) -> None: ...


def test_an_answer_that_is_not_json_is_an_error(small_world: World) -> None:
    with serving(NoLake) as url:
        done = small_world.run("plan", "manifest.yaml", LAYERNEXT_URL=url)
    assert done.code == 5
    assert "no MetaLake answers at this address" in done.err
    assert "status 200, not JSON" in done.err
    assert "log in" not in done.err


TEN_MISTAKES = """\
version: 2
remote:
  url: ftp://lake
  apikey: ${LAYERNEXT_API_KEY}
defaults: {prune: maybe}
collections:
  - nme: birds
    type: picture
    folders: [{path: images, inclde: ["*.png"], naming: nam}]
    annotations:
      - {operation: people, kind: robot, source: people.json, format: pascal}
    on_change: delete
"""


def test_ten_errors_are_reported_at_once_each_with_its_location(small_world: World) -> None:
    small_world.write("manifest.yaml", TEN_MISTAKES)
    done = small_world.run("validate", "manifest.yaml")
    assert done.code == 64
    told = [line.removeprefix("error: manifest.yaml:") for line in done.err.splitlines()]
    places = [line.split(": ")[0] for line in told]
    assert len(told) >= 10
    assert places == sorted(places, key=lambda place: [int(part) for part in place.split(":")])
    for words in (
        "'version' is the number 2. Write 1.",
        "unknown key 'apikey'. Did you mean 'api_key'?",
        "'prune' is 'maybe'. Write true or false.",
        "unknown key 'inclde'. Did you mean 'include'?",
        "'on_change' is 'delete'. Write replace, keep or fail.",
    ):
        assert any(line.endswith(words) for line in told), words


def test_an_error_in_yaml_names_its_line(small_world: World) -> None:
    small_world.write("manifest.yaml", "version: 1\nremote: {url: [\n")
    done = small_world.run("plan", "manifest.yaml")
    assert (done.code, done.err.count("\n")) == (64, 1)
    assert done.err.startswith("error: manifest.yaml:3:1: ")


def test_sources_that_are_missing_or_broken_are_manifest_errors(small_world: World) -> None:
    small_world.write("broken.json", '{"files": [')
    small_world.manifest(
        {
            **BIRDS,
            "folders": [{"path": "nowhere"}],
            "files": ["broken.json"],
            "file_metadata": ["broken.json", "missing.json"],
            "annotations": [{"operation": "people", "kind": "human", "source": "gone/*.json"}],
        }
    )
    done = small_world.run("validate", "manifest.yaml")
    assert done.code == 64
    assert "broken.json:1:12: broken JSON" in done.err
    assert "'broken.json' does not have the extension of a file of type 'image'" in done.err
    assert "missing.json: it cannot be read (No such file or directory)" in done.err
    assert "annotation source 'gone/*.json' does not exist" in done.err


def test_a_missing_folder_is_an_error_at_first_and_stops_a_guard_later(small_world: World) -> None:
    small_world.manifest({**BIRDS, "folders": [{"path": "imgs"}]})
    first = small_world.run("apply", "manifest.yaml")
    assert (first.code, "'imgs' does not exist" in first.err) == (64, True)
    small_world.manifest({**BIRDS, "prune": True})
    small_world.good("apply", "manifest.yaml")
    (small_world.folder / "images").rename(small_world.folder / "unmounted")
    later = small_world.run("apply", "--auto-approve", "manifest.yaml")
    assert later.code == 7
    assert "'images' does not exist, but the state has records of 2 files under it" in later.err
    assert small_world.names() == ["a.png", "b.png"]


def test_an_unreadable_folder_stops_the_run_if_its_files_are_recorded_and_fails_alone_otherwise(
    mortal_world: World,
) -> None:
    mortal_world.images("c.png", folder="images/sub")
    sub = mortal_world.folder / "images/sub"
    sub.chmod(0o000)
    try:
        first = mortal_world.run("apply", "manifest.yaml")
        assert first.code == 3
        assert "images/sub: can't be read (Permission denied)" in first.out
        assert mortal_world.names() == ["a.png", "b.png"]
        sub.chmod(0o700)
        mortal_world.good("apply", "manifest.yaml")
        sub.chmod(0o000)
        later = mortal_world.run("apply", "--auto-approve", "manifest.yaml")
        assert later.code == 7
        assert (
            "'images/sub' can't be read (Permission denied), but the state has records of 1 files under it" in later.err
        )
    finally:
        sub.chmod(0o700)
    assert mortal_world.names() == ["a.png", "b.png", "c.png"]


def test_an_unreadable_file_fails_alone(mortal_world: World) -> None:
    (mortal_world.folder / "images/a.png").chmod(0o000)
    done = mortal_world.run("apply", "manifest.yaml")
    assert done.code == 3
    assert "failed: birds/a.png: " in done.err
    assert "Permission denied" in done.err
    assert mortal_world.names() == ["b.png"]
    (mortal_world.folder / "images/a.png").chmod(0o600)
    mortal_world.good("apply", "manifest.yaml")
    assert mortal_world.names() == ["a.png", "b.png"]


def test_a_read_only_folder_for_the_state_is_an_error(mortal_world: World) -> None:
    mortal_world.folder.chmod(0o500)
    try:
        done = mortal_world.run("apply", "manifest.yaml")
    finally:
        mortal_world.folder.chmod(0o700)
    assert done.code == 1
    assert "cannot open the state: Permission denied" in done.err
    assert "--state" in done.err
    assert mortal_world.lake.requests.writes == 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_of_the_state_is_one_error_and_the_next_run_continues(world: World, tiny_disk: Path) -> None:
    world.images(*(f"{number:04}.png" for number in range(1200)))
    world.manifest({**BIRDS, "metadata": {"Note": "x" * 200}})
    state = ("--state", str(tiny_disk / "state.db"))
    done = world.run("apply", "manifest.yaml", *state)
    assert done.code == 1
    assert "cannot write the state" in done.err
    assert "Free disk space" in done.err
    assert done.err.count("\n") == 1
    subprocess.run(["mount", "-o", "remount,size=64m", tiny_disk], check=True)
    world.good("apply", "manifest.yaml", *state)
    assert world.talk.count(world.collection_id()) == 1200
    assert "Nothing was sent" in world.good("apply", "manifest.yaml", *state).out


def test_a_second_run_reports_the_holder_of_the_lock(small_world: World) -> None:
    with FileBackend(small_world.folder / STATE).lock(command="apply manifest.yaml"):
        done = small_world.run("apply", "manifest.yaml")
    assert done.code == 11
    assert f"pid {os.getpid()}" in done.err
    assert small_world.lake.requests.writes == 0


@pytest.mark.parametrize("damage", ["junk", "truncated"])
def test_a_damaged_state_is_an_error_with_a_remedy(small_world: World, damage: str) -> None:
    small_world.good("apply", "manifest.yaml")
    state = small_world.folder / STATE
    content = state.read_bytes()
    state.write_bytes(b"junk" * 2000 if damage == "junk" else content[: len(content) // 2 + 100])
    done = small_world.run("apply", "manifest.yaml")
    assert done.code == 1
    assert "the state is damaged" in done.err
    assert "state rebuild MANIFEST" in done.err
    small_world.lake.requests.clear()
    assert "2 files adopted" in small_world.good("state", "rebuild", "manifest.yaml").out
    assert small_world.lake.requests.writes == 0
    assert "Nothing to do" in small_world.good("plan", "manifest.yaml").out


def test_a_state_of_a_newer_version_is_not_changed(small_world: World) -> None:
    small_world.good("apply", "manifest.yaml")
    with contextlib.closing(sqlite3.connect(small_world.folder / STATE)) as db, db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('metalake-sync', 'from_the_future', '2099-01-01')"
        )
    done = small_world.run("apply", "manifest.yaml")
    assert done.code == 1
    assert "written by a newer version" in done.err


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_a_state_that_disappears_during_a_run_is_reported_and_nothing_is_sent_twice(world: World, what: str) -> None:
    world.images(*(f"{number}.png" for number in range(8)))
    world.manifest(BIRDS)
    state = world.folder / STATE
    pick = world.lake.faults.pick

    def take_away(kind: RequestKind) -> Fault | None:
        if kind.route == "put_part" and state.exists():
            state.unlink()
            if what == "replaced":
                state.touch()
        return pick(kind)

    world.lake.faults.pick = take_away  # type: ignore[method-assign]
    done = world.run("apply", "--parallelism", "1", "manifest.yaml")
    assert done.code == 1
    assert "the state was removed or replaced while a command used it" in done.err
    assert "state rebuild MANIFEST" in done.err
    world.lake.faults.pick = pick  # type: ignore[method-assign]
    for path in state.parent.glob(f"{state.name}*"):
        path.unlink()
    world.good("state", "rebuild", "manifest.yaml")
    world.good("apply", "manifest.yaml")
    assert world.names() == [f"{number}.png" for number in range(8)]
    assert "Nothing was sent" in world.good("apply", "manifest.yaml").out


def test_errors_are_json_with_the_option_json(small_world: World) -> None:
    done = small_world.run("apply", "--json", "manifest.yaml", LAYERNEXT_SECRET="wrong")
    assert json.loads(done.err) == {
        "message_type": "exit_error",
        "exit_code": 12,
        "message": "manifest.yaml:3:3: the lake rejected the credentials (401). Check their source: 'api_key' (or"
        " the variable in it) and 'secret' (or the variable in it).",
    }


def test_a_json_log_changes_standard_error_and_not_standard_output(small_world: World) -> None:
    for flags, variables in (
        (["--log-format", "json"], {}),
        (["--log-format=json"], {}),
        ([], {"METALAKE_SYNC_LOG_FORMAT": "json"}),
    ):
        done = small_world.run("apply", *flags, "manifest.yaml", LAYERNEXT_SECRET="wrong", **variables)
        line = json.loads(done.err)
        assert (line["level"], line["exit_code"], "rejected the credentials" in line["message"]) == ("error", 12, True)
    (small_world.folder / os.fsdecode(b"images/bad\xff.png")).write_bytes(png())
    done = small_world.run("apply", "--log-format", "json", "manifest.yaml")
    assert done.code == 3
    assert "Applied: 1 collection created, 2 files uploaded" in done.out
    assert [json.loads(line)["message"] for line in done.err.splitlines()] == [
        "1 part of the manifest could not be read or carried out; see the notes above"
    ]


def test_errors_are_json_with_the_environment_variable_too(small_world: World) -> None:
    done = small_world.run("apply", "manifest.yaml", LAYERNEXT_SECRET="wrong", METALAKE_SYNC_JSON="1")
    assert json.loads(done.err)["exit_code"] == 12


def test_an_unknown_command_suggests_the_closest_one(small_world: World) -> None:
    done = small_world.run("aply", "manifest.yaml")
    assert done.code == 64
    assert "Did you mean 'apply'?" in done.err


def test_metadata_that_the_lake_rejects_is_an_error_before_anything_is_sent(small_world: World) -> None:
    small_world.manifest({**BIRDS, "metadata": {"Tags": ["far too long" * 100]}})
    done = small_world.run("apply", "manifest.yaml")
    assert done.code == 64
    assert "the lake rejects the metadata" in done.err
    assert small_world.lake.requests.writes == 0
    assert small_world.run("validate", "--online", "manifest.yaml").code == 64


def test_a_guard_stops_an_annotation_source_that_lost_all_entries(small_world: World) -> None:
    operation = {"operation": "people", "kind": "human", "source": "people.json"}
    small_world.manifest({**BIRDS, "annotations": [operation]})
    small_world.write("people.json", boxes(a_png=[[1, 1, 2, 2]]))
    small_world.good("apply", "manifest.yaml")
    small_world.write("people.json", boxes())
    done = small_world.run("apply", "--auto-approve", "manifest.yaml")
    assert done.code == 7
    assert "the source of 'people' does not have an entry with a shape any more" in done.err
    assert len(small_world.talk.annotations(small_world.collection_id())["a.png"]) == 1


def test_an_annotation_source_causes_no_error_if_its_images_are_gone(small_world: World) -> None:
    operation = {"operation": "people", "kind": "human", "source": "people.json"}
    small_world.manifest({**BIRDS, "annotations": [operation]})
    small_world.write("people.json", boxes(a_png=[[1, 1, 2, 2]]))
    small_world.good("apply", "manifest.yaml")
    (small_world.folder / "images").rename(small_world.folder / "away")
    done = small_world.run("apply", "--auto-approve", "manifest.yaml")
    assert done.code == 7
    assert "the entries of 'people' do not match any image of the collection any more" in done.err
    assert "Check that the folders are mounted" in done.err


def test_links_fifos_and_undecodable_names_are_reported_and_excluded(small_world: World) -> None:
    images = small_world.folder / "images"
    (images / "link.png").symlink_to("a.png")
    os.mkfifo(images / "fifo.png")
    Path(os.fsdecode(os.fsencode(images) + b"/bad\xff.png")).write_bytes(png())
    done = small_world.run("apply", "manifest.yaml")
    assert done.code == 3
    assert "link.png: is a link, and links are not followed" in done.out
    assert "fifo.png: is not a regular file" in done.out
    assert "bad\\udcff.png: has a name that is not UTF-8" in done.out
    assert small_world.names() == ["a.png", "b.png"]


def test_no_output_of_a_failing_run_contains_a_secret(small_world: World) -> None:
    small_world.manifest({**BIRDS, "annotations": []})
    done = small_world.good("apply", "-v", "--json", "manifest.yaml")
    left = [done.out, done.err, *(path.read_bytes().decode("latin-1") for path in _files(small_world.folder))]
    for text in left:
        assert SECRET not in text
        assert "X-Signature" not in text
        assert "signature=" not in text.lower()


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".png")


FAR_AWAY = {"far.png": 15032385535, "past.png": -2000000000, "epoch.png": 0, "ahead.png": 2208988800}


def test_files_with_extreme_times_are_synced(world: World) -> None:
    """Times of cameras, memory cards and damaged disks: 2446, 1906, 1970 and 2040."""
    world.images(*FAR_AWAY, "now.png")
    for name, seconds in FAR_AWAY.items():
        os.utime(world.folder / "images" / name, (seconds, seconds))
    fields = {"from": "exif", "fields": {"width": "Width"}}
    world.manifest({**BIRDS, "file_metadata": [fields]})
    world.good("plan", "manifest.yaml")
    world.good("apply", "manifest.yaml")
    assert world.names() == sorted([*FAR_AWAY, "now.png"])
    again = world.good("plan", "--json", "manifest.yaml").document["summary"]
    assert (again["unchanged"], again["upload"], again["update_metadata"]) == (5, 0, 0)
    world.manifest(downloads=[{"collection": "birds", "to": "out"}])
    world.good("pull", "manifest.yaml")
    for path in (world.folder / "out").iterdir():
        os.utime(path, (FAR_AWAY["far.png"], FAR_AWAY["far.png"]))
    world.good("pull", "manifest.yaml")
    assert "Nothing to do" in world.good("plan", "manifest.yaml").out


def test_a_missing_plan_is_not_called_a_manifest(world: World) -> None:
    done = world.run("apply", "missing.plan")
    assert done.code == 64
    assert "missing.plan: the file does not exist. Pass a manifest, or a plan that 'plan --out' saved." in done.err
