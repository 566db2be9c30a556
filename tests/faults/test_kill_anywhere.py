"""Killed at any moment, the next run ends in the same lake as an undisturbed one: nothing lost, nothing twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.mortal import Mortal, Project, mortal_world


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


def kill_at_each(mortal: Mortal, project: Project, kill: Callable[[int], bool], steps: list[int]) -> None:
    """A round for each step: change the project, kill a run at that step, finish, compare."""
    for step in steps:
        project.change()
        kill(step)
        finish_and_compare(mortal)


def test_killed_at_requests_it_converges(mortal: Mortal) -> None:
    project = Project(mortal.world, seed=1)
    kill_at_each(mortal, project, mortal.killed_at_request, [9, 24, 40, 61, 85, 100, 120, 133, 140, 151])
    assert mortal.kills >= 8


def test_killed_at_commits_it_converges(mortal: Mortal) -> None:
    project = Project(mortal.world, seed=2)
    kill_at_each(mortal, project, mortal.killed_at_commit, [3, 6, 9, 14, 21, 28, 37, 44, 51, 60])
    assert mortal.kills >= 8


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


@pytest.mark.long
def test_soak_500_kills_and_nothing_is_lost_or_doubled(mortal: Mortal) -> None:
    dice = random.Random(4)
    project = Project(mortal.world, seed=4, small=6, large=1)
    while mortal.kills < 500:
        project.change()
        for _ in range(10):
            match dice.randrange(3):
                case 0:
                    mortal.killed_at_request(dice.randrange(1, 120))
                case 1:
                    mortal.killed_at_commit(dice.randrange(1, 40))
                case _:
                    mortal.killed_after(dice.uniform(0.02, 0.35))
        finish_and_compare(mortal)
    print(f"{mortal.kills} kills, {sum(mortal.parts.values())} parts received, 0 lost, 0 doubled")
