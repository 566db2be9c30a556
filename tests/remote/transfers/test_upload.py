"""Uploads of files: parts, what the observer receives, resuming, and files that cannot be sent."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.errors import SignedUrlExpired, SourceChanged, StateError
from metalake_sync.protocol.wire import StorageKind
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.storage import PART_BYTES
from metalake_sync.remote.transfers.upload import Transfer, most_files
from metalake_sync.remote.transfers.upload_files import (
    FileExisting,
    FileFailed,
    FileSent,
    FileToSend,
    Outcome,
    ResumePoint,
    UploadSession,
)
from tests.embedded_lake.talk import API_KEY, SECRET, Talk, settings, talk_to


@dataclass
class Notebook:
    """Records what an observer receives, in order. `stop_after`: the disk is full after this many parts."""

    reported: list[str] = field(default_factory=list)
    begun: dict[str, ResumePoint] = field(default_factory=dict)
    finished: dict[int, str] = field(default_factory=dict)
    stop_after: int | None = None
    counted_bytes: int = 0

    def file_begun(self, file: FileToSend, file_id: str, file_key: str, part_size: int, part_count: int) -> None:
        self.reported.append(f"begun {file.name}")
        self.begun[file.name] = ResumePoint(file_id, file_key, part_size, {})

    def part_finished(self, file: FileToSend, file_id: str, part_number: int, etag: str, size_bytes: int) -> None:
        if len(self.finished) == self.stop_after:
            raise StateError("the disk is full")
        self.reported.append(f"part {part_number}")
        self.finished[part_number] = etag

    async def about_to_finalize(self, file: FileToSend, point: ResumePoint, content_hash: str) -> None:
        self.reported.append(f"finalize {file.name}")

    def bytes_sent(self, size_bytes: int) -> None:
        self.counted_bytes += size_bytes


def to_send(path: Path, resume: ResumePoint | None = None) -> FileToSend:
    found = path.stat()
    fingerprint = Fingerprint(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
    return FileToSend(path.name, str(path), fingerprint, "image/png", resume)


class Lake:
    """A lake with one open session in it."""

    def __init__(self, lake: EmbeddedLake, talk: Talk) -> None:
        self.lake = lake
        self.talk = talk
        self.open = talk.open("birds", ["a.png"])
        self.session = UploadSession(
            self.open.upload_id, self.open.job_id, self.open.collection_id, "birds", StorageKind.S3
        )

    def send(self, files: Sequence[FileToSend], notebook: Notebook | None = None) -> list[Outcome]:
        return asyncio.run(self._send(files, notebook or Notebook()))

    async def _send(self, files: Sequence[FileToSend], notebook: Notebook) -> list[Outcome]:
        address = LakeAddress(self.lake.url, API_KEY, SECRET)
        async with Transfer(address, retry=RetryPolicy(give_up_after_s=5), parallelism=4) as transfer:
            return [outcome async for outcome in transfer.upload(self.session, files, notebook)]

    def read(self, name: str) -> bytes:
        self.talk.complete(self.open)
        return self.talk.read(f"birds_{name}")


@pytest.fixture
def lake(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    changes = getattr(request, "param", {})
    with EmbeddedLake(settings(tmp_path / "lake", **changes)) as lake, talk_to(lake.url) as talk:
        yield Lake(lake, talk)


def film(folder: Path, size_bytes: int) -> Path:
    path = folder / "a.png"
    path.write_bytes(os.urandom(1 << 20) * (size_bytes >> 20) + b"x" * (size_bytes % (1 << 20)))
    return path


@pytest.mark.parametrize("size_bytes", [0, 1, 1 << 20, (1 << 20) + 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 7])
def test_every_size_arrives_byte_for_byte(lake: Lake, tmp_path: Path, size_bytes: int) -> None:
    path = film(tmp_path, size_bytes)
    notebook = Notebook()
    (sent,) = lake.send([to_send(path)], notebook)
    assert isinstance(sent, FileSent)
    assert sent.content_hash == blake3(path.read_bytes()).hexdigest()
    assert sent.bytes_sent == notebook.counted_bytes == size_bytes
    assert lake.read("a.png") == path.read_bytes()
    assert lake.lake.requests.of("put_part") == max(1, -(-size_bytes // PART_BYTES))


def test_the_observer_receives_every_step_before_the_next_one(lake: Lake, tmp_path: Path) -> None:
    notebook = Notebook()
    lake.send([to_send(film(tmp_path, 2 * PART_BYTES + 1))], notebook)
    assert notebook.reported[0] == "begun a.png"
    assert sorted(notebook.reported[1:-1]) == ["part 1", "part 2", "part 3"]
    assert notebook.reported[-1] == "finalize a.png"


def test_an_interrupted_file_is_resumed_with_its_missing_parts(lake: Lake, tmp_path: Path) -> None:
    path = film(tmp_path, 5 * PART_BYTES)
    notebook = Notebook(stop_after=2)
    with pytest.raises(StateError):
        lake.send([to_send(path)], notebook)
    assert len(notebook.finished) == 2
    resume = replace(notebook.begun["a.png"], finished=dict(notebook.finished))
    going_on = Notebook()
    (sent,) = lake.send([to_send(path, resume)], going_on)
    assert isinstance(sent, FileSent)
    assert sent.bytes_sent == 3 * PART_BYTES
    assert going_on.finished.keys() == {1, 2, 3, 4, 5} - notebook.finished.keys()
    assert lake.lake.requests.of("begin_file") == 1
    assert lake.read("a.png") == path.read_bytes()


def test_a_file_that_the_lake_no_longer_knows_is_begun_again(lake: Lake, tmp_path: Path) -> None:
    path = film(tmp_path, PART_BYTES + 1)
    (sent,) = lake.send([to_send(path, ResumePoint("nobody", "birds/a.png", PART_BYTES, {1: "0" * 32}))])
    assert isinstance(sent, FileSent)
    assert lake.read("a.png") == path.read_bytes()


def test_a_name_that_the_collection_has_is_not_sent(lake: Lake, tmp_path: Path) -> None:
    lake.talk.upload({"a.png": b"theirs"})
    (outcome,) = lake.send([to_send(film(tmp_path, 10))])
    assert isinstance(outcome, FileExisting)
    assert lake.talk.read("birds_a.png") == b"theirs"


@pytest.mark.parametrize("size_bytes", [10, 2 << 20])
@pytest.mark.parametrize("change", ["grew", "gone", "replaced"])
def test_only_a_file_that_changed_since_the_scan_fails(
    lake: Lake, tmp_path: Path, size_bytes: int, change: str
) -> None:
    path = film(tmp_path, size_bytes)
    good = tmp_path / "good.png"
    good.write_bytes(b"good")
    files = [to_send(path), to_send(good)]
    path.unlink()
    if change == "grew":
        path.write_bytes(b"y" * (size_bytes + 1))
    elif change == "replaced":
        path.mkdir()
    outcomes = {outcome.file.name: outcome for outcome in lake.send(files)}
    failed = outcomes["a.png"]
    assert isinstance(failed, FileFailed)
    assert isinstance(failed.error, SourceChanged)
    assert failed.retryable
    assert isinstance(outcomes["good.png"], FileSent)


@pytest.mark.parametrize("lake", [{"url_lifetime_s": -1.0}], indirect=True)
def test_urls_that_expire_at_once_are_signed_again_a_limited_number_of_times(lake: Lake, tmp_path: Path) -> None:
    (outcome,) = lake.send([to_send(film(tmp_path, 10))])
    assert isinstance(outcome, FileFailed)
    assert isinstance(outcome.error, SignedUrlExpired)
    assert "?" not in str(outcome.error)
    assert lake.lake.requests.of("sign_parts") == 6


def test_the_callback_runs_when_the_last_files_start(lake: Lake, tmp_path: Path) -> None:
    files = []
    for number in range(100):
        path = tmp_path / f"f{number}.png"
        path.write_bytes(b"x")
        files.append(to_send(path))
    done_when_reported: list[int] = []

    async def send() -> int:
        done = 0
        address = LakeAddress(lake.lake.url, API_KEY, SECRET)
        async with Transfer(address, retry=RetryPolicy(give_up_after_s=5), parallelism=4) as transfer:
            outcomes = transfer.upload(lake.session, files, Notebook(), lambda: done_when_reported.append(done))
            async for _ in outcomes:
                done += 1
        return done

    assert asyncio.run(send()) == 100
    (reported_at,) = done_when_reported
    # Four are in flight, four are left, and some outcomes may not have been read.
    assert 80 <= reported_at < 100


def test_an_upload_without_files_ends_at_once(lake: Lake) -> None:
    reported: list[bool] = []

    async def send() -> list[Outcome]:
        address = LakeAddress(lake.lake.url, API_KEY, SECRET)
        async with Transfer(address, retry=RetryPolicy(give_up_after_s=5)) as transfer:
            return [o async for o in transfer.upload(lake.session, [], Notebook(), lambda: reported.append(True))]

    assert asyncio.run(send()) == []
    assert reported == [True]


def test_the_concurrency_is_bounded_by_the_option_and_the_limit_of_open_files() -> None:
    assert most_files(7) == 7
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        assert most_files(None) == 48
        assert most_files(1000) == 48
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
