"""Names, labels and metadata that other people chose: they are shown as text, and nothing runs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from tests.embedded_lake.talk import box, image_set
from tests.end_to_end.world import BIRDS, World
from tests.report.test_commands import image
from tests.web.site import Site, served

HTML = "<script>alert(1)</script><img src=x onerror=alert(2)>"
SVG = "\"><svg onload=alert(3)><foreignObject>'"
LINK = "javascript:alert(4)//http://evil.example/?a=b&c=d"
TEMPLATE = "{{ 7*191 }}{% raw %}${7*191}"
TURNED = "‮gnp.exe\u2066\x1b[31m\r\n"
LONG = "x" * 10_000
WORDS = (HTML, SVG, LINK, TEMPLATE, TURNED, LONG)
NAMES = ("<img src=x onerror=alert(5)>.png", "a'\"&.png", "..%2f..%2fetc.png", "‮gnp.exe.png", "{{7*191}}.png")


class Tags(HTMLParser):
    """Collects the elements and the attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def hostile_world(world: World) -> World:
    for number, name in enumerate(NAMES):
        image(world, name, (number * 40, 30, 30))
    document: dict[str, Any] = {
        "images": [
            {
                "image": name,
                "annotations": [
                    {
                        "type": "rectangle", "bbox": [1 + number, 2, 10, 10], "label": words[:200],
                        "metadata": {}, "attributes": {"seen": [{"value": words[:200]}]},
                    }
                    for number, words in enumerate(WORDS)
                ],
            }
            for name in NAMES
        ]
    }  # fmt: skip
    world.write("people.json", document)
    metadata = {"City": HTML, "Note": LONG, "Link": LINK, "Turned": TURNED, "Tags": ["#a<b>", SVG[:40]]}
    operation = {"operation": "op<b>", "kind": "human", "source": "people.json"}
    world.manifest({**BIRDS, "name": f"birds {HTML}", "metadata": metadata, "annotations": [operation]})
    return world


def one_box(name: str, label: str) -> dict[str, Any]:
    shape = {"type": "rectangle", "bbox": [5, 5, 10, 10], "label": label, "metadata": {}}
    return {"images": [{"image": name, "annotations": [shape]}]}


def check(text: str) -> None:
    """Every element and attribute of a page is one of ours."""
    tags = Tags()
    tags.feed(text)
    foreign = {"foreignobject", "iframe", "object", "embed", "base", "style", "b2", "img"}
    assert not tags.elements & foreign
    assert text.count("<script") <= 1
    for name, value in tags.attributes:
        assert not name.startswith("on"), (name, value)
        assert name != "style"
        if name in ("href", "src", "action", "data-card"):
            assert re.match(r"/(?!/)|#", value), value
    assert "1337" not in text
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f]", text)
    assert len(text) < 300_000


def test_every_page_shows_hostile_words_as_text(world: World) -> None:
    hostile_world(world)
    with served(world) as site:
        site.enter()
        found = site.planned()
        check_all(site, found)
        plan = found["plan"]["id"]
        for wanted in (HTML, SVG, TEMPLATE, LONG[:2000]):
            for key in ("text", "label", "collection", "action", "group"):
                check(site.page("/plan?" + urlencode({key: wanted})))
        for path in (f"/plan/{plan}/entries/{HTML}".replace(" ", "%20"), "/history/<svg onload=x>".replace(" ", "%20")):
            answer = site.get(path)
            assert answer.status == 404
            check(answer.text)
        run = site.applied()
        assert (run["state"], run["failed"]) == ("done", 0)
        check(site.page("/run"))
        check(site.page(f"/history/{run['id']}"))
        image(world, NAMES[0], (9, 200, 9))
        world.write("people.json", one_box(NAMES[1], SVG))
        check_all(site, site.planned())
    assert sorted(world.names(f"birds {HTML}")) == sorted(NAMES)


def check_all(site: Site, found: Any) -> None:
    for path in ("/", "/plan", "/run", "/history"):
        check(site.page(path))
    entries = [one for block in found["list"]["blocks"] for one in block["entries"]]
    assert entries
    for one in entries:
        check(site.page(one["url"]))
        check(site.page(one["url"] + "?part=1"))
        assert site.json(one["url"])["file"] == one["file"]


def test_the_explorer_and_the_conflicts_show_hostile_words_as_text(world: World) -> None:
    hostile_world(world)
    world.good("apply", "manifest.yaml")
    with served(world) as site:
        site.enter()
        grid = "/lake?" + urlencode({"type": "image", "collection": f"birds {HTML}", "operation": "op<b>"})
        check(site.page(grid))
        listed = site.json(grid)["list"]["items"]
        assert sorted(one["name"] for one in listed) == sorted(NAMES)
        for one in listed:
            for part in ("", "&part=1"):
                # Values that the browser sends back are exact.
                check(re.sub(r'(<input type="hidden" [^>]*) value="[^"]*"', r"\1", site.page(one["url"] + part)))
            assert site.json(one["url"])["facts"]["tags"]
        for wanted in (HTML, SVG, TEMPLATE, LONG[:2000], LINK):
            for key in ("type", "collection", "q", "annotated", "from", "to", "sort", "order", "operation"):
                check(site.get("/lake?" + urlencode({key: wanted})).text)
        # Another client changes each set, and the source too.
        for one in listed:
            shapes = [box(words[:200], 3, 4, 9, 9) for words in WORDS]
            assert world.talk.annotate("op<b>", [image_set(one["unique_name"], *shapes)]).status_code == 200
        world.write("people.json", {"images": [one_box(name, SVG)["images"][0] for name in NAMES]})
        found = site.planned()
        assert found["conflicts"] == len(NAMES)
        conflicts = f"/plan/{found['plan']['id']}/conflicts"
        check(site.page(conflicts))
        for number in range(len(NAMES)):
            check(site.page(f"{conflicts}/{number}"))
        assert site.post(conflicts, decision="keep").status == 303
        check(site.page(conflicts))
        world.write("images/" + NAMES[1], b"")
        assert site.post("/checks").status == 303
        assert site.wait("/checks", lambda one: one["work"]["state"] != "working")["errors"] >= 1
        check(site.page("/checks"))
        assert site.post("/doctor").status == 303
        site.wait("/doctor", lambda one: one["work"]["state"] != "working")
        check(site.page("/doctor"))
