"""Conflicts that a user decides one by one, in place of `on_drift`: `Project.plan(decisions=...)`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metalake_sync import Project
from metalake_sync.api.project_values import plan_of
from metalake_sync.core.diff_sets import ConflictDecision, OnDrift, SetKey
from metalake_sync.errors import GuardStopped
from tests.embedded_lake.talk import box
from tests.end_to_end.test_edits_of_others import CROW, FIRST, GULL, MOVED, THEIRS, edit, in_lake, manifest
from tests.end_to_end.world import World, boxes

KEY = ("birds", CROW, "people")
EDITED = [[1, 1, 8, 8], [20, 12, 6, 6]]
SENT: dict[OnDrift, list[list[int]]] = {
    "keep": EDITED,
    "merge": [[2, 1, 8, 8], [20, 12, 6, 6]],
    "overwrite": [[2, 1, 8, 8], [20, 10, 6, 6]],
}


@pytest.fixture
def conflict(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two sets that both sides changed."""
    world.images(CROW, GULL)
    world.write("boxes.json", boxes(**{name: FIRST[name] for name in ("crow_png", "gull_png")}))
    manifest(world)
    world.good("apply", "manifest.yaml")
    edit(world, CROW, *THEIRS)
    edit(world, GULL, box("bird", 3, 3, 11, 11))
    world.write("boxes.json", boxes(crow_png=MOVED["crow_png"], gull_png=[[4, 3, 10, 10]]))
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    return world


def project(world: World) -> Project:
    return Project.load(world.folder / "manifest.yaml")


@pytest.mark.parametrize("on_drift", ["keep", "merge", "overwrite"])
def test_a_decision_concerns_one_set_and_leaves_the_others_to_the_manifest(conflict: World, on_drift: OnDrift) -> None:
    plan = project(conflict).plan(decisions={KEY: on_drift})
    actions = [(one.file, one.overwrites or False) for one in plan.document.actions]
    decided = [] if on_drift == "keep" else [(CROW, False)]
    assert actions == [*decided, (GULL, True)]
    project(conflict).apply(plan)
    assert in_lake(conflict, CROW) == SENT[on_drift]
    assert in_lake(conflict, GULL) == [[4, 3, 10, 10]]
    assert project(conflict).plan(refresh="full").empty


def test_a_decision_of_a_saved_plan_is_carried_out(conflict: World) -> None:
    project(conflict).plan(decisions={KEY: "merge"}).save(conflict.folder / "saved.plan")
    assert '"decisions"' in (conflict.folder / "saved.plan").read_text()
    conflict.good("apply", "saved.plan")
    assert in_lake(conflict, CROW) == SENT["merge"]


def test_apply_takes_decisions_of_its_own_plan(conflict: World) -> None:
    with pytest.raises(GuardStopped, match="approv"):
        project(conflict).apply(decisions={KEY: "merge"})
    done = project(conflict).apply(decisions={KEY: "merge", ("birds", GULL, "people"): "keep"}).done
    assert done.annotate == 1
    assert in_lake(conflict, CROW) == SENT["merge"]
    assert in_lake(conflict, GULL) == [[3, 3, 11, 11]]


@pytest.mark.parametrize("on_drift", ["keep", "merge", "overwrite"])
def test_a_decision_ends_with_the_sets_for_which_it_was_made(conflict: World, on_drift: OnDrift) -> None:
    engine = project(conflict)._engine
    with engine.plan() as planned:
        action = next(one for one in planned.plan.actions() if one.file_name == CROW)
    theirs, ours = action.facts()["another client's set"], action.facts()["annotations"]
    decision = ConflictDecision(on_drift, theirs, ours)
    engine = replace(engine, options=replace(engine.options, decisions={SetKey(*KEY): decision}))

    def overwrites() -> list[bool]:
        with engine.plan() as planned:
            return [one.needs_approval for one in planned.plan.actions() if one.file_name == CROW]

    assert overwrites() == ([] if on_drift == "keep" else [False])
    with engine.plan() as planned:
        decided = plan_of(planned.plan, engine)
    # The other client edits the set again, after the user has decided.
    edit(conflict, CROW, box("bird", 30, 2, 5, 5))
    assert overwrites() == [True]
    if on_drift == "keep":
        assert project(conflict).apply(decided).failed == ()
    else:
        with pytest.raises(GuardStopped, match="stale"):
            project(conflict).apply(decided)
    assert in_lake(conflict, CROW) == [[30, 2, 5, 5]]
    edit(conflict, CROW, *THEIRS)
    conflict.write("boxes.json", boxes(crow_png=[[9, 9, 9, 9]], gull_png=[[4, 3, 10, 10]]))
    assert overwrites() == [True]


def test_a_decision_about_an_operation_or_a_file_without_a_conflict_changes_nothing(conflict: World) -> None:
    others = {
        ("birds", "owl.png", "people"): "keep",
        ("birds", CROW, "model"): "keep",
        ("cats", CROW, "people"): "keep",
    }
    before = project(conflict).plan()
    assert project(conflict).plan(decisions=others).to_dict()["actions"] == before.to_dict()["actions"]  # type: ignore[arg-type]
