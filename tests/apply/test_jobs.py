"""Waiting for a job of a lake that accepted the call and did nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metalake_sync.api import MetaLake
from metalake_sync.apply import jobs
from metalake_sync.embedded_lake.faults import FaultPlan
from metalake_sync.errors import UsageError
from tests.embedded_lake.talk import API_KEY, SECRET, png
from tests.end_to_end.world import World


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("crow.png", "jay.png"):
        (folder / name).write_bytes(png(salt=name.encode()))
    return folder


def spoil(world: World, *faults: dict[str, Any]) -> None:
    world.lake.faults.use(FaultPlan.model_validate({"faults": list(faults)}))


@pytest.mark.parametrize("times", [1, 2])
def test_a_session_that_was_completed_without_effect_is_completed_again(
    world: World, images: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(jobs, "REMINDER_S", 0.05)
    spoil(world, {"kind": "does_nothing", "route": "complete_upload", "times": times})
    with MetaLake(world.lake.url, API_KEY, SECRET) as lake:
        lake.upload_files_to_collection(images, "image", "birds")
    assert world.names() == ["crow.png", "jay.png"]
    assert world.lake.requests.of("complete_upload") == times + 1


def test_a_job_that_the_lake_does_not_know_yet_is_waited_for(
    world: World, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "REMINDER_S", 0.05)
    spoil(world, {"kind": "status", "status": 404, "route": "job_status", "times": 6})
    with MetaLake(world.lake.url, API_KEY, SECRET) as lake:
        lake.upload_files_to_collection(images, "image", "birds")
    assert world.names() == ["crow.png", "jay.png"]


def test_an_unexpected_unknown_job_fails_at_once(world: World) -> None:
    with (
        MetaLake(world.lake.url, API_KEY, SECRET) as lake,
        pytest.raises(UsageError, match="no job"),
    ):
        lake.wait_for_job_complete("65f000000000000000000000")


def test_a_job_in_progress_is_not_requested_again(world: World, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "REMINDER_S", 0.0)
    with MetaLake(world.lake.url, API_KEY, SECRET) as lake:
        lake.upload_files_to_collection(images, "image", "birds")
    assert world.lake.requests.of("complete_upload") == 1
