"""VoTT: its exports, regions with several tags or none, and frames of videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.annotations.formats.source_folders import drawn, errors_of, read_source
from tests.annotations.opened import notes, shapes

CORNERS = [{"x": 1, "y": 2}, {"x": 4, "y": 2}, {"x": 4, "y": 6}]


def region(kind: str = "RECTANGLE", *tags: str) -> dict[str, Any]:
    box = {"left": 1, "top": 2, "width": 3, "height": 4}
    return {"id": "r", "type": kind, "tags": [*(tags or ("cat",))], "boundingBox": box, "points": CORNERS}


def asset(*regions: Any, **more: Any) -> dict[str, Any]:
    facts = {"name": "a%20b.png", "path": "file:/x/a%20b.png", "size": {"width": 200, "height": 100}, "type": 1}
    return {"asset": {**facts, **more}, "regions": [*regions], "version": "2.2.0"}


def export(**assets: Any) -> str:
    return json.dumps({"name": "p", "tags": [{"name": "cat"}], "videoSettings": {}, "assets": assets})


def test_boxes_and_polygons_are_read_and_two_tags_are_two_shapes(tmp_path: Path) -> None:
    text = export(one=asset(region(), region("POLYGON", "cat", "dog"), region("POLYLINE")))
    assert drawn(read_source(tmp_path, {"p.json": text})) == {
        "a b.png": [
            ("rectangle", "cat", [1, 2, 3, 4]),
            ("polygon", "cat", [1, 2, 4, 2, 4, 6]),
            ("polygon", "dog", [1, 2, 4, 2, 4, 6]),
            ("line", "cat", [1, 2, 4, 2, 4, 6]),
        ]
    }


def test_the_file_of_one_asset_is_read(tmp_path: Path) -> None:
    assert len(shapes(read_source(tmp_path, {"a-asset.json": json.dumps(asset(region()))}), "a b.png")) == 1


def test_regions_without_a_tag_and_frames_of_videos_are_told(tmp_path: Path) -> None:
    bare = {**region(), "tags": []}
    frame = asset(region(), name="v.mp4#t=1.5", type=3, timestamp=1.5)
    index = read_source(tmp_path, {"p.json": export(one=asset(bare, region()), two=frame)})
    assert [len(found) for found in drawn(index).values()] == [1]
    assert "regions have no tag and are left out (once: assets['one'].regions[0])" in notes(index)
    assert "frames of videos are left out: they are not images (once: assets['two'])" in notes(index)


def test_the_table_has_a_row_for_each_box(tmp_path: Path) -> None:
    text = '"image","xmin","ymin","xmax","ymax","label"\n"a.png",1,2,4,6,"cat"\n"b.png",1,2,x,6,"cat"\n'
    index = read_source(tmp_path, {"p.csv": text})
    assert drawn(index)["a.png"] == [("rectangle", "cat", [1, 2, 3, 4])]
    assert "rows can't be read: 'x' is not a number; left out (once: line 3)" in notes(index)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("r", "the region is 'r', not an object"),
        ({**region(), "type": "CUBE"}, "there is no region 'CUBE'"),
        ({**region(), "boundingBox": None}, "'boundingBox' is missing"),
        ({**region("POLYGON"), "points": [1]}, "the point is 1, not an object"),
        ({**region(), "tags": [1]}, "the tag is 1, not a text"),
    ],
)
def test_regions_that_cannot_be_read_are_told_with_their_place(tmp_path: Path, broken: Any, told: str) -> None:
    index = read_source(tmp_path, {"p.json": export(one=asset(region(), broken))})
    assert len(shapes(index, "a b.png")) == 1
    assert f"{told}; left out (once: assets['one'].regions[1])" in notes(index)


def test_an_asset_without_a_name_and_a_file_without_assets_are_errors(tmp_path: Path) -> None:
    text = export(one={"asset": {}, "regions": []})
    assert "p.json: assets['one']: 'name' is missing" in errors_of(tmp_path, {"p.json": text}, "p.json")
    found = errors_of(tmp_path, {"q.json": '{"name": "p", "videoSettings": {}}'}, "q.json")
    assert "the file is not an export of VoTT: it has no 'assets'" in found


def test_a_row_that_was_cut_off_is_left_out_and_other_images_keep_their_sets(tmp_path: Path) -> None:
    head = "image,xmin,ymin,xmax,ymax,label\n"
    index = read_source(tmp_path, {"p.csv": f"{head}a.png,1,2,3,4,cat\nb.png,1,2"}, "p.csv", "vott")
    assert list(drawn(index)) == ["a.png"]
    assert index.mode == "append"
    assert "p.csv: rows end before 'xmax'" in notes(index)
