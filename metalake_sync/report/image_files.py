"""Where the bytes of images come from: this disk, or the lake, read now through a signed URL.

Owns: reading them, and the sentences about images that are not available. Must not: let a signed URL or a path of this
machine get into a report.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.errors import SourceChanged, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.transfers.download import Downloads, FetchFailed
from metalake_sync.remote.transfers.file_download import FileToFetch
from metalake_sync.remote.transfers.partial import partial_files
from metalake_sync.report.model import ImageUnavailable
from metalake_sync.sources.hashing import hash_file

LAKE_IMAGE_LIMIT_BYTES = 100_000_000
"""A larger image of the lake is not read."""

RETRY_TIMEOUT_S = 20.0
"""A report does not wait long for one image."""


class Version(NamedTuple):
    """What a plan saw of a local file."""

    size_bytes: int
    mtime_ns: int
    content_hash: str | None = None
    """BLAKE3 (hex), or None if it is unknown. It proves equal bytes where the time differs, as on another disk."""

    def is_of(self, path: str, found: os.stat_result) -> bool:
        """Return whether a file still has this version. Reads the file only if nothing else can tell."""
        if self.size_bytes != found.st_size:
            return False
        if self.mtime_ns == found.st_mtime_ns:
            return True
        try:
            return self.content_hash is not None and hash_file(path, Fingerprint.of(found)) == self.content_hash
        except SourceChanged:
            return False


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image on this disk."""

    path: str
    """The path that opens it."""
    version: Version | None = None
    """What the plan saw. None: unknown."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[str]:
        try:
            found = os.stat(self.path)
        except OSError:
            raise ImageUnavailable("the file is not on this disk any more") from None
        if not stat.S_ISREG(found.st_mode):
            raise ImageUnavailable("it is not a regular file")
        if self.version is not None and not self.version.is_of(self.path, found):
            raise ImageUnavailable("the file changed after the plan was made")
        yield self.path


@dataclass(frozen=True, slots=True)
class MissingImage:
    """An image that is not available from the start."""

    why: str
    """A clause without a full stop."""

    def opened(self) -> contextlib.AbstractContextManager[str]:
        raise ImageUnavailable(self.why)


class _TooLarge(SyncError):
    """The lake's image is larger than LAKE_IMAGE_LIMIT_BYTES."""


class LakeImages:
    """Reads images of one lake, one at a time, into a temporary folder. Used as a context manager."""

    def __init__(self, address: LakeAddress, counter: RequestCounter | None = None) -> None:
        self._received = 0
        self._downloads = Downloads(
            address,
            retry=RetryPolicy(give_up_after_s=RETRY_TIMEOUT_S),
            parallelism=1,
            counter=counter,
            received=self._count,
        )
        self._stack = contextlib.ExitStack()
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> LakeImages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            self._runner.run(self._downloads.__aexit__(None, None, None))
        self._stack.close()

    def image(self, unique_name: str, size_bytes: int | None = None) -> LakeImage:
        """Return a file of the lake. `size_bytes`: None if it is unknown."""
        return LakeImage(self, unique_name, size_bytes)

    def fetch(self, unique_name: str) -> Path:
        """Read a file of the lake into the temporary folder. Raises ImageUnavailable."""
        self._received = 0
        try:
            return self._run(unique_name)
        except _TooLarge:
            raise ImageUnavailable(_too_large()) from None
        except SyncError:
            # The error names the lake, and may quote its answer.
            raise ImageUnavailable("it could not be read from the lake") from None

    def _run(self, unique_name: str) -> Path:
        if self._runner is None:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="metalake-sync-")))
            self._partials = self._stack.enter_context(partial_files(self._folder))
            self._runner = self._stack.enter_context(asyncio.Runner())
            self._runner.run(self._downloads.__aenter__())
        target = self._folder / "image"
        wanted = FileToFetch(unique_name, target, key=unique_name)

        async def fetch() -> None:
            async with aclosing(self._downloads.fetch([wanted], self._partials)) as outcomes:
                async for outcome in outcomes:
                    if isinstance(outcome, FetchFailed):
                        raise outcome.error

        self._runner.run(fetch())
        return target

    def _count(self, size_bytes: int) -> None:
        self._received += size_bytes
        if self._received > LAKE_IMAGE_LIMIT_BYTES:
            raise _TooLarge(_too_large())


@dataclass(frozen=True, slots=True)
class LakeImage:
    """An image in the lake. Only one is open at a time."""

    lake: LakeImages
    unique_name: str
    size_bytes: int | None

    @contextlib.contextmanager
    def opened(self) -> Iterator[str]:
        if self.size_bytes is not None and self.size_bytes > LAKE_IMAGE_LIMIT_BYTES:
            raise ImageUnavailable(_too_large())
        path = self.lake.fetch(self.unique_name)
        try:
            yield str(path)
        finally:
            path.unlink(missing_ok=True)


def _too_large() -> str:
    return f"it is larger than {LAKE_IMAGE_LIMIT_BYTES // 1_000_000} MB"
