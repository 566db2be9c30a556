"""The lake explorer: what is listed, drawn and told of items, and that the browser learns no address of the lake."""

from __future__ import annotations

import io
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from metalake_sync.web import lake_reader
from metalake_sync.web.explorer import PAGE_ITEMS
from tests.embedded_lake.talk import box, image_set, png
from tests.end_to_end.world import BIRDS, World, boxes
from tests.report.test_commands import ANNOTATED, image
from tests.web.site import Site, served

GRID = "/lake?type=image&collection=birds"


def items(site: Site, address: str) -> list[str]:
    return [one["name"] for one in site.json(address)["list"]["items"]]


def item_address(site: Site, name: str, **changes: str) -> str:
    found = next(one["url"] for one in site.json(GRID)["list"]["items"] if one["name"] == name)
    return str(found) + "".join(f"&{key}={quote(value)}" for key, value in changes.items())


def test_the_first_view_lists_the_collections(site: Site, annotated: World) -> None:
    page = site.page("/lake")
    assert "birds" in page
    assert 'href="/lake?type=image&amp;collection=birds"' in page
    assert site.json("/lake")["list"] is None
    assert site.json("/lake")["collections"] == ["birds"]


def test_a_collection_is_listed_queried_filtered_and_sorted(site: Site, annotated: World) -> None:
    image(annotated, "owl.png", (9, 9, 9))
    annotated.good("apply", "manifest.yaml")
    assert items(site, GRID) == ["crow.png", "gull.png", "owl.png"]
    assert items(site, GRID + "&order=desc") == ["owl.png", "gull.png", "crow.png"]
    assert items(site, GRID + "&q=annotation.label%3Dbird") == ["crow.png", "gull.png"]
    assert items(site, GRID + "&annotated=raw") == ["owl.png"]
    assert items(site, GRID + "&from=2100-01-01") == []
    assert "Nothing matches." in site.page(GRID + "&from=2100-01-01")
    assert items(site, "/lake?type=image") == ["crow.png", "gull.png", "owl.png"]
    assert "3 items" in site.page(GRID)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/lake?collection=cats", "the lake has no image collection 'cats'"),
        ("/lake?type=birds", "there is no type 'birds'"),
        (GRID + "&from=soon", "'from_date' is 'soon'"),
        (GRID + "&from=2026-02-01&to=2026-01-01", "the dates are reversed"),
        (GRID + "&sort=color", "a sort's 'by' is 'color'"),
        (GRID + "&order=up", "a sort's 'order' is 'up'"),
        (GRID + "&annotated=cats", "'annotation_types' is"),
        (GRID + "&q=((", "the lake rejected the query"),
    ],
)
def test_a_wrong_address_is_explained(site: Site, address: str, words: str) -> None:
    answer = site.get(address)
    assert answer.status == 400
    assert words in answer.text.replace("&#39;", "'")
    assert site.get(address + "&format=json").status == 400


def test_an_image_is_drawn_with_its_boxes_in_a_choice_of_operations(site: Site, annotated: World) -> None:
    assert annotated.talk.annotate("model", [image_set("birds_crow.png", box("cat", 1, 2, 3, 4))]).status_code == 200
    drawn = {
        operation: [
            one["path"] for one in site.json(item_address(site, "crow.png", operation=operation))["drawn"]["strokes"]
        ]
        for operation in ("people", "model", "*")
    }
    assert sorted(drawn["people"]) == ["M10 5h20v10h-20z", "M40 30h9v9h-9z"]
    assert drawn["model"] == ["M1 2h3v4h-3z"]
    assert sorted(drawn["*"]) == sorted(drawn["people"] + drawn["model"])
    found = site.json(item_address(site, "crow.png"))
    assert (found["drawn"]["strokes"], found["drawn"]["width"], found["drawn"]["height"]) == ([], 80, 60)
    tile = site.page(item_address(site, "crow.png", operation="people", part="1"))
    assert 'd="M10 5h20v10h-20z"' in tile
    assert "<html" not in tile
    page = site.page(item_address(site, "crow.png", operation="people"))
    assert "(10,5 20×10)" in page or "10,5 20×10" in page
    assert str(annotated.folder / "images/crow.png") in page


def test_metadata_and_tags_are_told(world: World) -> None:
    image(world, "crow.png", (200, 30, 30))
    world.manifest({**BIRDS, "metadata": {"Tags": ["day", "<b>"], "Camera": "X100"}})
    world.good("apply", "manifest.yaml")
    with served(world) as site:
        site.enter()
        found = site.json(item_address(site, "crow.png"))["facts"]
        assert sorted(found["tags"]) == ["<b>", "day"]
        assert found["metadata"] == [["Camera", "X100"]]
        assert dict(found["fields"])["fileSize"] == str((world.folder / "images/crow.png").stat().st_size)
        page = site.page(item_address(site, "crow.png"))
        assert "&lt;b&gt;" in page
        assert "X100" in page


def test_images_come_through_the_server_scaled_turned_and_from_a_cache(world: World) -> None:
    file = io.BytesIO()
    picture = Image.new("RGB", (2000, 1000), (200, 30, 30))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    picture.save(file, "JPEG", exif=exif)
    world.write("images/tall.jpg", file.getvalue())
    world.manifest({**BIRDS, "folders": [{"path": "images", "include": ["*.jpg"]}]})
    world.good("apply", "manifest.yaml")
    with served(world) as site:
        site.enter()
        found = site.json(item_address(site, "tall.jpg"))
        assert (found["drawn"]["width"], found["drawn"]["height"]) == (1000, 2000)
        tile = site.page(item_address(site, "tall.jpg", part="1"))
        (address,) = re.findall(r'<image [^>]*href="([^"]+)"', tile)
        address = address.replace("&amp;", "&")
        world.lake.requests.clear()
        answers = [site.get(address) for _ in range(3)]
        with Image.open(io.BytesIO(answers[0].body)) as shown:
            assert shown.size == (180, 360)
            assert not shown.getexif()
        assert {one.body for one in answers} == {answers[0].body}
        assert world.lake.requests.of("object") == 0
        for text in (tile, site.page(GRID), site.page(item_address(site, "tall.jpg"))):
            assert world.lake.url not in text
            assert "Signature" not in text
        assert site.server.workspace.images.size_bytes > 0


def test_images_that_are_none_are_explained(world: World) -> None:
    world.write("images/bad.png", b"\x89PNG\r\n\x1a\nnot an image")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    with served(world) as site:
        site.enter()
        assert "The image is not shown" in site.page(item_address(site, "bad.png", part="1"))
        assert "The image is not shown" in site.page(item_address(site, "bad.png"))
        assert site.get("/lake/image?id=1&name=a&unique_name=nothing.png").status == 404
        assert site.get("/lake/item?id=1&name=a&unique_name=nothing.png").status == 404
        assert site.get("/lake/item").status == 404


def test_a_grid_is_paged_and_its_addresses_keep_the_query(world: World) -> None:
    world.talk.upload({f"x_{number:03}.png": png(salt=str(number).encode()) for number in range(100)}, "many")
    world.manifest()
    with served(world) as site:
        site.enter()
        grid = "/lake?type=image&collection=many&q=annotation.label%3D%20nothing"
        assert site.json(grid)["list"]["total"] == 0
        grid = "/lake?type=image&collection=many&order=desc"
        first, last = site.json(grid)["list"], site.json(grid + "&page=99")["list"]
        assert (first["page"], first["pages"], first["total"], len(first["items"])) == (1, 3, 100, PAGE_ITEMS)
        assert (last["page"], last["items"][-1]["name"]) == (3, "x_000.png")
        assert "order=desc&amp;page=2" in site.page(grid)


def test_names_and_labels_of_others_are_escaped(world: World) -> None:
    name = 'a"><img src=x onerror=alert(1)>\u202e.png'
    world.talk.upload({name: png(salt=b"a")}, "<b>birds</b>")
    world.manifest()
    with served(world) as site:
        site.enter()
        grid = "/lake?type=image&collection=" + quote("<b>birds</b>")
        (found,) = site.json(grid)["list"]["items"]
        shapes = [box('<i onclick="x">', 1, 1, 5, 5)]
        assert world.talk.annotate("people", [image_set(found["unique_name"], *shapes)]).status_code == 200
        pages: list[Any] = [site.page("/lake"), site.page(grid)]
        pages += [site.page(found["url"] + "&operation=*" + part) for part in ("", "&part=1")]
        for page in pages:
            assert "<img" not in page
            assert "<b>birds" not in page
            assert "<i onclick" not in page
            # Values that the browser sends back are exact.
            assert "\u202e" not in re.sub(r' value="[^"]*"', "", page)


def test_an_open_plan_and_the_explorer_leave_an_embedded_lake_to_other_commands(world: World) -> None:
    world.images("a.png", "b.png")
    world.manifest(BIRDS, remote={"url": "embedded:.metalake"})
    with served(world) as site:
        site.enter()
        site.planned()
        assert world.run("apply", "manifest.yaml").code == 0
        assert site.applied()["state"] == "failed"  # the other command has done it
        assert items(site, GRID) == ["a.png", "b.png"]
        site.server.workspace.lake.forget()
        world.images("c.png")
        assert world.run("apply", "manifest.yaml").code == 0
        assert items(site, GRID) == ["a.png", "b.png", "c.png"]
        assert site.planned()["summary"]["unchanged"] == 3
        assert items(site, GRID) == ["a.png", "b.png", "c.png"]


def test_without_the_cookie_the_lake_is_not_read(annotated: World, tmp_path: Path) -> None:
    with served(annotated) as site:
        annotated.lake.requests.clear()
        for path in ("/lake", GRID, "/lake/item?unique_name=birds_crow.png", "/lake/image?unique_name=birds_crow.png"):
            answer = site.get(path)
            assert answer.status == 403
            assert "crow.png" not in answer.text
        assert annotated.lake.requests.counts.total() == 0


def test_the_first_view_is_small(site: Site, annotated: World) -> None:
    annotated.write("people.json", boxes())
    paths = ("/lake", GRID, "/static/ui.css", "/static/ui.js", "/static/colors.css")
    assert sum(len(site.get(path).body) for path in paths) < 120_000
    assert ANNOTATED["name"] == "birds"


def fill(world: World, count: int) -> None:
    """Make the lake have `count` items in the collection `many`, all of the same bytes."""
    world.talk.upload({"x_000000.png": png(salt=b"x")}, "many")
    with closing(sqlite3.connect(world.folder.parent / "lake" / "lake.db")) as db, db:
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)"
            " INSERT INTO items (id, collection, kind, name, unique_name, storage_path, blob, size_bytes, metadata,"
            " created, updated)"
            " SELECT printf('%024x', i), collection, kind, printf('x_%06d.png', i), printf('many_x_%06d.png', i),"
            " printf('many/x_%06d.png', i), blob, size_bytes, metadata, created + i, updated + i"
            " FROM items, n WHERE name = 'x_000000.png'",
            (count,),
        )


def test_a_collection_of_100_000_files_is_paged(world: World) -> None:
    fill(world, 100_000)
    world.manifest()
    with served(world) as site:
        site.enter()
        grid = "/lake?type=image&collection=many"
        world.lake.requests.clear()
        first = site.json(grid)["list"]
        assert (first["total"], first["pages"], len(first["items"])) == (100_000, 2084, PAGE_ITEMS)
        assert first["items"][0]["name"] == "x_000000.png"
        assert world.lake.requests.of("list_collection_items") == 1
        last = site.json(grid + "&page=2084")["list"]["items"]
        assert last[-1]["name"] == "x_099999.png"
        middle = site.json(grid + "&order=desc&page=1000")["list"]["items"]
        assert middle[0]["name"] == f"x_{99_999 - 999 * PAGE_ITEMS:06}.png"
        sizes = [len(site.get(path).body) for path in (grid, "/static/ui.css", "/static/ui.js", "/static/colors.css")]
        assert sum(sizes) < 300_000
        # An image far from the first pages of sets is drawn without its set, and says so.
        world.lake.requests.clear()
        tile = site.page(last[-1]["url"] + "&operation=people&part=1")
        assert "was not found among the first 10,000 images" in tile
        assert world.lake.requests.of("download_annotations") == 40
        site.page(last[-2]["url"] + "&operation=people&part=1")
        assert world.lake.requests.of("download_annotations") == 40


def test_after_a_run_the_new_sets_are_drawn(site: Site, annotated: World) -> None:
    address = item_address(site, "gull.png", operation="people")
    assert [one["path"] for one in site.json(address)["drawn"]["strokes"]] == ["M1 1h5v5h-5z"]
    annotated.write("people.json", boxes(crow_png=[[10, 5, 20, 10], [40, 30, 9, 9]], gull_png=[[2, 3, 5, 5]]))
    site.planned()
    assert site.applied()["state"] == "done"
    drawn = site.wait(address, lambda one: one["drawn"]["strokes"][0]["path"] != "M1 1h5v5h-5z")["drawn"]
    assert [one["path"] for one in drawn["strokes"]] == ["M2 3h5v5h-5z"]


def test_an_unreachable_lake_is_explained_and_found_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_reader, "RETRY_TIMEOUT_S", 0.0)
    world.images("a.png")
    world.manifest(BIRDS)
    world.good("apply", "manifest.yaml")
    manifest = (world.folder / "manifest.yaml").read_text()
    with served(world) as site:
        site.enter()
        world.write("manifest.yaml", manifest.replace("${LAYERNEXT_URL}", "http://127.0.0.1:9"))
        answer = site.get(GRID)
        assert answer.status == 502
        assert "Traceback" not in answer.text
        world.write("manifest.yaml", manifest)
        assert items(site, GRID) == ["a.png"]


@pytest.mark.parametrize("given", ["..", "../../api", "a/b", "%2e%2e", "x" * 65, "id?x=1"])
def test_a_collection_id_of_an_address_is_no_path(site: Site, annotated: World, given: str) -> None:
    address = f"/lake/item?unique_name=birds_crow.png&operation=people&in={quote(given, safe='')}"
    annotated.lake.requests.clear()
    assert site.json(address)["drawn"]["strokes"] == []
    assert annotated.lake.requests.of("download_annotations") == 0


def test_long_values_of_an_address_are_cut_and_many_tiles_are_answered(site: Site, annotated: World) -> None:
    assert site.get("/lake?collection=" + "x" * 10_000).status in (400, 414)
    assert site.get("/lake?type=image&q=" + quote("\u202e<svg onload=alert(1)>" * 100)).status == 400
    tile = item_address(site, "crow.png", operation="people", part="1")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: site.get(tile), range(200)))
    assert {(one.status, one.body) for one in answers} == {(200, answers[0].body)}
