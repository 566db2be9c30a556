"""Executors as users write them for `--workers package.module:factory`, and some that misbehave."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar

from metalake_sync.apply.upload_executors.tasks import Answer, Task, content_of


def three_threads() -> Executor:
    return ThreadPoolExecutor(3)


class _Threads(Executor):
    """Two threads, which see each task before it is carried out and each answer after it."""

    _max_workers = 2
    seen: ClassVar[list[object]] = []
    """Tasks and answers of all executors since the list was cleared."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(self._max_workers)

    def submit(self, run: Callable[..., Any], /, *tasks: Any, **_: Any) -> Future[Any]:
        (task,) = tasks
        return self._threads.submit(self._carry_out, run, task)

    def _carry_out(self, run: Callable[..., Any], task: Task) -> Answer:
        _Threads.seen.append(task)
        answer = self.answer(run, task)
        _Threads.seen.append(answer)
        # As between processes: every message is pickled.
        return pickle.loads(pickle.dumps(answer))  # type: ignore[no-any-return]

    def answer(self, run: Callable[..., Any], task: Task) -> Answer:
        received: Answer = run(pickle.loads(pickle.dumps(task)))
        return received

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait, cancel_futures=cancel_futures)


Recording = _Threads


class OldWorkers(_Threads):
    """Workers of another version."""

    def answer(self, run: Callable[..., Any], task: Task) -> Answer:
        return super().answer(run, replace(task, versions=("0.0.1", *task.versions[1:])))


class BlindWorkers(_Threads):
    """Workers that do not see the files."""

    def answer(self, run: Callable[..., Any], task: Task) -> Answer:
        if task.kind == "put":
            *others, rows = content_of(task.body)
            elsewhere = [(row[0], f"/not-mounted{row[1]}", *row[2:]) for row in rows]
            task = replace(task, body=pickle.dumps((*others, elsewhere)))
        return super().answer(run, task)


class LossyWorkers(_Threads):
    """Workers that die after a task, before they answer: each kind of task once."""

    lost: ClassVar[set[str]] = set()

    def answer(self, run: Callable[..., Any], task: Task) -> Answer:
        answer = super().answer(run, task)
        if task.kind != "hello" and task.kind not in LossyWorkers.lost:
            LossyWorkers.lost.add(task.kind)
            raise BrokenExecutor
        return answer


class DyingWorkers(_Threads):
    """Workers that always die."""

    def answer(self, run: Callable[..., Any], task: Task) -> Answer:
        if task.kind != "hello":
            raise BrokenExecutor
        return super().answer(run, task)


class FailingWorkers(_Threads):
    """Workers whose first task of each kind raises, although no task should."""

    failed: ClassVar[set[str]] = set()

    def answer(self, run: Callable[..., Any], task: Task) -> Answer:
        if task.kind != "hello" and task.kind not in FailingWorkers.failed:
            FailingWorkers.failed.add(task.kind)
            raise ZeroDivisionError
        return super().answer(run, task)
