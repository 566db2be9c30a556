"""Opens the processes that send files: local ones (loky), those of a Dask scheduler, or any
`concurrent.futures.Executor` that a function returns.

Owns: which library a value of `--workers` needs, and ending its processes. Must not: know what a task does.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import os
from collections.abc import Callable
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from metalake_sync.core.hosts import is_loopback
from metalake_sync.errors import UsageError, WorkersUnreachable
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.redaction import describe

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
    if "://" in workers:
        return dask_scheduler(workers)
    module, colon, name = workers.partition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        return from_factory(module, name)
    raise UsageError(
        f"'{workers}' does not name workers",
        where="workers",
        remedy="Write a number of processes, tls://HOST:PORT of a Dask scheduler, or package.module:factory for a"
        " function that returns an Executor.",
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


CONNECT_S = 30.0
"""How long a scheduler may take to answer, in seconds."""


def dask_scheduler(address: str) -> PoolOpener:
    """The workers of a Dask scheduler at `tcp://HOST:PORT` or `tls://HOST:PORT`.

    Raises UsageError for plain TCP to another machine: tasks have paths and signed URLs.
    """
    host = urlsplit(address).hostname or ""
    if address.startswith("tcp:") and not is_loopback(host):
        raise UsageError(
            f"tasks would go to {host} without encryption",
            where="workers",
            remedy="Give the scheduler TLS, and write tls://. Dask's settings in distributed.comm.tls name the keys.",
        )
    try:
        import distributed
    except ImportError:
        raise UsageError(
            "a Dask scheduler needs the package 'distributed'",
            where="workers",
            remedy="Install it: pip install 'metalake-sync[dask]'.",
        ) from None

    # Its package has types, but these functions have none.
    untyped: Any = distributed

    def open_pool() -> Pool:
        try:
            client = untyped.Client(address, timeout=CONNECT_S, set_as_default=False)
            threads = sum(client.nthreads().values())
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            raise WorkersUnreachable(
                f"the Dask scheduler cannot be reached ({describe(error)})",
                where=address,
                remedy="Check the scheduler, then apply again. Finished work is recorded.",
            ) from None
        # A task is repeated by the run, which knows what it did.
        executor = client.get_executor(pure=False, retries=0)
        return Pool(executor, threads, client.close)

    return open_pool


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
