"""A manifest as a Python object: plan, apply, cancel, pull, status, drift, check, history and revert."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from metalake_sync import ItemFilter, Manifest, MetaLake, Project, SomeFailed
from metalake_sync.api import ApplyResult, ProjectEvent, ProjectPlan
from metalake_sync.documents.events import ActionDoneEvent, PlanEvent, ProgressEvent, SummaryEvent
from metalake_sync.documents.schemas import json_schema
from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.errors import GuardStopped, Interrupted, ManifestErrors, StateLocked, UsageError
from metalake_sync.state.backends.file import FileBackend
from tests.api.conftest import IMAGES
from tests.embedded_lake.talk import API_KEY, SECRET, Talk, png

Writer = Callable[..., Path]


@pytest.fixture
def document(served: EmbeddedLake, images: Path) -> dict[str, Any]:
    """A manifest of three images."""
    return {
        "version": 1,
        "name": "birds",
        "remote": {"url": served.url, "api_key": API_KEY, "secret": SECRET},
        "collections": [{"name": "birds", "type": "image", "prune": True, "folders": [{"path": str(images)}]}],
    }


@pytest.fixture
def project(document: Mapping[str, Any], tmp_path: Path) -> Project:
    return Project(document, base_dir=tmp_path)


def test_a_plan_is_applied_and_then_nothing_is_left_to_do(project: Project) -> None:
    plan = project.plan()
    assert (plan.summary.upload, plan.empty, plan.destructive, plan.blocked) == (3, False, False, ())
    result = project.apply(plan)
    assert (result.done.upload, result.failed, result.ok) == (3, (), True)
    assert project.plan().empty
    again = project.apply()
    assert (again.writes, again.bytes_sent) == (0, 0)
    assert (project.history()[-1].summary or {})["upload"] == 3


def test_a_plan_and_a_result_become_json_of_the_published_form(project: Project) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    plan = project.plan().to_dict()
    jsonschema.validate(plan, json_schema("plan"))
    assert plan["summary"]["upload"] == 3
    result = project.apply().to_dict()
    assert json.loads(json.dumps(result))["done"]["upload"] == 3


def test_a_manifest_is_read_from_a_file_with_variables(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document["name"] = "${SPECIES}"
    (tmp_path / "manifest.yaml").write_text(json.dumps(document))
    monkeypatch.setenv("SPECIES", "fish")
    assert Project.load(tmp_path / "manifest.yaml").name == "fish"
    project = Project.load(tmp_path / "manifest.yaml", variables={"SPECIES": "birds"})
    assert (project.name, project.manifest.collections[0].name) == ("birds", "birds")
    assert API_KEY not in repr(project)
    project.apply()
    assert (tmp_path / ".metalake-sync" / "birds.db").is_file()


def test_a_manifest_may_be_an_object(document: dict[str, Any], tmp_path: Path) -> None:
    project = Project(Manifest.model_validate(document), base_dir=tmp_path)
    assert project.apply().done.upload == 3
    # The same manifest as plain values has the same state.
    assert Project(document, base_dir=tmp_path).plan().empty


def test_a_broken_manifest_is_an_error_with_every_cause(document: dict[str, Any], tmp_path: Path) -> None:
    document["collections"][0] |= {"type": "sound", "folder": []}
    with pytest.raises(ManifestErrors) as raised:
        Project(document, base_dir=tmp_path)
    assert len(raised.value.errors) == 2
    del document["name"]
    with pytest.raises(UsageError, match="name"):
        Project(document, base_dir=tmp_path)


def test_a_stale_plan_is_not_applied(project: Project, images: Path) -> None:
    plan = project.plan()
    (images / "jay.png").write_bytes(png(9, 9, b"another"))
    with pytest.raises(GuardStopped):
        project.apply(plan)
    assert project.status().collections[0].synced == 0


def test_a_destructive_plan_needs_approval(project: Project, images: Path) -> None:
    project.apply()
    (images / "jay.png").unlink()
    with pytest.raises(GuardStopped):
        project.apply()
    seen: list[int] = []

    def decide(plan: ProjectPlan) -> bool:
        seen.append(plan.summary.trash)
        return False

    with pytest.raises(GuardStopped):
        project.apply(approve=decide)
    assert seen == [1]
    plan = project.plan()
    assert plan.destructive
    # A plan that was made and passed on is an approval.
    assert project.apply(plan).done.trash == 1
    (images / "crow.png").unlink()
    assert project.apply(approve=True, max_delete=1).done.trash == 1


async def _later(_: ProjectPlan) -> bool:
    return False


@pytest.mark.parametrize("answer", ["no", 1, None, [], lambda _: "no", _later])
def test_only_true_approves(project: Project, images: Path, answer: Any) -> None:
    project.apply()
    next(images.iterdir()).unlink()
    with pytest.raises(UsageError, match="neither True nor False"):
        project.apply(approve=answer)
    assert project.plan().summary.trash == 1


@pytest.mark.parametrize("limit", ["many", "-1", "200%"])
def test_a_limit_that_is_none_is_an_error(project: Project, limit: str) -> None:
    with pytest.raises(UsageError, match="max_delete"):
        project.plan(max_delete=limit)


def test_a_limit_blocks_a_plan(project: Project, images: Path) -> None:
    project.apply()
    for name in ("jay.png", "crow.png"):
        (images / name).unlink()
    plan = project.plan(max_delete=1)
    assert "2 files would be trashed" in plan.blocked[0]
    with pytest.raises(GuardStopped):
        project.apply(plan, approve=True)


def test_a_saved_plan_is_applied_by_another_project(document: dict[str, Any], tmp_path: Path, images: Path) -> None:
    manifest = tmp_path / "birds.yaml"
    manifest.write_text(json.dumps(document))
    Project.load(manifest).plan(targets=["birds/jay.png"]).save(tmp_path / "one.plan")
    assert Project.load(manifest).apply(tmp_path / "one.plan").done.upload == 1
    other = tmp_path / "other.yaml"
    other.write_text(json.dumps({**document, "name": "other"}))
    with pytest.raises(UsageError, match=r"birds\.yaml"):
        Project.load(other).apply(tmp_path / "one.plan")


def test_exclusions_hold_for_a_plan_that_is_kept_or_saved(document: dict[str, Any], tmp_path: Path) -> None:
    manifest = tmp_path / "birds.yaml"
    manifest.write_text(json.dumps(document))
    project = Project.load(manifest)
    plan = project.plan(excludes=["birds/jay.png"])
    assert plan.summary.upload == 2
    plan.save(tmp_path / "most.plan")
    assert Project.load(manifest).apply(tmp_path / "most.plan").done.upload == 2
    assert project.plan(excludes=["birds"]).empty
    assert project.apply(excludes=["birds/jay.png"]).writes == 0
    assert project.apply(project.plan()).done.upload == 1


def test_a_plan_of_a_manifest_without_a_file_cannot_be_saved(project: Project, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="file"):
        project.plan().save(tmp_path / "birds.plan")


def test_events_are_those_of_the_command_line(document: dict[str, Any], tmp_path: Path) -> None:
    events: list[ProjectEvent] = []
    Project(document, base_dir=tmp_path, on_event=events.append).apply()
    plans = [event for event in events if isinstance(event, PlanEvent)]
    done = {event.file for event in events if isinstance(event, ActionDoneEvent) and event.action == "upload"}
    assert (len(plans), done) == (1, set(IMAGES))
    assert any(isinstance(event, ProgressEvent) for event in events)
    assert isinstance(events[-1], SummaryEvent)


def test_events_may_be_iterated(project: Project) -> None:
    def collect() -> Iterator[ProjectEvent]:
        result = yield from project.apply_events(project.plan())
        results.append(result)

    results: list[ApplyResult] = []
    names = [type(event).__name__ for event in collect()]
    assert names[-1] == "SummaryEvent"
    assert results[0].done.upload == 3


def test_an_error_of_the_run_reaches_the_one_who_iterates(project: Project, images: Path) -> None:
    plan = project.plan()
    (images / "jay.png").write_bytes(png(9, 9, b"another"))
    with pytest.raises(GuardStopped):
        list(project.apply_events(plan))


def test_a_run_that_is_cancelled_before_it_starts_changes_nothing(project: Project) -> None:
    with pytest.raises(Interrupted):
        project.apply(cancelled=lambda: True)
    assert project.plan().summary.upload == 3
    assert project.apply().done.upload == 3


def test_a_run_is_cancelled_while_it_sends_and_continued_by_the_next(
    document: dict[str, Any], tmp_path: Path, images: Path
) -> None:
    large = images / "large.png"
    large.write_bytes(png(400, 200, b"x") + bytes(4_000_000))
    first = Project(document, base_dir=tmp_path, bytes_per_second=200_000.0)
    begun = threading.Event()

    def notice(event: ProjectEvent) -> None:
        if isinstance(event, ProgressEvent):
            begun.set()

    with pytest.raises(Interrupted):
        first.apply(cancelled=begun.is_set, on_event=notice)
    assert [run.outcome for run in first.history()] == ["interrupted"]
    project = Project(document, base_dir=tmp_path)
    project.apply()
    assert project.plan(refresh="full").empty
    assert project.status().collections[0].synced == 4


def test_leaving_the_iteration_cancels_the_run(document: dict[str, Any], tmp_path: Path, images: Path) -> None:
    (images / "large.png").write_bytes(png(400, 200, b"x") + bytes(4_000_000))
    project = Project(document, base_dir=tmp_path, bytes_per_second=200_000.0)
    events = project.apply_events()
    for event in events:
        if isinstance(event, ProgressEvent):
            break
    events.close()
    assert [run.outcome for run in project.history()] == ["interrupted"]


def test_failed_items_are_an_error_unless_the_program_checks_them_itself(
    document: dict[str, Any], tmp_path: Path, images: Path
) -> None:
    class Vanishing:
        def __call__(self, event: ProjectEvent) -> None:
            if isinstance(event, PlanEvent):
                (images / "jay.png").unlink(missing_ok=True)

    project = Project(document, base_dir=tmp_path, on_event=Vanishing())
    with pytest.raises(SomeFailed) as raised:
        project.apply()
    assert [item.name for item in raised.value.failed] == ["jay.png"]
    assert isinstance(raised.value.result, ApplyResult)
    assert raised.value.result.done.upload == 2
    (images / "jay.png").write_bytes(IMAGES["jay.png"])
    result = project.apply(check=False)
    assert ([item.name for item in result.failed], result.ok) == (["jay.png"], False)


def test_runs_exclude_each_other_and_plans_do_not(project: Project, tmp_path: Path) -> None:
    project.apply()
    backend = FileBackend(tmp_path / ".metalake-sync" / "birds.db")
    with backend.lock(command="apply elsewhere", timeout_s=0.0, waiting=lambda _: None):
        with pytest.raises(StateLocked):
            project.apply()
        assert project.plan().empty
        assert project.status().collections[0].synced == 3


def test_drift_and_check_compare_the_lake(project: Project, lake: MetaLake) -> None:
    project.apply()
    assert project.drift().empty
    assert project.check(download=True).mismatches == []
    birds = lake.find_collection("birds")
    lake.trash_objects_from_collection(birds.id, filter=ItemFilter(from_date="2020-01-01"))
    assert project.drift().summary.upload == 3
    assert {one.problem for one in project.check().mismatches} == {"is not in the lake"}


def test_a_pull_fetches_the_downloads(document: dict[str, Any], tmp_path: Path) -> None:
    document["downloads"] = [{"collection": "birds", "to": "out"}]
    project = Project(document, base_dir=tmp_path)
    project.apply(targets=["birds"])
    result = project.pull()
    assert result.ok
    assert (result.bytes_sent, result.bytes_received) == (0, sum(map(len, IMAGES.values())))
    assert {path.read_bytes() for path in (tmp_path / "out").rglob("*.png")} == set(IMAGES.values())


def test_a_run_is_reverted(document: dict[str, Any], tmp_path: Path, lake: MetaLake) -> None:
    project = Project(document, base_dir=tmp_path)
    project.apply()
    document["collections"][0]["metadata"] = {"City": "Rome"}
    changed = Project(document, base_dir=tmp_path)
    changed.apply()
    document["collections"][0]["metadata"] = {"City": "Oslo"}
    last = Project(document, base_dir=tmp_path)
    run = last.apply()
    assert lake.get_file_details("birds_jay.png", ["City"])["City"] == "Oslo"
    plan = last.plan_revert(run.run_id)
    assert plan.summary.update_metadata
    last.apply(plan)
    assert lake.get_file_details("birds_jay.png", ["City"])["City"] == "Rome"


def test_validation_counts_what_a_first_apply_would_send(project: Project) -> None:
    assert project.validate().summary.upload == 3
    assert project.validate(online=True).summary.upload == 3


def test_two_threads_of_one_project_do_not_run_at_once(project: Project) -> None:
    planned, go_on = threading.Event(), threading.Event()

    def wait(event: ProjectEvent) -> None:
        if isinstance(event, PlanEvent):
            planned.set()
            assert go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(project.apply, on_event=wait)
        try:
            assert planned.wait(60)
            with pytest.raises(StateLocked):
                project.apply()
            assert project.plan().summary.upload == 3
        finally:
            go_on.set()
        assert first.result().done.upload == 3
    assert project.plan().empty


def test_sources_of_a_built_manifest_may_be_objects(
    document: dict[str, Any], tmp_path: Path, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    box = {"type": "rectangle", "bbox": [1, 2, 3, 4], "label": "bird"}
    drawn = [{"image": "jay.png", "annotations": [box]}]
    document["collections"][0] |= {
        "annotations": [{"operation": "people", "kind": "human", "source": drawn}],
        "file_metadata": [{"source": {"jay.png": {"City": "Rome"}}}],
    }
    project = Project(document, base_dir=tmp_path)
    assert project.apply(project.plan()).done.annotate == 1
    assert talk.details("birds_jay.png", "City")["City"] == "Rome"
    again = Project(document, base_dir=tmp_path)
    assert again.plan().empty
    # The caller's manifest stays as it is.
    assert document["collections"][0]["annotations"][0]["source"] is drawn
    del project, again
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_a_plan_of_equal_values_is_applied_by_another_project(document: dict[str, Any], tmp_path: Path) -> None:
    def made(x: int) -> Project:
        box = {"type": "rectangle", "bbox": [x, 1, 2, 2], "label": "bird"}
        boxes = [{"image": next(iter(IMAGES)), "annotations": [box]}]
        block = {"operation": "people", "kind": "human", "source": boxes}
        collections = [{**document["collections"][0], "annotations": [block]}]
        return Project({**document, "collections": collections}, base_dir=tmp_path)

    assert made(1).apply(made(1).plan()).done.annotate == 1
    plan = made(2).plan()
    with pytest.raises(GuardStopped, match="stale"):
        made(3).apply(plan)
    assert made(2).apply(plan).done.annotate == 1


def test_a_program_may_have_no_boxes_yet(document: dict[str, Any], tmp_path: Path) -> None:
    block = {"operation": "people", "kind": "human", "source": []}
    collections = [{**document["collections"][0], "annotations": [block]}]
    result = Project({**document, "collections": collections}, base_dir=tmp_path).apply()
    assert (result.done.upload, result.done.annotate) == (3, 0)


def test_a_frame_with_a_column_twice_is_an_error(document: dict[str, Any], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([[next(iter(IMAGES)), "bird", 1, 1, 2, 2, 5]], columns=[*"abcdefg"])
    frame.columns = ["image", "label", "x", "y", "width", "height", "x"]
    block = {"operation": "people", "kind": "human", "source": frame}
    collections = [{**document["collections"][0], "annotations": [block]}]
    with pytest.raises(UsageError, match="several columns 'x'"):
        Project({**document, "collections": collections}, base_dir=tmp_path)
