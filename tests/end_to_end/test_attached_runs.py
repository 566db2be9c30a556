"""Model runs that are attached to projects of the annotation studio: once, last of all, and never at the cost of the
annotations."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metalake_sync import MetaLake
from metalake_sync.api import SomeFailed
from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.embedded_lake.faults import FaultPlan
from metalake_sync.embedded_lake.web.annotations import StudioCalls
from metalake_sync.errors import UsageError
from tests.embedded_lake.talk import API_KEY, SECRET, settings, talk_to
from tests.end_to_end.world import BIRDS, World, boxes

RUN = {"operation": "yolo", "kind": "machine", "source": "pred.json", "destination_project_id": "p1"}
UPLOAD = ("annotations", "upload", "pred.json", "--operation", "yolo", "--kind", "machine", "--collection", "birds")


@pytest.fixture
def predicted(world: World) -> World:
    return with_predictions(world)


@pytest.fixture
def without_studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A lake whose gateway does not pass on the studio's path."""
    monkeypatch.setattr(StudioCalls, "calls", lambda self: ())
    folder = tmp_path / "project"
    folder.mkdir()
    with EmbeddedLake(settings(tmp_path / "lake")) as lake, talk_to(lake.url) as talk:
        yield with_predictions(World(folder, lake, talk))


def with_predictions(world: World) -> World:
    world.images("a.png", "b.png")
    world.write("pred.json", boxes(a_png=[[1, 1, 4, 4]], b_png=[[2, 2, 4, 4]]))
    return world


def attached(world: World) -> list[tuple[str, str]]:
    """Project and operation of every attached run, as the lake has them."""
    (database,) = (world.folder.parent / "lake").glob("*.db")
    with sqlite3.connect(database) as db:
        return db.execute("SELECT project, operation FROM attached_runs ORDER BY project, operation").fetchall()


def test_a_model_run_is_attached_once_and_a_second_apply_sends_nothing(predicted: World) -> None:
    predicted.manifest({**BIRDS, "annotations": [RUN]})
    plan = predicted.good("plan", "--json", "manifest.yaml").document
    assert plan["summary"]["attach_model_run"] == 1
    (action,) = [one for one in plan["actions"] if one["action"] == "attach_model_run"]
    assert (action["operation"], action["project"], action["collection"]) == ("yolo", "p1", "birds")
    assert "model run yolo to project p1" in predicted.good("plan", "manifest.yaml").out
    assert predicted.good("apply", "--json", "manifest.yaml").summary["done"]["attach_model_run"] == 1
    assert attached(predicted) == [("p1", "yolo")]

    predicted.lake.requests.clear()
    assert "Nothing was sent" in predicted.good("apply", "manifest.yaml").out
    assert predicted.lake.requests.writes == 0

    predicted.manifest({**BIRDS, "annotations": [{**RUN, "destination_project_id": "p2"}]})
    assert "1 model run attached" in predicted.good("apply", "manifest.yaml").out
    assert attached(predicted) == [("p1", "yolo"), ("p2", "yolo")]


def test_a_model_run_on_images_of_other_clients_is_attached_too(predicted: World) -> None:
    predicted.manifest(BIRDS)
    predicted.good("apply", "manifest.yaml")
    predicted.manifest(BIRDS, annotations=[{**RUN, "by": "collection", "collection": "birds"}])
    predicted.good("apply", "manifest.yaml")
    assert attached(predicted) == [("p1", "yolo")]
    assert "Nothing was sent" in predicted.good("apply", "manifest.yaml").out


def test_a_saved_plan_contains_the_attachments(predicted: World) -> None:
    predicted.manifest({**BIRDS, "annotations": [RUN]})
    predicted.good("plan", "--out", "p.plan", "manifest.yaml")
    assert "model run yolo to project p1" in predicted.good("show", "p.plan").out
    predicted.good("apply", "p.plan")
    assert attached(predicted) == [("p1", "yolo")]


def test_a_missing_studio_is_one_failure_and_everything_else_is_done(without_studio: World) -> None:
    world = without_studio
    world.manifest({**BIRDS, "annotations": [RUN]}, trash=[{"lake": "image", "query": "metadata.Tags=old"}])
    done = world.run("apply", "--json", "manifest.yaml")
    assert (done.code, done.summary["done"]["annotate"], done.summary["done"]["attach_model_run"]) == (3, 2, 0)
    (failure,) = done.summary["failed"]
    assert failure["action"] == "attach_model_run"
    assert "model run 'yolo' is not attached to project 'p1': the lake has no annotation studio" in failure["error"]
    assert len(world.talk.annotations(world.collection_id())["a.png"]) == 1
    assert "1 to attach" not in world.run("status", "manifest.yaml").err

    upload = world.run(*UPLOAD, "--destination-project-id", "p1")
    assert (upload.code, "no annotation studio" in upload.err, "2 entries written" in upload.out) == (
        3,
        True,
        True,
    )
    single = world.run("annotations", "attach", "p1", "yolo")
    assert (single.code, "no annotation studio" in single.err) == (1, True)


def test_an_attachment_that_the_studio_rejected_is_retried_by_the_next_run(predicted: World) -> None:
    refusal = {"kind": "status", "status": 404, "route": "attach_model_runs"}
    predicted.lake.faults.use(FaultPlan.model_validate({"faults": [refusal]}))
    predicted.manifest({**BIRDS, "annotations": [RUN]})
    assert predicted.run("apply", "manifest.yaml").code == 3
    assert attached(predicted) == []
    predicted.lake.requests.clear()
    predicted.good("apply", "manifest.yaml")
    assert attached(predicted) == [("p1", "yolo")]
    assert predicted.lake.requests.writes == 1


def test_a_run_is_not_attached_while_some_of_its_sets_are_not_sent(predicted: World) -> None:
    refusal = {"kind": "status", "status": 406, "route": "update_annotations", "times": 3}
    predicted.lake.faults.use(FaultPlan.model_validate({"faults": [refusal]}))
    predicted.manifest({**BIRDS, "annotations": [RUN]})
    done = predicted.run("apply", "--json", "manifest.yaml")
    assert done.code == 3
    assert "some of its annotations were not sent" in done.summary["failed"][-1]["error"]
    assert predicted.lake.requests.of("attach_model_runs") == 0
    predicted.good("apply", "manifest.yaml")
    assert attached(predicted) == [("p1", "yolo")]


def test_the_api_and_the_commands_attach(predicted: World) -> None:
    predicted.manifest(BIRDS)
    predicted.good("apply", "manifest.yaml")
    assert "attached to project p1" in predicted.good(*UPLOAD, "--destination-project-id", "p1").out
    predicted.good("annotations", "attach", "p2", "yolo")
    with MetaLake(predicted.lake.url, API_KEY, SECRET) as lake:
        how: dict[str, Any] = {"kind": "machine", "destination_project_id": "p3"}
        result = lake.upload_annotations_for_collection("birds", "yolo", predicted.folder / "pred.json", **how)
        assert result.attached_to == "p3"
        lake.attach_model_runs_to_project("p4", ["yolo"])
        with pytest.raises(UsageError, match="only machine annotations can be attached"):
            lake.upload_annotations_for_collection(
                "birds", "h", predicted.folder / "pred.json", kind="human", destination_project_id="p3"
            )
    assert [project for project, _ in attached(predicted)] == ["p1", "p2", "p3", "p4"]


def test_an_unknown_model_run_is_an_error_with_the_studios_message(predicted: World) -> None:
    done = predicted.run("annotations", "attach", "p1", "nobody-ran-this")
    assert (done.code, "No model run has the id 'nobody-ran-this'" in done.err) == (1, True)


def test_human_annotations_are_never_attached(predicted: World) -> None:
    predicted.manifest({**BIRDS, "annotations": [{**RUN, "kind": "human"}]})
    done = predicted.run("validate", "manifest.yaml")
    assert (done.code, "'destination_project_id' needs 'kind: machine'" in done.err) == (64, True)


def test_after_a_failed_attachment_the_api_returns_the_other_results(without_studio: World) -> None:
    without_studio.manifest(BIRDS)
    without_studio.good("apply", "manifest.yaml")
    with MetaLake(without_studio.lake.url, API_KEY, SECRET) as lake, pytest.raises(SomeFailed) as failed:
        lake.upload_annotations_for_collection(
            "birds", "yolo", without_studio.folder / "pred.json", kind="machine", destination_project_id="p1"
        )
    assert (failed.value.failed[0].name, failed.value.result.written) == ("project p1", 2)  # type: ignore[union-attr]
