"""A lake or a store that allows only so many requests: it is not hammered, and the work gets done."""

from __future__ import annotations

from typing import Any

import pytest

from metalake_sync.lake.faults import FaultPlan
from tests.end_to_end.world import BIRDS, World

FILES = 60
PARALLELISM = 16


@pytest.fixture
def birds(world: World) -> World:
    world.pictures(*(f"{number:02}.png" for number in range(FILES)))
    world.manifest(BIRDS)
    return world


def allow(world: World, *rates: dict[str, Any]) -> None:
    world.lake.faults.use(FaultPlan.model_validate({"faults": [{"kind": "rate", **rate} for rate in rates]}))


@pytest.mark.parametrize("retry_after", [None, 0.1])
def test_a_lake_that_allows_so_many_calls_is_not_hammered(birds: World, retry_after: float | None) -> None:
    allow(birds, {"route": "lake", "per_second": 50, "retry_after": retry_after})
    birds.good("apply", "manifest.yaml", "--parallelism", str(PARALLELISM))
    asked = sum(birds.lake.requests.counts.values())
    refused = birds.lake.faults.injected["rate"]
    # Each file takes three calls to the lake and one to the store; the first burst does not know the rate.
    assert asked - refused >= 4 * FILES
    assert 0 < refused <= PARALLELISM + 0.15 * asked, (refused, asked)
    assert birds.lake.requests.of("put_part") == FILES
    # The rate is one for us, too.
    allow(birds)
    assert len(birds.names()) == FILES


def test_a_store_that_is_slow_to_take_does_not_slow_the_lakes_calls(birds: World) -> None:
    allow(birds, {"route": "store", "per_second": 40})
    birds.good("apply", "manifest.yaml", "--parallelism", str(PARALLELISM))
    assert len(birds.names()) == FILES
    refused = birds.lake.faults.injected["rate"]
    assert 0 < refused <= PARALLELISM + 0.15 * (FILES + refused), refused
    assert birds.lake.requests.of("put_part") == FILES + refused
    assert birds.lake.requests.of("begin_file") == FILES
