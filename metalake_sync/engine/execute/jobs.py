"""Waiting for the lake: an upload session is done when its job is, not when its bytes are there."""

from __future__ import annotations

import asyncio
import time

from metalake_sync.errors import LakeRefused, SyncError
from metalake_sync.protocol.wire import JobStatus
from metalake_sync.remote.client import LakeClient

FIRST_POLL_S = 0.02
LONGEST_POLL_S = 5.0
GROWTH = 1.6
STANDSTILL_S = 1800.0
"""A job that makes no progress for so long is left to the next run."""


class JobStandsStill(SyncError):
    """The lake works on a job without any progress. What was sent is journalled; a later run finishes it."""


async def wait_for_job(client: LakeClient, job_id: str) -> None:
    """Return when the job is completed. Polls are short at first and grow to some seconds.

    Raises LakeRefused if the job failed, JobStandsStill if it makes no progress for half an hour.
    """
    pause_s = FIRST_POLL_S
    seen: tuple[JobStatus, float] | None = None
    moved_at = time.monotonic()
    while True:
        answer = await asyncio.to_thread(client.job_status, job_id)
        match answer.status:
            case JobStatus.COMPLETED:
                return
            case JobStatus.FAILED:
                raise LakeRefused(f"the lake's job {job_id} failed", status=200)
            case JobStatus.IN_PROGRESS | JobStatus.QUEUED:
                pass
        if (answer.status, answer.progress) != seen:
            seen, moved_at = (answer.status, answer.progress), time.monotonic()
        elif time.monotonic() - moved_at > STANDSTILL_S:
            raise JobStandsStill(
                f"the lake's job {job_id} has stood at {answer.progress:.0f} % for half an hour",
                remedy="Run apply again later: it goes on from here.",
            )
        await asyncio.sleep(pause_s)
        pause_s = min(LONGEST_POLL_S, pause_s * GROWTH)
