"""Killed together with its disk, a run loses nothing: a new checkout with the same state ends as its twin does."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from metalake_sync.errors import SyncError
from metalake_sync.state.backends.opening import open_backend
from metalake_sync.state.store import StateStore
from tests.faults.conftest import SharedPlace
from tests.faults.mortal import Child, Mortal, mortal_world_of
from tests.faults.project import Project
from tests.faults.test_kill_anywhere import (
    SOMETIMES,
    STEPS,
    finish_and_compare,
    kill_at_each,
    kill_at_random,
    killed_where_it_wrote,
)

KINDS = ("s3", "azure", "gs", "postgresql")


@dataclass
class Diskless(Mortal):
    """A world whose runs keep their state in a shared place, and lose everything else when they are killed."""

    url: str = ""

    def location(self, twin: bool = False) -> str:
        return super().location(twin=True) if twin else self.url

    def start(self, *options: str, die_at: int | str = 0, twin: bool = False, folder: Path | None = None) -> Child:
        return super().start("--lock-timeout", "60", *options, die_at=die_at, twin=twin, folder=folder)

    def state(self, twin: bool = False) -> Path:
        """For the shared state: a new file with what another machine reads."""
        if twin:
            return super().state(twin=True)
        folder = self.world.folder.parent / "elsewhere"
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(SyncError), StateStore(open_backend(self.url, folder, "birds")) as state:
            return state.back_up(folder / "seen.db")
        return folder / "seen.db"

    def _died(self, child: Child, on_death: Callable[[], None] = lambda: None) -> bool:
        def lose_the_disk() -> None:
            on_death()
            self.make_new_checkout()

        return super()._died(child, lose_the_disk)

    def make_new_checkout(self) -> None:
        """Replace the folder by a new one with the same files: other inodes and times, and no working copy."""
        old = self.world.folder.with_name("old")
        self.world.folder.rename(old)
        self.world.folder.mkdir()
        for path in sorted(old.rglob("*")):
            target = self.world.folder / path.relative_to(old)
            if path.is_dir():
                target.mkdir()
            elif ".metalake-sync" not in path.parts:
                target.write_bytes(path.read_bytes())
            elif path.name.startswith("twin."):
                shutil.copy2(path, target)
        shutil.rmtree(old)


@contextlib.contextmanager
def diskless_world(folder: Path, place: SharedPlace) -> Iterator[Diskless]:
    with mortal_world_of(Diskless, folder) as mortal:
        mortal.url, mortal.variables = place.url, place.variables
        yield mortal


MakePlace = Callable[[str], SharedPlace]


@pytest.mark.parametrize("kind", KINDS)
def test_killed_with_its_disk_it_converges(shared_place: MakePlace, tmp_path: Path, kind: str) -> None:
    with diskless_world(tmp_path, shared_place(kind)) as mortal:
        project = Project(mortal.world, seed=1, small=6, large=1)
        kill_at_each(mortal, project, mortal.killed_at_request, [9, 61, 90])
        assert mortal.kills >= 2


def test_killed_with_its_disk_at_recorded_steps_it_converges(shared_place: MakePlace, tmp_path: Path) -> None:
    with diskless_world(tmp_path, shared_place("s3")) as mortal:
        project = Project(mortal.world, seed=2, small=4, large=1)
        project.change()
        finish_and_compare(mortal)
        places = [f"{('after', 'before')[number % 2]} {step}" for number, step in enumerate(STEPS)]
        kill_at_each(mortal, project, lambda place: killed_where_it_wrote(mortal, place), places[::3])
        assert mortal.kills >= len(places[::3]) - len(SOMETIMES)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_soak_killed_with_its_disk_nothing_is_lost_or_doubled(
    shared_place: MakePlace, tmp_path: Path, kind: str
) -> None:
    dice = random.Random(7)
    with diskless_world(tmp_path, shared_place(kind)) as mortal:
        project = Project(mortal.world, seed=4, small=6, large=1)
        rounds = 0
        while mortal.kills < 80:
            project.change()
            for _ in range(10):
                kill_at_random(mortal, dice, (0.2, 1.5))
            finish_and_compare(mortal)
            rounds += 1
        print(f"\n{mortal.kills} kills with the disk in {rounds} rounds over {kind}; 0 lost, 0 doubled")
