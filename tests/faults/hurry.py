"""Shortens the pauses of a run, for tests with many faults. A run does the same as before, only sooner."""

from __future__ import annotations

RETRY_TIMEOUT_S = 1.5
STALL_S = 1.0


def shorten_pauses() -> None:
    """Shorten the pauses of this process before it asks once more. A busy machine makes no difference to them."""
    from metalake_sync.apply import jobs
    from metalake_sync.remote import retry

    paused = retry.delay_s

    def soon(attempt: int, policy: retry.RetryPolicy, unit_random: float, retry_after_s: float | None) -> float:
        return max(paused(attempt, policy, unit_random, None) / 10, retry_after_s or 0.0)

    retry.delay_s = soon
    jobs.REMINDER_S = 0.2


def shorten_lease() -> None:
    """Let the lease of a killed run expire soon. Call it only where no two runs are alive at the same time: a busy
    machine may renew a lease too late."""
    from metalake_sync.state.shared import lease

    lease.EXPIRES_S, lease.RENEW_EVERY_S, lease.LOOK_EVERY_S = 0.4, 0.1, 0.02


def shorten_timeouts() -> None:
    """Let this process give up early on a lake that does not answer, a connection that does not move, and a job that
    stands still. A busy machine may look like that too, so only runs that may fail call this."""
    from metalake_sync import engine
    from metalake_sync.apply import executor, jobs, run
    from metalake_sync.remote.http import limits, sync_http

    for module, name in (
        (engine, "START_RETRY_TIMEOUT_S"),
        (run, "RUN_RETRY_TIMEOUT_S"),
        (executor, "RUN_RETRY_TIMEOUT_S"),
    ):
        setattr(module, name, RETRY_TIMEOUT_S)
    limits.STALL_S = STALL_S
    limits.SLOWEST_BYTES_S = 10e6
    sync_http.TIMEOUTS_S = (limits.CONNECT_TIMEOUT_S, STALL_S)
    jobs.STANDSTILL_S = RETRY_TIMEOUT_S


AGED_AFTER_NS = 20_000_000


def files_age_quickly() -> None:
    """Let a file count as old enough to be told by its times after 20 ms instead of two seconds."""
    from metalake_sync.sources import hashing

    hashing.RACY_NS = AGED_AFTER_NS
