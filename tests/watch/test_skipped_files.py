"""When a file is settled, and how long runs skip what failed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metalake_sync.sources.base import ScannedFile
from metalake_sync.sources.local_folder import scan_file
from metalake_sync.watch.skipped_files import (
    LONGEST_PAUSE_S,
    WAITING_LIMIT,
    Backoff,
    FailedFiles,
    Settling,
    is_open_for_writing,
)

SECOND_NS = 10**9


def scanned(path: Path) -> ScannedFile:
    found = scan_file(str(path))
    assert isinstance(found, ScannedFile)
    return found


def test_a_file_is_open_for_writing_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        assert is_open_for_writing(str(path))
        file.write(b"x")
    assert not is_open_for_writing(str(path))
    with path.open("rb"):
        assert not is_open_for_writing(str(path))


def test_a_file_settles_when_its_times_are_old_enough_and_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    settling = Settling(2.0)
    with path.open("wb") as file:
        file.write(b"x")
        file.flush()
        later_ns = scanned(path).ctime_ns + 3 * SECOND_NS
        assert settling.unsettled(str(path), scanned(path), 3.0, later_ns)
    assert settling.settled_folders(settling.next_at() or 0, later_ns) == {str(tmp_path)}
    assert len(settling) == 0


def test_a_file_with_times_in_the_future_settles_when_it_was_seen_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    os.utime(path, (4e9, 4e9))
    settling = Settling(2.0)
    assert settling.unsettled(str(path), scanned(path), 0.0, 0)
    assert not settling.unsettled(str(path), scanned(path), 2.0, 0)


@pytest.mark.parametrize("ahead_s", [0.5, 180, 8 * 3600, 4e9])
def test_a_settled_file_with_times_in_the_future_is_part_of_the_next_run(tmp_path: Path, ahead_s: float) -> None:
    path = str(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(b"x")
    wall_ns = 10**18
    ahead = scanned(tmp_path / "a.jpg")._replace(mtime_ns=wall_ns + int(ahead_s * 1e9), ctime_ns=wall_ns + SECOND_NS)
    settling = Settling(2.0)
    assert settling.unsettled(path, ahead, 0.0, wall_ns)
    assert not settling.unsettled(path, ahead, 2.0, wall_ns)
    # The run checks the file again a moment later.
    assert not settling.unsettled(path, ahead, 2.1, wall_ns)
    assert len(settling) == 0
    assert settling.unsettled(path, ahead._replace(size_bytes=2), 2.2, wall_ns), "a change starts a new settle time"


def test_with_a_modification_time_in_the_future_the_change_time_decides(tmp_path: Path) -> None:
    wall_ns = 10**18
    card = ScannedFile("a.jpg", 1, wall_ns + 3600 * SECOND_NS, 1, wall_ns - 3 * SECOND_NS)
    assert not Settling(2.0).unsettled("/card/a.jpg", card, 0.0, wall_ns)
    assert Settling(4.0).unsettled("/card/a.jpg", card, 0.0, wall_ns)


def test_a_clock_that_is_set_forward_does_not_settle_a_new_file() -> None:
    """On a network file system it is unknown whether the file is still open, so a clock jump must not count as time."""
    settling, hour_ns = Settling(2.0), 3600 * SECOND_NS
    young = ScannedFile("a.jpg", 10, SECOND_NS, 1, SECOND_NS)
    settling.clock_was_set(1.0)
    assert settling.unsettled("/nas/a.jpg", young, 1.0, SECOND_NS + hour_ns)
    grown = young._replace(size_bytes=20, mtime_ns=2 * SECOND_NS + hour_ns, ctime_ns=2 * SECOND_NS + hour_ns)
    assert settling.unsettled("/nas/a.jpg", grown, 2.9, int(2.9e9) + hour_ns)
    assert not settling.unsettled("/nas/a.jpg", grown, 4.9, int(4.9e9) + hour_ns)


def test_the_number_of_waiting_files_is_limited() -> None:
    settling = Settling(2.0)
    for number in range(WAITING_LIMIT + 50):
        settling.unsettled(f"/no/{number}", ScannedFile("x", 1, SECOND_NS, 1, SECOND_NS), 0.0, SECOND_NS)
    assert len(settling) == WAITING_LIMIT


def test_pauses_grow_to_a_limit_and_start_again_after_a_success() -> None:
    backoff = Backoff(first_s=1.0, longest_s=300.0)
    pauses = [backoff.failed(1.0) for _ in range(12)]
    assert pauses[:3] == [1.0, 2.0, 4.0]
    assert pauses[-1] == 300.0
    backoff.succeeded()
    assert backoff.failed(0.0) == 0.5


def test_a_file_that_keeps_failing_is_skipped_for_longer_each_time() -> None:
    failed_files, file = FailedFiles(), ScannedFile("a", 1, 1, 1, 1)
    failed_files.failed("/a", "a", file.version(), 0.0)
    assert failed_files.holds("/a", file, 4.9)
    assert list(failed_files.due(5.0)) == ["/a"]
    assert list(failed_files.due(6.0)) == []
    assert not failed_files.holds("/a", file, 6.0)
    failed_files.failed("/a", "a", file.version(), 6.0)
    assert failed_files.holds("/a", file, 15.9)
    assert not failed_files.holds("/a", file._replace(mtime_ns=2), 15.9), "a file that changed is tried at once"
    for _ in range(40):
        failed_files.failed("/a", "a", file.version(), 0.0)
    assert failed_files.next_at() == LONGEST_PAUSE_S
