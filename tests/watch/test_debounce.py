"""The debouncer, a pure state machine that receives the time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metalake_sync.watch.debounce import Coverage, Debouncer, Timing, Work
from metalake_sync.watch.hints import EventsLost, FolderTouched, Hint, ManifestTouched, TreeTouched

TIMING = Timing(quiet_s=2.0, cap_s=30.0, places=3)

folders = st.sampled_from(["/data/a", "/data/b", "/data/c/d", "/data/e", "/data/f", "/other/g"])
hints: st.SearchStrategy[Hint] = st.one_of(
    st.builds(FolderTouched, folders, st.booleans()), st.builds(TreeTouched, folders, st.booleans())
)
histories = st.lists(st.tuples(st.floats(0, 20), hints), min_size=1, max_size=60)


def covers(work: Work, path: str) -> bool:
    above = any(path == tree or path.startswith(tree + "/") for tree in work.trees)
    return work.coverage is not Coverage.FOLDERS or path in work.folders or above


@given(histories)
def test_work_covers_every_hint_within_the_maximum_delay(history: list[tuple[float, Hint]]) -> None:
    debouncer = Debouncer(TIMING)
    now = 0.0
    pending: dict[str, float] = {}

    def take_work() -> None:
        work = debouncer.take(now)
        if work is not None:
            for path in [path for path in pending if covers(work, path)]:
                del pending[path]
        assert all(now - first <= TIMING.cap_s + 1e-6 for first in pending.values())

    for pause, hint in history:
        end = now + pause
        while (due := debouncer.due_at()) is not None and due <= end:
            now = max(now, due)
            take_work()
        now = end
        assert isinstance(hint, FolderTouched | TreeTouched)
        debouncer.hint(hint, now)
        pending.setdefault(hint.path, now)
    while (due := debouncer.due_at()) is not None:
        now = max(now, due)
        before = len(debouncer)
        take_work()
        assert len(debouncer) < before, "due work is returned"
    assert not pending


@given(histories)
def test_the_number_of_waiting_places_is_limited(history: list[tuple[float, Hint]]) -> None:
    debouncer = Debouncer(TIMING)
    for pause, hint in history:
        debouncer.hint(hint, pause)
        assert len(debouncer) <= TIMING.places + 1


def test_a_folder_is_due_when_it_has_been_quiet() -> None:
    debouncer = Debouncer(TIMING)
    debouncer.hint(FolderTouched("/data/a"), 0.0)
    debouncer.hint(FolderTouched("/data/a"), 1.5)
    assert debouncer.take(2.0) is None
    assert debouncer.due_at() == 3.5
    assert debouncer.take(3.5) == Work(Coverage.FOLDERS, frozenset({"/data/a"}))


def test_a_folder_that_keeps_changing_is_due_after_the_maximum_delay() -> None:
    debouncer = Debouncer(TIMING)
    for tick in range(31):
        assert debouncer.take(tick - 0.01) is None
        debouncer.hint(FolderTouched("/data/a"), float(tick))
    assert debouncer.take(30.0) == Work(Coverage.FOLDERS, frozenset({"/data/a"}))


def test_a_busy_folder_does_not_delay_a_quiet_one() -> None:
    debouncer = Debouncer(TIMING)
    debouncer.hint(FolderTouched("/data/a"), 0.0)
    debouncer.hint(FolderTouched("/data/b"), 1.9)
    assert debouncer.take(2.0) == Work(Coverage.FOLDERS, frozenset({"/data/a"}))


def test_a_place_with_only_removals_waits_for_places_with_new_files() -> None:
    debouncer = Debouncer(TIMING)
    debouncer.hint(FolderTouched("/data/a", removal=True), 0.0)
    debouncer.hint(FolderTouched("/data/b"), 1.0)
    assert debouncer.take(2.5) is None
    assert debouncer.take(3.0) == Work(Coverage.FOLDERS, frozenset({"/data/a", "/data/b"}))


def test_removals_wait_for_unsettled_files_up_to_the_maximum_delay() -> None:
    debouncer = Debouncer(TIMING)
    debouncer.hint(FolderTouched("/data/a", removal=True), 0.0)
    assert debouncer.take(5.0, settling=True) is None
    assert debouncer.due_at(settling=True) == 30.0
    assert debouncer.take(30.0, settling=True) is not None


def test_a_burst_over_many_folders_is_replaced_by_their_parent_folder() -> None:
    debouncer = Debouncer(TIMING)
    for letter in "abcd":
        debouncer.hint(FolderTouched(f"/data/{letter}"), 0.0)
    assert debouncer.take(2.0) == Work(Coverage.FOLDERS, trees=frozenset({"/data"}))


def test_lost_events_cover_the_disk_and_a_changed_manifest_also_the_lake() -> None:
    debouncer = Debouncer(TIMING)
    debouncer.hint(FolderTouched("/data/a"), 0.0)
    debouncer.hint(EventsLost("overflow"), 0.0)
    assert debouncer.take(2.0) == Work(Coverage.DISK)
    debouncer.hint(EventsLost("overflow"), 3.0)
    debouncer.hint(ManifestTouched(), 3.0)
    assert debouncer.take(5.0) == Work(Coverage.FULL)
    assert debouncer.due_at() is None


def test_work_that_is_put_back_is_due_again() -> None:
    debouncer = Debouncer(TIMING)
    work = Work(Coverage.FOLDERS, frozenset({"/data/a"}), frozenset({"/data/b"}))
    debouncer.put_back(work, 0.0)
    assert debouncer.take(2.0) == work
