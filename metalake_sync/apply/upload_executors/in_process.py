"""The executor that sends all slices from this process, in the event loop of the run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from metalake_sync.apply.upload_executors.base import SliceJournal, UploadSlice
from metalake_sync.remote.transfers.upload import Transfer
from metalake_sync.remote.transfers.upload_files import Outcome


class InProcessExecutor:
    """Sends slices through one `Transfer`. All slices share its connections and its rate control."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer

    @property
    def parallelism(self) -> int | None:
        return self._transfer.parallelism

    def upload(
        self, part: UploadSlice, journal: SliceJournal, last_files_started: Callable[[], None]
    ) -> AsyncGenerator[Outcome, None]:
        return self._transfer.upload(part.session, part.files, journal, last_files_started)
