"""Work outside of the event loop: its thread, its progress, its result or its error, and the tasks that wait for
changes.

Owns: the life of one piece of work. Must not: know what the work is.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, Literal, TypeAlias, TypeVar

from metalake_sync.errors import Interrupted, SyncError

ResultT = TypeVar("ResultT")

WorkState: TypeAlias = Literal["working", "done", "failed", "cancelled"]


class Changes:
    """Counts changes, and wakes the tasks that wait for the next one."""

    def __init__(self) -> None:
        self.number = 0
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Event] = set()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use this event loop. Before that, changes are only counted."""
        self._loop = loop

    def add(self) -> None:
        """Count a change. Called from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """End all waiting. Called in the event loop."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self.number += 1
        for event in self._waiting:
            event.set()

    async def after(self, number: int, timeout_s: float) -> None:
        """Wait until there are more than `number` changes, or for the timeout."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            if self.number <= number and not self.closed:
                async with asyncio.timeout(timeout_s):
                    await event.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(event)


class Work(Generic[ResultT]):
    """One piece of work in a thread. Its attributes are read from any thread."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._cancelled = threading.Event()
        self._ended = threading.Event()
        self.state: WorkState = "working"
        self.step = ""
        """What the work does at the moment."""
        self.error: SyncError | None = None
        self.result: ResultT | None = None

    def start(self, executor: Executor, work: Callable[[], ResultT]) -> None:
        """Call `work` in a thread of the executor."""

        def run() -> None:
            try:
                if self.is_cancelled():
                    raise Interrupted.by_program()
                self.result = work()
                self.state = "done"
            except Interrupted as error:
                self.error, self.state = error, "cancelled"
            except SyncError as error:
                self.error, self.state = error, "failed"
            except Exception as error:  # noqa: BLE001 - its message may have secrets, so only its kind is shown
                self.error = SyncError(
                    f"internal error: {type(error).__name__}",
                    remedy="Please report it, with what you did before.",
                )
                self.state = "failed"
            finally:
                self.step = ""
                self._ended.set()
                self._changes.add()

        executor.submit(run)
        self._changes.add()

    def cancel(self) -> None:
        """Ask the work to end soon."""
        self._cancelled.set()
        self._changes.add()

    def is_cancelled(self) -> bool:
        """Whether `cancel` was called. The work checks it a few times a second."""
        return self._cancelled.is_set()

    @property
    def is_working(self) -> bool:
        return self.state == "working"

    def tell(self, step: str) -> None:
        """Say what the work does now. Called by the work."""
        self.step = step
        self._changes.add()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end. Returns whether the work ended."""
        return self._ended.wait(timeout_s)
