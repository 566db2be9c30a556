"""The loop with simulated clocks: only the monotonic clock decides when runs start."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from metalake_sync.core.events import RunFinished
from metalake_sync.core.snapshots import CollectionKey, MediaType
from metalake_sync.core.summary import Summary
from metalake_sync.errors import LakeUnreachable, ManifestError, SyncError
from metalake_sync.planning.run_options import SkippedPart
from metalake_sync.watch.debounce import Coverage, Work
from metalake_sync.watch.health import Health, NoMetrics, ServiceManager
from metalake_sync.watch.hints import EventsLost, FolderTouched, HintBox, ManifestTouched, Places, SourceTouched
from metalake_sync.watch.loop import Signals, Watcher
from metalake_sync.watch.notify import Webhook
from metalake_sync.watch.runner import Exclusions, RunResult
from metalake_sync.watch.scheduler import WatchTiming

NOWHERE = Places(frozenset(), frozenset(), frozenset(), frozenset())


@dataclass
class Stage:
    """A loop with a scripted clock: `play` gets events with their times. `runs` has (second, coverage) of each run."""

    box: HintBox = field(default_factory=HintBox)
    now: float = 1000.0
    wall_offset: float = 1e9
    runs: list[tuple[float, Coverage]] = field(default_factory=list)
    answer: Callable[[Work], RunResult] = field(default=lambda _: ran())
    script: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    until: float = 2000.0
    reloads: int = 0
    signals: Signals = field(init=False)
    watcher: Watcher = field(init=False)

    # The parts of a watched manifest.
    places: Places = NOWHERE
    base_dir: str = "/data"
    webhook: Webhook | None = None

    @property
    def runner(self) -> Stage:
        return self

    def close(self) -> None: ...

    def __post_init__(self) -> None:
        self.signals = Signals(self.box.wake)
        self.watcher = Watcher(
            self.box,
            WatchTiming(2.0, 600.0),
            self._load,
            self,
            self,
            self.signals,
            Health(self.clock, self.wall),
            NoMetrics(),
            ServiceManager({}, lambda: True),
            self.clock,
            self.wall,
            lambda: 0.5,
        )

    def _load(self) -> Stage:
        self.reloads += 1
        return self

    # Triggers.

    def watch(self, places: Places) -> None: ...

    def supervise(self) -> None: ...

    # The runner.

    def run(self, work: Work, exclusions: Exclusions) -> RunResult:
        self.runs.append((round(self.now), work.coverage))
        return self.answer(work)

    # Time: each reading of the clock takes a tenth of a second, and the loop never sleeps.

    def clock(self) -> float:
        self.now += 0.1
        while self.script and self.script[0][0] <= self.now:
            self.script.pop(0)[1]()
        if self.now >= self.until:
            self.signals.stopping = True
        self.box.wake()
        return self.now

    def wall(self) -> float:
        return self.now + self.wall_offset

    def play(self, until: float, *script: tuple[float, Callable[[], None]]) -> None:
        self.until, self.script = until, list(script)
        self.watcher.run()
        self.box.close()

    def set_wall(self, offset: float) -> Callable[[], None]:
        def move() -> None:
            self.wall_offset = offset

        return move

    def hint(self, path: str = "/data/a") -> Callable[[], None]:
        return lambda: self.box.put(FolderTouched(path))


def ran(*broken: SkippedPart) -> RunResult:
    return RunResult(RunFinished("r", Summary.empty(), (), 0, 0, 0, 0.0), 0, broken=broken)


def test_full_rescans_follow_the_monotonic_clock() -> None:
    stage = Stage()
    stage.play(2900)
    assert [coverage for _, coverage in stage.runs] == [Coverage.FULL] * 4
    seconds = [second for second, _ in stage.runs]
    assert all(599 <= later - earlier <= 603 for earlier, later in itertools.pairwise(seconds))


@pytest.mark.parametrize("jump_s", [-3e8, -3600.0, 3600.0, 3e8])
def test_a_clock_jump_causes_one_full_run(jump_s: float, caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    with caplog.at_level(logging.WARNING, "metalake_sync.watch"):
        stage.play(1500, (1100, stage.set_wall(1e9 + jump_s)), (1200, stage.hint()), (1300, stage.set_wall(1e9)))
    assert caplog.text.count("the clock moved by") == 2
    assert [(second // 100, coverage) for second, coverage in stage.runs] == [
        (10, Coverage.FULL),
        (11, Coverage.FULL),
        (12, Coverage.FOLDERS),
        (13, Coverage.FULL),
    ]


def test_a_hint_is_due_after_its_quiet_time_regardless_of_the_wall_clock() -> None:
    stage = Stage()
    moves = [(1100 + number / 10, stage.set_wall(1e9 + (-1) ** number * 2)) for number in range(20)]
    stage.play(1150, (1100, stage.hint()), *moves)
    (second,) = [second for second, coverage in stage.runs if coverage is Coverage.FOLDERS]
    assert 1102 <= second <= 1104


def test_a_machine_that_slept_causes_one_full_run() -> None:
    """During sleep, the monotonic clock stands still and the wall clock does not."""
    stage = Stage()
    stage.play(1300, (1100, stage.set_wall(1e9 + 8 * 3600)))
    assert [coverage for _, coverage in stage.runs] == [Coverage.FULL, Coverage.FULL]


def test_a_process_that_was_stopped_does_not_repeat_the_rescans_that_it_missed() -> None:
    def stand_still() -> None:
        stage.now += 6000.0

    stage = Stage()
    stage.play(7400, (1100, stand_still))
    assert len(stage.runs) == 2


def test_an_unreachable_lake_is_retried_with_growing_pauses_and_no_hint_is_lost() -> None:
    def unreachable(work: Work) -> RunResult:
        if stage.now < 3000:
            raise LakeUnreachable("the lake is unreachable")
        return ran()

    stage = Stage(answer=unreachable)
    stage.play(4000, (1100, stage.hint()))
    tries = [second for second, _ in stage.runs if second < 3000]
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert pauses[0] <= 5
    assert max(pauses) <= 310
    assert len(tries) < 30
    assert stage.runs[len(tries)][1] is Coverage.FULL
    assert stage.watcher.health.problem is None


@pytest.mark.parametrize("fixed_by", ["manifest", "sighup"])
def test_fixed_credentials_end_the_pause_at_once(fixed_by: str) -> None:
    fixed = False

    def refused(work: Work) -> RunResult:
        if not fixed:
            raise SyncError("the lake rejected the credentials (401)")
        return ran()

    def fix() -> None:
        nonlocal fixed
        fixed = True
        if fixed_by == "manifest":
            stage.box.put(ManifestTouched())
        else:
            stage.signals.reload = True

    stage = Stage(answer=refused)
    stage.play(2600, (2500, fix))
    assert stage.reloads == 1
    assert 2500 <= stage.runs[-1][0] <= 2506
    assert stage.watcher.health.problem is None


def test_a_broken_part_is_logged_once_and_retried_with_growing_pauses_or_when_it_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    part = SkippedPart(CollectionKey(MediaType.IMAGE, "birds"), "people", ManifestError("broken JSON"))
    whole = False

    def fix() -> None:
        nonlocal whole
        whole = True
        stage.box.put(SourceTouched("/data/people.json"))

    stage = Stage(answer=lambda _: ran() if whole else ran(part))
    with caplog.at_level(logging.INFO, "metalake_sync.watch"):
        stage.play(1590, (1100, stage.hint()), (1500, fix))
    tries = [second for second, coverage in stage.runs if coverage is Coverage.FULL and second < 1500]
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert pauses == sorted(pauses)
    assert 4 <= len(tries) <= 9
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
    assert "recovered" in caplog.text
    assert [coverage for second, coverage in stage.runs if second >= 1500] == [Coverage.DISK, Coverage.FULL]


@pytest.mark.parametrize("lost", [True, False])
def test_a_manifest_whose_notification_was_lost_is_read_in_the_next_rescan(lost: bool, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text("version: 1")
    own = Places(frozenset(), frozenset(), frozenset(), frozenset({str(manifest)}))

    def change() -> None:
        manifest.write_text("version: 1 # changed")
        if lost:
            stage.box.put(EventsLost("too many"))

    stage = Stage(places=own)
    stage.play(1500 if lost else 1700, (1100, change))
    assert stage.reloads == 1
    again = Stage(places=own)
    again.play(1700, (1100, lambda: again.box.put(EventsLost("too many"))))
    assert again.reloads == 0


def test_an_internal_error_is_logged_and_does_not_end_the_watch(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def fail_once(work: Work) -> RunResult:
        if len(stage.runs) == 1:
            raise ZeroDivisionError("secret-in-an-exception")
        return ran()

    stage = Stage(answer=fail_once)
    stage.play(1100)
    assert "internal error: ZeroDivisionError in test_loop.py" in caplog.text
    assert "secret-in-an-exception" not in caplog.text
    assert len(stage.runs) == 2
