"""The port for sending files: an `UploadExecutor` sends slices of open upload sessions.

Owns: what an executor receives and returns. Must not: know how a file is sent.

The coordinator opens, completes and records sessions, and alone writes the state. It cuts the files of a session into
slices. An executor sends a slice in two phases, so that a run that dies between them can resume:

1. Put: begin each file, upload its bytes, and hash them.
2. Finalize, only after the journal has returned for the file: then its row is on the disk. `about_to_finalize` takes
   one file, and waits a moment for others. `slice_about_to_finalize` takes many and waits for none.

Slices and outcomes are picklable values, so that an executor can send them to workers in other processes. The journal
stays with the coordinator: the executor calls it there, between the two phases.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.remote.transfers.upload_files import FileToSend, Outcome, TransferObserver, UploadSession
from metalake_sync.state.journal import AboutToFinalize


class SliceJournal(TransferObserver, Protocol):
    """Receives each step of a file, in the event loop of the coordinator, before the next step is taken."""

    async def slice_about_to_finalize(self, files: Sequence[AboutToFinalize]) -> None:
        """Return when all these files are journalled on the disk, in one transaction."""


@dataclass(frozen=True, slots=True)
class UploadSlice:
    """Some files of an open upload session."""

    session: UploadSession
    files: tuple[FileToSend, ...]

    def __repr__(self) -> str:
        """Kind and count only: schedulers log their tasks, and paths and upload ids do not belong in their logs."""
        return f"UploadSlice({len(self.files)} files)"


class UploadExecutor(Protocol):
    """Sends slices. Several slices may be sent at the same time."""

    @property
    def parallelism(self) -> int | None:
        """The maximum number of files in transfer at once. None means that the executor finds the best number."""

    def upload(
        self, part: UploadSlice, journal: SliceJournal, last_files_started: Callable[[], None]
    ) -> AsyncGenerator[Outcome, None]:
        """Send a slice. Yields one outcome per file, in any order, as soon as it is known.

        A failure that concerns one file is an outcome. An error that ends the run (an unreachable lake, rejected
        credentials) is raised, after the outcomes before it. `last_files_started`: called once, when the executor can
        begin with the next slice.
        """
