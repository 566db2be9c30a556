"""Long runs: threads, descriptors, memory and the state's write-ahead log stay flat, however many files or cycles."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.end_to_end.world import BIRDS, PROGRAM, World

FOLDER_FILES = 1000
PARALLELISM = 32

WAL_LIMIT_BYTES = 16 << 20
"""SQLite writes the log back at 1,000 pages, 4 MB; a transaction of a whole batch of 2,000 files comes on top."""


@dataclass
class Watched:
    """What a process needs, looked at again and again: (seconds, files in the lake, RSS in KiB, descriptors, threads,
    bytes of the log)."""

    pid: int
    state: Path
    samples: list[tuple[float, int, int, int, int, int]] = field(default_factory=list)

    def look(self, seconds: float, files: int) -> None:
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
            descriptors = len(os.listdir(f"/proc/{self.pid}/fd"))
        except OSError:
            return
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if "VmRSS" not in facts:
            return
        wal = self.state.with_name(self.state.name + "-wal")
        size = wal.stat().st_size if wal.exists() else 0
        self.samples.append(
            (seconds, files, int(facts["VmRSS"].split()[0]), descriptors, int(facts["Threads"]), size)
        )

    def most(self, column: int, begin: float = 0.0, end: float = 1.0) -> int:
        """The largest value of a column in a share of the run."""
        count = len(self.samples)
        return int(max(sample[column] for sample in self.samples[int(count * begin) : max(1, int(count * end))]))


RSS, DESCRIPTORS, THREADS, WAL = 2, 3, 4, 5


def apply_files(world: World, count: int) -> Watched:
    """Make so many files, each of a few bytes, and watch an apply of them."""
    for number in range(count):
        if number % FOLDER_FILES == 0:
            folder = world.folder / f"files/{number // FOLDER_FILES:03}"
            folder.mkdir(parents=True)
        (folder / f"{number:06}.txt").write_text(f"{number}")
    world.manifest({**BIRDS, "type": "other", "folders": [{"path": "files"}]})
    state = world.folder / ".metalake-sync/manifest.db"
    command = [str(PROGRAM), "apply", "--quiet", "--parallelism", str(PARALLELISM), "manifest.yaml"]
    began = time.monotonic()
    with open(world.folder.parent / "said", "w") as said:
        process = subprocess.Popen(command, cwd=world.folder, env=world.environment(), stdout=said, stderr=said)
    watched = Watched(process.pid, state)
    pause_s = 0.02 if count < 10_000 else 0.5
    over = threading.Event()
    while process.poll() is None:
        watched.look(time.monotonic() - began, world.lake.requests.of("finalize_file"))
        over.wait(pause_s)
    assert process.returncode == 0, (world.folder.parent / "said").read_text()
    assert world.lake.requests.of("finalize_file") == count
    print(
        f"\n{count} files in {time.monotonic() - began:.0f} s; RSS {watched.most(RSS, 0.2, 0.5) >> 10} MiB in the first"
        f" half, {watched.most(RSS, 0.5) >> 10} MiB in the second; at most {watched.most(DESCRIPTORS)} descriptors,"
        f" {watched.most(THREADS)} threads, WAL of {watched.most(WAL) >> 10} KiB"
    )
    return watched


def assert_bounds(watched: Watched) -> None:
    # A connection for each file on the wire, to lake and to store, and a file of its own.
    assert watched.most(DESCRIPTORS) <= 3 * PARALLELISM + 30
    assert watched.most(THREADS) <= 2 * PARALLELISM + 10
    assert 0 < watched.most(WAL) <= WAL_LIMIT_BYTES


def test_an_apply_of_2000_files_stays_within_bounds(world: World) -> None:
    assert_bounds(apply_files(world, 2000))


@pytest.mark.long
def test_an_apply_of_100_000_files_stays_flat(world: World) -> None:
    watched = apply_files(world, 100_000)
    assert_bounds(watched)
    assert watched.most(RSS, 0.5) <= 1.25 * watched.most(RSS, 0.2, 0.5)
