"""The lake that the pages read: opened when a page needs it, and closed when no page has read it for a while.

Owns: the open lake, who uses it, and the threads that read it. An embedded lake locks its folder while it is open, so
it is closed sooner, and during a plan or a run of this server. Must not: know a page, or write into the lake.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from metalake_sync.engine import Engine
from metalake_sync.errors import GuardStopped
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.client import LakeClient
from metalake_sync.report.image_files import LakeImages

THREADS = 4
"""How many calls and images are read from the lake at the same time."""

IDLE_S = 60.0
IDLE_EMBEDDED_S = 1.0
"""How long a lake stays open that no page reads."""

RETRY_TIMEOUT_S = 5.0
"""How long a page retries an unreachable lake."""

WAIT_S = 30.0
"""How long a page waits for the end of a plan that has an embedded lake open."""


class OpenLake:
    """An open lake of a manifest."""

    def __init__(self, engine: Engine, client: LakeClient) -> None:
        self.engine = engine
        self.client = client
        self._images: queue.LifoQueue[LakeImages] = queue.LifoQueue()

    @contextlib.contextmanager
    def images(self) -> Iterator[LakeImages]:
        """Borrow a reader of images, which reads one at a time."""
        try:
            reader = self._images.get_nowait()
        except queue.Empty:
            reader = LakeImages(self.client.address)
        try:
            yield reader
        finally:
            self._images.put(reader)

    def close(self) -> None:
        """Close the readers of images. Called when none is borrowed."""
        while not self._images.empty():
            self._images.get_nowait().__exit__(None, None, None)


class LakeReader:
    """Opens the lake of a manifest for pages. `open_engine`: reads the manifest as it is now."""

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        self._open_engine = open_engine
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ui lake")
        self._changed = threading.Condition()
        self._lake: OpenLake | None = None
        self._stack = contextlib.ExitStack()
        self._users = 0
        self._is_held = False
        self.opened = 0
        """How often the lake was opened. What was read before may be outdated."""
        self._uses = 0
        """How often the lake was used, so that a timer sees whether it was used since."""
        self._timer: threading.Timer | None = None

    @contextlib.contextmanager
    def using(self) -> Iterator[OpenLake]:
        """The open lake. Raises what opening it raises, and GuardStopped while a run holds an embedded lake."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._is_held, WAIT_S):
                raise GuardStopped("the lake is in use by a plan or a run", remedy="Wait until it ends.")
            if self._lake is None:
                self._lake = self._opened()
            lake = self._lake
            self._users += 1
        try:
            yield lake
        finally:
            with self._changed:
                self._users -= 1
                self._uses += 1
                self._changed.notify_all()
                if not self._users:
                    self._close_later(self._uses)

    @contextlib.contextmanager
    def released(self, engine: Engine) -> Iterator[None]:
        """During the block, an embedded lake is closed here, so that a plan or a run can open it."""
        if not engine.manifest.model.remote.embedded:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._is_held)
            self._is_held = True
            self._changed.wait_for(lambda: not self._users)
            self._close()
        try:
            yield
        finally:
            with self._changed:
                self._is_held = False
                self._changed.notify_all()

    def _opened(self) -> OpenLake:
        engine = self._open_engine()
        # A page waits for the lake, and so does everything that needs the lock.
        engine = replace(engine, options=replace(engine.options, retry_for_s=RETRY_TIMEOUT_S))
        with contextlib.ExitStack() as stack:
            lake = OpenLake(engine, stack.enter_context(engine.reach()))
            stack.callback(lake.close)
            self._stack = stack.pop_all()
        self.opened += 1
        return lake

    def _close_later(self, uses: int) -> None:
        """Close the lake after a while, unless it is used again. Called with the lock."""
        assert self._lake is not None, "the lake was just used"
        if self._timer is not None:
            self._timer.cancel()
        embedded = self._lake.engine.manifest.model.remote.embedded
        self._timer = threading.Timer(IDLE_EMBEDDED_S if embedded else IDLE_S, self._close_unused, (uses,))
        self._timer.daemon = True
        self._timer.start()

    def _close_unused(self, uses: int) -> None:
        with self._changed:
            if self._uses == uses and not self._users:
                self._close()

    def _close(self) -> None:
        self._lake = None
        self._stack.close()

    def forget(self) -> None:
        """Close the lake, so that the next page reads the manifest and the lake again."""
        with self._changed:
            self._changed.wait_for(lambda: not self._users)
            self._close()

    def close(self) -> None:
        """Close the lake and end the threads."""
        self.threads.shutdown()
        if self._timer is not None:
            self._timer.cancel()
        self.forget()


@dataclass(frozen=True, slots=True)
class ImageOfLake:
    """An image that is read from the lake when it is opened."""

    reader: LakeReader
    unique_name: str
    size_bytes: int | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[str]:
        with (
            self.reader.using() as lake,
            lake.images() as images,
            images.image(self.unique_name, self.size_bytes).opened() as path,
        ):
            yield path


@dataclass(frozen=True, slots=True)
class ImagesOfLake:
    """What a plan needs to draw images of the lake (`report.planned_images.ReadsLakeImages`)."""

    reader: LakeReader

    def image(self, unique_name: str, size_bytes: int | None = None) -> ImageOfLake:
        """Return an image of the lake. Nothing is read yet."""
        return ImageOfLake(self.reader, unique_name, size_bytes)
