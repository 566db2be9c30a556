"""The messages between the coordinator and its workers, and the function that a worker runs.

Owns: the form of tasks and answers. A task is a kind, a count, versions and bytes; so a scheduler that logs its tasks
shows no path, and a worker of another version can still read who is asking. Must not: import what only a worker needs,
because the coordinator imports this module too.
"""

from __future__ import annotations

import os
import pickle
import platform
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Literal, TypeAlias

from metalake_sync import __version__
from metalake_sync.errors import SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.credential_origin import CredentialOrigin
from metalake_sync.protocol.routes import Generation
from metalake_sync.remote.address import Trust

WIRE_VERSION = 1
"""Changes with the form of the messages."""

TaskKind = Literal["hello", "put", "finalize"]

Versions: TypeAlias = tuple[str, int, str]
"""Of the package, of the messages, and of Python (without its patch level)."""


def own_versions() -> Versions:
    return (__version__, WIRE_VERSION, ".".join(platform.python_version_tuple()[:2]))


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker needs to call the lake, without credentials: it reads them where they come from."""

    url: str
    generation: Generation
    trust: Trust
    origin: CredentialOrigin
    files_at_once: int = 1
    """The maximum number of files in transfer in one worker process."""


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """The share of the run's limits that one task may use."""

    bytes_per_s: float | None
    unavoidable: tuple[float, ...]
    """The shares of calls that the lake and its store refuse at any rate."""


FileRow: TypeAlias = tuple[str, str, int, int, int, int, str]
"""Name, path, the four numbers of the fingerprint, and the content type."""

StoredRow: TypeAlias = tuple[int, str, str, int, dict[int, str], str, int]
"""Index in the task, file id, file key, part size, ETags by part number, content hash, sent bytes."""

FinalizeRow: TypeAlias = tuple[str, str, int, dict[int, str], str]
"""File id, file key, part size, ETags by part number, and the signed URL of the last part."""


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A file that the lake did not take. Sending it again from another process would end in the same way."""

    index: int
    """In the task."""
    why: Literal["existing", "elsewhere", "failed"]
    error: SyncError | None = None
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why a worker did not send all files of a task."""

    why: Literal["limited", "failed", "unseen"]
    """The lake or its store allows fewer calls; a call failed for a reason that concerns all files; the worker could
    read none of the files."""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a worker counted since its last answer."""

    requests: Mapping[str, int]
    """By path."""
    writes: int
    bytes_sent: int


@dataclass(frozen=True, slots=True)
class PutAnswer:
    """The outcome of a `put` task. Files that appear nowhere in it were not sent."""

    stored: Sequence[StoredRow]
    ticket: bytes = field(repr=False)
    """The `FinalizeRow` of each stored file, pickled: the coordinator passes them on without reading them."""
    failed: Sequence[FailedRow]
    stopped: Stopped | None
    counted: Counted


@dataclass(frozen=True, slots=True)
class FinalizeAnswer:
    """The outcome of a `finalize` task, by the index of the stored files. Files without one were not finalized."""

    done: Sequence[int]
    failed: Sequence[FailedRow]
    stopped: Stopped | None
    counted: Counted


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work for a worker."""

    kind: TaskKind
    count: int
    """The number of files."""
    versions: Versions
    body: bytes

    def __repr__(self) -> str:
        """Kind and count only: schedulers log their tasks, and paths and signed URLs do not belong in their logs."""
        return f"Task({self.kind}, {self.count} files)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker returns for a task. It never raises."""

    kind: TaskKind
    worker: str
    """Host and process id."""
    body: bytes
    refusal: SyncError | None = None
    """Why the worker cannot work for this run at all."""

    def __repr__(self) -> str:
        """No content, as in a task."""
        return f"Answer({self.kind}, {self.worker})"


def make_task(kind: TaskKind, count: int, content: Any) -> Task:
    return Task(kind, count, own_versions(), pickle.dumps(content, pickle.HIGHEST_PROTOCOL))


def content_of(body: bytes) -> Any:
    """Return the content of a task or an answer of the own run."""
    return pickle.loads(body)  # noqa: S301 - from a process of the same run


def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def run_task(task: Task) -> Answer:
    """Carry out a task in a worker. Never raises: what goes wrong is part of the answer."""
    refusal = _refuse(task.versions)
    if refusal is not None:
        return Answer(task.kind, worker_name(), b"", refusal)
    from metalake_sync.apply.upload_executors.worker import carry_out

    return carry_out(task)


def _refuse(asking: Versions) -> SyncError | None:
    """Return the error for a worker of another version, or None."""
    own = own_versions()
    if own == asking:
        return None
    here, there = (f"metalake-sync {one[0]} (messages {one[1]}) on Python {one[2]}" for one in (own, asking))
    return SyncError(
        f"the worker has {here}, and this run has {there}",
        where=socket.gethostname(),
        remedy=f"Install the same versions on all workers. The worker runs {sys.executable}.",
    )
