"""`plan --html` and `show --html`: what the files contain, and what is said about images that are not available."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.embedded_lake.talk import box, image_set
from tests.end_to_end.world import BIRDS, World, boxes

OPERATION = {"operation": "people", "kind": "human", "source": "people.json"}
ANNOTATED: dict[str, Any] = {**BIRDS, "annotations": [OPERATION]}


def image(world: World, name: str, color: tuple[int, int, int], size: tuple[int, int] = (80, 60)) -> Path:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return world.write(f"images/{name}", file.getvalue())


def page(world: World, name: str = "plan.html") -> str:
    return (world.folder / name).read_text("utf-8")


def embedded(html: str) -> list[Image.Image]:
    """The images of a page, in its order."""
    found = []
    for data in re.findall(r'href="data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)"', html):
        with Image.open(io.BytesIO(b64decode(data))) as one:
            found.append(one.convert("RGB"))
    return found


def is_color(one: Image.Image, color: tuple[int, int, int]) -> bool:
    found = one.getpixel((one.width // 2, one.height // 2))
    assert isinstance(found, tuple)
    return all(abs(a - b) < 12 for a, b in zip(found, color, strict=True))


def applied(world: World) -> World:
    image(world, "crow.png", (200, 30, 30))
    image(world, "gull.png", (30, 200, 30))
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10], [40, 30, 9, 9]], gull_png=[[1, 1, 5, 5]]))
    world.manifest(ANNOTATED)
    world.good("apply", "manifest.yaml")
    return world


def test_new_images_are_shown_with_their_boxes(world: World) -> None:
    image(world, "crow.png", (200, 30, 30))
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10]]))
    world.manifest(ANNOTATED)
    done = world.good("plan", "manifest.yaml", "--html", "plan.html")
    assert "Wrote plan.html, with images of 1 entry." in done.out
    html = page(world)
    assert 'd="M10 5h20v10h-20z"' in html
    assert "people (human)</bdi>: 1 box" in html
    (shown,) = embedded(html)
    assert is_color(shown, (200, 30, 30))
    assert oct((world.folder / "plan.html").stat().st_mode)[-3:] == "600"
    assert world.lake.requests.writes == 0


def test_a_moved_box_is_shown_before_and_after_with_the_unchanged_one(world: World) -> None:
    applied(world)
    world.write("people.json", boxes(crow_png=[[13, 5, 17, 10], [40, 30, 9, 9]], gull_png=[[1, 1, 5, 5]]))
    world.good("plan", "manifest.yaml", "--html", "plan.html", "--out", "birds.plan")
    for html in (page(world), saved(world)):
        assert "1 box moved, 1 unchanged" in html
        assert "bird  (10,5 20×10) → (13,5 17×10)" in html
        assert 'd="M10 5h20v10h-20z"' in html
        assert 'd="M13 5h17v10h-17z"' in html
        assert len(embedded(html)) == 1
    assert 'd="M40 30h9v9h-9z"' in page(world)
    assert "1 unchanged shape not drawn." in page(world, "saved.html")


def saved(world: World, *options: str) -> str:
    world.good("show", "birds.plan", "--html", "saved.html", *options)
    return page(world, "saved.html")


def test_a_cleared_set_is_shown_as_removed(world: World) -> None:
    applied(world)
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10], [40, 30, 9, 9]], gull_png=[]))
    world.good("plan", "manifest.yaml", "--html", "plan.html")
    html = page(world)
    assert "1 box removed" in html
    assert 'data-actions="remove_annotations"' in html
    (shown,) = embedded(html)
    assert is_color(shown, (30, 200, 30))


def test_a_replaced_image_is_read_from_the_lake_and_embedded(world: World) -> None:
    applied(world)
    image(world, "crow.png", (20, 20, 220), (60, 80))
    world.good("plan", "manifest.yaml", "--html", "plan.html", "--out", "birds.plan")
    html = page(world)
    theirs, ours = embedded(html)
    assert (theirs.size, is_color(theirs, (200, 30, 30))) == ((80, 60), True)
    assert (ours.size, is_color(ours, (20, 20, 220))) == ((60, 80), True)
    assert html.index("in the lake now") < html.index("replaces it")
    assert world.lake.url not in html
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)
    html = saved(world)
    assert "The lake&#39;s image is not shown: a saved plan is shown without asking the lake." in html
    assert len(embedded(html)) == 1


def test_without_asking_the_lake_a_replaced_image_is_stated(world: World) -> None:
    applied(world)
    image(world, "crow.png", (20, 20, 220))
    world.good("plan", "manifest.yaml", "--refresh", "none", "--html", "plan.html")
    assert "The lake&#39;s image is not shown: the plan did not ask the lake." in page(world)


def test_a_lake_that_does_not_give_the_image_is_stated_without_its_url(world: World) -> None:
    applied(world)
    image(world, "crow.png", (20, 20, 220))
    for path in world.folder.parent.glob("lake/**/*"):
        if path.is_file() and path.read_bytes()[:4] == b"\x89PNG":
            path.unlink()
    world.good("plan", "manifest.yaml", "--html", "plan.html")
    html = page(world)
    assert "The lake&#39;s image is not shown: it could not be read from the lake." in html
    assert len(embedded(html)) == 1


def test_images_of_a_saved_plan_that_are_gone_or_changed_are_stated_one_by_one(world: World) -> None:
    for name in ("crow.png", "gull.png", "owl.png"):
        image(world, name, (200, 30, 30))
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10]]))
    world.manifest(ANNOTATED)
    world.good("plan", "manifest.yaml", "--out", "birds.plan")
    (world.folder / "images/crow.png").unlink()
    image(world, "gull.png", (1, 1, 1), (30, 30))
    html = saved(world)
    by_name = {part.split("</bdi>")[0]: part for part in html.split('<h4 class="name"><bdi>')[1:]}
    assert "The image is not shown: the file is not on this disk any more." in by_name["crow.png"]
    assert "The image is not shown: the file changed after the plan was made." in by_name["gull.png"]
    assert "not shown" not in by_name["owl.png"]
    assert "A saved plan does not contain the shapes of new files" in html
    assert str(world.folder) not in html


def test_images_that_are_only_in_the_lake_are_read_from_it(world: World) -> None:
    applied(world)
    found = world.talk.items(world.collection_id())
    (name,) = (one["uniqueName"] for one in found if one["name"] == "crow.png")
    world.write("more.json", {"images": [{**boxes(crow_png=[[2, 2, 9, 9]])["images"][0], "image": name}]})
    world.manifest(
        ANNOTATED, annotations=[{"operation": "others", "kind": "human", "source": "more.json", "by": "unique_name"}]
    )
    world.good("plan", "manifest.yaml", "--html", "plan.html")
    html = page(world)
    (shown,) = embedded(html)
    assert is_color(shown, (200, 30, 30))
    assert 'd="M2 2h9v9h-9z"' in html


def test_equal_changes_of_many_files_are_one_block_after_the_odd_one(world: World) -> None:
    names = [f"{number}.png" for number in range(5)]
    for name in names:
        image(world, name, (200, 30, 30))
    document = boxes(**{name.replace(".", "_"): [[10, 5, 20, 10]] for name in names})
    world.write("people.json", document)
    world.manifest(ANNOTATED)
    world.good("apply", "manifest.yaml")
    for one in document["images"]:
        one["annotations"][0]["label"] = "crow"
    document["images"][3]["annotations"][0]["bbox"] = [12, 5, 20, 10]
    world.write("people.json", document)
    world.good("plan", "manifest.yaml", "--html", "plan.html")
    html = page(world)
    assert re.findall(r'<h4 class="name"><bdi>(.*?)</bdi>', html) == ["3.png", "0.png", "1.png", "2.png", "4.png"]
    assert "4 files: people: bird relabeled to crow, 4 boxes" in html


def test_limits_are_options_and_obeyed(world: World) -> None:
    applied(world)
    world.write("people.json", boxes(crow_png=[[1, 5, 20, 10]], gull_png=[[9, 1, 5, 5]]))
    done = world.good("plan", "manifest.yaml", "--html", "plan.html", "--max-images", "1", "--max-size", "0.3")
    assert "with images of 1 entry." in done.out
    assert "note: 1 image not shown, because the limit is 1 (--max-images)." in done.out
    assert (world.folder / "plan.html").stat().st_size <= 300_000


def test_an_empty_plan_is_a_page_that_says_so(world: World) -> None:
    applied(world)
    world.good("plan", "manifest.yaml", "--html", "plan.html")
    assert "Nothing to do" in page(world)


def test_a_folder_in_place_of_the_file_is_a_usage_error(world: World) -> None:
    applied(world)
    (world.folder / "plan.html").mkdir()
    assert world.run("plan", "manifest.yaml", "--html", "plan.html").code == 64


@pytest.mark.parametrize("library", ["jinja2", "PIL"])
def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    import sys

    from metalake_sync.errors import SyncError
    from metalake_sync.report.pages import need_libraries

    for module in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SyncError, match=r"which is not installed.*metalake-sync\[html\]"):
        need_libraries()


def test_an_adopted_image_is_shown_with_the_set_that_it_gets(world: World) -> None:
    image(world, "crow.png", (200, 30, 30))
    world.talk.upload({"crow.png": (world.folder / "images/crow.png").read_bytes()})
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10]]))
    world.manifest(ANNOTATED)
    world.good("plan", "manifest.yaml", "--html", "plan.html", "--out", "birds.plan")
    for html in (page(world), saved(world)):
        (shown,) = embedded(html)
        assert is_color(shown, (200, 30, 30))
        assert 'data-actions="adopt annotate"' in html
    assert 'd="M10 5h20v10h-20z"' in page(world)


def test_a_set_that_another_client_changed_is_shown_with_both_sides(world: World) -> None:
    applied(world)
    found = world.talk.items(world.collection_id())
    (name,) = (one["uniqueName"] for one in found if one["name"] == "crow.png")
    world.talk.annotate("people", [image_set(name, box("bird", 10, 5, 20, 10), box("bird", 60, 1, 7, 7))])
    world.good("plan", "manifest.yaml", "--refresh", "full", "--html", "plan.html", "--out", "birds.plan")
    for html in (page(world), saved(world)):
        assert 'data-reasons="drifted"' in html
        assert len(embedded(html)) == 1
        ours, theirs = re.findall(r"<h5>.*?</h5>", html)
        assert "1 box added, 1 box removed, 1 unchanged" in ours
        assert "1 box added, 1 box removed, 1 unchanged" in theirs
        assert "Another client changed this set." in html
        assert "What the other client changed since the last apply." in html
        sections = html.split('<div class="set">')[1:]
        before, after = 'class="before"', 'class="after"'
        for section, removed, added in zip(
            sections, ("M60 1h7v7h-7z", "M40 30h9v9h-9z"), ("M40 30h9v9h-9z", "M60 1h7v7h-7z"), strict=True
        ):
            figure = section.split("</figure>")[0]
            assert removed in figure[figure.index(before) :]
            assert added in figure[figure.index(after) : figure.index(before)]
    assert 'd="M10 5h20v10h-20z"' in page(world)
