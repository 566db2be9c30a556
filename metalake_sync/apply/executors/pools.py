"""Opens the processes that send files: local ones (loky), or any `concurrent.futures.Executor` that a function returns.

Owns: which library a value of `--workers` needs, and ending its processes. Must not: know what a task does.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import os
from collections.abc import Callable
from typing import Any, Protocol, cast

from metalake_sync.errors import UsageError
from metalake_sync.lazy_dataclass import dataclass

MOST_WORKERS = 256


@dataclass(frozen=True, slots=True)
class Pool:
    """Open workers."""

    executor: concurrent.futures.Executor
    workers: int
    """How many tasks can run at once."""
    end: Callable[[], None]
    """Ends the workers, also those that are at work. May block; called in a thread."""


class PoolOpener(Protocol):
    """Opens a pool, again after one broke."""

    def __call__(self) -> Pool: ...


def opener_of(workers: str) -> PoolOpener | None:
    """Return what opens the workers of `--workers`, or None for no workers. Raises UsageError for an invalid value."""
    if workers.isascii() and workers.isdigit():
        number = int(workers)
        if number > MOST_WORKERS:
            raise UsageError(f"'{workers}' is more than {MOST_WORKERS} workers", where="workers")
        return local_processes(number) if number else None
    module, colon, name = workers.partition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        return from_factory(module, name)
    raise UsageError(
        f"'{workers}' does not name workers",
        where="workers",
        remedy="Write a number of processes, or package.module:factory for a function that returns an Executor.",
    )


def local_processes(number: int) -> PoolOpener:
    """Processes of this machine."""
    try:
        import loky
    except ImportError:
        raise UsageError(
            "workers need the package 'loky'",
            where="workers",
            remedy="Install it: pip install 'metalake-sync[workers]'.",
        ) from None

    def open_pool() -> Pool:
        executor = loky.ProcessPoolExecutor(number, timeout=None, initializer=end_with, initargs=(os.getpid(),))
        return Pool(executor, number, lambda: executor.shutdown(wait=True, kill_workers=True))

    return open_pool


def end_with(coordinator: int) -> None:
    """Make this worker end with its coordinator, and only then.

    Ctrl-C on a terminal reaches every process. The coordinator decides what to finish, so its workers ignore it.
    """
    import select
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        watched = os.pidfd_open(coordinator)
    except (OSError, AttributeError):
        os._exit(1)

    def wait() -> None:
        waiting = select.poll()
        waiting.register(watched, select.POLLIN)
        waiting.poll()
        os._exit(1)

    threading.Thread(target=wait, name="coordinator", daemon=True).start()


def from_factory(module: str, name: str) -> PoolOpener:
    """The Executor that a function without arguments returns. Raises UsageError if there is no such function."""
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"'{module}:{name}' cannot be imported ({error})",
            where="workers",
            remedy="Name a function that returns a concurrent.futures.Executor.",
        ) from None
    factory = cast(Callable[[], object], found)

    def open_pool() -> Pool:
        executor = factory()
        if not isinstance(executor, concurrent.futures.Executor):
            raise UsageError(
                f"'{module}:{name}' returned {type(executor).__name__}, which is not a concurrent.futures.Executor",
                where="workers",
            )
        workers = getattr(executor, "_max_workers", None) or os.cpu_count() or 1
        return Pool(executor, int(workers), lambda: executor.shutdown(wait=False, cancel_futures=True))

    return open_pool
