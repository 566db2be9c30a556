"""Fields that the lake computes, written as metadata: as the vendor's own page does with `fileSize`."""

from __future__ import annotations

from typing import Any

import pytest

from metalake_sync import MetaLake
from tests.embedded_lake.talk import API_KEY, SECRET
from tests.end_to_end.world import BIRDS, World

COMPUTED = {"fileSize": 30, "uniqueName": "mine", "name": "x", "url": "here", "frameCount": 7, "Created At": "now"}


@pytest.fixture
def described(world: World) -> World:
    """Two pictures; one of them has a metadata entry of computed fields and one of its own."""
    world.images("a.png", "b.png")
    world.write("metadata.json", {"files": [{"file": "a.png", "metadata": {**COMPUTED, "City": "Rome"}}]})
    world.manifest({**BIRDS, "metadata": {"fileSize": 12}, "file_metadata": ["metadata.json"]})
    return world


def notes(document: dict[str, Any]) -> list[str]:
    return [one["message"] for one in document["warnings"] if one["code"] == "computed_field"]


def test_fields_that_the_lake_computes_never_drift_and_are_reported_once(described: World) -> None:
    (told,) = notes(described.good("plan", "--json", "manifest.yaml").document)
    assert all(f"'{name}'" in told for name in ("fileSize", "uniqueName", "name", "url"))
    described.good("apply", "manifest.yaml")
    assert described.talk.details("birds_a.png", "City")["City"] == "Rome"

    for refresh in ("list", "full"):
        plan = described.good("plan", "--refresh", refresh, "--json", "manifest.yaml").document
        assert (plan["actions"], notes(plan)) == ([], [])
    assert described.good("drift", "--json", "--detailed-exitcode", "manifest.yaml").document["actions"] == []
    described.lake.requests.clear()
    described.good("apply", "--refresh", "full", "manifest.yaml")
    assert described.lake.requests.writes == 0


def test_a_changed_value_is_sent_once_more_and_needs_no_approval(described: World) -> None:
    described.good("apply", "manifest.yaml")
    described.write("metadata.json", {"files": [{"file": "a.png", "metadata": {**COMPUTED, "fileSize": 31}}]})
    done = described.good("apply", "--refresh", "full", "--json", "manifest.yaml").summary["done"]
    assert done["update_metadata"] == 1
    assert described.good("plan", "--refresh", "full", "--json", "manifest.yaml").document["actions"] == []


def test_an_adopted_file_does_not_differ_by_fields_that_the_lake_computes(described: World) -> None:
    described.talk.upload(
        {"a.png": (described.folder / "images/a.png").read_bytes()}, "birds", metadata={"City": "Rome"}
    )
    plan = described.good("plan", "--json", "manifest.yaml").document
    assert [action["action"] for action in plan["actions"] if action.get("file") == "a.png"] == ["adopt"]
    assert [one for one in plan["warnings"] if one["code"] == "metadata_differs"] == []
    described.good("apply", "--refresh", "full", "manifest.yaml")
    assert described.good("plan", "--refresh", "full", "--json", "manifest.yaml").document["actions"] == []


def test_a_single_call_reports_computed_fields_too(described: World) -> None:
    described.good("apply", "manifest.yaml")
    with MetaLake(described.lake.url, API_KEY, SECRET) as lake:
        result = lake.upload_metadata_for_files("birds", "image", described.folder / "metadata.json")
    assert result.written == 1
    assert ["'fileSize'" in note for note in result.notes] == [True]
