"""Runs with two worker processes: whatever is killed, the coordinator or a worker, they end like undisturbed runs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.apply.early_workers import workers_from_the_first_file
from tests.embedded_lake.talk import png
from tests.end_to_end.world import BIRDS, World
from tests.faults.mortal import Child, Mortal, mortal_world_of
from tests.faults.project import Project
from tests.faults.test_kill_anywhere import finish_and_compare

pytest.importorskip("loky")


def default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def workers_of(pid: int) -> list[int]:
    """The process ids of the workers of a run."""
    children: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += map(int, thread.read_text().split())
        except OSError:
            # The thread, or the process, has ended.
            continue
    return [child for child in children if is_worker(child)]


def is_worker(pid: int) -> bool:
    """Whether a process is alive and a worker of loky."""
    try:
        return b"popen_loky_posix" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def wait_until_gone(workers: set[int]) -> None:
    """A worker that outlives its coordinator makes this wait until the test times out."""
    while any(map(is_worker, workers)):
        time.sleep(0.005)


@dataclass
class WithWorkers(Mortal):
    """A world whose runs send their files through two workers."""

    prepare: Callable[[], None] | None = workers_from_the_first_file
    seen: set[int] = field(default_factory=set)
    """All workers that were alive at a request."""
    workers_killed: int = 0

    def start(self, *options: str, die_at: int | str = 0, twin: bool = False, folder: Path | None = None) -> Child:
        with_workers = () if twin else ("--workers", "2")
        return super().start(*with_workers, *options, die_at=die_at, twin=twin, folder=folder)

    def worker_killed_at_request(self, numbers: set[int]) -> None:
        """A run that loses a worker at each of these requests, and must succeed."""
        steps = Counter[str]()
        child: list[Child] = []

        def kill(_place: str) -> None:
            steps["seen"] += 1
            if steps["seen"] in numbers and child and child[0].pid is not None:
                for worker in workers_of(child[0].pid)[:1]:
                    self.workers_killed += 1
                    os.kill(worker, signal.SIGKILL)

        self.on_request = kill
        try:
            child.append(self.start())
            child[0].join()
        finally:
            self.on_request = lambda place: None
        errors = (self.world.folder / "../output.2").read_text()
        assert child[0].exitcode == 0, errors[-3000:]


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[WithWorkers]:
    with mortal_world_of(WithWorkers, tmp_path) as mortal:
        yield mortal


def test_undisturbed_runs_with_workers_converge(mortal: WithWorkers) -> None:
    watched: set[int] = set()
    current: list[Child] = []
    start = mortal.start

    def started(*options: str, **more: object) -> Child:
        current[:] = [start(*options, **more)]  # type: ignore[arg-type]
        return current[0]

    mortal.start = started  # type: ignore[method-assign]
    mortal.on_request = lambda _place: watched.update(
        worker for child in current if child.pid is not None for worker in workers_of(child.pid)
    )
    Project(mortal.world, seed=1).change()
    finish_and_compare(mortal)
    assert watched, "no worker was at work"
    wait_until_gone(watched)


@pytest.mark.parametrize(
    "requests", [[40, 70, 100], pytest.param(range(20, 140, 6), marks=pytest.mark.long)], ids=["", "more"]
)
def test_the_coordinator_is_killed_at_requests(mortal: WithWorkers, requests: list[int]) -> None:
    project = Project(mortal.world, seed=2)
    for number in requests:
        project.change()
        mortal.killed_at_request(number)
        finish_and_compare(mortal)
    assert mortal.kills >= len(requests) // 2


@pytest.mark.parametrize("place", ["before session_files.slice_about_to_finalize", "after session_files._journal_sent"])
def test_the_coordinator_is_killed_where_it_journals(mortal: WithWorkers, place: str) -> None:
    project = Project(mortal.world, seed=3)
    project.change()
    assert mortal.killed_at_commit(place)
    finish_and_compare(mortal)


@pytest.mark.parametrize(
    "rounds", [[{40}, {60, 90}], pytest.param([{n, 2 * n} for n in range(10, 90, 4)], marks=pytest.mark.long)],
    ids=["", "more"],
)  # fmt: skip
def test_a_worker_is_killed_at_requests(mortal: WithWorkers, rounds: list[set[int]]) -> None:
    project = Project(mortal.world, seed=4)
    for numbers in rounds:
        project.change()
        mortal.worker_killed_at_request(numbers)
        finish_and_compare(mortal)
    assert mortal.workers_killed >= len(rounds) // 2


@pytest.mark.long
def test_soak_200_kills_of_coordinators_and_workers(mortal: WithWorkers) -> None:
    dice = random.Random(5)
    project = Project(mortal.world, seed=5, small=18, large=1)
    while mortal.kills + mortal.workers_killed < 200:
        project.change()
        for _ in range(8):
            match dice.randrange(4):
                case 0:
                    mortal.killed_at_request(dice.randrange(1, 160))
                case 1:
                    mortal.killed_at_commit(dice.randrange(1, 40))
                case 2:
                    mortal.killed_after(dice.uniform(0.2, 2.0))
                case _:
                    mortal.worker_killed_at_request(set(dice.sample(range(1, 160), 2)))
        finish_and_compare(mortal)
    print(f"\n{mortal.kills} coordinators and {mortal.workers_killed} workers killed; 0 lost, 0 doubled")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_ended_run_leaves_no_process_and_can_be_continued(world: World, ending: signal.Signals) -> None:
    names = [f"f{number:03}.png" for number in range(150)]
    for name in names:
        # Large enough that the limited rate leaves time to stop the run in the middle.
        world.write(f"images/{name}", png(salt=name.encode()) + b"\0" * 20_000)
    world.manifest(BIRDS)
    command = [sys.executable, "-m", "tests.apply.early_workers", "apply", "manifest.yaml", "--workers", "2"]
    with subprocess.Popen(
        [*command, "--bwlimit", "100k"],
        cwd=world.folder,
        env={**world.environment(), "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Shells start background jobs, such as a test run, with SIGINT ignored.
        preexec_fn=default_interrupt,
    ) as process:
        workers: set[int] = set()
        while world.lake.requests.of("finalize_file") < 8 or len(workers) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
            workers = set(workers_of(process.pid))
        if ending is signal.SIGINT:
            # As Ctrl-C on a terminal: it reaches every process of the group.
            os.killpg(process.pid, ending)
        else:
            process.send_signal(ending)
        _, said = process.communicate()
    wait_until_gone(workers)
    if ending is not signal.SIGKILL:
        assert process.returncode == 130
        assert said.strip().splitlines()[-1].startswith("error: interrupted. Finished actions are recorded.")
        assert "Traceback" not in said
    finalized = world.lake.requests.of("finalize_file")
    assert finalized < len(names)
    summary = world.good("apply", "--json", "manifest.yaml").summary
    assert summary["done"]["adopt"] == 0
    assert len(world.names()) == len(names)
    assert summary["bytes_sent"] < sum(path.stat().st_size for path in (world.folder / "images").iterdir())
