"""Where `plan --out` writes: over a regular file or nothing, through links, and into pipes and devices."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from metalake_sync.documents.saved_plan_files import write_output


def test_only_the_owner_can_read_a_new_file_and_no_temporary_file_stays(tmp_path: Path) -> None:
    (tmp_path / "out.part").write_text("of the user")
    write_output(tmp_path / "out", "plan")
    assert (tmp_path / "out").read_text() == "plan"
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.part"]


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("old")
    (tmp_path / "link").symlink_to("real/file")
    (tmp_path / "dangling").symlink_to("real/new")
    write_output(tmp_path / "link", "plan")
    write_output(tmp_path / "dangling", "other plan")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_text() == "plan"
    assert (tmp_path / "dangling").is_symlink()
    assert (tmp_path / "real" / "new").read_text() == "other plan"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_output(pipe, "plan")
    reader.join(30)
    assert read == ["plan"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_an_open_file_is_written_to_at_its_position(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as log:
        log.write("before ")
        log.flush()
        write_output(Path(f"/dev/fd/{log.fileno()}"), "plan")
        log.write(" after")
    assert (tmp_path / "log").read_text() == "before plan after"


def test_a_device_that_is_full_is_an_error_and_stays(tmp_path: Path) -> None:
    before = os.stat("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_output(Path("/dev/full"), "plan")
    write_output(Path("/dev/null"), "plan")
    assert os.stat("/dev/full").st_rdev == before.st_rdev


def test_a_folder_is_refused_and_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="not a regular file"):
        write_output(tmp_path, "plan")
    (tmp_path / "out").write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="No space left"):
        write_output(tmp_path / "out", "plan")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "old"
