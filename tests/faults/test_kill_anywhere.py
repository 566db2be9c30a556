"""Killed at any moment, the next run ends in the same lake as an undisturbed one: nothing lost, nothing twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from metalake_sync.embedded_lake.faults import FaultPlan
from tests.faults.mortal import Mortal, mortal_world
from tests.faults.project import Project

ALL_KINDS: list[dict[str, Any]] = [
    {"chance": 0.02, "times": None, **fault}
    for fault in (
        {"kind": "latency", "seconds": 0.05},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 502, "carried_out": True},
        {"kind": "status", "status": 429, "retry_after": 0.05, "chance": 0.005},
        {"kind": "reset", "when": "before"},
        {"kind": "reset", "when": "after"},
        {"kind": "cut"},
        {"kind": "no_json"},
        {"kind": "wrong_etag"},
        {"kind": "expired_url"},
        {"kind": "stall", "seconds": 3, "chance": 0.001},
        {"kind": "down", "seconds": 0.2, "chance": 0.002},
        {"kind": "job_fails", "chance": 0.05},
        {"kind": "job_never_ends", "seconds": 2, "chance": 0.05},
    )
]
"""What a lake does to a long run besides."""


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Mortal]:
    with mortal_world(tmp_path) as mortal:
        yield mortal


def finish_and_compare(mortal: Mortal) -> None:
    """Run to the end, on both lakes; then nothing may differ, and one more run may have nothing to send."""
    mortal.run()
    mortal.run(twin=True)
    assert mortal.differences() == []
    assert mortal.sent_again == [], "finished parts of large files were sent again"
    mortal.world.lake.requests.clear()
    again = mortal.run()
    assert again["bytes_sent"] == 0
    assert mortal.world.lake.requests.writes == 0


Step = TypeVar("Step", int, str)


def kill_at_each(mortal: Mortal, project: Project, kill: Callable[[Step], bool], steps: list[Step]) -> None:
    """A round for each step: change the project, kill a run at that step, finish, compare."""
    for step in steps:
        project.change()
        kill(step)
        finish_and_compare(mortal)


@pytest.mark.parametrize(
    "requests", [[9, 61, 120], pytest.param([24, 40, 85, 100, 133, 140, 151], marks=pytest.mark.long)], ids=["", "more"]
)
def test_killed_at_requests_it_converges(mortal: Mortal, requests: list[int]) -> None:
    project = Project(mortal.world, seed=1)
    kill_at_each(mortal, project, mortal.killed_at_request, requests)
    assert mortal.kills >= len(requests) * 3 // 4


@pytest.mark.parametrize(
    "requests", [[30, 120], pytest.param([61, 85, 100, 140, 151, 162], marks=pytest.mark.long)], ids=["", "more"]
)
def test_without_power_at_requests_it_converges(mortal: Mortal, requests: list[int]) -> None:
    project = Project(mortal.world, seed=6)
    project.change()
    finish_and_compare(mortal)
    kill_at_each(mortal, project, mortal.loses_power_at_request, requests)
    assert mortal.kills >= len(requests) * 3 // 4


STEPS = (
    "trash.learn",
    "state_ownership.claim_state",
    "caches.flush",
    "annotations._record_pending",
    "metadata._record_pending",
    "metadata.tags_restored",
    "file_inspection.hashes",
    "collections._record_row",
    "collection_planner._record_markers",
    "recorder.about_to_trash",
    "recorder.confirm",
    "recorder.finish",
    "records.move_records",
    "run.execute",
    "uploads._completed",
    "session_files._journal_sent",
    "session_files._commit",
    "session_files.file_begun",
    "session_files.part_finished",
    "uploads.send",
)
"""Who writes to the state in an apply of the project. The first are those that soon have nothing more to write."""

SOMETIMES = frozenset({"records.move_records", "collection_planner._record_markers", "state_ownership.claim_state"})
"""Those of them that depend on how young the files are, or on what the run before came to remember, and the one that is
taken in a state's first run alone."""


def test_every_step_that_an_apply_records_is_known_here(mortal: Mortal) -> None:
    project = Project(mortal.world, seed=2)
    steps = set[str]()
    for _ in range(2):
        project.change()
        mortal.run()
        steps |= mortal.recorded_steps()
    assert steps <= set(STEPS)
    assert set(STEPS) - steps <= SOMETIMES


def killed_where_it_wrote(mortal: Mortal, place: str) -> bool:
    """Kill a run before or after a step, as in `before uploads.send`. A run that reached the step must have died."""
    killed = mortal.killed_at_commit(place)
    assert killed or place.split()[1] not in mortal.recorded_steps(), place
    return killed


def test_killed_at_each_recorded_step_it_converges(mortal: Mortal) -> None:
    project = Project(mortal.world, seed=2, small=4, large=1)
    project.change()
    finish_and_compare(mortal)
    places = [f"{('before', 'after')[number % 2]} {step}" for number, step in enumerate(STEPS)]
    kill_at_each(mortal, project, lambda place: killed_where_it_wrote(mortal, place), places)
    assert mortal.kills >= len(places) - len(SOMETIMES)


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_before_and_after_each_recorded_step_it_converges(mortal: Mortal, when: str) -> None:
    project = Project(mortal.world, seed=5)
    project.change()
    finish_and_compare(mortal)
    places = [f"{when} {step}" for step in STEPS]
    kill_at_each(mortal, project, lambda place: killed_where_it_wrote(mortal, place), places)


def test_killed_at_random_moments_again_and_again_it_converges(mortal: Mortal) -> None:
    dice = random.Random(3)
    project = Project(mortal.world, seed=3)
    # On a quick machine a run may be over before its moment comes: then there are more rounds.
    for number in range(12):
        project.change()
        for _ in range(6):
            mortal.killed_after(dice.uniform(0.02, 0.35))
        finish_and_compare(mortal)
        if number >= 2 and mortal.kills >= 5:
            break
    assert mortal.kills >= 5


def kill_at_random(mortal: Mortal, dice: random.Random, seconds: tuple[float, float]) -> None:
    """Kill a run at a request, at a commit, or after a time in a range."""
    match dice.randrange(3):
        case 0:
            mortal.killed_at_request(dice.randrange(1, 120))
        case 1:
            mortal.killed_at_commit(dice.randrange(1, 40))
        case _:
            mortal.killed_after(dice.uniform(*seconds))


@pytest.mark.long
def test_soak_500_kills_and_nothing_is_lost_or_doubled(mortal: Mortal) -> None:
    dice = random.Random(4)
    project = Project(mortal.world, seed=4, small=6, large=1)
    faults = mortal.world.lake.faults
    rounds = 0
    while mortal.kills < 500:
        project.change()
        # Every other round the lake spoils requests, too.
        faults.use(FaultPlan.model_validate({"seed": rounds, "faults": ALL_KINDS if rounds % 2 else []}))
        for _ in range(10):
            kill_at_random(mortal, dice, (0.02, 0.35))
        faults.use(FaultPlan())
        finish_and_compare(mortal)
        rounds += 1
    injected = ", ".join(f"{count} {kind}" for kind, count in sorted(faults.injected.items()))
    print(
        f"\n{mortal.kills} kills in {rounds} rounds; {mortal.steps} steps of requests; faults: {injected};"
        f" {sum(mortal.parts.values())} parts of {mortal.bytes_received} bytes received; 0 lost, 0 doubled"
    )
