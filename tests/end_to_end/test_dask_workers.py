"""Applies that send their files through the workers of a Dask scheduler."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from typing import Any

import pytest

from metalake_sync.apply.upload_executors import pools, slices
from metalake_sync.errors import ExitCode, UsageError, WorkersUnreachable
from tests.embedded_lake.talk import API_KEY, SECRET
from tests.end_to_end.test_workers import FILES, _ready_at_once, _workers_from_the_first_file, all_sent, apply
from tests.end_to_end.world import World

distributed = pytest.importorskip("distributed")

__all__ = ["_ready_at_once", "_workers_from_the_first_file"]


@pytest.fixture
def cluster(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two worker processes with the credentials in their environment."""
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=False
    ) as cluster:
        yield cluster


@pytest.mark.usefixtures("_ready_at_once")
def test_dask_workers_send_all_files_and_log_no_credential(world: World, cluster: Any) -> None:
    ended = apply(world, cluster.scheduler_address)
    logs = " ".join(map(str, cluster.get_logs().values()))
    assert ended.told == []
    all_sent(world, ended)
    assert logs
    for secret in (API_KEY, SECRET, base64.b64encode(f"{API_KEY}:{SECRET}".encode()).decode(), "f001.jpg"):
        assert secret not in logs


@pytest.mark.long
@pytest.mark.usefixtures("_ready_at_once")
def test_a_killed_dask_worker_costs_nothing(world: World, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = slices.WorkerExecutor.ask
    asked: list[str] = []

    async def with_a_kill(self: slices.WorkerExecutor, kind: Any, *args: Any) -> Any:
        asked.append(kind)
        if len(asked) == 3:
            one = next(iter(cluster.workers.values()))
            os.kill(one.process.process.pid, 9)
        return await ask(self, kind, *args)

    monkeypatch.setattr(slices.WorkerExecutor, "ask", with_a_kill)
    all_sent(world, apply(world, cluster.scheduler_address))
    assert len(asked) > 3


@pytest.mark.long
@pytest.mark.usefixtures("_ready_at_once")
def test_a_scheduler_that_ends_stops_the_run_which_a_later_one_finishes(
    world: World, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = slices.WorkerExecutor.ask
    asked: list[str] = []

    async def without_scheduler(self: slices.WorkerExecutor, kind: Any, *args: Any) -> Any:
        asked.append(kind)
        if len(asked) == 3:
            monkeypatch.setattr(pools, "CONNECT_S", 0.5)
            cluster.close()
        return await ask(self, kind, *args)

    monkeypatch.setattr(slices.WorkerExecutor, "ask", without_scheduler)
    with pytest.raises(WorkersUnreachable, match="the Dask scheduler cannot be reached") as error:
        apply(world, cluster.scheduler_address)
    assert error.value.exit_code == ExitCode.LAKE_AWAY
    ended = apply(world, None)
    assert ended.applied.finished.done.upload <= FILES
    all_sent(world, ended)


def test_plain_tcp_to_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match="tasks would go to scheduler.example without encryption"):
        pools.opener_of("tcp://scheduler.example:8786")


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CONNECT_S", 0.1)
    opened = pools.opener_of("tcp://127.0.0.1:9")
    assert opened is not None
    with pytest.raises(WorkersUnreachable, match="the Dask scheduler cannot be reached"):
        opened()
