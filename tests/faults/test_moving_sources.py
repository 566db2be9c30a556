"""Sources that move while they are read: what is recorded is what was sent, and the next run sees to the rest."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from tests.embedded_lake.talk import png
from tests.end_to_end.world import BIRDS, World
from tests.faults.mortal import PART_BYTES, Mortal, mortal_world

SMALL = ["one.png", "two.png", "three.png", "four.png"]
LARGE = "large.png"


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Mortal]:
    with mortal_world(tmp_path) as mortal:
        yield mortal


def lake_hashes(mortal: Mortal) -> dict[str, str]:
    """Name → BLAKE3 of the bytes that the lake has."""
    folder = mortal.lakes[0]
    with contextlib.closing(sqlite3.connect(f"file:{folder}/lake.db?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT name, blob FROM items WHERE trashed = 0").fetchall()
    return {name: blake3((folder / "objects" / blob[-2:] / blob).read_bytes()).hexdigest() for name, blob in rows}


def sent_hashes(mortal: Mortal) -> dict[str, str]:
    """Id → BLAKE3 of the bytes that the lake has under it, also in its trash: a replace that was broken off has its old
    file there, and its record still speaks of that one."""
    folder = mortal.lakes[0]
    with contextlib.closing(sqlite3.connect(f"file:{folder}/lake.db?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT id, blob FROM items").fetchall()
    return {lake_id: blake3((folder / "objects" / blob[-2:] / blob).read_bytes()).hexdigest() for lake_id, blob in rows}


def recorded_as_sent(mortal: Mortal) -> dict[str, str]:
    """Id → the recorded BLAKE3."""
    with contextlib.closing(sqlite3.connect(f"file:{mortal.state()}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT lake_id, content_hash FROM files").fetchall())


def recorded_hashes(mortal: Mortal) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(f"file:{mortal.state()}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT name, content_hash FROM files").fetchall())


def disk_hashes(world: World) -> dict[str, str]:
    images = world.folder / "images"
    return {path.name: blake3(path.read_bytes()).hexdigest() for path in images.iterdir() if path.is_file()}


@contextlib.contextmanager
def rewritten(paths: list[Path], pause_s: float) -> Iterator[None]:
    """Somebody writes other bytes of the same length into files, again and again, and sets their old times."""
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.wait(pause_s):
            for path in paths:
                number += 1
                times = path.stat()
                with path.open("r+b") as file:
                    file.seek(-8, os.SEEK_END)
                    file.write(number.to_bytes(8, "big"))
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


@pytest.mark.parametrize("pause_s", [0.0005, 0.01, 0.08])
def test_what_is_recorded_is_what_was_sent_under_a_writer_that_keeps_rewriting(mortal: Mortal, pause_s: float) -> None:
    world = mortal.world
    for name in SMALL:
        world.write(f"images/{name}", png(salt=name.encode()) + bytes(8))
    world.write(f"images/{LARGE}", png() + os.urandom(3 * PART_BYTES))
    world.manifest(BIRDS)
    caught: list[str] = []
    with rewritten([world.folder / "images" / name for name in (*SMALL, LARGE)], pause_s):
        for _ in range(4):
            ended = mortal.disturbed_run()
            changed = [failure for failure in ended.failures if "changed" in failure]
            # The first replacement shows whether the lake accepts the name. After it failed, no other file is trashed.
            others = [failure for failure in ended.failures if failure not in changed]
            assert all("because the first replacement failed" in failure for failure in others), ended
            assert changed or not others, ended
            caught += changed
            assert recorded_as_sent(mortal).items() <= sent_hashes(mortal).items()
    assert caught
    mortal.run()
    assert lake_hashes(mortal) == recorded_hashes(mortal) == disk_hashes(world)


def vanish(path: Path) -> None:
    path.unlink()


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("one.png")


def become_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


MOVES = [vanish, grow, become_a_folder, become_a_link, become_a_fifo]


@pytest.mark.parametrize(
    ("name", "move"),
    [
        *(("two.png", move) for move in MOVES),
        *((LARGE, move) for move in MOVES[:2]),
        *(pytest.param(LARGE, move, marks=pytest.mark.long) for move in MOVES[2:]),
    ],
)
def test_a_file_that_moves_after_it_was_planned_fails_alone(
    mortal: Mortal, name: str, move: Callable[[Path], None]
) -> None:
    world = mortal.world
    world.images(*SMALL)
    world.write(f"images/{LARGE}", png() + os.urandom(3 * PART_BYTES))
    world.manifest(BIRDS)
    moved: list[str] = []

    def now(place: str) -> None:
        if place == "before open_upload" and not moved:
            moved.append(place)
            move(world.folder / "images" / name)

    mortal.on_request = now
    ended = mortal.disturbed_run()
    assert (ended.code, len(ended.failures), len(moved)) == (3, 1, 1)
    assert name not in lake_hashes(mortal)
    assert len(lake_hashes(mortal)) == len(SMALL)
    if move in (become_a_link, become_a_fifo):
        (world.folder / "images" / name).unlink()
    mortal.run()
    assert lake_hashes(mortal) == recorded_hashes(mortal) == disk_hashes(world)


def test_a_large_file_that_is_swapped_between_its_parts_is_not_recorded(mortal: Mortal) -> None:
    world = mortal.world
    path = world.write(f"images/{LARGE}", png() + os.urandom(3 * PART_BYTES))
    world.manifest(BIRDS)
    parts: list[str] = []

    def swap(place: str) -> None:
        if place == "after put_part":
            parts.append(place)
            if len(parts) == 1:
                other = path.with_name("other")
                other.write_bytes(png() + os.urandom(3 * PART_BYTES))
                other.replace(path)

    mortal.on_request = swap
    assert mortal.disturbed_run().code == 3
    assert lake_hashes(mortal) == recorded_hashes(mortal) == {}
    mortal.run()
    assert lake_hashes(mortal) == recorded_hashes(mortal) == disk_hashes(world)


def test_twins_in_case_or_unicode_form_are_two_files_and_a_note(mortal: Mortal) -> None:
    world = mortal.world
    names = ["Jay.png", "jay.png", "\u00e9.png", "e\u0301.png"]
    world.images(*names)
    world.manifest(BIRDS)
    notes = world.good("plan", "--json", "manifest.yaml").document["warnings"]
    assert sorted(note["code"] for note in notes) == ["twin_names", "twin_names"]
    world.good("apply", "manifest.yaml")
    assert sorted(world.names()) == sorted(names)
    assert "Nothing was sent" in world.good("apply", "manifest.yaml").out


def test_a_linked_folder_is_followed_where_the_manifest_says_so_and_its_loss_is_a_guard(world: World) -> None:
    outside = world.folder.parent / "outside"
    outside.mkdir()
    (outside / "far.png").write_bytes(png(salt=b"far"))
    world.images("near.png")
    (world.folder / "images/out").symlink_to(outside)
    (world.folder / "images/copy.png").symlink_to("../../outside/far.png")
    world.manifest(BIRDS)
    assert "images/out: is a link to a folder, and links are not followed" in world.good("plan", "manifest.yaml").out
    follow = {**BIRDS, "prune": True, "folders": [{"path": "images", "follow_symlinks": True}]}
    world.manifest(follow)
    world.good("apply", "manifest.yaml")
    assert world.names() == ["copy.png", "far.png", "near.png"]
    assert "Nothing was sent" in world.good("apply", "manifest.yaml").out
    outside.rename(outside.with_name("unmounted"))
    gone = world.run("apply", "--auto-approve", "manifest.yaml")
    assert gone.code == 7
    assert "is a broken link, but the state has records of 1 files under it" in gone.err
    outside.with_name("unmounted").rename(outside)
    world.manifest({**follow, "folders": [{"path": "images"}]})
    assert world.run("apply", "--auto-approve", "manifest.yaml").code == 7
    assert world.names() == ["copy.png", "far.png", "near.png"]
