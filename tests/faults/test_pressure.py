"""A lake or a store that refuses calls: everything is sent, and nothing twice.

How many refusals a rate costs, and how much time, is tested in virtual time: `tests/remote/test_pacing.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from metalake_sync.embedded_lake.faults import FaultPlan
from tests.end_to_end.world import BIRDS, World

FILES = 60
PARALLELISM = 16


@pytest.fixture
def birds(world: World) -> World:
    world.images(*(f"{number:02}.png" for number in range(FILES)))
    world.manifest(BIRDS)
    return world


def spoil(world: World, **fault: Any) -> None:
    world.lake.faults.use(FaultPlan.model_validate({"seed": 7, "faults": [fault]}))


def applied(world: World) -> None:
    """Apply, and look what is in the lake."""
    world.good("apply", "manifest.yaml", "--parallelism", str(PARALLELISM))
    world.lake.faults.use(FaultPlan())
    assert len(world.names()) == FILES


@pytest.mark.parametrize(
    ("route", "files"), [("begin_file", FILES), ("finalize_file", FILES), ("put_part", FILES), ("open_upload", 1)]
)
@pytest.mark.parametrize(("status", "retry_after"), [(429, 0.1), (503, None)])
def test_a_refused_call_is_made_once_more_for_each_refusal(
    birds: World, route: str, files: int, status: int, retry_after: float | None
) -> None:
    times = 1 if files == 1 else None
    chance = 1.0 if files == 1 else 0.2
    spoil(birds, kind="status", status=status, retry_after=retry_after, route=route, chance=chance, times=times)
    applied(birds)
    refused = birds.lake.faults.injected["status"]
    assert refused
    assert birds.lake.requests.of(route) == files + refused


@pytest.mark.parametrize("route", ["lake", "store"])
def test_an_apply_comes_through_a_limit(birds: World, route: str) -> None:
    spoil(birds, kind="rate", per_second=50, route=route)
    applied(birds)
    refused = birds.lake.faults.injected["rate"] if route == "store" else 0
    assert birds.lake.requests.of("put_part") == FILES + refused
