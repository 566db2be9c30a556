"""Waits for jobs of the lake. An upload session is done when its job is, not when its bytes are uploaded."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from metalake_sync.errors import ExitCode, LakeError, LakeRejected
from metalake_sync.protocol.wire import JobStatus
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_calls import NOT_FOUND_STATUSES

FIRST_POLL_S = 0.02
LONGEST_POLL_S = 5.0
GROWTH = 1.6
STANDSTILL_S = 1800.0
"""Seconds without progress after which a job is left to the next run."""

REMINDER_S = 10.0
"""Seconds after which the request for a job that has not begun is repeated. A lake may accept it and do nothing."""


class JobStalled(LakeError):
    """A job of the lake makes no progress. The upload is in the journal, so that a later run finishes it."""

    exit_code = ExitCode.LAKE_AWAY


async def wait_for_job(client: LakeClient, job_id: str, ask_again: Callable[[], object] | None = None) -> None:
    """Return when the job is completed. The pauses between polls grow to some seconds.

    `ask_again`: requests the job once more, which is harmless if the lake has it. It is called at growing intervals
    while the job has not begun. Until then, the lake may not know the job. Raises LakeRejected if the job failed,
    JobStalled if it makes no progress for half an hour.
    """
    pause_s, reminder_s = FIRST_POLL_S, REMINDER_S
    seen: tuple[JobStatus, float] | None = None
    moved_at = asked_at = time.monotonic()
    while True:
        status, progress = await asyncio.to_thread(_status, client, job_id, expected=ask_again is not None)
        match status:
            case JobStatus.COMPLETED:
                return
            case JobStatus.FAILED:
                raise LakeRejected(f"the lake's job {job_id} failed", status=200)
            case JobStatus.IN_PROGRESS | JobStatus.QUEUED:
                pass
        now = time.monotonic()
        if (status, progress) != seen:
            seen, moved_at = (status, progress), now
        elif now - moved_at > STANDSTILL_S:
            raise JobStalled(
                f"the lake's job {job_id} has been at {progress:.0f} % for half an hour",
                remedy="Run apply again later. It continues from here.",
            )
        if ask_again is not None and status is JobStatus.QUEUED and now - asked_at > reminder_s:
            asked_at, reminder_s = now, 2 * reminder_s
            # A lake that rejects the second request has the job, and the next poll returns its status.
            with contextlib.suppress(LakeRejected):
                await asyncio.to_thread(ask_again)
        await asyncio.sleep(pause_s)
        pause_s = min(LONGEST_POLL_S, pause_s * GROWTH)


def _status(client: LakeClient, job_id: str, *, expected: bool) -> tuple[JobStatus, float]:
    """A job's status and progress. A job that is `expected` and unknown to the lake counts as queued."""
    try:
        answer = client.job_status(job_id)
    except LakeRejected as rejection:
        if expected and rejection.status in NOT_FOUND_STATUSES:
            return JobStatus.QUEUED, 0.0
        raise
    return answer.status, answer.progress
