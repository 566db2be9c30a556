"""The page in a real browser: shapes stand where they should, to the pixel, and names of others do no harm."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from metalake_sync.core.shapes import Shape, ShapeType
from metalake_sync.report.model import ActionLine, Entry, ReportPlan
from metalake_sync.report.pages import render_report
from tests.chromium import NEEDS_CHROMIUM, launched
from tests.end_to_end.world import BIRDS, World, boxes
from tests.report.entries import GROUND, INK, File, box, changed, drawn, human, new, plan, record, write_image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = NEEDS_CHROMIUM

Opened = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as started:
        yield started


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    """Open a report from disk. Each request, except for the file itself, and each error of the page fails the test."""
    bad: list[str] = []
    contexts = []

    def open_it(report: ReportPlan | str, width: int = 1440, **settings: Any) -> Page:
        file = tmp_path / "plan.html"
        html = report if isinstance(report, str) else render_report(report).html
        file.write_text(html, "utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: bad.append(str(error)))
        page.on("console", lambda message: bad.append(message.text))

        def dismiss(dialog: Any) -> None:
            bad.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", dismiss)

        def route(asked: Any) -> None:
            url = asked.request.url
            if url == file.as_uri():
                asked.continue_()
            else:
                bad.append(url)
                asked.abort()

        page.route("**/*", route)
        page.goto(file.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert bad == []


def rectangle(page: Page, selector: str) -> tuple[float, float, float, float]:
    """Return left, top, width and height of an element without its stroke, in CSS pixels."""
    found: Mapping[str, float] = page.evaluate(
        "(one) => { const {x, y, width, height} = document.querySelector(one).getBoundingClientRect();"
        " return {x, y, width, height}; }",
        selector,
    )
    return found["x"], found["y"], found["width"], found["height"]


def rectangles(page: Page, selector: str) -> list[tuple[float, float, float, float]]:
    """Return the same of all elements that match."""
    found: list[list[float]] = page.evaluate(
        "(all) => [...document.querySelectorAll(all)].map((one) => { const {x, y, width, height} ="
        " one.getBoundingClientRect(); return [x, y, width, height]; })",
        selector,
    )
    return [(one[0], one[1], one[2], one[3]) for one in found]


def expected(page: Page, image: str, size: tuple[float, float], place: tuple[float, ...]) -> tuple[float, ...]:
    """Return where a place in an image of this size should stand on the page."""
    left, top, width, height = rectangle(page, image)
    across, down = width / size[0], height / size[1]
    x, y, w, h = place
    return left + x * across, top + y * down, w * across, h * down


def is_close(found: tuple[float, ...], wanted: tuple[float, ...]) -> bool:
    return all(abs(one - other) < 0.5 for one, other in zip(found, wanted, strict=True))


def pixels(page: Page, selector: str) -> Image.Image:
    """Return what the browser draws for an element, without the shapes."""
    page.add_style_tag(content=".s, .tags { visibility: hidden }")
    with Image.open(io.BytesIO(page.locator(selector).first.screenshot())) as image:
        return image.convert("RGB")


def ink_box(image: Image.Image) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the pixels that are closer to INK than to GROUND."""
    middle = (GROUND[0] + INK[0]) / 2
    found = image.getchannel("R").point(lambda value: 255 if value < middle else 0).getbbox()
    assert found is not None
    return found


def is_marked(page: Page, figure: str, tolerance: float) -> bool:
    """Whether the shape after the change stands around the filled box of the image, up to pixels of the screen."""
    left, top, _, _ = rectangle(page, figure)
    x, y, width, height = rectangle(page, f"{figure} .after:not(.under) path")
    marked = (x - left, y - top, x + width - left, y + height - top)
    return all(abs(one - other) <= tolerance for one, other in zip(ink_box(pixels(page, figure)), marked, strict=True))


BEFORE, AFTER = (45, 12, 30, 40), (120, 100, 64, 20)


@pytest.mark.parametrize("width", [375, 1440])
@pytest.mark.parametrize("normalized", [False, True])
def test_before_and_after_stand_on_what_they_mark(opened: Opened, tmp_path: Path, width: int, normalized: bool) -> None:
    size = (320, 200)
    image = write_image(tmp_path / "a.png", size, AFTER)
    scale = size if normalized else (1, 1)

    def scaled(label: str, place: tuple[int, ...]) -> Shape:
        x, y, w, h = place
        return box(label, x / scale[0], y / scale[1], w / scale[0], h / scale[1])

    change = human(
        record(scaled("RBC", BEFORE), normalized=normalized), record(scaled("WBC", AFTER), normalized=normalized)
    )
    page = opened(plan(changed("crow.jpg", image, change)), width)
    for kind, place in (("before", BEFORE), ("after", AFTER)):
        found = rectangle(page, f".shot .{kind} path")
        assert is_close(found, expected(page, ".shot image", size, place)), kind
        in_part = rectangle(page, f".part .{kind}:not(.under) path")
        assert in_part[2] / in_part[3] == pytest.approx(place[2] / place[3], rel=0.01)
    assert is_marked(page, ".shot svg", 1.5)


def test_each_exif_orientation_is_shown_upright(opened: Opened, tmp_path: Path) -> None:
    size = (320, 200)
    upright = write_image(tmp_path / "upright.png", size, AFTER)
    turns = {
        2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE",
        8: "ROTATE_270",
    }  # fmt: skip
    change = human(record(box("RBC", *BEFORE)), record(box("RBC", *AFTER)))
    entries = []
    for orientation in range(1, 9):
        with Image.open(upright.path) as image:
            stored = image.transpose(Image.Transpose[turns[orientation]]) if orientation in turns else image.copy()
        exif = stored.getexif()
        exif[0x0112] = orientation
        stored.save(tmp_path / f"{orientation}.jpg", exif=exif, quality=95)
        entries.append(changed(f"{orientation}.jpg", File(tmp_path / f"{orientation}.jpg"), change))
    page = opened(plan(*entries))
    for number in range(8):
        shot = f"#shot{number}-1"
        place = expected(page, f"{shot} image", size, BEFORE)
        assert is_close(rectangle(page, f"{shot} .before path"), place), number + 1
        assert is_marked(page, shot, 2), number + 1


def test_an_enlarged_part_of_a_large_image_has_its_own_pixels_in_the_right_place(
    opened: Opened, tmp_path: Path
) -> None:
    place = (2100, 1500, 60, 30)
    image = write_image(tmp_path / "a.jpg", (3001, 2003), place)
    change = human(record(box("RBC", 2080, 1500, 60, 30)), record(box("RBC", *place)))
    page = opened(plan(changed("crow.jpg", image, change)))
    assert page.locator(".part image").count() == 1
    # JPEG and WebP blur by one pixel of the image, which is 2 pixels of the screen here.
    assert is_marked(page, ".part svg", 3)


def test_polygons_lines_and_points_stand_where_they_should(opened: Opened, tmp_path: Path) -> None:
    size = (320, 200)
    shapes = (
        drawn(ShapeType.POLYGON, "cell", (200, 20), (280, 60), (220, 120)),
        drawn(ShapeType.LINE, "axis", (20, 150), (100, 190), (200, 180)),
        drawn(ShapeType.POINTS, "eye", (40, 50), (60, 70)),
    )
    page = opened(plan(new("crow.jpg", write_image(tmp_path / "a.png", size), *shapes)))
    # A polygon's path is closed, a line's is not.
    for selector, place in (("[d$=z]", (200, 20, 80, 100)), (":not([d$=z])", (20, 150, 180, 40))):
        found = rectangle(page, f".shot .after path{selector}")
        assert is_close(found, expected(page, ".shot image", size, place)), selector
    x, y, width, height = rectangle(page, ".shot .after circle")
    middle = (x + width / 2, y + height / 2)
    assert any(
        is_close(middle, expected(page, ".shot image", size, (*point, 0, 0))[:2]) for point in ((40, 50), (60, 70))
    )


@pytest.mark.parametrize("normalized", [False, True])
def test_a_real_plan_of_an_image_that_exif_turns(
    opened: Opened, world: World, tmp_path: Path, normalized: bool
) -> None:
    size = (320, 200)
    upright = write_image(tmp_path / "upright.png", size, AFTER)
    with Image.open(upright.path) as image:
        stored = image.transpose(Image.Transpose.ROTATE_90)
    exif = stored.getexif()
    exif[0x0112] = 6
    (world.folder / "images").mkdir()
    stored.save(world.folder / "images/crow.jpg", exif=exif, quality=95)
    scale = (320, 200, 320, 200) if normalized else (1, 1, 1, 1)

    def draw(*boxes_drawn: tuple[int, int, int, int]) -> None:
        scaled = [[value / factor for value, factor in zip(one, scale, strict=True)] for one in boxes_drawn]
        world.write("people.json", boxes(crow_jpg=scaled))

    source = {"operation": "people", "kind": "human", "source": "people.json", "normalized": normalized}
    world.manifest({**BIRDS, "annotations": [source]})
    draw(BEFORE, (200, 20, 60, 60))
    world.good("apply", "manifest.yaml")
    draw(AFTER, (204, 20, 60, 60))
    world.good("plan", "manifest.yaml", "--html", "plan.html")
    page = opened((world.folder / "plan.html").read_text("utf-8"))
    assert "1 box added, 1 box removed, 1 box moved" in page.inner_text("h5")
    places = {
        "before": [BEFORE, (200, 20, 60, 60)],
        "after": [AFTER, (204, 20, 60, 60)],
    }
    for kind, wanted in places.items():
        found = rectangles(page, f".shot .{kind} path")
        assert len(found) == 2
        for place in wanted:
            assert any(is_close(one, expected(page, ".shot image", size, place)) for one in found), (kind, place)
    # The filled box of the image is where the added shape is.
    left, top, _, _ = rectangle(page, ".shot svg")
    x, y, width, height = expected(page, ".shot image", size, AFTER)
    inked = ink_box(pixels(page, ".shot svg"))
    wanted_ink = (x - left, y - top, x + width - left, y + height - top)
    assert all(abs(one - other) <= 2 for one, other in zip(inked, wanted_ink, strict=True))


def test_before_is_dashed_and_after_is_solid(opened: Opened, tmp_path: Path) -> None:
    change = human(record(box("RBC", *BEFORE)), record(box("RBC", *AFTER)))
    page = opened(plan(changed("crow.jpg", write_image(tmp_path / "a.png"), change)))
    dashes = {
        kind: page.locator(f".shot .{kind} path").first.evaluate("(one) => getComputedStyle(one).strokeDasharray")
        for kind in ("before", "after")
    }
    assert dashes["after"] == "none"
    assert dashes["before"] != "none"


def test_a_replaced_image_stands_beside_the_new_one(opened: Opened, tmp_path: Path) -> None:
    old, new_one = (10, 100, 50, 50), (100, 20, 40, 60)
    entry = Entry(
        "birds",
        "image",
        "crow.jpg",
        (ActionLine("-/+", "replace", "content_changed"),),
        write_image(tmp_path / "new.png", (320, 200), new_one),
        write_image(tmp_path / "old.png", (300, 240), old),
        load_sets=lambda: (human(record(box("RBC", *old)), record(box("RBC", *new_one))),),
    )
    page = opened(plan(entry))
    assert page.locator(".shot").count() == 2
    assert page.locator("figcaption").all_inner_texts() == ["in the lake now", "replaces it"]
    assert is_close(rectangle(page, ".before path"), expected(page, "#theirs0", (300, 240), old))
    assert is_close(rectangle(page, ".after path"), expected(page, "#ours0", (320, 200), new_one))
    first, second = rectangle(page, "#theirs0"), rectangle(page, "#ours0")
    assert first[0] + first[2] <= second[0]


HOSTILE = (
    "</style></script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "</text></svg><svg onload=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "\u202egpj.exe \u2066\u2069",
    "مرحبا بالعالم",
    "long" * 2_500,
    "\x1b[31m\x00\udcff",
    "javascript:alert(1)",
    "url(https://example.com/x.png)",
)


@pytest.mark.parametrize("width", [375, 1440])
def test_hostile_names_and_labels_run_and_break_nothing(opened: Opened, tmp_path: Path, width: int) -> None:
    image = write_image(tmp_path / "a.png")
    entries = []
    for text in HOSTILE:
        change = human(record(box(text, *BEFORE)), record(box(text, *AFTER), box(text + "2", 1, 1, 9, 9)))
        action = ActionLine("~", "annotate", "annotations_changed", (text, f"{text} → {text}"))
        sets = (change, human(record(), record(box(text, 5, 5, 5, 5))))
        entries.append(Entry(text, "image", text, (action,), image, load_sets=partial(tuple, sets)))
        entries.append(Entry(text, "image", None, (action,), labels=(text,)))
        entries.append(Entry(text, "image", text, (action,), image, group=text, group_text=text))
    report = ReportPlan(
        HOSTILE[0], HOSTILE, entries, dict.fromkeys(HOSTILE, 1), [(text, text, text) for text in HOSTILE], HOSTILE
    )
    page = opened(report, width)
    assert page.locator(".card").count() == 2 * len(HOSTILE)
    assert page.locator(".row").count() == len(HOSTILE)
    assert page.locator("img, iframe, object, script:not(:last-of-type)").count() == 0
    assert page.locator("script").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "\u202e" not in page.content()
    page.select_option("#by-label", index=3)
    assert "of 30 entries shown" in page.inner_text("#count")


def test_filters_narrow_by_collection_action_label_reason_and_name(opened: Opened, tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png")
    entries = [
        changed("crow.jpg", image, human(record(box("RBC", *BEFORE)), record(box("WBC", *BEFORE)))),
        new("gull.jpg", image, box("RBC", *AFTER)),
        Entry("owls", "image", "owl.jpg", (ActionLine("-", "trash", "filtered_out"),), labels=("owl",)),
    ]
    page = opened(plan(*entries))

    def visible() -> list[str]:
        names: list[str] = page.locator(".name:visible").all_inner_texts()
        return names

    assert visible() == ["crow.jpg", "gull.jpg", "owl.jpg"]
    for selector, choice, wanted in (
        ("#by-collection", "owls (image)", ["owl.jpg"]),
        ("#by-action", "upload", ["gull.jpg"]),
        ("#by-reason", "filtered_out", ["owl.jpg"]),
        ("#by-label", "WBC", ["crow.jpg"]),
        ("#by-label", "RBC", ["crow.jpg", "gull.jpg"]),
    ):
        page.select_option(selector, label=choice)
        assert visible() == wanted, (selector, choice)
        page.select_option(selector, label="all")
    page.fill("#by-name", "CRO")
    assert visible() == ["crow.jpg"]
    assert page.inner_text("#count") == "1 of 3 entries shown"
    page.fill("#by-name", "")
    page.uncheck("#see-before")
    assert page.locator(".shot .before path").first.is_hidden()


def test_the_page_is_complete_without_scripts(opened: Opened, tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png")
    change = human(record(box("RBC", *BEFORE)), record(box("WBC", *AFTER)))
    page = opened(plan(changed("crow.jpg", image, change)), java_script_enabled=False)
    assert page.locator("form").is_hidden()
    assert page.locator(".shot svg").is_visible()
    assert "WBC" in page.locator(".part figcaption").first.inner_text() + page.locator(".parts").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_light_and_dark(opened: Opened, tmp_path: Path, scheme: str) -> None:
    change = human(record(box("RBC", *BEFORE)), record(box("WBC", *AFTER)))
    page = opened(plan(changed("crow.jpg", write_image(tmp_path / "a.png"), change)), color_scheme=scheme)
    ground = color(page, "body", "backgroundColor")
    assert (luminance(ground) > 0.5) == (scheme == "light")
    for selector in (".card h4", ".quiet", ".card .quiet", ".sign-add", ".sign-remove"):
        behind = color(page, ".card", "backgroundColor") if page.locator(f".card {selector}").count() else ground
        assert contrast(color(page, selector, "color"), behind) >= 4.5, selector


def test_everything_is_reached_by_keyboard(opened: Opened, tmp_path: Path) -> None:
    change = human(record(box("RBC", *BEFORE)), record(box("WBC", *AFTER)))
    page = opened(plan(changed("crow.jpg", write_image(tmp_path / "a.png"), change), warnings=[("emptied", "x", "")]))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the changes"
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    fields = ["by-collection", "by-action", "by-label", "by-reason", "by-name", "see-before", "see-after", "see-same"]
    assert reached == ["SUMMARY", *fields]


def test_it_prints_without_the_filters(opened: Opened, tmp_path: Path) -> None:
    change = human(record(box("RBC", *BEFORE)), record(box("WBC", *AFTER)))
    page = opened(plan(changed("crow.jpg", write_image(tmp_path / "a.png"), change)))
    page.emulate_media(media="print")
    assert page.locator("form").is_hidden()
    assert page.locator(".shot svg").is_visible()
    assert page.pdf().startswith(b"%PDF")


def color(page: Page, selector: str, what: str) -> tuple[int, int, int]:
    text = page.locator(selector).first.evaluate(f"(one) => getComputedStyle(one).{what}")
    red, green, blue = (int(part) for part in text[text.index("(") + 1 : -1].split(",")[:3])
    return red, green, blue


def luminance(rgb: tuple[int, int, int]) -> float:
    """The relative luminance of WCAG 2.1."""
    parts = [one / 255 for one in rgb]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
