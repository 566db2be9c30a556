"""A hash is of the file with the expected fingerprint; a file that changed is an error."""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.errors import SourceChanged
from metalake_sync.sources.hash_worker import CHUNK_BYTES
from metalake_sync.sources.hashing import (
    RACY_NS,
    Hasher,
    HashOutcome,
    HashRequest,
    _hash_some,
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


def test_a_file_with_another_fingerprint_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    before = replace(fingerprint(path), mtime_ns=1)
    with pytest.raises(SourceChanged, match="changed since it was scanned"):
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


def test_a_link_that_replaced_a_file_is_an_error(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"x")
    other.write_bytes(b"y")
    before = fingerprint(path)
    path.unlink()
    path.symlink_to("b")
    with pytest.raises(SourceChanged, match="changed since it was scanned"):
        hash_file(str(path), before)


def test_many_files_are_hashed_in_order_and_an_error_affects_one_outcome(tmp_path: Path) -> None:
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

    def read_while_growing(descriptor: int, count: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"y")
        return read(descriptor, count)

    monkeypatch.setattr(os, "read", read_while_growing)
    with pytest.raises(SourceChanged, match="changed since it was scanned"):
        hash_file(str(path), before)


def test_a_file_is_racy_while_its_times_may_not_show_a_change() -> None:
    young = Fingerprint(1, mtime_ns=10 * RACY_NS, inode=1, ctime_ns=5)
    assert is_racy(young, looked_at_ns=10 * RACY_NS + 1)
    assert is_racy(young, looked_at_ns=11 * RACY_NS - 1)
    assert not is_racy(young, looked_at_ns=11 * RACY_NS)
    assert is_racy(replace(young, mtime_ns=0, ctime_ns=10 * RACY_NS), looked_at_ns=10 * RACY_NS)
    assert is_racy(replace(young, mtime_ns=0, ctime_ns=1000 * RACY_NS), looked_at_ns=10 * RACY_NS)


def test_an_mtime_far_in_the_future_does_not_make_a_file_racy() -> None:
    card = Fingerprint(1, mtime_ns=1000 * RACY_NS, inode=1, ctime_ns=5)
    assert not is_racy(card, looked_at_ns=10 * RACY_NS)
    assert is_racy(replace(card, mtime_ns=10 * RACY_NS + 1), looked_at_ns=10 * RACY_NS)


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are worth it from the first file on."""
    monkeypatch.setattr("metalake_sync.sources.hashing.FILES_FOR_PROCESSES", 1)


def many(folder: Path, count: int) -> list[HashRequest]:
    """Requests for files. Some of them are missing, links, changed or large."""
    requests = []
    for number in range(count):
        path = folder / f"{number:03} \udcff\n"
        path.write_bytes(str(number).encode() * (CHUNK_BYTES if number == 5 else 1))
        requests.append(HashRequest(str(path), fingerprint(path)))
        if number % 10 == 1:
            path.unlink()
        elif number % 10 == 2:
            path.write_bytes(b"else")
        elif number % 10 == 3:
            path.rename(folder / "elsewhere")
            path.symlink_to("elsewhere" if number % 20 == 3 else ".")
    return requests


def reported(outcomes: Iterable[HashOutcome]) -> list[tuple[object, ...]]:
    return [(one.path, one.expected, one.content_hash, one.error and str(one.error)) for one in outcomes]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 700])
@pytest.mark.usefixtures("few_are_many")
def test_several_processes_return_the_hashes_of_one(tmp_path: Path, count: int) -> None:
    requests = many(tmp_path, count)
    alone = reported(_hash_some(requests))
    with Hasher(3) as hasher:
        assert reported(hasher.hash_files(requests)) == alone
        # The processes serve the next caller, also after a caller that stopped early.
        next(hasher.hash_files(requests))
        assert reported(hasher.hash_files(requests[::-1])) == alone[::-1]


@pytest.mark.usefixtures("few_are_many")
def test_files_of_a_process_that_dies_are_hashed_here(tmp_path: Path) -> None:
    requests = many(tmp_path, 500)
    alone = reported(_hash_some(requests))
    with Hasher(2) as hasher:
        outcomes = hasher.hash_files(requests)
        found = [next(outcomes)]
        first = workers(hasher)
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        found += outcomes
        assert reported(found) == alone
        os.kill(first[1], signal.SIGKILL)
        assert reported(hasher.hash_files(requests)) == alone
    assert not any(map(runs, first))


@pytest.mark.usefixtures("few_are_many")
def test_threads_hash_if_no_process_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    requests = many(tmp_path, 200)
    assert reported(hash_files(requests, 2)) == reported(_hash_some(requests))


def test_a_few_files_start_no_process(tmp_path: Path) -> None:
    with Hasher(2) as hasher:
        list(hasher.hash_files(many(tmp_path, 300)))
        assert workers(hasher) == []


@pytest.mark.usefixtures("few_are_many")
def test_processes_end_with_a_dropped_iterator(tmp_path: Path) -> None:
    requests = many(tmp_path, 500)
    with Hasher(2) as hasher:
        outcomes = hasher.hash_files(requests)
        next(outcomes)
        first = workers(hasher)
        outcomes.close()
        assert not any(map(runs, first))
        assert reported(hasher.hash_files(requests)) == reported(_hash_some(requests))


@pytest.mark.usefixtures("few_are_many")
def test_an_iterator_that_outlives_its_hasher_warns_of_nothing(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    with Hasher(2) as hasher:
        outcomes = hasher.hash_files(many(tmp_path, 500))
        next(outcomes)
        first = workers(hasher)
    assert not any(map(runs, first))
    outcomes.close()
    del outcomes
    gc.collect()
    assert not recwarn.list


@pytest.mark.usefixtures("few_are_many")
def test_no_process_remains_if_the_caller_fails(tmp_path: Path) -> None:
    seen: list[int] = []

    def fail(requests: list[HashRequest]) -> None:
        with Hasher(2) as hasher:
            for _ in hasher.hash_files(requests):
                seen.extend(workers(hasher))
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as kept:
        fail(many(tmp_path, 500))
    # The traceback keeps the frames alive.
    assert kept.tb is not None
    assert len(seen) == 2
    assert not any(map(runs, seen))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_their_parent(tmp_path: Path, end: signal.Signals) -> None:
    code = (
        "import sys; from metalake_sync.sources import hashing as h; from tests.sources.test_hashing import *\n"
        "h.FILES_FOR_PROCESSES = 1; hasher = Hasher(2); outcomes = hasher.hash_files(many(Path(sys.argv[1]), 200))\n"
        "next(outcomes); print(*workers(hasher), flush=True); signal.pause()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        handles = [os.pidfd_open(int(word)) for word in process.stdout.readline().split()]
        assert len(handles) == 2
        process.send_signal(end)
    for handle in handles:
        # Its file can be read after the process has ended.
        assert select.select([handle], [], [], 60)[0]
        os.close(handle)


def workers(hasher: Hasher) -> list[int]:
    """The process ids of a hasher's workers."""
    return [worker._process.pid for worker in hasher._workers or ()]


def runs(process: int) -> bool:
    """Whether a child process exists, running or not yet waited for."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_hashing_ends_for_a_file_that_grows_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.bin"
    path.write_bytes(bytes(2 << 20))
    before = fingerprint(path)
    read = os.readv
    reads: list[int] = []

    def read_while_growing(descriptor: int, buffers: list[memoryview]) -> int:
        reads.append(descriptor)
        assert len(reads) < 10
        with path.open("ab") as file:
            file.write(bytes(1 << 20))
        return read(descriptor, buffers)

    monkeypatch.setattr(os, "readv", read_while_growing)
    with pytest.raises(SourceChanged, match="changed since it was scanned"):
        hash_file(str(path), before)
