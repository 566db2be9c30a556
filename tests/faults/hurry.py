"""Pauses of a run made short, for runs that meet many faults. What is done is the same, only sooner."""

from __future__ import annotations

PATIENCE_S = 1.5
STALL_S = 1.0


def hurry() -> None:
    """Shorten what this process waits for: pauses between tries, silence of a connection, a job that stands still."""
    from metalake_sync import project as session
    from metalake_sync.apply import executor as run
    from metalake_sync.apply import jobs
    from metalake_sync.remote import retry
    from metalake_sync.remote.http import limits, sync_http

    paused = retry.delay_s

    def soon(attempt: int, policy: retry.RetryPolicy, unit_random: float, retry_after_s: float | None) -> float:
        return max(paused(attempt, policy, unit_random, None) / 10, retry_after_s or 0.0)

    retry.delay_s = soon
    for module, name in (
        (session, "START_RETRY_TIMEOUT_S"),
        (session, "RUN_RETRY_TIMEOUT_S"),
        (run, "RUN_RETRY_TIMEOUT_S"),
    ):
        setattr(module, name, PATIENCE_S)
    limits.STALL_S = STALL_S
    limits.SLOWEST_BYTES_S = 10e6
    sync_http.TIMEOUTS_S = (limits.CONNECT_TIMEOUT_S, STALL_S)
    jobs.REMINDER_S = 0.2
    jobs.STANDSTILL_S = PATIENCE_S


AGED_AFTER_NS = 20_000_000


def files_age_quickly() -> None:
    """Let a file count as old enough to be told by its times after 20 ms instead of two seconds."""
    from metalake_sync.sources import hashing

    hashing.RACY_NS = AGED_AFTER_NS
