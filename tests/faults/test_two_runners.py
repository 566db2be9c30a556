"""Two machines with one shared state: one run writes, and a paused one that lost its lease does no harm."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from metalake_sync.errors import ExitCode
from tests.faults.conftest import SharedPlace
from tests.faults.mortal import Child
from tests.faults.project import Project
from tests.faults.test_kill_anywhere import finish_and_compare
from tests.faults.test_kill_with_the_disk import Diskless, diskless_world

MakePlace = Callable[[str], SharedPlace]


def other_machine(mortal: Diskless) -> Path:
    """A second checkout of the same files, without a working copy."""
    folder = mortal.world.folder.with_name("other")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(mortal.world.folder, folder, ignore=shutil.ignore_patterns(".metalake-sync"))
    return folder


def paused_at_request(mortal: Diskless, number: int) -> tuple[Child, bool]:
    """Start a run and stop it with SIGSTOP at the n-th step of its requests. False if it ended before."""
    child: list[Child] = []
    seen = 0
    started, paused = threading.Event(), threading.Event()

    def count(_place: str) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            started.wait()
            assert child[0].pid is not None
            os.kill(child[0].pid, signal.SIGSTOP)
            paused.set()

    mortal.on_request = count
    child.append(mortal.start())
    started.set()
    while not paused.wait(0.02) and child[0].exitcode is None:
        pass
    mortal.on_request = lambda place: None
    return child[0], paused.is_set()


def round_with_a_paused_run(mortal: Diskless, number: int) -> int | None:
    """One run is paused, another one takes over and finishes, the first one continues. Returns its exit code."""
    first, paused = paused_at_request(mortal, number)
    if not paused:
        first.join()
        return None
    second = mortal.start(folder=other_machine(mortal))
    second.join()
    errors = (mortal.world.folder.with_name("output.2")).read_text()
    assert second.exitcode == 0, errors
    assert first.pid is not None
    os.kill(first.pid, signal.SIGCONT)
    first.join()
    return first.exitcode


def rounds(mortal: Diskless, numbers: list[int]) -> list[int | None]:
    project = Project(mortal.world, seed=8, small=6, large=1)
    codes: list[int | None] = []
    for number in numbers:
        project.change()
        codes.append(round_with_a_paused_run(mortal, number))
        finish_and_compare(mortal)
    return codes


def check(codes: list[int | None]) -> None:
    """A run that was paused in its last steps may have nothing more to write."""
    assert set(codes) <= {None, 0, ExitCode.LOCKED}, codes
    assert codes.count(ExitCode.LOCKED) >= len(codes) * 2 // 3, codes


def test_a_run_that_was_paused_beyond_its_lease_stops_and_does_no_harm(shared_place: MakePlace, tmp_path: Path) -> None:
    with diskless_world(tmp_path, shared_place("s3")) as mortal:
        check(rounds(mortal, [12, 45, 70]))


@pytest.mark.long
@pytest.mark.parametrize("kind", ["s3", "azure", "gs", "postgresql"])
def test_twenty_rounds_with_a_paused_run(shared_place: MakePlace, tmp_path: Path, kind: str) -> None:
    dice = random.Random(9)
    with diskless_world(tmp_path, shared_place(kind)) as mortal:
        check(rounds(mortal, [dice.randrange(5, 80) for _ in range(20)]))


def test_two_runs_at_the_same_time_wait_for_each_other(shared_place: MakePlace, tmp_path: Path) -> None:
    with diskless_world(tmp_path, shared_place("s3")) as mortal:
        mortal.quick_lease = False
        project = Project(mortal.world, seed=3, small=6, large=1)
        for _ in range(2):
            project.change()
            both = [mortal.start(), mortal.start(folder=other_machine(mortal))]
            for child in both:
                child.join()
            assert [child.exitcode for child in both] == [0, 0]
            finish_and_compare(mortal)
