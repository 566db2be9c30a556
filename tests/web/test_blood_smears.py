"""A review in the browser, of 364 images of blood smears that the test draws: look, filter, decide, approve, explore.

With the environment variable UPDATE_SCREENSHOTS, the screenshots of `docs/guides/ui.md` are made anew.
"""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from PIL import Image, ImageDraw

from tests.chromium import NEEDS_CHROMIUM
from tests.embedded_lake.talk import box, image_set
from tests.end_to_end.world import BIRDS, World
from tests.report.test_browser import expected, is_close, rectangle, rectangles
from tests.web.browsing import Opened, browser, opened
from tests.web.site import served

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = NEEDS_CHROMIUM

__all__ = ["browser", "opened"]  # fixtures

COUNT = 364
SIZE = (320, 240)
GUIDES = Path(__file__).parents[2] / "docs" / "guides"

MANIFEST: dict[str, Any] = {
    **BIRDS,
    "name": "smears",
    "metadata": {"Source": "microscope 2", "Tags": ["blood"]},
    "annotations": [{"operation": "people", "kind": "human", "source": "cells.json"}],
}


class Cell(NamedTuple):
    """One cell of a smear."""

    label: str
    box: tuple[int, int, int, int]


Smears = Mapping[str, Sequence[Cell]]


def drawn_cells(number: int) -> list[Cell]:
    """Return the cells of an image: red ones, a few platelets, and in every fourth image a white one."""
    chance = random.Random(number)
    cells = [
        Cell("RBC", (chance.randrange(0, 260), chance.randrange(0, 180), size, size))
        for size in (chance.randrange(38, 56) for _ in range(6 + number % 4))
    ]
    if number % 4 == 0:
        cells.append(Cell("WBC", (90 + number % 60, 60, 100, 96)))
    cells += [
        Cell("Platelets", (chance.randrange(0, 300), chance.randrange(0, 220), 14, 13)) for _ in range(number % 3)
    ]
    return cells


COLORS = {"RBC": (206, 120, 128), "WBC": (98, 64, 158), "Platelets": (150, 96, 170)}


def picture(cells: Sequence[Cell]) -> bytes:
    """Draw an image of cells."""
    canvas = Image.new("RGB", SIZE, (228, 212, 206))
    pen = ImageDraw.Draw(canvas)
    for cell in cells:
        x, y, width, height = cell.box
        pen.ellipse((x, y, x + width - 1, y + height - 1), fill=COLORS[cell.label], outline=(150, 80, 90))
    file = io.BytesIO()
    canvas.save(file, "JPEG", quality=70)
    return file.getvalue()


def source(smears: Smears) -> dict[str, Any]:
    """Return the annotations as a source has them."""
    return {
        "images": [
            {
                "image": name,
                "annotations": [{"type": "rectangle", "label": one.label, "bbox": list(one.box)} for one in cells],
            }
            for name, cells in smears.items()
        ]
    }


@pytest.fixture
def smears(world: World) -> dict[str, list[Cell]]:
    """364 images with their cells, in the lake."""
    made = {f"BloodImage_{number:05}.jpg": drawn_cells(number) for number in range(COUNT)}
    for name, cells in made.items():
        world.write(f"images/{name}", picture(cells))
    world.write("cells.json", source(made))
    world.manifest({**MANIFEST, "folders": [{"path": "images", "include": ["*.jpg"]}]}, name="smears")
    world.good("apply", "manifest.yaml")
    return made


def shoot(page: Page, name: str, first: str = "body") -> None:
    """Compare the size of a screenshot with the one in the guide, or make that anew. `first`: what is at its top."""
    page.evaluate("(first) => document.querySelector(first).scrollIntoView()", first)
    file = GUIDES / f"ui-{name}.webp"
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        if os.environ.get("UPDATE_SCREENSHOTS"):
            shot.convert("RGB").save(file, "WEBP", quality=80, method=6)
        with Image.open(file) as kept:
            assert kept.size == shot.size, f"{file} is outdated: run this test with UPDATE_SCREENSHOTS=1"
    assert file.stat().st_size < 120_000


def test_label_changes_are_reviewed_decided_approved_and_refused_when_stale(
    world: World, smears: dict[str, list[Cell]], opened: Opened
) -> None:
    first, second = "BloodImage_00000.jpg", "BloodImage_00001.jpg"
    before, after = (90, 60, 100, 96), (96, 66, 100, 96)
    # A reviewer moves a white cell and renames the platelets of 30 images.
    smears[first] = [Cell(one.label, after) if one.label == "WBC" else one for one in smears[first]]
    for number in range(2, 92, 3):
        name = f"BloodImage_{number:05}.jpg"
        smears[name] = [Cell("PLT", one.box) if one.label == "Platelets" else one for one in smears[name]]
    # Another client moves a cell of the second image, and the reviewer another one.
    (ours, *rest), theirs = smears[second], list(smears[second])
    theirs[1] = Cell("RBC", (200, 30, 50, 50))
    shapes = [box(one.label, *one.box) for one in theirs]
    assert world.talk.annotate("people", [image_set(f"smears_{second}", *shapes)]).status_code == 200
    moved = (ours.box[0], ours.box[1] + 9, *ours.box[2:])
    smears[second] = [Cell(ours.label, moved), *rest]
    world.write("cells.json", source(smears))
    with served(world, name="smears") as site:
        page = opened(site)
        page.get_by_role("button", name="Make a plan").click()
        page.get_by_role("button", name="Approve and apply").wait_for()
        assert page.get_by_role("status").inner_text() == "32 of 32 entries"
        page.get_by_label("Text", exact=True).fill("00000")
        page.get_by_label("Text", exact=True).press("Enter")
        page.wait_for_url("**text=00000*")
        assert page.get_by_role("status").inner_text() == "1 of 32 entries"
        page.locator(".card").first.scroll_into_view_if_needed()
        page.locator(".shot svg").wait_for()
        figure = ".shot svg"
        for side, place in (("before", before), ("after", after)):
            found = rectangle(page, f"{figure} .{side}:not(.under) path")
            assert is_close(found, expected(page, f"{figure} image", SIZE, place)), side
        shoot(page, "plan", ".filters")
        page.get_by_role("link", name="Look at both sides and decide").click()
        page.get_by_role("link", name=second).click()
        page.locator(".shot svg").nth(2).wait_for()
        shoot(page, "conflict", ".crumbs")
        page.get_by_role("button", name="Merge both").click()
        page.get_by_role("button", name="Plan again with the decisions").click()
        page.get_by_role("button", name="Approve and apply").wait_for()
        # The plan is stale as soon as the source changes again.
        smears[first][0] = Cell("RBC", (3, 3, 40, 40))
        world.write("cells.json", source(smears))
        page.get_by_role("button", name="Approve and apply").click()
        page.get_by_role("heading", name="The run stopped").wait_for()
        assert "the plan is stale" in page.locator("main").inner_text()
        page.get_by_role("button", name="Make a new plan").click()
        page.get_by_role("button", name="Approve and apply").click()
        page.get_by_role("heading", name="Applied").wait_for()
        page.get_by_role("link", name="What it changed").click()
        assert "32" in page.locator("h2").first.inner_text()
        # The list has 100 actions, and those of 32 images are all on it.
        assert first in page.locator("main").inner_text()
        shoot(page, "history")
        merged = sorted([list(moved), list(theirs[1].box), *(list(one.box) for one in rest[1:])])
        query = {"operationIdList": json.dumps(["people"])}
        sets = world.talk.annotations(world.collection_id("smears"), pageNo="0", pageSize="250", **query)
        assert sorted(shape["bbox"] for shape in sets[second]) == merged


def test_the_lake_of_364_images_is_explored_by_query_with_overlays(
    world: World, smears: dict[str, list[Cell]], opened: Opened
) -> None:
    with_white = [name for name, cells in smears.items() if any(one.label == "WBC" for one in cells)]
    with served(world, name="smears") as site:
        page = opened(site)
        page.goto(f"{site.origin}/lake?collection=smears&operation=people")
        assert page.get_by_role("status").inner_text() == f"{COUNT} items"
        assert "Page 1 of 8" in page.locator(".pager").inner_text()
        world.lake.requests.clear()
        page.get_by_label("Query").fill("annotation.label=WBC")
        page.get_by_label("Query").press("Enter")
        page.get_by_role("status").get_by_text(f"{len(with_white)} items").wait_for()
        page.locator(".grid .picture").nth(11).wait_for()
        for number in range(2):
            (white,) = (one for one in smears[with_white[number]] if one.label == "WBC")
            tile = f".grid .card:nth-child({number + 1})"
            page.locator(tile).scroll_into_view_if_needed()
            place = expected(page, f"{tile} image", SIZE, white.box)
            assert any(is_close(one, place) for one in rectangles(page, f"{tile} .s:not(.halo)")), number
        assert page.locator("#labels label").count() == 3
        shoot(page, "lake")
        # One page of sets serves the tiles of 250 images.
        assert world.lake.requests.of("download_annotations") <= 2
        page.get_by_role("link", name=with_white[0]).click()
        page.locator(".frame .picture").wait_for()
        text = page.locator("main").inner_text()
        assert "microscope 2" in text
        assert "blood" in text
        assert f"images/{with_white[0]}" in text
        shoot(page, "item")
