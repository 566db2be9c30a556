"""A plan on its pages: what is listed, what is applied, and what is refused."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import Any

import pytest

from metalake_sync.report.model import ActionLine, Entry
from metalake_sync.web.entry_lists import EntryList, Filter
from metalake_sync.web.image_cache import ImageCache
from tests.end_to_end.world import BIRDS, PRUNED, World, boxes
from tests.report.test_commands import image
from tests.web.site import Site, served

MOVED = boxes(crow_png=[[13, 5, 17, 10], [40, 30, 9, 9]], gull_png=[[1, 1, 5, 5]])


def entry_addresses(found: Any) -> list[str]:
    return [one["url"] for block in found["list"]["blocks"] for one in block["entries"]]


def test_a_moved_box_is_shown_applied_and_found_in_the_history(site: Site, annotated: World) -> None:
    annotated.write("people.json", MOVED)
    found = site.planned()
    assert (found["summary"]["annotate"], found["destructive"], found["blocked"]) == (1, 0, [])
    page = site.page("/plan")
    assert "Plan: 0 to add, 1 to update" in page
    assert "bird  (10,5 20×10) → (13,5 17×10)" in page
    (address,) = entry_addresses(found)
    card = site.page(f"{address}?part=1")
    assert 'd="M10 5h20v10h-20z"' in card
    assert 'd="M13 5h17v10h-17z"' in card
    assert 'd="M40 30h9v9h-9z"' in card
    (shown,) = set(re.findall(r'<image [^>]*href="([^"]+)"', card))
    thumbnail = site.get(shown)
    assert (thumbnail.status, thumbnail.headers["Content-Type"]) == (200, "image/webp")
    assert thumbnail.body[8:12] == b"WEBP"
    document = site.get(f"/plan/{found['plan']['id']}/document").document
    assert document["actions"][0]["shape_changes"]["counts"]["moved"] == 1
    run = site.applied()
    assert (run["state"], run["done"], run["failed"]) == ("done", {"annotate": 1}, 0)
    past = site.json(f"/history/{run['id']}")
    assert [one["file"] for one in past["actions"]] == ["crow.png"]
    assert "bird  (10,5 20×10) → (13,5 17×10)" in site.page(f"/history/{run['id']}")
    assert site.planned()["summary"]["annotate"] == 0
    assert "Nothing to do" in site.page("/plan")


def test_a_run_is_reverted_through_a_plan(site: Site, annotated: World) -> None:
    annotated.write("people.json", MOVED)
    site.planned()
    run = site.applied()["id"]
    assert site.post(f"/history/{run}/revert").status == 303
    found = site.wait("/plan", lambda one: one["plan"]["state"] != "working")
    assert (found["revert"], found["summary"]["annotate"]) == (run, 1)
    assert "Plan of the way back" in site.page("/plan")
    (address,) = entry_addresses(found)
    assert "bird  (13,5 17×10) → (10,5 20×10)" in site.page(address)
    again = site.applied()
    assert (again["state"], again["done"]) == ("done", {"annotate": 1})
    command = site.json("/history")["runs"][0]["command"]
    assert command.startswith(f"revert {run} ")
    assert site.post("/history/20000101T000000-00000000/revert").status == 303
    failed = site.wait("/plan", lambda one: one["plan"]["state"] != "working")
    assert failed["plan"]["state"] == "failed"


def test_a_plan_is_refused_as_stale_after_another_change(site: Site, annotated: World) -> None:
    annotated.write("people.json", MOVED)
    site.planned()
    annotated.write("people.json", boxes(crow_png=[[14, 5, 17, 10]], gull_png=[[1, 1, 5, 5]]))
    before = annotated.lake.requests.writes
    run = site.applied()
    assert run["state"] == "failed"
    assert "the plan is stale" in run["error"]["lines"][0]
    page = site.page("/run")
    assert "The run stopped" in page
    assert "the plan is stale" in page
    assert "Make a new plan" in page
    assert annotated.lake.requests.writes == before


def test_an_open_plan_does_not_stop_other_commands(site: Site, annotated: World) -> None:
    annotated.write("people.json", MOVED)
    found = site.planned()
    assert annotated.run("apply", "manifest.yaml").code == 0
    (address,) = entry_addresses(found)
    assert site.get(address).status == 200
    run = site.applied()
    assert (run["state"], run["done"]) == ("failed", {})
    assert "the plan is stale" in run["error"]["lines"][0]


def test_a_plan_is_cancelled(site: Site, annotated: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, opened = threading.Event(), threading.Event()
    open_engine = site.server.workspace.open_engine

    def held(emit: Any, is_cancelled: Any) -> Any:
        engine = open_engine(emit, is_cancelled)
        reached.set()
        assert opened.wait(60)
        return engine

    monkeypatch.setattr(site.server.workspace, "open_engine", held)
    assert site.post("/plan").status == 303
    assert reached.wait(60)
    assert "Making a plan" in site.page("/plan")
    assert site.post("/plan/cancel").status == 303
    opened.set()
    found = site.wait("/plan", lambda one: one["plan"]["state"] != "working")
    assert found["plan"]["state"] == "cancelled"
    assert "The plan was cancelled" in site.page("/plan")
    assert site.planned()["summary"]["annotate"] == 0


def test_a_manifest_with_an_embedded_lake_is_planned_and_applied(world: World) -> None:
    world.images("a.png", "b.png")
    world.manifest(BIRDS, remote={"url": "embedded:.metalake"})
    with served(world) as site:
        site.enter()
        assert site.planned()["summary"]["upload"] == 2
        assert site.applied()["done"]["upload"] == 2
        assert site.planned()["summary"]["upload"] == 0
        found = site.wait("/", lambda one: one["status"]["state"] != "working")
        assert found["status"]["error"] is None
        assert found["overview"]["collections"][0]["synced"] == 2


def test_the_overview_does_not_ask_the_lake(site: Site, annotated: World) -> None:
    before = annotated.lake.requests.counts.copy()
    site.get("/?again=1")
    found = site.wait("/", lambda one: one["status"]["state"] != "working")
    (birds,) = found["overview"]["collections"]
    assert (birds["synced"], birds["pending"], birds["failures"]) == (2, 0, [])
    assert annotated.lake.requests.counts == before
    page = site.page("/")
    assert "In sync" in page
    (annotated.folder / "images" / "crow.png").write_bytes(b"not an image any more")
    site.get("/?again=1")
    site.wait("/", lambda one: one["status"]["state"] != "working" and one["overview"]["collections"][0]["pending"])
    assert "To do" in site.page("/")


def test_only_the_current_plan_is_applied_and_only_once(site: Site, annotated: World) -> None:
    annotated.write("people.json", MOVED)
    old = site.planned()["plan"]["id"]
    new = site.planned()["plan"]["id"]
    assert old != new
    refused = site.post(f"/plan/{old}/apply")
    assert refused.status == 409
    assert "replaced by a newer one" in refused.text
    assert site.get(f"/plan/{old}/entries/0").status == 404
    assert site.applied()["state"] == "done"
    assert site.post(f"/plan/{new}/apply").status == 409
    assert site.planned()["summary"]["annotate"] == 0
    empty = site.post(f"/plan/{site.json('/plan')['plan']['id']}/apply")
    assert empty.status == 409
    assert "there is nothing to do" in empty.text
    assert "Approve and apply" not in site.page("/plan")


def test_a_destructive_plan_needs_the_typed_number(world: World) -> None:
    world.images("a.png", "b.png", "c.png", "d.png", "e.png")
    world.manifest(PRUNED)
    world.good("apply", "manifest.yaml")
    for name in ("a.png", "b.png"):
        (world.folder / "images" / name).unlink()
    with served(world) as site:
        site.enter()
        found = site.planned()
        assert found["destructive"] == 2
        page = site.page("/plan")
        assert "<strong>2 actions</strong>" in page
        for typed in ("", "1", "two", "22", "-2"):
            answer = site.post(f"/plan/{found['plan']['id']}/apply", count=typed)
            assert answer.status == 409, typed
            assert "Type 2 to approve" in answer.text
        assert site.server.workspace.run is None
        assert len(world.names()) == 5
        assert site.applied(count=" 2 ")["done"] == {"trash": 2}
        assert world.names() == ["c.png", "d.png", "e.png"]


def test_a_plan_with_blocking_notes_cannot_be_applied(world: World) -> None:
    world.images("a.png", "b.png", "c.png")
    world.manifest(PRUNED)
    world.good("apply", "manifest.yaml")
    for name in ("a.png", "b.png"):
        (world.folder / "images" / name).unlink()
    with served(world) as site:
        site.enter()
        found = site.planned()
        assert found["blocked"]
        page = site.page("/plan")
        assert "This plan cannot be applied" in page
        assert "Approve and apply" not in page
        assert site.post(f"/plan/{found['plan']['id']}/apply", count="2").status == 409
        assert len(world.names()) == 3


def test_items_that_failed_are_listed(world: World) -> None:
    world.images("a.png", "b.png")
    world.manifest(BIRDS)
    with served(world) as site:
        site.enter()
        site.planned()
        (world.folder / "images" / "a.png").write_bytes(b"changed")
        run = site.applied()
        assert run["state"] == "failed" or run["failed"] == 1
        assert "a.png" in site.page("/run")


class Gate:
    """Stops a run in the middle: its first event of a finished action waits."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        from metalake_sync.web.runs import Run

        take = Run.take

        def held(run: Run, event: Any) -> None:
            take(run, event)
            if getattr(event, "message_type", "") == "plan":
                self.reached.set()
                assert self.opened.wait(60)

        monkeypatch.setattr(Run, "take", held)


def test_a_run_is_cancelled_and_a_new_plan_continues(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.images(*(f"bird_{number:03}.png" for number in range(60)))
    world.manifest(BIRDS)
    with served(world) as site:
        site.enter()
        gate = Gate(site, monkeypatch)
        plan = site.planned()["plan"]["id"]
        assert site.post(f"/plan/{plan}/apply").status == 303
        assert gate.reached.wait(60)
        found = site.json("/run")["run"]
        assert (found["state"], found["cancelling"]) == ("working", False)
        assert "Cancel the run" in site.page("/run")
        assert site.post("/plan").status == 409
        assert site.post(f"/plan/{plan}/apply").status == 409
        assert site.post("/run/cancel").status == 303
        assert site.json("/run")["run"]["cancelling"] is True
        gate.opened.set()
        ended = site.wait("/run", lambda one: one["run"]["state"] != "working")["run"]
        assert ended["state"] == "cancelled"
        assert "A new plan continues there" in site.page("/run")
        assert site.planned()["summary"]["upload"] == 60 - ended["done"].get("upload", 0)
        assert site.applied()["state"] == "done"
        assert len(world.names()) == 60


def test_the_server_ends_while_a_run_is_active(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.images(*(f"bird_{number:03}.png" for number in range(30)))
    world.manifest(BIRDS)
    with served(world) as site:
        site.enter()
        gate = Gate(site, monkeypatch)
        plan = site.planned()["plan"]["id"]
        site.post(f"/plan/{plan}/apply")
        assert gate.reached.wait(60)
        run = site.server.workspace.run
        assert run is not None

        def let_go() -> None:
            run._cancelled.wait(60)
            gate.opened.set()

        threading.Thread(target=let_go).start()
    assert run.state == "cancelled"
    monkeypatch.undo()
    assert world.run("apply", "manifest.yaml").code == 0
    assert len(world.names()) == 30


def test_the_images_of_a_new_and_of_a_replaced_file_are_shown(site: Site, annotated: World) -> None:
    image(annotated, "owl.png", (30, 30, 200))
    image(annotated, "gull.png", (200, 200, 30))
    found = site.planned()
    assert (found["summary"]["upload"], found["summary"]["replace"]) == (1, 1)
    shown = [re.findall(r'<image [^>]*href="([^"]+)"', site.page(one)) for one in entry_addresses(found)]
    assert sorted(map(len, shown)) == [1, 2]
    for address in (one for images in shown for one in images):
        assert site.get(address).status == 200
    card = next(site.page(one) for one in entry_addresses(found) if "gull" in site.page(one))
    assert "in the lake now" in card
    assert "replaces it" in card
    # No signed URL reaches the browser, and no address of the lake in a plan.
    assert "Signature" not in card
    assert annotated.lake.url not in card


def test_a_thumbnail_that_the_cache_lost_is_made_again(site: Site, annotated: World) -> None:
    annotated.write("people.json", MOVED)
    (address,) = entry_addresses(site.planned())
    (shown,) = set(re.findall(r'<image [^>]*href="([^"]+)"', site.page(address)))
    before = site.get(shown).body
    images = site.server.workspace.images
    images._limit = 1
    image(annotated, "other.png", (1, 2, 3))
    images.keep("data:image/webp;base64,AAAA")
    assert images.image(shown.rpartition("/")[2]) is None
    assert site.get(shown).body == before


def test_the_cache_stays_below_its_bound() -> None:
    cache = ImageCache(limit_bytes=10)
    try:
        names = [cache.keep(f"data:image/webp;base64,{letter * 8}") for letter in "ABCD"]
        assert cache.size_bytes <= 10
        assert [cache.image(name) is not None for name in names] == [False, False, False, True]
        assert cache.keep("data:image/webp;base64,DDDDDDDD") == names[-1]
    finally:
        cache.close()


def entry(name: str, *, collection: str = "birds", group: str | None = None, **changes: Any) -> Entry:
    action = ActionLine("~", "annotate", "annotations_changed", (f"human: box of {name}",))
    made = Entry(collection, "image", name, (action,), group=group, group_text=f"files: {group}" if group else "")
    return replace(made, **changes)


def listed(entries: EntryList, wanted: Filter, page: int = 1, size: int = 50) -> list[list[str | None]]:
    return [[entries.entries[n].file for n in block.entries] for block in entries.page(wanted, page, size).blocks]


def test_entries_that_differ_come_first_then_groups_then_new_files() -> None:
    upload = (ActionLine("+", "upload", "new"),)
    entries = EntryList(
        [
            entry("new.png", is_new=True, actions=upload),
            *(entry(f"g{number}.png", group="same", labels=("rbc",)) for number in range(7)),
            entry("odd.png", labels=("Wbc",)),
            entry("b.png", collection="b"),
        ]
    )
    assert listed(entries, Filter()) == [["odd.png"], ["g0.png", "g1.png", "g2.png"], ["new.png"], ["b.png"]]
    first = entries.page(Filter(), 1).blocks[1]
    assert (first.total, first.group, first.heading) == (7, "1", "files: same")
    assert [len(block) for block in listed(entries, Filter(group="1"))] == [7]
    assert listed(entries, Filter(action="upload")) == [["new.png"]]
    assert listed(entries, Filter(collection="b (image)")) == [["b.png"]]
    assert listed(entries, Filter(label="Wbc")) == [["odd.png"]]
    assert listed(entries, Filter(text="BOX OF ODD")) == [["odd.png"]]
    assert listed(entries, Filter(reason="new", text="g1")) == []
    page = entries.page(Filter(), 1)
    assert (page.matching, page.total, page.pages) == (10, 10, 1)


@pytest.mark.parametrize(("page", "shown"), [(1, 1), (2, 2), (3, 3), (4, 3), (0, 1)])
def test_long_lists_are_paged(page: int, shown: int) -> None:
    entries = EntryList([entry(f"{number:05}.png") for number in range(120)])
    found = entries.page(Filter(), page)
    assert (found.page, found.pages) == (shown, 3)
    assert sum(len(block.entries) for block in found.blocks) == (50 if shown < 3 else 20)


def test_a_plan_of_many_files_has_a_small_first_page(site: Site, annotated: World) -> None:
    annotated.images(*(f"bird_{number:04}.png" for number in range(400)))
    found = site.planned()
    assert (found["list"]["total"], found["list"]["pages"]) == (400, 8)
    sizes = [len(site.get(path).body) for path in ("/plan", "/static/ui.css", "/static/ui.js", "/static/colors.css")]
    assert sum(sizes) < 120_000
    assert "bird_0399.png" in site.page("/plan?page=8")
    assert site.json("/plan?text=_0123")["list"]["matching"] == 1
