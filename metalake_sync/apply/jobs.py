"""Waiting for the lake: an upload session is done when its job is, not when its bytes are there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from metalake_sync.errors import ExitCode, LakeError, LakeRefused
from metalake_sync.protocol.wire import JobStatus
from metalake_sync.remote.client import NOTHING_THERE, LakeClient

FIRST_POLL_S = 0.02
LONGEST_POLL_S = 5.0
GROWTH = 1.6
STANDSTILL_S = 1800.0
"""A job that makes no progress for so long is left to the next run."""

REMINDER_S = 10.0
"""A job that is not begun by then may never have been asked for: a lake can say yes and do nothing."""


class JobStandsStill(LakeError):
    """The lake works on a job without any progress. What was sent is journalled; a later run finishes it."""

    exit_code = ExitCode.LAKE_AWAY


async def wait_for_job(client: LakeClient, job_id: str, ask_again: Callable[[], object] | None = None) -> None:
    """Return when the job is completed. Polls are short at first and grow to some seconds.

    `ask_again`: asks the lake for the job once more, which changes nothing where it has it. It is called while the job
    is not begun, at growing distances; until then the lake need not know the job. Raises LakeRefused if the job failed,
    JobStandsStill if it makes no progress for half an hour.
    """
    pause_s, reminder_s = FIRST_POLL_S, REMINDER_S
    seen: tuple[JobStatus, float] | None = None
    moved_at = asked_at = time.monotonic()
    while True:
        status, progress = await asyncio.to_thread(_stand, client, job_id, expected=ask_again is not None)
        match status:
            case JobStatus.COMPLETED:
                return
            case JobStatus.FAILED:
                raise LakeRefused(f"the lake's job {job_id} failed", status=200)
            case JobStatus.IN_PROGRESS | JobStatus.QUEUED:
                pass
        now = time.monotonic()
        if (status, progress) != seen:
            seen, moved_at = (status, progress), now
        elif now - moved_at > STANDSTILL_S:
            raise JobStandsStill(
                f"the lake's job {job_id} has stood at {progress:.0f} % for half an hour",
                remedy="Run apply again later: it goes on from here.",
            )
        if ask_again is not None and status is JobStatus.QUEUED and now - asked_at > reminder_s:
            asked_at, reminder_s = now, 2 * reminder_s
            # A lake that refuses to be asked twice has it, and its job says how it stands.
            with contextlib.suppress(LakeRefused):
                await asyncio.to_thread(ask_again)
        await asyncio.sleep(pause_s)
        pause_s = min(LONGEST_POLL_S, pause_s * GROWTH)


def _stand(client: LakeClient, job_id: str, *, expected: bool) -> tuple[JobStatus, float]:
    """A job's status and progress. One that is `expected` and not there yet waits to be begun."""
    try:
        answer = client.job_status(job_id)
    except LakeRefused as refusal:
        if expected and refusal.status in NOTHING_THERE:
            return JobStatus.QUEUED, 0.0
        raise
    return answer.status, answer.progress
