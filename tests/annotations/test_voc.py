"""VOC as tools write it, and as other tools read it."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.image_matching import LocalImages
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.annotations.validation import InvalidPolicy, ShapeProblem
from metalake_sync.annotations.writing import write_records
from metalake_sync.core.shapes import ImageRecord, Point, Shape, ShapeType
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestErrors
from tests.annotations.opened import closed_afterwards, notes, shapes, types
from tests.embedded_lake.talk import png

BOX = "<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>30</xmax><ymax>50</ymax></bndbox>"
SQUARE = "<polygon><x1>1</x1><y1>1</y1><x2>9</x2><y2>1</y2><x3>9</x3><y3>9</y3></polygon>"
FLAT = "<polygon><x1>1</x1><y1>1</y1><x2>5</x2><y2>1</y2><x3>9</x3><y3>1</y3></polygon>"


def read(
    base: Path, *objects: str, more: str = "", policy: InvalidPolicy | None = None, format: str | None = None
) -> AnnotationIndex:
    """Read one file for an image of 100 x 80 pixels. `more`: elements beside the objects."""
    (base / "xml").mkdir(exist_ok=True)
    inner = "".join(f"<object><name>ship</name>{one}</object>" for one in objects)
    (base / "xml/a.xml").write_text(f"<annotation><filename>a.png</filename>{more}{inner}</annotation>")
    (base / "a.png").write_bytes(png(100, 80))
    images = LocalImages([("a.png", "a.png", str(base / "a.png"))])
    kind = AnnotationKind.HUMAN
    spec = AnnotationSpec("op", kind, ("xml",), base, "m.yaml:1:1", format=format, invalid=policy or InvalidPolicy())
    return closed_afterwards(open_index([spec], images))


def rotated(x: float, y: float, width: float, height: float, angle: float | str) -> str:
    inner = "".join(f"<{tag}>{n}</{tag}>" for tag, n in (("cx", x), ("cy", y), ("w", width), ("h", height)))
    return f"<robndbox>{inner}<angle>{angle}</angle></robndbox>"


def near(found: tuple[Point, ...], wanted: list[Point]) -> bool:
    return all(math.dist(one, other) < 1e-9 for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "polygon", ["<polygon/>", FLAT, SQUARE.replace("<y3>9</y3>", "<y3>1</y3>"), SQUARE.replace("9", "nan")]
)
def test_the_box_replaces_a_degenerate_polygon(tmp_path: Path, polygon: str) -> None:
    index = read(tmp_path, polygon + BOX, SQUARE + BOX)
    assert types(index) == ["rectangle", "polygon"]
    assert [*shapes(index)[0].points] == [(10, 20), (20, 30)]


def test_the_box_replaces_an_unreadable_polygon(tmp_path: Path) -> None:
    index = read(tmp_path, SQUARE.replace("y2", "z") + BOX)
    assert types(index) == ["rectangle"]
    assert "objects have a <polygon> that can't be read; their boxes are taken (once: object 1)" in notes(index)


def test_a_rotated_box_becomes_its_four_corners(tmp_path: Path) -> None:
    index = read(tmp_path, BOX, rotated(50, 40, 20, 10, math.pi / 6), rotated(50, 40, 20, 10, math.pi / 2))
    assert types(index) == ["rectangle", "polygon", "polygon"]
    assert near(shapes(index)[2].points, [(55, 30), (55, 50), (45, 50), (45, 30)])
    left, top = 50 - 10 * math.cos(math.pi / 6) + 5 * 0.5, 40 - 10 * 0.5 - 5 * math.cos(math.pi / 6)
    assert near(shapes(index)[1].points[:1], [(left, top)])


@pytest.mark.parametrize(
    "box", [rotated(50, 40, 0, 10, 1), rotated(50, 40, 20, 10, "nan"), rotated(50, 40, 20, 10, "x")]
)
def test_the_box_replaces_an_invalid_rotated_box_or_it_is_reported(tmp_path: Path, box: str) -> None:
    index = read(tmp_path, box + BOX, box)
    assert types(index) == ["rectangle"]
    assert "left out (once: object 2" in notes(index)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("", "the object has no <bndbox>; left out (once: object 2)"),
        (BOX.replace("xmin", "x"), "<bndbox> has no <xmin>; left out (once: object 2)"),
        (BOX.replace("10", "1,5"), "'1,5' has a comma, and is not a number; left out (once: object 2, xmin)"),
        (BOX.replace("10", "left"), "'left' is not a number; left out (once: object 2, xmin)"),
    ],
)
def test_an_unreadable_object_is_reported_and_the_others_are_read(tmp_path: Path, broken: str, reason: str) -> None:
    index = read(tmp_path, BOX, broken, BOX)
    assert types(index) == ["rectangle", "rectangle"]
    assert f"xml/a.xml: objects can't be read: {reason}" in notes(index)
    fail = InvalidPolicy(named={ShapeProblem.UNREADABLE: "fail"})
    with pytest.raises(ManifestErrors, match=r"xml/a.xml: object 2.*: objects can't be read"):
        read(tmp_path, BOX, broken, policy=fail)


@pytest.mark.parametrize("confidence", ["high", "nan", ""])
def test_a_confidence_that_is_not_a_number_is_left_out(tmp_path: Path, confidence: str) -> None:
    index = read(tmp_path, f"<confidence>{confidence}</confidence>{BOX}")
    assert [shape.confidence for shape in shapes(index)] == [None]


@pytest.mark.parametrize(
    ("inner", "more"),
    [
        ("<deleted>0</deleted>" + BOX, ""),
        ("<polygon><username>me</username><pt><x>1</x><y>1</y></pt></polygon>", ""),
        (BOX, "<imagesize><nrows>80</nrows><ncols>100</ncols></imagesize>"),
    ],
)
def test_labelme_xml_is_not_voc(tmp_path: Path, inner: str, more: str) -> None:
    with pytest.raises(ManifestErrors, match=r"xml/a.xml: the file is LabelMe XML, not Pascal VOC"):
        read(tmp_path, inner, more=more, format="voc")


def test_other_xml_in_a_folder_is_left_out_and_reported(tmp_path: Path) -> None:
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml/project.xml").write_text("<project/>")
    index = read(tmp_path, BOX)
    assert types(index) == ["rectangle"]
    assert "1 file holds no annotations and is left out: xml/project.xml" in notes(index)


def test_a_written_polygon_has_a_box_and_whole_numbers_have_no_decimal_point(tmp_path: Path) -> None:
    polygon = Shape(ShapeType.POLYGON, ((10.0, 20.0), (30.5, 20.0), (30.0, 50.0)), "ship")
    line = Shape(ShapeType.POLYGON, ((1.0, 1.0), (2.0, 2.0), (3.0, 3.0)), "wake")
    (tmp_path / "a.png").write_bytes(png(100, 80))
    write_records([ImageRecord("a.png", (polygon, line))], "voc", tmp_path / "xml", lambda _: (100, 80))
    first, second = ElementTree.parse(tmp_path / "xml/a.xml").getroot().findall("object")
    box = {side.tag: side.text for side in first.iterfind("bndbox/*")}
    assert box == {"xmin": "10", "ymin": "20", "xmax": "30.5", "ymax": "50"}
    assert second.find("bndbox") is None
    spec = AnnotationSpec("op", AnnotationKind.HUMAN, ("xml",), tmp_path, "m.yaml:1:1")
    index = closed_afterwards(open_index([spec], LocalImages([("a.png", "a.png", str(tmp_path / "a.png"))])))
    assert shapes(index) == (polygon, line)
