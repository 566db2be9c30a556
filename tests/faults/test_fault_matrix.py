"""An apply through each kind of fault, at each call it makes: it ends in success or in a clear error, and runs without
faults then bring the lake to where an undisturbed one is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.embedded_lake.faults import DOES_NOTHING, FaultPlan
from tests.faults.hurry import RETRY_TIMEOUT_S, STALL_S
from tests.faults.mortal import Mortal, mortal_world
from tests.faults.project import Project

CALLS = (
    "compatibility",
    "collection_by_name",
    "collection_details",
    "item_details",
    "list_collection_items",
    "count_collection_items",
    "open_upload",
    "begin_file",
    "sign_parts",
    "put_part",
    "finalize_file",
    "complete_upload",
    "job_status",
    "list_labels",
    "label_references",
    "validate_tags",
    "validate_fields",
    "metadata_by_json",
    "metadata_by_object",
    "update_annotations",
    "download_annotations",
    "select_items",
    "trash_items",
)
"""All that the project's applies ask; a test below sees to it."""

EVERYWHERE: dict[str, dict[str, Any]] = {
    "latency": {"kind": "latency", "seconds": 0.05},
    "500": {"kind": "status", "status": 500},
    "503 carried out": {"kind": "status", "status": 503, "carried_out": True},
    "429": {"kind": "status", "status": 429, "retry_after": 0.05},
    "reset before": {"kind": "reset", "when": "before"},
    "reset after": {"kind": "reset", "when": "after"},
    "cut": {"kind": "cut"},
    "no JSON": {"kind": "no_json"},
    "stall": {"kind": "stall", "seconds": 3 * STALL_S},
    "down": {"kind": "down", "seconds": 0.2},
    "does nothing": {"kind": "does_nothing"},
}
AT_ONE_CALL: dict[str, dict[str, Any]] = {
    "wrong ETag": {"kind": "wrong_etag", "times": 3},
    "expired URL": {"kind": "expired_url", "times": 3},
    "job fails": {"kind": "job_fails"},
    "job never ends": {"kind": "job_never_ends", "seconds": 1.5 * RETRY_TIMEOUT_S},
}
SLOW = frozenset({"stall", "down", "429", "503 carried out"})
"""They cost time, the last two because the pace is lowered: in the short form these calls only meet them."""
USUAL = ("500", "reset after", "cut", "no JSON", "does nothing")
"""The kinds of the default run. The long run has all."""
EACH_KIND = [pytest.param(kind, marks=[] if kind in USUAL else [pytest.mark.long]) for kind in EVERYWHERE]
FEW_CALLS = ("list_collection_items", "begin_file", "put_part", "trash_items")


def calls_for(kind: str) -> tuple[str, ...]:
    if kind == "does nothing":
        return tuple(call for call in CALLS if call in DOES_NOTHING)
    return CALLS


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Mortal]:
    with mortal_world(tmp_path) as mortal:
        yield mortal


def spoil(mortal: Mortal, *faults: dict[str, Any], seed: int = 0) -> None:
    mortal.world.lake.faults.use(FaultPlan.model_validate({"seed": seed, "faults": list(faults)}))


def disturb(mortal: Mortal, *faults: dict[str, Any], seed: int = 0) -> None:
    """A run under faults, then as many without as it takes, and the twin's; then nothing may differ."""
    spoil(mortal, *faults, seed=seed)
    before = mortal.world.lake.faults.injected.total()
    for _ in range(3):
        ended = mortal.disturbed_run()
        # A run gives up early here. On a busy machine, it may do so before it meets a fault.
        if ended.code != 5 or mortal.world.lake.faults.injected.total() > before:
            break
    spoil(mortal)
    # Where a lake said yes to metadata or annotations and did nothing, only a full refresh can see it.
    full = ("--refresh", "full") if any(fault["kind"] == "does_nothing" for fault in faults) else ()
    for _ in range(3):
        if mortal.disturbed_run(*full).code == 0:
            break
    mortal.run(twin=True)
    assert mortal.differences() == [], (faults, ended)


def test_the_matrix_names_every_call_that_an_apply_makes(mortal: Mortal) -> None:
    project = Project(mortal.world, seed=1)
    for _ in range(2):
        project.change()
        mortal.run()
    assert sorted({asked.route for asked in mortal.world.lake.requests.counts}) == sorted(CALLS)


@pytest.mark.parametrize("kind", EACH_KIND)
def test_a_fault_at_every_call_of_two_applies_leaves_no_trace(mortal: Mortal, kind: str) -> None:
    project = Project(mortal.world, seed=2, small=4, large=1)
    calls = FEW_CALLS if kind in SLOW else calls_for(kind)
    for number in range(2):
        project.change()
        disturb(mortal, *({**EVERYWHERE[kind], "route": call, "after": number} for call in calls))
    assert mortal.world.lake.faults.injected.total() >= len(calls)


@pytest.mark.parametrize("kind", AT_ONE_CALL)
def test_a_fault_of_the_store_or_of_a_job_leaves_no_trace(mortal: Mortal, kind: str) -> None:
    project = Project(mortal.world, seed=3, small=4, large=1)
    for number in range(2):
        project.change()
        disturb(mortal, {**AT_ONE_CALL[kind], "after": number})
    assert mortal.world.lake.faults.injected.total() >= 2


@pytest.mark.long
@pytest.mark.parametrize("kind", EVERYWHERE)
@pytest.mark.parametrize("seed", range(2))
def test_each_kind_of_fault_at_each_call_alone_leaves_no_trace(mortal: Mortal, kind: str, seed: int) -> None:
    project = Project(mortal.world, seed=10 + seed, small=3, large=1)
    project.change()
    disturb(mortal)
    for call in calls_for(kind):
        project.change()
        disturb(mortal, {**EVERYWHERE[kind], "route": call, "times": 3, "chance": 0.6}, seed=seed)


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("no JSON", "list_collection_items"),
        ("500", "begin_file"),
        ("reset after", "put_part"),
        ("500", "update_annotations"),
        ("cut", "trash_items"),
    ],
)
def test_a_fault_that_does_not_end_is_told_and_the_next_run_goes_on(mortal: Mortal, kind: str, call: str) -> None:
    project = Project(mortal.world, seed=4, small=4, large=1)
    project.change()
    disturb(mortal)
    project.change()
    spoil(mortal, {**EVERYWHERE[kind], "route": call, "times": None})
    assert mortal.disturbed_run().code in (3, 5)
    disturb(mortal)
