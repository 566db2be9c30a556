"""Conflicts on the pages: both sides, the decision, and what the next plan makes of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.embedded_lake.talk import box, image_set
from tests.end_to_end.test_edits_of_others import in_lake
from tests.end_to_end.world import World, boxes
from tests.web.site import Site, served

OURS = [[12, 5, 20, 10], [40, 30, 9, 9]]
THEIRS = [[10, 5, 20, 10], [40, 33, 9, 9]]
SENT = {"keep": THEIRS, "merge": [[12, 5, 20, 10], [40, 33, 9, 9]], "overwrite": OURS}


@pytest.fixture
def conflicts(annotated: World) -> World:
    """Two images whose sets both sides changed."""
    edit(annotated, "crow.png", *THEIRS)
    edit(annotated, "gull.png", [1, 1, 6, 6])
    annotated.write("people.json", boxes(crow_png=OURS, gull_png=[[2, 1, 5, 5]]))
    return annotated


def edit(world: World, image: str, *drawn: list[int]) -> None:
    """Another client writes a set."""
    shapes = [box("bird", *one) for one in drawn]
    assert world.talk.annotate("people", [image_set(f"birds_{image}", *shapes)]).status_code == 200


def number_of(site: Site, plan: str, file: str) -> int:
    found = site.json(f"/plan/{plan}/conflicts")["conflicts"]
    return int(next(one["number"] for one in found if one["file"] == file))


def decide(site: Site, plan: str, file: str, decision: str) -> None:
    number = number_of(site, plan, file)
    assert site.post(f"/plan/{plan}/conflicts/{number}", decision=decision).status == 303


def test_both_sides_and_the_merge_are_drawn_beside_each_other(site: Site, conflicts: World) -> None:
    plan = site.planned()
    assert (plan["conflicts"], plan["destructive"]) == (2, 2)
    assert "2 conflicts with another client" in site.page("/plan")
    number = number_of(site, plan["plan"]["id"], "crow.png")
    address = f"/plan/{plan['plan']['id']}/conflicts/{number}"
    found = site.json(address)
    assert found["merge"] == {"possible": True, "conflicts": 0}
    assert [one["title"] for one in found["card"]["sections"]] == ["The lake has", "The source has", "Merged"]
    drawn = [[stroke["path"] for stroke in one["shots"][0]["after"]] for one in found["card"]["sections"]]
    assert drawn == [["M40 33h9v9h-9z"], ["M12 5h20v10h-20z"], ["M12 5h20v10h-20z"]]
    page = site.page(address)
    for button in ("Keep the lake&#39;s", "Merge both", "Overwrite with the source&#39;s"):
        assert button.replace("&#39;", "'") in page.replace("&#39;", "'")
    (shown,) = set(re.findall(r'<image [^>]*href="([^"]+)"', page))
    assert site.get(shown).headers["Content-Type"] == "image/webp"
    assert conflicts.lake.url not in page
    both = site.json(f"/plan/{plan['plan']['id']}/conflicts/{1 - number}")
    assert both["merge"] == {"possible": True, "conflicts": 1}


@pytest.mark.parametrize("decision", ["keep", "merge", "overwrite"])
def test_a_decision_is_carried_out_by_the_next_plan(site: Site, conflicts: World, decision: str) -> None:
    before = conflicts.lake.requests.writes
    plan = site.planned()["plan"]["id"]
    decide(site, plan, "crow.png", decision)
    decide(site, plan, "gull.png", "keep")
    assert site.json(f"/plan/{plan}/conflicts")["outdated"] is True
    refused = site.post(f"/plan/{plan}/apply", count="2")
    assert (refused.status, "all decisions" in refused.text) == (409, True)
    found = site.planned()
    assert found["destructive"] == 0
    assert found["conflicts"] == (0 if decision == "keep" else 1)
    assert conflicts.lake.requests.writes == before
    run = site.applied()
    assert (run["state"], run["failed"]) == ("done", 0)
    assert in_lake(conflicts, "crow.png") == SENT[decision]
    assert in_lake(conflicts, "gull.png") == [[1, 1, 6, 6]]
    after = site.planned()
    assert (after["summary"]["annotate"], after["decisions"]) == (0, 0)


def test_all_conflicts_are_decided_at_once_and_withdrawn(site: Site, conflicts: World) -> None:
    plan = site.planned()["plan"]["id"]
    decide(site, plan, "crow.png", "keep")
    assert site.post(f"/plan/{plan}/conflicts", decision="merge").status == 303
    found = {one["file"]: one["decision"] for one in site.json(f"/plan/{plan}/conflicts")["conflicts"]}
    assert found == {"crow.png": "keep", "gull.png": "merge"}
    # Both sides moved the box of the gull, so the merge still overwrites one shape.
    assert site.planned()["destructive"] == 1
    assert site.post("/decisions/withdraw").status == 303
    assert site.planned()["destructive"] == 2
    assert site.json("/plan")["decisions"] == 0


def test_a_decision_ends_when_the_other_client_edits_again(site: Site, conflicts: World) -> None:
    plan = site.planned()["plan"]["id"]
    decide(site, plan, "crow.png", "overwrite")
    decide(site, plan, "gull.png", "overwrite")
    assert site.planned()["destructive"] == 0
    edit(conflicts, "crow.png", [50, 40, 5, 5])
    run = site.applied()
    assert run["state"] == "failed"
    assert "the plan is stale" in run["error"]["lines"][0]
    assert site.planned()["destructive"] == 1
    assert in_lake(conflicts, "crow.png") == [[50, 40, 5, 5]]


@pytest.mark.parametrize("given", ["", "delete", "KEEP", "<script>"])
def test_other_words_decide_nothing(site: Site, conflicts: World, given: str) -> None:
    plan = site.planned()["plan"]["id"]
    assert site.post(f"/plan/{plan}/conflicts/0", decision=given).status == 400
    assert site.post(f"/plan/{plan}/conflicts", decision=given).status == 400
    assert site.post(f"/plan/{plan}/conflicts/7", decision="keep").status == 404
    assert site.post("/plan/other/conflicts/0", decision="keep").status == 404
    assert site.json("/plan")["decisions"] == 0


def test_read_only_shows_both_sides_and_decides_nothing(conflicts: World) -> None:
    with served(conflicts, read_only=True) as site:
        site.enter()
        plan = site.planned()["plan"]["id"]
        page = site.page(f"/plan/{plan}/conflicts/0")
        assert "The lake has" in page
        assert "<form" not in page
        assert "<form" not in site.page(f"/plan/{plan}/conflicts").replace('<form method="post" action="/plan">', "")
        for path in (f"/plan/{plan}/conflicts/0", f"/plan/{plan}/conflicts", "/decisions/withdraw"):
            assert site.post(path, decision="keep").status in (404, 405), path


def test_a_hostile_file_name_is_escaped(world: World) -> None:
    from tests.report.test_commands import ANNOTATED, image

    name = "a <img src=x onerror=alert(1)>.png"
    image(world, name, (1, 2, 3))
    drawn: Any = {
        "images": [{"image": name, "annotations": [{"type": "rectangle", "label": "<b>", "bbox": [1, 1, 5, 5]}]}]
    }
    world.write("people.json", drawn)
    world.manifest(ANNOTATED)
    world.good("apply", "manifest.yaml")
    assert world.talk.annotate("people", [image_set(f"birds_{name}", box("<i>", 2, 2, 9, 9))]).status_code == 200
    drawn["images"][0]["annotations"][0]["bbox"] = [3, 1, 5, 5]
    world.write("people.json", drawn)
    with served(world) as site:
        site.enter()
        plan = site.planned()
        assert plan["conflicts"] == 1
        for path in (f"/plan/{plan['plan']['id']}/conflicts", f"/plan/{plan['plan']['id']}/conflicts/0"):
            page = site.page(path)
            assert "<img" not in page
            assert "<b>" not in page.replace("<b>keep", "").replace("<b>1</b>", "").replace("<b>2</b>", "")
            assert "onerror" in page
