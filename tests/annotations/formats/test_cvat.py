"""CVAT for images 1.1: every shape, attributes by their declared type, subsets, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from metalake_sync.core.shapes import ShapeType
from tests.annotations.formats.reading import error, notes, read, shapes, values

LABELS = """<meta><task><labels><label><name>car</name><attributes>
<attribute><name>parked</name><input_type>checkbox</input_type></attribute>
<attribute><name>doors</name><input_type>number</input_type></attribute>
<attribute><name>color</name><input_type>select</input_type></attribute>
<attribute><name>plate</name><input_type>text</input_type></attribute>
</attributes></label></labels></task></meta>"""


def write(folder: Path, content: str, image: str = '<image id="0" name="a.png" width="200" height="100">') -> Path:
    source = folder / "cvat.xml"
    source.write_text(f"<annotations><version>1.1</version>{LABELS}{image}{content}</image></annotations>")
    return source


def test_a_box_has_attributes_by_their_declared_types(tmp_path: Path) -> None:
    attributes = {"parked": "true", "doors": "4", "color": "red", "plate": "0012"}
    inner = "".join(f'<attribute name="{name}">{value}</attribute>' for name, value in attributes.items())
    box = '<box label="car" source="manual" occluded="1" xtl="1" ytl="2" xbr="4.5" ybr="6" z_order="2" group_id="7">'
    (shape,) = shapes(read(write(tmp_path, f"{box}{inner}</box>")))
    assert (shape.type, shape.points) == (ShapeType.RECTANGLE, ((1, 2), (3.5, 4)))
    assert values(shape) == {"color": ["red"], "plate": ["0012"]}
    assert shape.metadata == {"occluded": True, "group_id": 7, "z_order": 2, "parked": True, "doors": 4}


def test_rotated_boxes_and_ellipses_are_polygons(tmp_path: Path) -> None:
    box = '<box label="car" xtl="10" ytl="10" xbr="14" ybr="12" rotation="90"/>'
    ellipse = '<ellipse label="car" cx="50" cy="50" rx="20" ry="10"/>'
    turned, round_one = shapes(read(write(tmp_path, box + ellipse)))
    assert turned.points[0] == pytest.approx((13, 9))
    assert turned.points[1] == pytest.approx((13, 13))
    assert round_one.type is ShapeType.POLYGON
    assert max(x for x, _ in round_one.points) == pytest.approx(70)


def test_polygons_lines_and_points(tmp_path: Path) -> None:
    content = "".join(
        f'<{tag} label="car" points="1.5,2;3,4;5,9"></{tag}>' for tag in ("polygon", "polyline", "points")
    )
    found = shapes(read(write(tmp_path, content)))
    assert [shape.type.value for shape in found] == ["polygon", "line", "points"]
    assert {shape.points for shape in found} == {((1.5, 2), (3, 4), (5, 9))}


def test_a_mask_is_one_polygon_for_each_part(tmp_path: Path) -> None:
    # Two pixels of three in the first row; the run of unset pixels at the end is not written.
    mask = '<mask label="car" rle="0, 1, 1, 1" left="10" top="20" width="3" height="2"/>'
    first, second = shapes(read(write(tmp_path, mask)))
    assert set(first.points) == {(10, 20), (11, 20), (11, 21), (10, 21)}
    assert set(second.points) == {(12, 20), (13, 20), (13, 21), (12, 21)}
    assert [one.metadata["part"] for one in (first, second)] == ["1/2", "2/2"]


def test_a_hole_of_a_mask_is_filled_and_counted(tmp_path: Path) -> None:
    index = read(write(tmp_path, '<mask label="car" rle="0,4,1,4" left="0" top="0" width="3" height="3"/>'))
    (shape,) = shapes(index)
    assert set(shape.points) == {(0, 0), (3, 0), (3, 3), (0, 3)}
    assert "holes of masks are filled" in notes(index)


def test_a_skeleton_is_one_shape_with_the_names_of_its_points(tmp_path: Path) -> None:
    points = "".join(
        f'<points label="{name}" outside="{outside}" occluded="{hidden}" points="{at},5"/>'
        for name, outside, hidden, at in (("head", 0, 0, 1), ("hip", 0, 1, 2), ("foot", 1, 0, 3))
    )
    (shape,) = shapes(read(write(tmp_path, f'<skeleton label="person">{points}</skeleton>')))
    assert shape.points == ((1.0, 5.0), (2.0, 5.0))
    assert shape.metadata == {"keypoints": ["head", "hip"], "visibility": [2, 1]}


def test_what_is_left_out_is_reported(tmp_path: Path) -> None:
    content = '<tag label="night"/><cuboid label="car" xtl1="1"/><box label="" xtl="1" ytl="1" xbr="2" ybr="2"/><new/>'
    index = read(write(tmp_path, content))
    assert not shapes(index)
    for part in ("tags are labels of whole images", "cuboids", "elements <new>", "has no label"):
        assert part in notes(index)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('<box label="car" xtl="1" ytl="1" xbr="2"/>', "<box> has no 'ybr'"),
        ('<box label="car" xtl="here" ytl="1" xbr="2" ybr="2"/>', "'here' is not a number"),
        ('<polygon label="car" points="1;2;3"/>', "'1' is not a point"),
        ('<mask label="car" rle="0,1" left="0" top="0" width="1000000000" height="1"/>', "too large"),
        ('<mask label="car" rle="x" left="0" top="0" width="1" height="1"/>', "not a list of runs"),
        ('<mask label="car" rle="9,9" left="0" top="0" width="1" height="1"/>', "do not fill its size"),
        ('<mask label="car" rle="0,1" left="0.5" top="0" width="1" height="1"/>', "'left' is not a whole number"),
        ('<mask label="car" rle="1" left="0" top="0" width="1" height="1"/>', "has no pixels"),
        ('<skeleton label="car"><points label="a" outside="1" points="1,2"/></skeleton>', "no visible points"),
    ],
)
def test_a_shape_that_cannot_be_read_is_left_out_with_its_place(tmp_path: Path, content: str, reason: str) -> None:
    index = read(write(tmp_path, content + '<points label="car" points="1,2"/>'))
    assert len(shapes(index)) == 1
    assert reason in notes(index)
    assert "image 1, shape 1" in notes(index)


def test_the_subset_tells_images_of_one_name_apart(tmp_path: Path) -> None:
    boxes = "".join(
        f'<image name="a.png" subset="{subset}"><box label="{subset}" xtl="1" ytl="1" xbr="2" ybr="2"/></image>'
        for subset in ("train", "val")
    )
    (tmp_path / "cvat.xml").write_text(f"<annotations>{boxes}</annotations>")
    index = read(tmp_path / "cvat.xml", "train/a.png", "val/a.png")
    assert [shapes(index, f"{subset}__a.png")[0].label for subset in ("train", "val")] == ["train", "val"]


def test_the_subset_is_not_part_of_the_name_where_the_images_have_no_such_folder(tmp_path: Path) -> None:
    source = write(tmp_path, '<points label="car" points="1,2"/>', '<image name="a.png" subset="default">')
    assert len(shapes(read(source))) == 1


def test_a_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cvat.xml").write_text('<annotations><track id="0" label="car"><box frame="0"/></track></annotations>')
    assert "cvat.xml: the file has 1 tracks of a video and no images" in error(tmp_path / "cvat.xml")


def test_tracks_beside_images_are_counted(tmp_path: Path) -> None:
    source = write(tmp_path, "</image><track/><image name='b.png'>")
    assert "tracks of videos are not read" in notes(read(source, "a.png", "b.png"))


def test_an_image_without_a_name_is_an_error_with_its_place(tmp_path: Path) -> None:
    assert "cvat.xml: image 1: the image has no 'name'" in error(write(tmp_path, "", "<image>"))


def test_another_root_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cvat.xml").write_text("<other/>")
    assert "the root of the file is <other>" in error(tmp_path / "cvat.xml", format="cvat")
