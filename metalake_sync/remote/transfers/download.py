"""Downloads many files at once in one event loop.

Owns: how far a failure reaches: a failure of one file is an outcome, and the other files continue; a failure of the run
is raised. Must not: list, decide which files to download, or choose their names.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from types import TracebackType
from typing import TypeAlias

from metalake_sync.errors import LakeAnswerInvalid, LakeRejected, SignedUrlExpired, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.async_calls import AsyncCalls
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.transfers.file_download import DownloadChannel, FileDownload, FileFetched, FileToFetch
from metalake_sync.remote.transfers.limits import Bandwidth
from metalake_sync.remote.transfers.partial import PartialFiles
from metalake_sync.remote.transfers.workers import Lane, WeightedSemaphore, run_side_by_side


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """One file could not be downloaded."""

    file: FileToFetch
    error: SyncError
    retryable: bool
    """A later run may succeed although nothing was changed."""


FetchOutcome: TypeAlias = FileFetched | FetchFailed


class Downloads:
    """Fetches files. Used as an async context manager.

    `parallelism`: files in flight at once. `rate_limit_bytes_s`: None means no limit. `received`: called with the
    number of bytes of each chunk, in the event loop's thread.
    """

    def __init__(
        self,
        address: LakeAddress,
        *,
        retry: RetryPolicy,
        parallelism: int = 32,
        counter: RequestCounter | None = None,
        rate_limit_bytes_s: float | None = None,
        received: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._parallelism = parallelism
        calls = AsyncCalls(address, retry=retry, connections=parallelism, counter=counter or RequestCounter())
        self._channel = DownloadChannel(calls, Bandwidth(rate_limit_bytes_s), received)

    async def __aenter__(self) -> Downloads:
        await self._channel.calls.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.calls.__aexit__(kind, error, trace)

    async def fetch(self, files: Iterable[FileToFetch], partials: PartialFiles) -> AsyncGenerator[FetchOutcome, None]:
        """Fetch files and yield their outcomes as they finish. `files` may block: it is read in a thread.

        Raises failures of the run: rejected credentials, an unreachable lake, a full disk.
        """
        source: Iterator[FileToFetch] = iter(files)

        async def take() -> FileToFetch | None:
            return await asyncio.to_thread(next, source, None)

        places = WeightedSemaphore(lambda: self._parallelism)
        fetched = run_side_by_side([Lane(take)], lambda file: self._outcome(file, partials), places)
        async with aclosing(fetched) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async def _outcome(self, file: FileToFetch, partials: PartialFiles) -> FetchOutcome:
        try:
            return await FileDownload(self._channel, file, partials).run()
        except (SignedUrlExpired, LakeAnswerInvalid) as error:
            return FetchFailed(file, error, retryable=True)
        except LakeRejected as error:
            return FetchFailed(file, error, retryable=error.status >= 500)
        except (IsADirectoryError, NotADirectoryError, PermissionError, FileNotFoundError) as error:
            problem = f"the file cannot be moved to its path ({error.strerror})"
            return FetchFailed(file, SyncError(problem, where=str(file.path)), retryable=False)
        except OSError as error:
            raise SyncError(
                f"the folder cannot be written ({error.strerror})",
                where=str(file.path.parent),
                remedy="Run the command again to continue. Complete files are kept.",
            ) from None
