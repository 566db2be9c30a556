"""The contract of the `UploadExecutor` port: every implementation passes these tests."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from metalake_sync.apply.upload_executors import worker_scheduling
from metalake_sync.apply.upload_executors.base import UploadExecutor, UploadSlice
from metalake_sync.apply.upload_executors.in_process import InProcessExecutor
from metalake_sync.apply.upload_executors.pools import PoolOpener, from_factory, local_processes
from metalake_sync.apply.upload_executors.slices import WorkerExecutor
from metalake_sync.apply.upload_executors.tasks import WorkerSetup
from metalake_sync.core.snapshots import Fingerprint, MediaType
from metalake_sync.errors import LakeRejected, LakeUnreachable, Location, ManifestErrors, SyncError
from metalake_sync.manifest.credential_origin import CredentialOrigin
from metalake_sync.protocol.uploads import OpenUpload
from metalake_sync.protocol.wire import StorageKind
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.selections import media_kind
from metalake_sync.remote.transfers.upload import Transfer
from metalake_sync.remote.transfers.upload_files import (
    FileExisting,
    FileFailed,
    FileSent,
    FileToSend,
    Outcome,
    ResumePoint,
    UploadSession,
)
from metalake_sync.sources.hashing import hash_file
from metalake_sync.state.journal import AboutToFinalize
from tests.embedded_lake.talk import API_KEY, SECRET
from tests.end_to_end.world import World

OpenExecutor = Callable[[LakeAddress, CredentialOrigin], AbstractAsyncContextManager[UploadExecutor]]


@asynccontextmanager
async def in_process(address: LakeAddress, _origin: CredentialOrigin) -> AsyncIterator[UploadExecutor]:
    async with Transfer(address, retry=RetryPolicy(give_up_after_s=2.0)) as transfer:
        yield InProcessExecutor(transfer)


def origin_of(world: World) -> CredentialOrigin:
    """Where workers find the credentials: in files."""
    world.write("key", API_KEY)
    world.write("secret", SECRET)
    return CredentialOrigin("", str(world.folder), ("key", "secret"), (None, None))


def through(open_pool: Callable[[], PoolOpener]) -> OpenExecutor:
    """An executor that sends through workers from the first file."""

    @asynccontextmanager
    async def opened(address: LakeAddress, origin: CredentialOrigin) -> AsyncIterator[UploadExecutor]:
        setup = WorkerSetup(address.url, address.generation, address.trust, origin)
        async with (
            Transfer(address, retry=RetryPolicy(give_up_after_s=2.0)) as transfer,
            WorkerExecutor(transfer, open_pool(), setup, RequestCounter(), fail) as executor,
        ):
            await executor.open()
            assert executor.can_work()
            yield executor

    return opened


def fail(message: str) -> None:
    raise AssertionError(message)


def threads() -> PoolOpener:
    """Workers that are threads, as an Executor of a user may have them."""
    return from_factory("tests.apply.test_upload_executors", "three_threads")


def three_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(3)


def processes() -> PoolOpener:
    pytest.importorskip("loky")
    return local_processes(2)


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_scheduling, "WARM_UP_FILES", 0)
    monkeypatch.setattr(worker_scheduling, "FEWEST_SLICE_FILES", 1)
    monkeypatch.setattr(worker_scheduling, "SLICE_FILES", 4)


@pytest.fixture(params=[in_process, through(threads), through(processes)], ids=["in_process", "threads", "processes"])
def open_executor(request: pytest.FixtureRequest) -> OpenExecutor:
    opener: OpenExecutor = request.param
    return opener


@dataclass
class Steps:
    """A journal that remembers the steps in their order."""

    taken: list[tuple[str, str]] = field(default_factory=list)
    size_bytes: int = 0
    refuse: str | None = None

    def file_begun(self, file: FileToSend, file_id: str, file_key: str, part_size: int, part_count: int) -> None:
        self.taken.append(("begun", file.name))

    def part_finished(self, file: FileToSend, file_id: str, part_number: int, etag: str, size_bytes: int) -> None:
        self.taken.append(("part", file.name))

    async def about_to_finalize(self, file: FileToSend, point: ResumePoint, content_hash: str) -> None:
        self.taken.append((content_hash, file.name))
        if file.name == self.refuse:
            raise LakeUnreachable("the journal cannot be written")

    async def slice_about_to_finalize(self, files: Sequence[AboutToFinalize]) -> None:
        for file in files:
            self.taken.append((file.content_hash, file.name))
        if self.refuse in {file.name for file in files}:
            raise LakeUnreachable("the journal cannot be written")

    def bytes_sent(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes


def local_file(folder: Path, name: str, content: bytes) -> FileToSend:
    path = folder / name
    path.write_bytes(content)
    return FileToSend(name, str(path), Fingerprint.of(path.stat()), "image/png")


def open_session(world: World, names: list[str]) -> UploadSession:
    with LakeClient(address_of(world), retry=RetryPolicy(give_up_after_s=2.0)) as client:
        opened = client.open_upload(
            OpenUpload(
                collection_type=media_kind(MediaType.IMAGE),
                collection_name="birds",
                meta_data_object={},
                storage_prefix_path=None,
                object_key_list=names,
            )
        )
    return UploadSession(
        opened.upload_id, opened.job_id, opened.collection_id, "birds", StorageKind(opened.storage_type)
    )


def address_of(world: World) -> LakeAddress:
    return LakeAddress(world.lake.url, API_KEY, SECRET)


def send(
    open_executor: OpenExecutor, world: World, part: UploadSlice, journal: Steps
) -> tuple[dict[str, Outcome], int]:
    """Send a slice. Returns the outcomes by name, and how often the executor asked for the next slice."""
    started = 0

    def last_files_started() -> None:
        nonlocal started
        started += 1

    async def run() -> dict[str, Outcome]:
        async with open_executor(address_of(world), origin_of(world)) as executor:
            return {one.file.name: one async for one in executor.upload(part, journal, last_files_started)}

    return asyncio.run(run()), started


def test_each_file_has_one_outcome_and_is_journalled_before_it_is_finalized(
    open_executor: OpenExecutor, world: World
) -> None:
    names = [f"f{number}.png" for number in range(9)]
    files = tuple(local_file(world.folder, name, name.encode()) for name in names)
    journal = Steps()
    outcomes, started = send(open_executor, world, UploadSlice(open_session(world, names), files), journal)
    hashes = {file.name: hash_file(file.path, file.fingerprint) for file in files}
    assert {name: one.content_hash for name, one in outcomes.items() if isinstance(one, FileSent)} == hashes
    assert started == 1
    assert journal.size_bytes == sum(map(len, names))
    for name in names:
        assert [step for step, of in journal.taken if of == name][-1] == hashes[name]


def test_a_failure_of_one_file_is_an_outcome_and_the_others_are_sent(open_executor: OpenExecutor, world: World) -> None:
    changed = local_file(world.folder, "changed.png", b"as planned")
    (world.folder / "changed.png").write_bytes(b"changed after the plan")
    good = local_file(world.folder, "good.png", b"good")
    part = UploadSlice(open_session(world, ["changed.png", "good.png"]), (changed, good))
    outcomes, _ = send(open_executor, world, part, Steps())
    assert isinstance(outcomes["good.png"], FileSent)
    failed = outcomes["changed.png"]
    assert isinstance(failed, FileFailed)
    assert failed.retryable


def test_a_file_is_not_finalized_if_the_journal_fails(open_executor: OpenExecutor, world: World) -> None:
    file = local_file(world.folder, "a.png", b"a")
    session = open_session(world, ["a.png"])
    with pytest.raises(LakeUnreachable, match="the journal cannot be written"):
        send(open_executor, world, UploadSlice(session, (file,)), Steps(refuse="a.png"))
    again, _ = send(open_executor, world, UploadSlice(session, (file,)), Steps())
    assert isinstance(again["a.png"], FileSent), "the lake does not have the file yet"


def test_slices_and_outcomes_can_be_pickled(world: World) -> None:
    file = local_file(world.folder, "a.png", b"a")
    resumed = FileToSend(file.name, file.path, file.fingerprint, file.content_type, ResumePoint("i", "k", 9, {1: "e"}))
    part = UploadSlice(UploadSession("upload", "job", "collection", "birds", StorageKind.S3), (file, resumed))
    assert pickle.loads(pickle.dumps(part)) == part
    outcomes: list[Outcome] = [FileSent(file, "id", "hash", 1), FileExisting(file)]
    assert pickle.loads(pickle.dumps(outcomes)) == outcomes
    rejection = LakeRejected("no", status=409, where="birds/a.png", remedy="Rename it.")
    failed = pickle.loads(pickle.dumps(FileFailed(file, rejection, retryable=False)))
    assert (failed.file, failed.retryable, type(failed.error)) == (file, False, LakeRejected)
    assert (str(failed.error), failed.error.status) == (str(rejection), 409)


def test_a_slice_shows_no_path_and_no_upload_id() -> None:
    session = UploadSession("secret-upload", "job", "collection", "birds", StorageKind.S3)
    file = FileToSend("a.png", "/home/someone/a.png", Fingerprint(1, 2, 3, 4), "image/png")
    assert repr(UploadSlice(session, (file,))) == "UploadSlice(1 files)"


@pytest.mark.parametrize("error", [SyncError("it failed"), ManifestErrors([])], ids=["plain", "several"])
def test_errors_can_be_pickled(error: SyncError) -> None:
    error.where = Location("a.yaml", 1, 2)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.args, vars(copy)) == (type(error), error.args, vars(error))
