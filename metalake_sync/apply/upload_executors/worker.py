"""The work of a worker process: it puts and finalizes the files of a task in an event loop of its own.

The loop and its connections stay open from task to task, so that only the first one pays for them. Owns: one `Transfer`
for each run that this process works for. Must not: write a state, decide that a file is gone, or raise.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from metalake_sync.apply.upload_executors.tasks import (
    Answer,
    Counted,
    FailedRow,
    FileRow,
    FinalizeAnswer,
    FinalizeRow,
    PutAnswer,
    Stopped,
    StoredRow,
    Task,
    TaskLimits,
    WorkerSetup,
    content_of,
    worker_name,
)
from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.errors import CredentialsRejected, SourceChanged, SyncError
from metalake_sync.manifest.credential_origin import read_credentials
from metalake_sync.redaction import describe, redact
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.async_calls import RateLimited
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.transfers.upload import Transfer
from metalake_sync.remote.transfers.upload_files import (
    FileElsewhere,
    FileExisting,
    FileFailed,
    FileSent,
    FileToSend,
    ResumePoint,
    StoredFile,
    UploadSession,
)

WORKER_RETRY_S = 10.0
"""How long a worker retries a call, in seconds. Then the coordinator sends the file, and retries for longer."""

ResultT = TypeVar("ResultT")


class _NoJournal:
    """A worker has no journal: the coordinator journals what an answer says."""

    def file_begun(self, file: FileToSend, file_id: str, file_key: str, part_size: int, part_count: int) -> None: ...

    def part_finished(self, file: FileToSend, file_id: str, part_number: int, etag: str, size_bytes: int) -> None: ...

    async def about_to_finalize(self, file: FileToSend, point: ResumePoint, content_hash: str) -> None: ...

    def bytes_sent(self, size_bytes: int) -> None: ...


class _Worker:
    """The event loop of this process, in a thread, with its transfers."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="worker", daemon=True).start()
        self._transfers: dict[WorkerSetup, tuple[Transfer, RequestCounter]] = {}
        self._opening = asyncio.Lock()

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def transfer(self, setup: WorkerSetup) -> tuple[Transfer, RequestCounter]:
        """Return the transfer of a run. Raises what reading the credentials raises."""
        async with self._opening:
            if setup not in self._transfers:
                credentials = await asyncio.to_thread(read_credentials, setup.origin, os.environ)
                address = LakeAddress(setup.url, credentials.api_key, credentials.secret, setup.trust, setup.generation)
                counter = RequestCounter()
                transfer = Transfer(
                    address,
                    retry=RetryPolicy(give_up_after_s=WORKER_RETRY_S),
                    parallelism=setup.files_at_once,
                    counter=counter,
                    stop_when_limited=True,
                )
                self._transfers[setup] = await transfer.__aenter__(), counter
            return self._transfers[setup]

    async def hello(self, setup: WorkerSetup) -> None:
        """Check that the credentials can be read."""
        await self.transfer(setup)

    async def put(
        self, setup: WorkerSetup, session: UploadSession, limits: TaskLimits, rows: Sequence[FileRow]
    ) -> PutAnswer:
        transfer, counter = await self._prepared(setup, limits)
        files = [FileToSend(row[0], row[1], Fingerprint(*row[2:6]), row[6]) for row in rows]
        places = {file.name: place for place, file in enumerate(files)}
        stored: list[StoredRow] = []
        ticket: list[FinalizeRow] = []
        failed: list[FailedRow] = []
        unseen = 0

        async def put_all() -> None:
            nonlocal unseen
            async with aclosing(transfer.put(session, files, _NoJournal())) as outcomes:
                async for outcome in outcomes:
                    place = places[outcome.file.name]
                    match outcome:
                        case StoredFile(_, point, content_hash, url, sent):
                            etags = dict(point.finished)
                            known = point.file_id, point.file_key, point.part_size, etags
                            stored.append((place, *known, content_hash, sent))
                            ticket.append((*known, url))
                        case FileFailed(error=SourceChanged()):
                            # Only the coordinator decides that a file is gone: this machine may not see its folder.
                            unseen += 1
                        case _:
                            failed.append(_failed_row(place, outcome))

        stopped = await _until_stopped(put_all)
        if stopped is None and unseen == len(files):
            stopped = Stopped("unseen", files[0].path)
        return PutAnswer(stored, _pickled(ticket), failed, stopped, Counted(*counter.take()))

    async def finalize(
        self, setup: WorkerSetup, session: UploadSession, limits: TaskLimits, ticket: bytes
    ) -> FinalizeAnswer:
        transfer, counter = await self._prepared(setup, limits)
        rows: list[FinalizeRow] = content_of(ticket)
        nothing = Fingerprint(0, 0, 0, 0)
        files = [
            StoredFile(
                # The coordinator knows the file by its place in the ticket.
                FileToSend(str(place), "", nothing, ""),
                ResumePoint(file_id, key, part_size, etags),
                "",
                url,
                0,
            )
            for place, (file_id, key, part_size, etags, url) in enumerate(rows)
        ]
        done: list[int] = []
        failed: list[FailedRow] = []

        async def finalize_all() -> None:
            async with aclosing(transfer.finalize(session, files)) as outcomes:
                async for outcome in outcomes:
                    place = int(outcome.file.name)
                    if isinstance(outcome, FileSent):
                        done.append(place)
                    else:
                        failed.append(_failed_row(place, outcome))

        stopped = await _until_stopped(finalize_all)
        return FinalizeAnswer(done, failed, stopped, Counted(*counter.take()))

    async def _prepared(self, setup: WorkerSetup, limits: TaskLimits) -> tuple[Transfer, RequestCounter]:
        transfer, counter = await self.transfer(setup)
        # The coordinator gives out tasks only while it knows of no limit, so one of an earlier task is over.
        transfer.rates.restart(limits.unavoidable)
        transfer.bandwidth.change(limits.bytes_per_s)
        return transfer, counter


def _failed_row(place: int, outcome: FileExisting | FileElsewhere | FileFailed) -> FailedRow:
    match outcome:
        case FileExisting():
            return FailedRow(place, "existing")
        case FileElsewhere():
            return FailedRow(place, "elsewhere")
        case FileFailed(_, error, retryable):
            return FailedRow(place, "failed", error, retryable)


async def _until_stopped(work: Callable[[], Awaitable[None]]) -> Stopped | None:
    """Do the work until an error concerns all files. Rejected credentials are raised: they end the run."""
    try:
        await work()
    except RateLimited:
        return Stopped("limited")
    except CredentialsRejected:
        raise
    except SyncError as error:
        return Stopped("failed", redact(str(error)))
    return None


def _pickled(content: object) -> bytes:
    return pickle.dumps(content, pickle.HIGHEST_PROTOCOL)


_worker: _Worker | None = None
_starting = threading.Lock()


def _the_worker() -> _Worker:
    global _worker
    with _starting:
        if _worker is None:
            _worker = _Worker()
        return _worker


def carry_out(task: Task) -> Answer:
    """Carry out a task. Never raises."""
    try:
        worker = _the_worker()
        content = content_of(task.body)
        match task.kind:
            case "hello":
                answer: object = worker.run(worker.hello(*content))
            case "put":
                answer = worker.run(worker.put(*content))
            case "finalize":
                answer = worker.run(worker.finalize(*content))
        return Answer(task.kind, worker_name(), _pickled(answer))
    except SyncError as error:
        error.where = f"{error.where or ''} (worker {worker_name()})".strip()
        return Answer(task.kind, worker_name(), b"", error)
    except Exception as error:  # noqa: BLE001 - nothing is raised across processes; the coordinator sends the files
        stopped = Stopped("failed", describe(error))
        nothing = Counted({}, 0, 0)
        answers = {
            "put": PutAnswer([], b"", [], stopped, nothing),
            "finalize": FinalizeAnswer([], [], stopped, nothing),
        }
        return Answer(task.kind, worker_name(), _pickled(answers.get(task.kind, stopped)))
