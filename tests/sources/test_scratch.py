"""Temporary files: in memory while they are small, and one clear error if no file can be created."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalake_sync.errors import SyncError
from metalake_sync.sources import scratch
from metalake_sync.sources.scratch import Spool, scratch_folder


@given(st.lists(st.binary(max_size=40), max_size=40), st.integers(1, 60))
def test_appended_data_is_read_back_from_memory_and_file(pieces: list[bytes], in_memory_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch, "IN_MEMORY_BYTES", in_memory_bytes)
        spool = Spool()
        places: list[tuple[int, bytes]] = []
        for piece in pieces:
            places.append((spool.append(piece), piece))
            for offset, expected in places[-3:]:
                assert spool.read(offset, len(expected)) == expected
        assert [spool.read(offset, len(piece)) for offset, piece in places] == pieces
        assert spool.size_bytes == sum(map(len, pieces))
        spool.close()


@pytest.fixture
def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> NoReturn:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "_get_default_tempdir", missing)
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.mark.usefixtures("no_folder")
def test_without_a_temporary_folder_small_data_works_and_large_data_is_an_error() -> None:
    spool = Spool()
    assert spool.read(spool.append(b"small"), 5) == b"small"
    for attempt in (lambda: spool.append(b"x" * (1 << 20)), lambda: scratch_folder().__enter__()):
        with pytest.raises(SyncError, match="no temporary folder is writable .*Set TMPDIR"):
            attempt()


def test_the_error_for_a_full_temporary_folder_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(SyncError, match=f"the temporary folder {tmp_path} can't be written to") as caught,
        scratch_folder(),
    ):
        raise full
    assert "Free some space there" in str(caught.value)
    with pytest.raises(PermissionError), scratch_folder():
        raise PermissionError(errno.EACCES, "of something else")

    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 0)
    opened = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115 - the spool closes it
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: opened)
    spool = Spool()
    with pytest.raises(SyncError, match="can't be written to .No space left on device"):
        spool.append(b"x")
    spool.close()
