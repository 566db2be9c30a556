"""Troubles of a long-running daemon: full disks, rotated credentials, lost mounts, limits of the system."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.watch.notify import sign
from tests.embedded_lake.talk import SECRET, box, image_set, settings, talk_to
from tests.end_to_end.daemon import is_synced, names, watching
from tests.end_to_end.world import BIRDS, World, boxes


def mount(*args: str | Path) -> None:
    """Run `mount`, or skip the test."""
    done = subprocess.run(["mount", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not allow mounts: {done.stderr.strip()}")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=512k", "tmpfs", disk)
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_run_continues_when_a_full_disk_of_the_state_has_space_again(world: World, tiny_disk: Path) -> None:
    world.images("a.png")
    world.manifest({**BIRDS, "metadata": {"Note": "x" * 200}})
    with watching(world, "--state", str(tiny_disk / "state.db")) as daemon:
        daemon.wait(lambda: names(world) == ["a.png"] and "synced: 1 uploaded" in daemon.log)
        ballast = tiny_disk / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(b"x" * (1 << 20))
        world.images(*(f"{number:04}.png" for number in range(300)))
        daemon.wait(lambda: "the next attempt is in" in daemon.log)
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", tiny_disk], check=True)
        daemon.wait(lambda: len(names(world)) == 301 and "recovered" in daemon.log)
        assert daemon.stop() == 0
    assert is_synced(world)
    again = world.good("apply", "manifest.yaml", "--state", str(tiny_disk / "state.db"))
    assert "Nothing was sent" in again.out


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A webhook receiver: its address, and the requests that it received."""
    requests: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", requests
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_that_fails_a_check_is_held_and_reported_once_and_the_rest_is_sent(
    world: World, receiver: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    address, requests = receiver
    world.images("a.png")
    world.manifest(BIRDS, notify={"url": address})
    with watching(world, "--rescan", "1") as daemon:
        daemon.wait(lambda: names(world) == ["a.png"])
        world.write("images/pointer.png", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
        world.images("b.png")
        daemon.wait(lambda: "b.png" in names(world) and "pointer.png: is a Git LFS pointer" in daemon.log)
        # Other runs find the same file again.
        world.images("c.png")
        daemon.wait(lambda: "c.png" in names(world))
        daemon.wait(lambda: len(requests) == 1)
        # Once it is whole, it is sent.
        world.images("pointer.png")
        daemon.wait(lambda: "pointer.png" in names(world))
        assert daemon.stop() == 0
    assert daemon.log.count("blocks apply: birds/pointer.png: is a Git LFS pointer") == 1
    sent, *later = [json.loads(body) for _, body in requests]
    assert (sent["event"], sent["waiting"], sent["new"]) == ("held", 1, 1)
    assert sent["first"][0].startswith("birds/pointer.png: is a Git LFS pointer")
    # The daemon may still say so when the last file is sent, before it is stopped.
    assert [one["event"] for one in later] in ([], ["recovered"])


def test_deletions_that_are_held_reach_the_webhook_once(
    world: World, receiver: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    address, requests = receiver
    world.images("a.png", "b.png", "c.png", "d.png")
    world.manifest({**BIRDS, "prune": True}, notify={"url": address})
    with watching(world, "--rescan", "1") as daemon:
        daemon.wait(lambda: len(names(world)) == 4)
        for name in ("a.png", "b.png", "c.png"):
            # Three of four are more than a run may delete: the number in that note grows.
            (world.folder / "images" / name).unlink()
            daemon.wait(lambda name=name: f"held: trash {name}" in daemon.log)  # type: ignore[misc]
        world.images("e.png")
        daemon.wait(lambda: "e.png" in names(world))
        daemon.wait(lambda: daemon.log.count('"width": "full"') > 5)
        assert daemon.stop() == 0
    sent = [json.loads(body) for _, body in requests]
    assert {one["event"] for one in sent} == {"held"}
    clauses = [clause for one in sent for clause in one["first"]]
    assert sorted(clause for clause in clauses if clause.startswith("trash")) == [
        "trash birds/a.png", "trash birds/b.png", "trash birds/c.png"
    ]  # fmt: skip
    assert [clause for clause in clauses if not clause.startswith("trash")] == []


def test_a_set_that_another_client_changed_is_held_and_reported_once_and_the_rest_is_sent(
    world: World, receiver: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    address, requests = receiver
    world.images("a.png", "b.png")
    world.write("boxes.json", boxes(a_png=[[1, 1, 4, 4]], b_png=[[2, 2, 4, 4]]))
    block = {"operation": "people", "kind": "human", "source": "boxes.json"}
    world.manifest({**BIRDS, "annotations": [block]}, notify={"url": address})
    world.good("apply", "manifest.yaml")
    world.talk.annotate("people", [image_set("birds_a.png", box("bird", 9, 9, 3, 3))])

    def boxes_of(image: str) -> list[list[float]]:
        query = {"operationIdList": '["people"]', "pageNo": "0", "pageSize": "250"}
        found = world.talk.annotations(world.collection_id(), **query).get(image, [])
        return [shape["bbox"] for shape in found]

    with watching(world, "--rescan", "1") as daemon:
        daemon.wait(lambda: "watching" in daemon.log)
        world.write("boxes.json", boxes(a_png=[[1, 1, 5, 5]], b_png=[[2, 2, 5, 5]]))
        daemon.wait(lambda: boxes_of("b.png") == [[2, 2, 5, 5]] and "held: annotate a.png" in daemon.log)
        world.images("c.png")
        daemon.wait(lambda: "c.png" in names(world))
        assert daemon.stop() == 0
    assert daemon.log.count("held: annotate a.png") == 1
    assert boxes_of("a.png") == [[9, 9, 3, 3]]
    (sent,) = [json.loads(body) for _, body in requests]
    assert (sent["event"], sent["waiting"], sent["new"]) == ("held", 1, 1)
    assert sent["first"] == ["annotate birds/a.png of people"]


def test_new_credentials_are_read_again_and_the_webhook_gets_failure_and_recovery(
    world: World, tmp_path: Path, receiver: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    address, requests = receiver
    world.write("secret", SECRET)
    world.write("signing", "s1gn")
    remote = {"url": world.lake.url, "api_key": "${LAYERNEXT_API_KEY}", "secret_file": "secret"}
    world.images("a.png")
    world.manifest(BIRDS, remote=remote, notify={"url": address, "secret_file": "signing"})
    port = int(world.lake.url.rsplit(":", 1)[1])
    with watching(world, "--rescan", "2") as daemon:
        daemon.wait(lambda: names(world) == ["a.png"])
        world.lake.__exit__(None, None, None)
        with EmbeddedLake(settings(tmp_path / "lake", port=port, secret="rotated")) as lake:
            world.images("b.png")
            daemon.wait(lambda: "the lake rejected the credentials" in daemon.log)
            assert "'secret_file' (secret)" in daemon.log
            world.write("secret", "rotated")
            daemon.wait(lambda: "recovered" in daemon.log and lake.requests.of("finalize_file") == 1)
            assert daemon.stop() == 0
        assert SECRET not in daemon.log
        assert "rotated" not in daemon.log
    failed, recovered = (json.loads(body) for _, body in requests)
    assert (failed["event"], recovered["event"]) == ("failed", "recovered")
    assert "the lake rejected the credentials" in failed["message"]
    assert recovered["message"] == "everything is synced again"
    for headers, body in requests:
        assert headers["X-Metalake-Sync-Signature"] == sign(b"s1gn", headers["X-Metalake-Sync-Timestamp"], body)
    with EmbeddedLake(settings(tmp_path / "lake")) as lake, talk_to(lake.url) as talk:
        after = dataclasses.replace(world, lake=lake, talk=talk)
        assert names(after) == ["a.png", "b.png"]


def test_a_folder_that_is_mounted_again_is_watched_and_nothing_was_trashed(world: World, tmp_path: Path) -> None:
    camera = tmp_path / "camera"
    camera.mkdir()
    images = world.folder / "images"
    images.mkdir()
    mount("--bind", camera, images)
    mounted = True
    try:
        world.images("a.png", "b.png")
        world.manifest({**BIRDS, "prune": True})
        with watching(world, "--auto-approve", "--rescan", "3") as daemon:
            daemon.wait(lambda: names(world) == ["a.png", "b.png"])
            subprocess.run(["umount", "--lazy", images], check=True)
            mounted = False
            daemon.wait(lambda: "matches any more" in daemon.log)
            assert names(world) == ["a.png", "b.png"]
            mount("--bind", camera, images)
            mounted = True
            daemon.wait(lambda: "recovered" in daemon.log)
            (images / "a.png").unlink()
            world.images("c.png")
            daemon.wait(lambda: names(world) == ["b.png", "c.png"])
            assert daemon.stop() == 0
        assert is_synced(world)
        assert world.lake.requests.of("begin_file") == 3
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", images], check=True)


def test_an_unmounted_disk_below_the_folder_trashes_nothing(world: World, tmp_path: Path) -> None:
    """The rest of the folder still exists, so the source does not look empty."""
    camera, left = tmp_path / "camera", world.folder / "images" / "left"
    camera.mkdir()
    left.mkdir(parents=True)
    world.images("a.png", "b.png", "c.png")
    world.manifest({**BIRDS, "prune": True})
    with watching(world, "--auto-approve", "--rescan", "1") as daemon:
        daemon.wait(lambda: len(names(world)) == 3)
        mount("--bind", camera, left)
        try:
            world.images("left.png", folder="images/left")
            daemon.wait(lambda: len(names(world)) == 4)
            daemon.wait(lambda: "nothing to do" in daemon.log)
        finally:
            subprocess.run(["umount", "--lazy", left], check=True)
        # An empty folder may be an unmounted disk, so nothing that was in it is pruned.
        daemon.wait(lambda: "images/left" in daemon.log and "is empty" in daemon.log)
        assert len(names(world)) == 4
        # Without the folder, its file is missing. The daemon remembers that a disk was mounted there.
        left.rmdir()
        daemon.wait(lambda: f"nothing is trashed or removed while {left} is not mounted" in daemon.log)
        daemon.wait(lambda: "held: trash left.png" in daemon.log)
        assert len(names(world)) == 4
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait(lambda: len(names(world)) == 3)
        assert daemon.stop() == 0


def test_a_daemon_that_was_stopped_syncs_the_changes_that_it_missed(world: World) -> None:
    """The same happens on a laptop that slept."""
    world.images("a.png", "b.png")
    world.manifest({**BIRDS, "prune": True})
    with watching(world, "--auto-approve") as daemon:
        daemon.wait(lambda: names(world) == ["a.png", "b.png"])
        daemon.process.send_signal(signal.SIGSTOP)
        world.images("c.png", folder="images/new/deep")
        (world.folder / "images" / "a.png").unlink()
        time.sleep(3.0)
        daemon.process.send_signal(signal.SIGCONT)
        daemon.wait(lambda: names(world) == ["b.png", "c.png"])
        assert daemon.stop() == 0
    assert is_synced(world)
    assert world.lake.requests.of("begin_file") == 3


@pytest.mark.parametrize(
    ("limit", "folders_at_start"),
    [
        ("watches", 2),
        pytest.param("watches", 30, marks=pytest.mark.long),
        pytest.param("instances", 2, marks=pytest.mark.long),
    ],
)
def test_above_a_limit_of_inotify_folders_are_polled_and_the_log_names_the_limit(
    world: World, limit: str, folders_at_start: int
) -> None:
    """A user namespace has its own limits, so lowering them does not affect other processes."""
    limited = ("unshare", "--user", "--map-root-user", "sh", "-c")
    allowed = {"watches": 12, "instances": 0}[limit]
    prefix = (*limited, f'echo {allowed} > /proc/sys/user/max_inotify_{limit} && exec "$@"', "sh")
    probe = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"the limit cannot be lowered on this machine: {probe.stderr.strip()}")
    limited_world = dataclasses.replace(world, prefix=prefix)
    for number in range(folders_at_start):
        world.images(f"{number:02}.png", folder=f"images/{number}")
    world.manifest(BIRDS)
    with watching(limited_world) as daemon:
        daemon.wait(lambda: len(names(world)) == folders_at_start)
        for number in range(folders_at_start, 40):
            world.images(f"{number:02}.png", folder=f"images/{number}")
        daemon.wait(lambda: len(names(world)) == 40)
        daemon.wait(lambda: f"is polled, because the system's limit fs.inotify.max_user_{limit}" in daemon.log)
        assert f"Raise it with: sudo sysctl fs.inotify.max_user_{limit}=" in daemon.log
        for number in range(40):
            world.images(f"late{number}.png", folder=f"images/{number}")
        daemon.wait(lambda: len(names(world)) == 80, 60)
        assert daemon.stop() == 0


def test_sighup_reads_the_manifest_again_and_starts_a_full_run(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    with watching(world) as daemon:
        daemon.wait(lambda: "synced: 1 uploaded" in daemon.log)
        fulls = daemon.log.count('"width": "full"')
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait(lambda: "the manifest was read again" in daemon.log)
        daemon.wait(lambda: daemon.log.count('"width": "full"') == fulls + 1)
        world.images("b.png")
        daemon.wait(lambda: names(world) == ["a.png", "b.png"])
        assert daemon.stop() == 0


def test_a_file_that_cannot_be_sent_is_in_the_status_and_the_rest_is_synced(world: World) -> None:
    if os.getuid() == 0:
        prefix = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")
        world = dataclasses.replace(world, prefix=prefix)
    world.images("a.png", "bad.png")
    (world.folder / "images" / "bad.png").chmod(0)
    world.manifest(BIRDS)
    with watching(world) as daemon:
        daemon.wait(lambda: names(world) == ["a.png"] and "1 failed" in daemon.log)
        tries = daemon.log.count("Permission denied")
        world.images("c.png", "d.png")
        daemon.wait(lambda: names(world) == ["a.png", "c.png", "d.png"])
        assert daemon.log.count("Permission denied") <= tries + 2, "it is skipped for a growing pause"
        (row,) = world.good("status", "manifest.yaml", "--json").document["collections"]
        assert [failure["name"] for failure in row["failures"]] == ["bad.png"]
        (world.folder / "images" / "bad.png").chmod(0o644)
        daemon.wait(lambda: names(world) == ["a.png", "bad.png", "c.png", "d.png"])
        daemon.wait(lambda: "recovered" in daemon.log)
        assert daemon.stop() == 0


def test_a_busy_port_of_the_metrics_is_no_usage_error(world: World) -> None:
    """systemd does not start a service again after a usage error."""
    world.images("a.png")
    world.manifest(BIRDS)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = world.run("watch", "manifest.yaml", "--metrics", address)
    assert done.code == 1
    assert f"another program uses the address of '--metrics {address}'" in done.err
    assert world.run("watch", "manifest.yaml", "--metrics", "nowhere").code == 64


def test_notes_in_the_log_are_not_warnings_of_notes(world: World) -> None:
    world.images("a.png")
    os.mkfifo(world.folder / "images" / "pipe.png")
    world.manifest(BIRDS)
    with watching(world, "--log-format", "text") as daemon:
        daemon.wait(lambda: "images/pipe.png" in daemon.log)
        assert daemon.stop() == 0
    (line,) = [line for line in daemon.log.splitlines() if "images/pipe.png" in line]
    assert line.partition("Z  ")[2].startswith("note: images/pipe.png: ")
