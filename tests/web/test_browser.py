"""The pages in a real browser: what a user does with them, where shapes are drawn, and accessibility."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageDraw

from tests.chromium import NEEDS_CHROMIUM, launched
from tests.end_to_end.world import BIRDS, PRUNED, World, boxes
from tests.report.test_browser import expected, is_close, rectangle
from tests.report.test_commands import ANNOTATED, image
from tests.web.site import Site, served
from tests.web.test_hostile import hostile_world
from tests.web.test_plans import Gate

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = NEEDS_CHROMIUM

SIZE = (320, 200)
BEFORE, AFTER = (45, 12, 30, 40), (50, 16, 30, 40)

Opened = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as started:
        yield started


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Open a server's first address. A request to elsewhere, a dialog and each error of a page fail the test."""
    bad: list[str] = []
    contexts = []

    def open_it(site: Site, width: int = 1440, **settings: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: bad.append(str(error)))

        def listen(message: Any) -> None:
            # Pages of errors are expected at these addresses.
            is_expected = message.location["url"].endswith(("/nothing", "/apply"))
            # A page that is still open when the test stops the server loses its connection.
            is_expected |= site.server.workspace.changes.closed
            # Images that were still loading when the user applied or replaced their plan are gone.
            shown = site.server.workspace.shown
            of_plan = message.location["url"].partition("/plan/")[2].partition("/")[0]
            is_expected |= bool(of_plan) and (shown is None or shown.id != of_plan)
            if message.type in ("error", "warning") and not is_expected:
                bad.append(message.text)

        page.on("console", listen)

        def dismiss(dialog: Any) -> None:
            bad.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", dismiss)
        page.on("request", lambda asked: None if asked.url.startswith(site.origin) else bad.append(asked.url))
        page.goto(site.server.address)
        page.get_by_role("heading", name="Overview").wait_for()
        cookie = next(one for one in context.cookies() if one["name"].startswith("metalake-sync-ui-"))
        site.cookie = f"{cookie['name']}={cookie['value']}"
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert bad == []


@pytest.fixture
def drawn(world: World) -> World:
    """Two images of 320 × 200 pixels with boxes, in the lake. Then one box moves, and a label is renamed in six."""
    for number in range(7):
        picture = Image.new("RGB", SIZE, (230, 230, 230))
        ImageDraw.Draw(picture).rectangle((50, 16, 79, 55), fill=(20, 60, 220))
        file = io.BytesIO()
        picture.save(file, "PNG", optimize=bool(number % 2), pnginfo=_salt(number))
        world.write(f"images/b{number}.png", file.getvalue())
    first = {f"b{number}_png": [list(BEFORE)] for number in range(7)}
    world.write("people.json", boxes(**first))
    world.manifest(ANNOTATED)
    world.good("apply", "manifest.yaml")
    changed = boxes(**(first | {"b0_png": [list(AFTER)]}))
    for one in changed["images"][1:]:
        one["annotations"][0]["label"] = "crow"
    world.write("people.json", changed)
    return world


def _salt(number: int) -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("number", str(number))
    return info


def violations(page: Page) -> list[str]:
    """Return what axe finds on a page, with the first element of each. Serious and critical findings only."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    script = (Path(package.__file__).parent / "axe.min.js").read_text("utf-8")
    # `evaluate` uses the debugger, which the page's policy does not concern.
    page.evaluate(script)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((all) => all.violations)")
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


def test_a_plan_is_filtered_looked_at_approved_and_found_in_the_history(drawn: World, opened: Opened) -> None:
    with served(drawn) as site:
        page = opened(site)
        page.get_by_role("button", name="Make a plan").click()
        page.get_by_role("button", name="Approve and apply").wait_for()
        assert page.get_by_role("status").inner_text() == "7 of 7 entries"
        assert page.locator(".card").count() == 4
        page.get_by_role("link", name="Show all 6").click()
        assert page.get_by_role("status").inner_text() == "6 of 7 entries"
        page.get_by_role("link", name="Show everything").click()
        page.get_by_label("Text", exact=True).fill("b0.png")
        page.get_by_label("Text", exact=True).press("Enter")
        page.wait_for_url("**text=b0.png*")
        assert page.get_by_role("status").inner_text() == "1 of 7 entries"
        page.locator(".shot svg").wait_for()
        figure = "#shot0-1"
        for side, box in (("before", BEFORE), ("after", AFTER)):
            found = rectangle(page, f"{figure} .{side}:not(.under) path")
            assert is_close(found, expected(page, f"{figure} image", SIZE, box)), side
        # The box after the change is where the image has its filled rectangle.
        _, _, across, down = rectangle(page, f"{figure} image")
        with Image.open(io.BytesIO(page.locator(figure).screenshot())) as shot:
            x, y = (AFTER[0] + 15) / SIZE[0] * across, (AFTER[1] + 28) / SIZE[1] * down
            red, _, blue = shot.convert("RGB").getpixel((round(x), round(y)))  # type: ignore[misc]
            outside = shot.convert("RGB").getpixel((round(across * 0.8), round(down * 0.8)))
        assert blue > red + 60
        assert max(outside) - min(outside) < 8  # type: ignore[arg-type]
        page.get_by_role("button", name="Approve and apply").click()
        page.wait_for_url("**/run")
        page.get_by_role("heading", name="Applied").wait_for()
        assert "Everything in the plan is done." in page.locator("main").inner_text()
        page.get_by_role("link", name="What it changed").click()
        text = page.locator("main").inner_text()
        assert "(45,12 30×40) → (50,16 30×40)" in text
        page.get_by_role("button", name="Plan the way back").click()
        page.get_by_role("heading", name="Plan of the way back").wait_for()
        page.locator(".shot svg").first.wait_for()
        assert drawn.lake.requests.writes


def test_layers_and_keys(drawn: World, opened: Opened) -> None:
    with served(drawn) as site:
        page = opened(site)
        page.get_by_role("link", name="Plan", exact=True).click()
        page.get_by_role("button", name="Make a plan").click()
        page.locator(".shot svg").first.wait_for()
        before = page.locator("#shot0-1 .before").first
        assert before.is_visible()
        page.get_by_label("before").uncheck()
        assert not before.is_visible()
        page.locator("h1").click()
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.id") == "e0"
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.id") == "e1"
        page.keyboard.press("k")
        page.keyboard.press("o")
        page.get_by_role("heading", name="b0.png").wait_for()
        page.keyboard.press("j")
        page.get_by_role("heading", name="b1.png").wait_for()
        page.go_back()
        page.go_back()
        page.locator(".cards").first.wait_for()
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.name") == "text"


def test_progress_is_watched_and_a_run_is_cancelled(
    world: World, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.images(*(f"bird_{number:03}.png" for number in range(40)))
    world.manifest(BIRDS)
    with served(world) as site:
        page = opened(site)
        gate = Gate(site, monkeypatch)
        page.get_by_role("button", name="Make a plan").click()
        page.get_by_role("button", name="Approve and apply").click()
        page.get_by_role("heading", name="Applying the plan").wait_for()
        assert gate.reached.wait(60)
        page.get_by_role("button", name="Cancel the run").click()
        page.get_by_text("Cancelling.").wait_for()
        gate.opened.set()
        page.get_by_role("heading", name="The run was cancelled").wait_for()
        page.get_by_role("button", name="Make a new plan").click()
        page.get_by_text("unchanged").first.wait_for()
    world.good("apply", "manifest.yaml")
    assert len(world.names()) == 40


def test_a_stale_plan_and_a_destructive_one(world: World, opened: Opened) -> None:
    world.images(*"abcdef")
    for name in "abcdef":
        (world.folder / "images" / name).rename(world.folder / "images" / f"{name}.png")
    world.manifest(PRUNED)
    world.good("apply", "manifest.yaml")
    for name in "ab":
        (world.folder / "images" / f"{name}.png").unlink()
    with served(world) as site:
        page = opened(site)
        page.get_by_role("button", name="Make a plan").click()
        page.get_by_label("Type this number to approve").fill("3")
        page.get_by_role("button", name="Approve and apply").click()
        page.get_by_role("heading", name="Not possible").wait_for()
        assert "Type 2 to approve" in page.locator("main").inner_text()
        page.go_back()
        world.images("a.png")
        page.get_by_label("Type this number to approve").fill("2")
        page.get_by_role("button", name="Approve and apply").click()
        page.get_by_role("heading", name="The run stopped").wait_for()
        assert "the plan is stale" in page.locator("main").inner_text()
    assert len(world.names()) == 6


def test_hostile_words_do_no_harm(world: World, opened: Opened) -> None:
    hostile_world(world)
    with served(world) as site:
        page = opened(site)
        page.get_by_role("button", name="Make a plan").click()
        page.locator(".shot svg").first.wait_for()
        assert page.locator("main script, main img, main iframe, main foreignObject").count() == 0
        for address in [one["url"] for block in site.json("/plan")["list"]["blocks"] for one in block["entries"]]:
            page.goto(site.origin + address)
            page.locator("h1").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # The fixture fails on a dialog, and on a request to elsewhere.


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (375, "dark")])
def test_every_view_is_accessible_and_fits(drawn: World, opened: Opened, width: int, scheme: str) -> None:
    image(drawn, "new.png", (30, 30, 200))
    found: dict[str, list[str]] = {}
    with served(drawn) as site:
        page = opened(site, width, color_scheme=scheme)

        def look(name: str) -> None:
            found[name] = violations(page)
            if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
                found[name].append("wider than the window")

        page.get_by_role("heading", name="Collections").wait_for()
        look("overview")
        page.goto(f"{site.origin}/run")
        look("no run")
        page.goto(f"{site.origin}/plan")
        look("no plan")
        page.get_by_role("button", name="Make a plan").click()
        page.locator(".shot svg").first.wait_for()
        look("plan")
        page.goto(site.origin + site.json("/plan")["list"]["blocks"][0]["entries"][0]["url"])
        look("entry")
        page.goto(f"{site.origin}/history")
        look("history")
        page.locator("tbody a").first.click()
        look("past run")
        page.goto(f"{site.origin}/nothing")
        look("error")
        site.applied()
        page.goto(f"{site.origin}/run")
        look("run")
    assert json.dumps({name: one for name, one in found.items() if one}, indent=1) == "{}"
