"""The JSON Schemas in schemas/ are generated from the models, and the output of commands is valid against them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.documents.base import to_json
from metalake_sync.documents.plan import warning_documents
from metalake_sync.documents.schemas import json_schema, schema_text
from tests.end_to_end.world import BIRDS, World, boxes

SCHEMAS = Path(__file__).parents[2] / "schemas"
NAMES = ("manifest", "plan", "events", "check")


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_file_is_written_from_the_models(name: str) -> None:
    assert (SCHEMAS / f"{name}.schema.json").read_text() == schema_text(name), "run 'make schemas'"
    jsonschema.Draft202012Validator.check_schema(json_schema(name))


def test_every_schema_has_its_file_and_every_file_its_schema() -> None:
    assert sorted(path.name for path in SCHEMAS.iterdir()) == sorted(f"{name}.schema.json" for name in NAMES)


def test_the_command_prints_the_schema_of_the_file(world: World) -> None:
    for name in NAMES:
        assert world.good("schema", name).out == schema_text(name)


@pytest.fixture
def drifting_world(world: World) -> World:
    """A world with changes of every kind after a first apply."""
    world.images("a.png", "b.png", "c.png")
    world.write("people.json", boxes(a_png=[[1, 1, 2, 2]], b_png=[[1, 1, 0, 2]]))
    annotations = [{"operation": "people", "kind": "human", "source": "people.json"}]
    world.manifest({**BIRDS, "annotations": annotations, "prune": True})
    world.good("apply", "manifest.yaml")
    world.images("d.png")
    world.write("images/a.png", b"other bytes")
    (world.folder / "images/c.png").unlink()
    world.write("people.json", boxes(b_png=[[2, 2, 3, 3]]))
    world.manifest({**BIRDS, "annotations": annotations, "prune": True, "metadata": {"City": "Rome"}})
    return world


def test_a_plan_is_valid_against_its_schema_and_its_summary_adds_up(drifting_world: World) -> None:
    plan = drifting_world.good("plan", "--json", "manifest.yaml").document
    validator("plan").validate(plan)
    counted: dict[str, int] = {}
    for action in plan["actions"]:
        counted[action["action"]] = counted.get(action["action"], 0) + 1
    summary = plan["summary"]
    assert {name: summary[name] for name in counted} == counted
    assert set(counted) == {"upload", "replace", "trash", "update_metadata", "annotate"}
    assert summary["bytes_to_send"] == sum(action.get("bytes", 0) for action in plan["actions"])


def test_every_event_of_an_apply_is_valid_against_its_schema(drifting_world: World) -> None:
    stopped = drifting_world.run("apply", "--json", "manifest.yaml")
    events = drifting_world.good("apply", "--json", "--auto-approve", "manifest.yaml").events
    schema = validator("events")
    for event in [*events, json.loads(stopped.err)]:
        schema.validate(event)
    kinds = [event["message_type"] for event in events]
    assert kinds[0] == "plan"
    assert kinds[-1] == "summary"
    assert kinds.count("action_done") == len(_actions(events[0]))


def test_an_action_that_is_done_has_the_shape_changes_of_its_plan(drifting_world: World) -> None:
    drifting_world.good("apply", "--auto-approve", "manifest.yaml")
    drifting_world.write("people.json", boxes(b_png=[[2, 2, 3, 4], [9, 9, 2, 2]]))
    plan, *events = drifting_world.good("apply", "--json", "manifest.yaml").events
    planned = {
        (one["action"], one["file"]): one["shape_changes"] for one in plan["plan"]["actions"] if "shape_changes" in one
    }
    counts = planned["annotate", "b.png"]["counts"]
    assert (counts["added"], counts["moved"]) == (1, 1)
    done = {
        (one["action"], one["file"]): one["shape_changes"]
        for one in events
        if one["message_type"] == "action_done" and "shape_changes" in one
    }
    assert done == planned


def _actions(event: dict[str, Any]) -> list[Any]:
    actions: list[Any] = event["plan"]["actions"]
    return actions


def test_warnings_are_small_and_can_be_written_with_any_file_name() -> None:
    (warning,) = warning_documents([Note(NoteCode.SHAPE_SKIPPED, "o: box has no size", "a\udcff.png")])
    assert not hasattr(warning, "__dict__")
    assert to_json(warning).endswith('"where":"a\\\\udcff.png"}')
