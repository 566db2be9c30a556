"""The daemon as a process with a served lake: the lake gets the files of the folder, each of them once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from metalake_sync.embedded_lake import EmbeddedLake
from tests.embedded_lake.talk import png, settings
from tests.end_to_end.daemon import is_synced, lines, names, on_disk, watching
from tests.end_to_end.world import BIRDS, World


def test_the_lake_follows_every_kind_of_change_of_the_folder(world: World) -> None:
    """New, renamed, moved, deleted and slowly written files, a new subfolder, an edited and a broken manifest."""
    world.images("a.png", "b.png")
    world.manifest({**BIRDS, "prune": True})
    images = world.folder / "images"
    with watching(world, "--auto-approve") as daemon:
        daemon.wait(lambda: names(world) == ["a.png", "b.png"])

        world.images("c.png")
        (images / "d.png.part").write_bytes(png(salt=b"d"))
        daemon.wait(lambda: "c.png" in names(world))
        (images / "d.png.part").rename(images / "d.png")
        world.images("e.png", folder="images/new/deep")
        daemon.wait(lambda: names(world) == on_disk(world) and len(on_disk(world)) == 5)

        shutil.move(images / "new", images / "old")
        (images / "a.png").unlink()
        daemon.wait(lambda: names(world) == on_disk(world) and len(on_disk(world)) == 4)

        sent = world.lake.requests.of("put_part")
        with (images / "slow.png").open("wb") as slow:
            for _ in range(8):
                slow.write(b"\0" * 50_000)
                slow.flush()
                time.sleep(0.3)
            assert "slow.png" not in names(world)
        daemon.wait(lambda: "slow.png" in names(world))
        assert world.lake.requests.of("put_part") == sent + 1
        assert len(world.talk.read("birds_slow.png")) == 400_000

        world.manifest({**BIRDS, "prune": True, "metadata": {"Tags": ["night"]}})
        daemon.wait(lambda: world.talk.details("birds_c.png", "Tags").get("Tags") == ["night"])
        (world.folder / "manifest.yaml").write_text("version: 1\ncollections: [\n")
        daemon.wait(lambda: "the last valid one stays in use" in daemon.log)
        world.images("f.png")
        daemon.wait(lambda: "f.png" in names(world))

        assert world.lake.requests.of("begin_file") == 7, "each file was sent once; a moved folder sends nothing"
        assert daemon.stop() == 0
    assert is_synced(world)


def test_a_burst_is_sent_once(world: World) -> None:
    (world.folder / "images").mkdir()
    world.manifest(BIRDS)
    with watching(world) as daemon:
        for number in range(500):
            world.images(f"{number:05}.png", folder=f"images/{number % 20}")
        daemon.wait(lambda: len(names(world)) == 500, 90)
        assert daemon.stop() == 0
    assert world.lake.requests.of("begin_file") == world.lake.requests.of("put_part") == 500


@pytest.mark.long
def test_five_thousand_files_and_a_large_slow_one(world: World) -> None:
    (world.folder / "images").mkdir()
    world.manifest(BIRDS)
    with watching(world) as daemon:
        for number in range(5000):
            world.images(f"{number:05}.png", folder=f"images/{number % 50}")
        with (world.folder / "images" / "large.png").open("wb") as large:
            for _ in range(20):
                large.write(os.urandom(1 << 20) * 25)
                large.flush()
                time.sleep(1.0)
        daemon.wait(lambda: "upload large.png" in daemon.log, 240)
        daemon.wait(lambda: world.talk.count(world.collection_id()) == 5001)
        assert daemon.stop() == 0
    assert world.lake.requests.of("begin_file") == world.lake.requests.of("finalize_file") == 5001
    assert world.talk.read("birds_large.png") == (world.folder / "images" / "large.png").read_bytes()
    for number in range(0, 5000, 50):
        assert world.talk.read(f"birds_{number:05}.png") == png(salt=b"%05d.png" % number)


@pytest.mark.parametrize("pause_s", [3, pytest.param(30, marks=pytest.mark.long)])
def test_changes_are_sent_when_an_unreachable_lake_is_back(world: World, tmp_path: Path, pause_s: int) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    with watching(world, "--retry-for", "1") as daemon:
        daemon.wait(lambda: names(world) == ["a.png"] and "synced: 1 uploaded" in daemon.log)
        port = int(world.lake.url.rsplit(":", 1)[1])
        world.lake.__exit__(None, None, None)
        world.images("b.png")
        daemon.wait(lambda: "the next attempt is in" in daemon.log)
        time.sleep(pause_s)
        with EmbeddedLake(settings(tmp_path / "lake", port=port)):
            daemon.wait(lambda: "recovered" in daemon.log and names(world) == ["a.png", "b.png"], 90)
            assert daemon.stop() == 0


def test_actions_that_need_approval_are_held_and_the_others_continue(world: World) -> None:
    world.images("a.png", "b.png")
    world.manifest({**BIRDS, "prune": True})
    with watching(world) as daemon:
        daemon.wait(lambda: len(names(world)) == 2)
        (world.folder / "images" / "a.png").unlink()
        world.images("c.png")
        daemon.wait(lambda: "c.png" in names(world) and "held: trash a.png" in daemon.log)
        assert names(world) == ["a.png", "b.png", "c.png"]
        assert daemon.stop() == 0


def test_a_folder_that_is_emptied_completely_trashes_nothing(world: World) -> None:
    """An unmounted folder looks like this."""
    world.images("a.png", "b.png")
    world.manifest({**BIRDS, "prune": True})
    images, moved = world.folder / "images", world.folder / "moved"
    with watching(world, "--auto-approve") as daemon:
        daemon.wait(lambda: len(names(world)) == 2)
        images.rename(moved)
        images.mkdir()
        daemon.wait(lambda: "matches any more" in daemon.log or "does not exist" in daemon.log)
        images.rmdir()
        moved.rename(images)
        world.images("c.png")
        daemon.wait(lambda: names(world) == ["a.png", "b.png", "c.png"])
        assert daemon.stop() == 0
    assert world.lake.requests.of("put_part") == 3


def test_a_second_watcher_is_an_error_and_an_apply_is_not(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    with watching(world) as daemon:
        daemon.wait(lambda: names(world) == ["a.png"])
        second = world.run("watch", "manifest.yaml")
        assert second.code == 11
        assert "another run holds the state" in second.err
        world.good("apply", "manifest.yaml", "--lock-timeout", "10")
        assert daemon.stop() == 0


def test_sigterm_in_the_middle_of_a_run_lets_it_finish(world: World) -> None:
    for number in range(40):
        world.write(f"images/{number:02}.png", png(salt=b"%d" % number) + b"\0" * 50_000)
    world.manifest(BIRDS)
    with watching(world, "--bwlimit", "1M") as daemon:
        daemon.wait(lambda: world.lake.requests.of("finalize_file") >= 3)
        assert daemon.stop() == 0
    assert is_synced(world)
    assert world.lake.requests.of("begin_file") == 40


@pytest.mark.long
def test_a_run_that_does_not_end_within_the_drain_timeout_is_aborted_and_nothing_is_sent_twice(world: World) -> None:
    for number in range(40):
        world.write(f"images/{number:02}.png", png(salt=b"%d" % number) + b"\0" * 100_000)
    world.manifest(BIRDS)
    with watching(world, "--bwlimit", "50k", "--parallelism", "2") as daemon:
        daemon.wait(lambda: world.lake.requests.of("finalize_file") >= 3)
        assert daemon.stop() == 130
    done = world.lake.requests.of("finalize_file")
    assert 3 < done < 40
    world.good("apply", "manifest.yaml")
    assert is_synced(world)
    assert world.lake.requests.of("finalize_file") <= 42, "only transfers in progress are sent again"


def test_a_second_sigterm_ends_the_run_at_once_and_nothing_is_sent_twice(world: World) -> None:
    for number in range(40):
        world.write(f"images/{number:02}.png", png(salt=b"%d" % number) + b"\0" * 50_000)
    world.manifest(BIRDS)
    with watching(world, "--bwlimit", "500k", "--parallelism", "2") as daemon:
        daemon.wait(lambda: world.lake.requests.of("finalize_file") >= 3)
        daemon.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert daemon.stop() == 130
    world.good("apply", "manifest.yaml")
    assert len(names(world)) == 40
    assert is_synced(world)
    assert world.lake.requests.of("finalize_file") <= 42, "only transfers in progress are sent again"


def test_polling_finds_new_files_and_folders(world: World) -> None:
    world.images("a.png", folder="images/x")
    world.manifest(BIRDS)
    with watching(world, "--poll", "0.3") as daemon:
        daemon.wait(lambda: names(world) == ["a.png"])
        world.images("b.png", folder="images/x")
        world.images("c.png", folder="images/y")
        daemon.wait(lambda: names(world) == ["a.png", "b.png", "c.png"])
        assert daemon.stop() == 0


def test_health_and_metrics_are_served(world: World) -> None:
    world.manifest(BIRDS)
    (world.folder / "images").mkdir()
    with watching(world, "--metrics", "127.0.0.1:0") as daemon:
        port = next(line["port"] for line in lines(daemon) if "port" in line)
        world.images("a.png")
        daemon.wait(lambda: names(world) == ["a.png"] and "synced: 1 uploaded" in daemon.log)

        def page(path: str) -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                text: str = answer.read().decode()
                return text

        assert json.loads(page("/healthz"))["status"] == "ok"
        assert 'metalake_sync_actions_total{action="upload"} 1.0' in page("/metrics")
        assert "metalake_sync_latency_seconds_count 1.0" in page("/metrics")
        assert daemon.stop() == 0


def test_after_an_overflow_of_the_kernels_queue_every_file_is_sent(world: World) -> None:
    """The daemon is stopped while the kernel's queue overflows. The event of the last file is dropped."""
    world.images("a.png")
    world.manifest(BIRDS)
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 20_000:
        pytest.skip(f"fs.inotify.max_queued_events is {limit}: too many to provoke an overflow")
    with watching(world) as daemon:
        daemon.wait(lambda: names(world) == ["a.png"])
        daemon.process.send_signal(signal.SIGSTOP)
        for _ in range(limit // 2 + 2000):
            # The kernel merges an event with an equal one just before it, so the names alternate.
            for name in ("x.part", "y.part"):
                (world.folder / "images" / name).open("wb").close()
        world.images("lost.png")
        daemon.process.send_signal(signal.SIGCONT)
        daemon.wait(lambda: "lost.png" in names(world))
        assert "events were lost" in daemon.log
        assert daemon.stop() == 0


def test_a_run_over_folders_scans_only_folders_with_hints_and_does_not_list_the_lake(world: World) -> None:
    world.images(*(f"{number}.png" for number in range(30)), folder="images/many")
    world.manifest(BIRDS)
    with watching(world) as daemon:
        daemon.wait(lambda: len(names(world)) == 30)
        listed = world.lake.requests.of("list_collection_items")
        world.images("new.png", folder="images/few")
        daemon.wait(lambda: "synced: 1 uploaded" in daemon.log and '"width": "folders"' in daemon.log)
        assert world.lake.requests.of("list_collection_items") <= listed + 2
        assert daemon.stop() == 0
