"""A hash is of what was looked at, or it is an error: never of something that moved meanwhile."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from metalake_sync.core.facts import Fingerprint
from metalake_sync.errors import SourceChanged
from metalake_sync.local.hashing import (
    CHUNK_BYTES,
    RACY_NS,
    HashRequest,
    fingerprint_of,
    hash_file,
    hash_files,
    is_racy,
    open_regular,
)


def fingerprint(path: Path) -> Fingerprint:
    descriptor = open_regular(str(path))
    try:
        return fingerprint_of(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_a_hash_is_blake3_of_the_bytes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * size)
    assert hash_file(str(path), fingerprint(path)) == blake3(b"x" * size).hexdigest()


def test_a_file_that_is_not_what_was_looked_at_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    before = replace(fingerprint(path), mtime_ns=1)
    with pytest.raises(SourceChanged, match="changed since it was looked at"):
        hash_file(str(path), before)


@pytest.mark.parametrize("kind", ["missing", "link", "fifo", "folder", "device"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "link":
        path.symlink_to("/dev")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/tty")
    with pytest.raises(SourceChanged):
        open_regular(str(path))


def test_a_link_in_the_place_of_a_file_is_not_that_file(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"x")
    other.write_bytes(b"y")
    before = fingerprint(path)
    path.unlink()
    path.symlink_to("b")
    with pytest.raises(SourceChanged, match="changed since it was looked at"):
        hash_file(str(path), before)


def test_many_files_are_hashed_in_order_and_one_bad_one_is_its_own_outcome(tmp_path: Path) -> None:
    requests = []
    for number in range(300):
        path = tmp_path / f"{number:03}"
        path.write_bytes(str(number).encode())
        requests.append(HashRequest(str(path), fingerprint(path)))
    (tmp_path / "150").unlink()
    outcomes = list(hash_files(requests, threads=3))
    assert [outcome.path for outcome in outcomes] == [request.path for request in requests]
    assert [number for number, outcome in enumerate(outcomes) if outcome.error] == [150]
    assert outcomes[299].content_hash == blake3(b"299").hexdigest()


def test_a_file_that_grows_while_it_is_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 10)
    before = fingerprint(path)
    read = os.read

    def grown(descriptor: int, count: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"y")
        return read(descriptor, count)

    monkeypatch.setattr(os, "read", grown)
    with pytest.raises(SourceChanged, match="changed since it was looked at"):
        hash_file(str(path), before)


def test_a_file_is_racy_until_its_times_can_show_a_change() -> None:
    young = Fingerprint(1, mtime_ns=10 * RACY_NS, inode=1, ctime_ns=5)
    assert is_racy(young, looked_at_ns=10 * RACY_NS + 1)
    assert is_racy(young, looked_at_ns=11 * RACY_NS - 1)
    assert not is_racy(young, looked_at_ns=11 * RACY_NS)
    assert is_racy(replace(young, mtime_ns=0, ctime_ns=10 * RACY_NS), looked_at_ns=10 * RACY_NS)
