"""Long runs: threads, descriptors, memory and the state's write-ahead log stay flat, however many files or cycles."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from metalake_sync.engine import Engine
from metalake_sync.manifest.loading import load_manifest
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.watch.debounce import Work
from metalake_sync.watch.health import Health, NoMetrics, ServiceManager
from metalake_sync.watch.hints import FolderTouched, HintBox, Places
from metalake_sync.watch.loop import Signals, Watcher
from metalake_sync.watch.notify import Webhook
from metalake_sync.watch.runner import ActiveManifest, Exclusions, RunResult, activate
from metalake_sync.watch.scheduler import WatchTiming
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
        self.samples.append((seconds, files, int(facts["VmRSS"].split()[0]), descriptors, int(facts["Threads"]), size))

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


@dataclass
class Cycles:
    """A watch of true runs under a clock of its own, which goes on by a tenth of a second at each look: so nobody
    waits. Each cycle hints at a folder; every tenth finds a file that changed."""

    world: World
    in_force: ActiveManifest
    count: int
    watched: Watched
    box: HintBox = field(default_factory=HintBox)
    now: float = 1000.0
    runs: int = 0
    signals: Signals = field(init=False)
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.signals = Signals(self.box.wake)

    # The parts of a watched manifest.

    @property
    def runner(self) -> Cycles:
        return self

    @property
    def places(self) -> Places:
        return self.in_force.places

    @property
    def base_dir(self) -> str:
        return self.in_force.base_dir

    @property
    def webhook(self) -> Webhook | None:
        return None

    def close(self) -> None:
        self.in_force.close()

    def run(self, work: Work, exclusions: Exclusions) -> RunResult:
        ran = self.in_force.runner.run(work, exclusions)
        self.runs += 1
        if self.runs % 10 == 0:
            self.world.write(f"images/{self.dice.randrange(5)}/{self.dice.randrange(200):03}.txt", str(self.runs))
            self.watched.look(self.now, self.runs)
        self.signals.stopping = self.runs >= self.count
        return ran

    # Triggers, of which there are none.

    def watch(self, places: Places) -> None: ...

    def supervise(self) -> None: ...

    # Time.

    def clock(self) -> float:
        self.now += 0.1
        self.box.put(FolderTouched(str(self.world.folder / f"images/{self.runs % 5}")))
        return self.now

    def go(self) -> None:
        # By the clock of the files themselves, they are at rest at once.
        timing = WatchTiming(settle_s=0.001, rescan_s=600.0)
        health, service = Health(self.clock, time.time), ServiceManager({}, lambda: True)
        Watcher(
            self.box,
            timing,
            lambda: self,
            self,
            self,
            self.signals,
            health,
            NoMetrics(),
            service,
            self.clock,
            lambda: self.now + 1e9,
        ).run()
        self.box.close()


def watch_cycles(world: World, count: int) -> Watched:
    for folder in range(5):
        world.write(f"images/{folder}/first.txt", f"{folder}")
    world.manifest({**BIRDS, "type": "other", "folders": [{"path": "images", "naming": "path"}]})
    manifest = load_manifest(str(world.folder / "manifest.yaml"), environment=world.environment())
    session = Engine(manifest, RunOptions(parallelism=4), lambda event: None)
    watched = Watched(os.getpid(), session.state_path)
    in_force = activate(session, [world.folder / "manifest.yaml"], auto_approve=True)
    began = time.monotonic()
    cycles = Cycles(world, in_force, count, watched)
    cycles.go()
    in_force.close()
    assert cycles.runs == count
    assert world.lake.requests.of("finalize_file") > 5 + count // 20
    early, late = (
        f"RSS {watched.most(RSS, *half) >> 10} MiB, {watched.most(DESCRIPTORS, *half)} descriptors,"
        f" {watched.most(THREADS, *half)} threads"
        for half in ((0.2, 0.5), (0.5, 1.0))
    )
    print(
        f"\n{count} cycles in {time.monotonic() - began:.0f} s; first half: {early}; second half: {late};"
        f" WAL of at most {watched.most(WAL) >> 10} KiB"
    )
    return watched


def assert_cycles_are_flat(watched: Watched) -> None:
    """The lake runs in this process, too, with its own threads and connections."""
    assert watched.most(DESCRIPTORS, 0.5) <= watched.most(DESCRIPTORS, 0.2, 0.5) + 10
    assert watched.most(THREADS, 0.5) <= watched.most(THREADS, 0.2, 0.5) + 10
    assert watched.most(WAL) <= WAL_LIMIT_BYTES
    assert watched.most(RSS, 0.5) <= 1.25 * watched.most(RSS, 0.2, 0.5)


def test_200_cycles_of_watch_stay_flat(world: World) -> None:
    assert_cycles_are_flat(watch_cycles(world, 200))


@pytest.mark.long
def test_10_000_cycles_of_watch_stay_flat(world: World) -> None:
    assert_cycles_are_flat(watch_cycles(world, 10_000))
