"""Applies that send their files through workers: the same calls, journal and lake as without, whatever happens."""

from __future__ import annotations

import base64
import os
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.apply.upload_executors import choosing, slices, worker_scheduling
from metalake_sync.apply.upload_executors.tasks import WorkerSetup
from metalake_sync.core.events import Event, Waiting
from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.engine import Applied, Engine
from metalake_sync.errors import CredentialsRejected, SyncError, UsageError
from metalake_sync.manifest import load_manifest
from metalake_sync.manifest.credential_origin import CredentialOrigin
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.transfers.upload import Transfer
from metalake_sync.state.journal import AboutToFinalize, UploadJournal
from metalake_sync.state.store import StateStore
from tests.apply.executors_of_users import FailingWorkers, LossyWorkers, Recording
from tests.embedded_lake.talk import API_KEY, SECRET, settings, talk_to
from tests.end_to_end.world import BIRDS, World

FILES = 40
PROCESSES = "2"
OF_USERS = "tests.apply.executors_of_users"


@pytest.fixture(autouse=True)
def _workers_from_the_first_file(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr(choosing, "FEWEST_FILES", 1)
    monkeypatch.setattr(worker_scheduling, "WARM_UP_FILES", 0)
    monkeypatch.setattr(worker_scheduling, "FEWEST_SLICE_FILES", 1)
    monkeypatch.setattr(worker_scheduling, "SLICE_FILES", 6)
    monkeypatch.setattr(slices, "LOCAL_FILES", 1)
    # Workers inherit the environment of the run.
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    for remembered in (Recording.seen, LossyWorkers.lost, FailingWorkers.failed):
        remembered.clear()
    for number in range(FILES):
        world.write(f"images/f{number:03d}.jpg", number.to_bytes(4, "big"))
    world.manifest(BIRDS)


@pytest.fixture
def _ready_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the workers before the first file, so that they get all files."""
    upload = slices.WorkerExecutor.upload

    async def when_open(self: slices.WorkerExecutor, *args: Any) -> Any:
        await self.open()
        async for outcome in upload(self, *args):
            yield outcome

    monkeypatch.setattr(slices.WorkerExecutor, "upload", when_open)


@dataclass(frozen=True)
class Ended:
    """An apply, and what it told about its workers."""

    applied: Applied
    told: list[str]


def apply(world: World, workers: str | None, state: str = "state.db", **options: Any) -> Ended:
    manifest = load_manifest(str(world.folder / "manifest.yaml"), environment=os.environ)
    events: list[Event] = []
    run = RunOptions(workers=workers, batch_files=20, **options)
    applied = Engine(manifest, run, events.append, str(world.folder / state)).apply(lambda _plan: True)
    return Ended(applied, [event.message for event in events if isinstance(event, Waiting)])


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    """What the state records of each file."""
    with StateStore(path) as state:
        columns = "name, size_bytes, content_hash, metadata_digest, origin"
        rows = state._connection.execute(f"SELECT {columns} FROM files ORDER BY name").fetchall()
        assert state._connection.execute("SELECT count(*) FROM upload_sessions").fetchone() == (0,)
    return list(rows)


def calls(world: World) -> Counter[str]:
    made: Counter[str] = Counter()
    for request, count in world.lake.requests.counts.items():
        # A job is asked about until it is done.
        if request.route != "job_status":
            made[request.route] += count
    world.lake.requests.clear()
    return made


def all_sent(world: World, ended: Ended) -> None:
    """All files are in the lake and recorded, and nothing is left to do."""
    assert ended.applied.finished.failed == ()
    assert [row[0] for row in rows_of(world.folder / "state.db")] == [f"f{number:03d}.jpg" for number in range(FILES)]
    world.lake.requests.clear()
    again = apply(world, None)
    assert again.applied.finished.bytes_sent == 0
    assert world.lake.requests.writes == 0


def journal_of(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, int, list[int]]]:
    """What is journalled before a file is finalized, without what the lake chooses."""
    journalled: dict[str, tuple[str, int, list[int]]] = {}
    write = UploadJournal.about_to_finalize

    def watched(self: UploadJournal, upload_id: str, files: list[AboutToFinalize]) -> None:
        for file in files:
            assert file.name not in journalled
            journalled[file.name] = file.content_hash, file.part_size, list(file.etags)
        write(self, upload_id, files)

    monkeypatch.setattr(UploadJournal, "about_to_finalize", watched)
    return journalled


@pytest.mark.usefixtures("_ready_at_once")
@pytest.mark.parametrize("workers", [PROCESSES, f"{OF_USERS}:three_threads"], ids=["processes", "threads"])
def test_workers_make_the_same_calls_and_leave_the_same_state(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    if workers == PROCESSES:
        pytest.importorskip("loky")
    journalled = journal_of(monkeypatch)
    ended = apply(world, workers)
    made, rows, counted = calls(world), rows_of(world.folder / "state.db"), ended.applied.finished
    assert ended.told == []
    with_workers = dict(journalled)
    journalled.clear()
    with EmbeddedLake(settings(tmp_path / "twin")) as lake, talk_to(lake.url) as talk:
        twin = World(world.folder, lake, talk)
        monkeypatch.setenv("LAYERNEXT_URL", lake.url)
        alone = apply(twin, None, "twin.db").applied.finished
        assert (made, rows, with_workers) == (calls(twin), rows_of(world.folder / "twin.db"), journalled)
    assert (counted.done, counted.bytes_sent, counted.writes) == (alone.done, alone.bytes_sent, alone.writes)


@pytest.mark.usefixtures("_ready_at_once")
def test_a_slice_is_finalized_only_after_its_journal_is_on_the_disk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    waiting: list[str] = []
    write, sync, answer = UploadJournal.about_to_finalize, StateStore.sync, Recording.answer
    early: list[str] = []

    def watched_write(self: UploadJournal, upload_id: str, files: list[AboutToFinalize]) -> None:
        write(self, upload_id, files)
        waiting.extend(file.file_id for file in files)

    def watched_sync(self: StateStore) -> None:
        on_disk = list(waiting)
        sync(self)
        synced.extend(on_disk)

    def watched_answer(self: Recording, run: Callable[..., Any], task: Any) -> Any:
        if task.kind == "finalize":
            ticket = pickle.loads(pickle.loads(task.body)[-1])
            early.extend(row[0] for row in ticket if row[0] not in synced)
        return answer(self, run, task)

    monkeypatch.setattr(UploadJournal, "about_to_finalize", watched_write)
    monkeypatch.setattr(StateStore, "sync", watched_sync)
    monkeypatch.setattr(Recording, "answer", watched_answer)
    all_sent(world, apply(world, f"{OF_USERS}:Recording"))
    assert len(set(synced)) == FILES
    assert early == []


@pytest.mark.usefixtures("_ready_at_once")
def test_no_credential_is_in_a_message_and_no_content_in_its_repr(world: World) -> None:
    all_sent(world, apply(world, f"{OF_USERS}:Recording"))
    whole = b"".join(pickle.dumps(message) for message in Recording.seen)
    shown = " ".join(map(repr, Recording.seen))
    assert b"f001.jpg" in whole
    for secret in (API_KEY, SECRET, base64.b64encode(f"{API_KEY}:{SECRET}".encode()).decode()):
        assert secret.encode() not in whole
    assert "jpg" not in shown
    assert "http" not in shown
    assert {word for word in shown.split() if word.startswith("Task(")} == {
        "Task(hello,",
        "Task(put,",
        "Task(finalize,",
    }


@pytest.mark.usefixtures("_ready_at_once")
@pytest.mark.parametrize("kind", ["LossyWorkers", "FailingWorkers"])
def test_a_task_whose_worker_dies_is_repeated(world: World, kind: str) -> None:
    ended = apply(world, f"{OF_USERS}:{kind}")
    assert ended.told == []
    all_sent(world, ended)


@pytest.mark.usefixtures("_ready_at_once")
def test_after_three_broken_pools_this_process_sends_the_rest(world: World) -> None:
    ended = apply(world, f"{OF_USERS}:DyingWorkers")
    assert ended.told == ["3 times a worker process ended unexpectedly; the remaining files are sent from this process"]
    all_sent(world, ended)


@pytest.mark.usefixtures("_ready_at_once")
def test_a_worker_that_does_not_see_the_files_makes_no_file_look_gone(world: World) -> None:
    ended = apply(world, f"{OF_USERS}:BlindWorkers")
    (told,) = ended.told
    assert told.startswith("workers do not see the files, for example /not-mounted/")
    all_sent(world, ended)


@pytest.mark.usefixtures("_ready_at_once")
def test_a_file_that_changes_or_vanishes_fails_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = slices.WorkerExecutor.ask
    images = world.folder / "images"

    async def changed_meanwhile(self: slices.WorkerExecutor, *args: Any) -> Any:
        (images / "f003.jpg").unlink(missing_ok=True)
        (images / "f004.jpg").write_bytes(b"changed after the plan")
        return await submit(self, *args)

    monkeypatch.setattr(slices.WorkerExecutor, "ask", changed_meanwhile)
    finished = apply(world, f"{OF_USERS}:three_threads").applied.finished
    assert finished.done.upload == FILES - 2
    failures = {failed.action.file.name: failed for failed in finished.failed}  # type: ignore[union-attr]
    assert set(failures) == {"f003.jpg", "f004.jpg"}
    assert all(failed.retryable for failed in failures.values())


@pytest.mark.usefixtures("_ready_at_once")
def test_workers_of_another_version_stop_the_run_and_name_their_host(world: World) -> None:
    with pytest.raises(SyncError, match=r"metalake-sync 0\.0\.1 \(messages 1\)") as error:
        apply(world, f"{OF_USERS}:OldWorkers")
    assert error.value.where == os.uname().nodename
    with StateStore(world.folder / "state.db") as state:
        assert state._connection.execute("SELECT count(*) FROM files").fetchone() == (0,)


@pytest.mark.usefixtures("_ready_at_once")
def test_a_worker_with_other_credentials_stops_the_run_and_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metalake_sync.apply.upload_executors.worker.read_credentials", lambda *_: WrongCredentials())
    with pytest.raises(CredentialsRejected):
        apply(world, f"{OF_USERS}:three_threads")


class WrongCredentials:
    api_key, secret = "another", "another"


def test_credentials_that_only_the_run_knows_are_refused(world: World) -> None:
    manifest = load_manifest(
        str(world.folder / "manifest.yaml"), variables={"LAYERNEXT_SECRET": SECRET}, environment=os.environ
    )
    run = RunOptions(workers=PROCESSES)
    with pytest.raises(UsageError, match="workers cannot read 'secret', because it comes from --var"):
        Engine(manifest, run, lambda _event: None).apply(lambda _plan: True)


def test_a_limit_of_the_lake_leaves_one_client(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is refused returns its files, and this process sends them."""
    monkeypatch.setattr(worker_scheduling, "FIRST_REST_S", 0.0)
    refused = refuse(world, after=30, count=24)
    ended = apply(world, f"{OF_USERS}:three_threads")
    assert refused() == 24
    all_sent(world, ended)


def refuse(world: World, after: int, count: int) -> Callable[[], int]:
    """Let the lake refuse calls: `count` of them, after some. Returns how many were refused so far."""
    from metalake_sync.embedded_lake.faults import FaultPlan

    world.lake.faults.use(
        FaultPlan.model_validate(
            {"faults": [{"kind": "status", "status": 429, "route": "begin_file", "after": after, "times": count}]}
        )
    )
    return lambda: sum(world.lake.faults.injected.values())


def test_the_manifest_names_workers_and_zero_means_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("metalake_sync.apply.upload_executors.pools.opener_of", lambda workers: opened.append(workers))
    world.manifest(BIRDS, run={"workers": 3})
    apply(world, None, "1.db")
    assert opened == ["3"]
    apply(world, "5", "2.db", refresh="none")
    apply(world, "0", "3.db")
    assert opened[1:] in ([], ["5"])


@pytest.mark.parametrize("value", ["some", "1000", "-1", "a.b", "a:b-c", "1.5"])
def test_values_that_name_no_workers(world: World, value: str) -> None:
    done = world.run("apply", "manifest.yaml", "--workers", value)
    assert done.code == 64
    assert "does not name workers. Write a number of processes" in done.err.replace("\n", " ")


def test_a_factory_that_does_not_exist_is_named(world: World) -> None:
    with pytest.raises(UsageError, match="'nowhere:workers' cannot be imported"):
        apply(world, "nowhere:workers")


@pytest.mark.usefixtures("_ready_at_once")
def test_a_factory_that_returns_no_executor(world: World) -> None:
    with pytest.raises(UsageError, match="returned str, which is not a concurrent.futures.Executor"):
        apply(world, "builtins:str")


def test_a_few_files_start_no_workers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "FEWEST_FILES", FILES + 1)
    all_sent(world, apply(world, "nowhere:workers"))


@pytest.mark.parametrize(
    ("workers", "parallelism", "used"), [(4, None, 4), (4, 9, 4), (4, 5, 4), (4, 3, 2), (4, 2, 1), (4, 1, 0)]
)
def test_parallelism_is_divided_among_the_workers_and_the_run(workers: int, parallelism: int | None, used: int) -> None:
    address = LakeAddress("http://127.0.0.1:9", "key", "secret")
    origin = CredentialOrigin("", "", ("key", "secret"), (None, None))
    setup = WorkerSetup(address.url, address.generation, address.trust, origin)
    transfer = Transfer(address, retry=RetryPolicy(), parallelism=parallelism)
    executor = slices.WorkerExecutor(transfer, lambda: pytest.fail("opened"), setup, RequestCounter(), print)
    executor._share_parallelism(workers)
    assert executor.given_up == (used == 0)
    if parallelism is not None and used:
        assert used * executor._setup.files_at_once + transfer.concurrency.limit <= parallelism
