"""Decides whether a run sends its files through workers, and opens the executor.

Must not: import what only workers need, unless there are workers.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from metalake_sync.apply.upload_executors.base import UploadExecutor
from metalake_sync.apply.upload_executors.in_process import InProcessExecutor
from metalake_sync.core.plan import Plan
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.credential_origin import CredentialOrigin
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.transfers.upload import Transfer
from metalake_sync.remote.transfers.upload_files import SMALL_BYTES

FEWEST_FILES = 1000
"""With fewer small files to send, workers would not be ready before this process is done."""


@dataclass(frozen=True, slots=True)
class WorkerChoice:
    """The workers that the command line or the manifest asks for."""

    workers: str
    """A number, or `package.module:factory`."""
    origin: CredentialOrigin


@contextlib.asynccontextmanager
async def open_executor(
    transfer: Transfer,
    choice: WorkerChoice | None,
    plan: Plan,
    address: LakeAddress,
    counter: RequestCounter,
    tell: Callable[[str], None],
    bytes_per_s: float | None,
) -> AsyncIterator[UploadExecutor]:
    """Yield the executor of a run. Its workers end with the block. Raises UsageError if workers cannot be opened.

    `tell`: receives a sentence when workers are not used any more.
    """
    if choice is None or _small_files(plan) < FEWEST_FILES:
        yield InProcessExecutor(transfer)
        return
    from metalake_sync.apply.upload_executors.pools import opener_of
    from metalake_sync.apply.upload_executors.slices import WorkerExecutor
    from metalake_sync.apply.upload_executors.tasks import WorkerSetup

    open_pool = opener_of(choice.workers)
    if open_pool is None:
        yield InProcessExecutor(transfer)
        return
    setup = WorkerSetup(address.url, address.generation, address.trust, choice.origin)
    async with WorkerExecutor(transfer, open_pool, setup, counter, tell, bytes_per_s) as executor:
        yield executor


def _small_files(plan: Plan) -> int:
    return sum(
        upload.file.fingerprint.size_bytes <= SMALL_BYTES for part in plan.collections for upload in part.uploads
    )
