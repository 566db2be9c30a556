"""LabelMe XML: polygons, boxes, masks in files, deleted objects, and how it is told apart from Pascal VOC."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from metalake_sync.core.shapes import ShapeType
from tests.annotations.formats.reading import error, notes, read, shapes, values

POLYGON = "<polygon><username>u</username>{}</polygon>".format(
    "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((10, 20), (40, 20), (40, 60)))
)


def an_object(content: str, name: str = "car", deleted: int = 0) -> str:
    return f"<object><name>{name}</name><deleted>{deleted}</deleted><verified>0</verified>{content}</object>"


def write(folder: Path, *objects: str, name: str = "a.xml", file_name: str = "a.png") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    source = "<source><sourceAnnotation>LabelMe Webtool</sourceAnnotation></source>"
    size = "<imagesize><nrows>100</nrows><ncols>200</ncols></imagesize>"
    about = f"<filename>{file_name}</filename><folder>set</folder>{source}{size}"
    file.write_text(f"<annotation>{about}{''.join(objects)}</annotation>")
    return file


def test_polygons_boxes_and_what_is_known_of_them(tmp_path: Path) -> None:
    more = "<occluded>yes</occluded><attributes>red, big</attributes><date>1-Jan-2020</date><id>0</id>"
    box = f"<type>bounding_box</type>{POLYGON}"
    polygon, rectangle = shapes(read(write(tmp_path, an_object(more + POLYGON), an_object(box))))
    assert polygon.points == ((10.0, 20.0), (40.0, 20.0), (40.0, 60.0))
    assert polygon.metadata == {"occluded": True}
    assert values(polygon) == {"attributes": ["red, big"]}
    assert (rectangle.type, rectangle.points) == (ShapeType.RECTANGLE, ((10, 20), (30, 40)))


def test_deleted_objects_and_parts_are_counted(tmp_path: Path) -> None:
    parts = "<parts><hasparts>3,4</hasparts><ispartof/></parts>"
    index = read(
        write(tmp_path, an_object(POLYGON, deleted=1), an_object(POLYGON + parts), an_object("<new/>" + POLYGON))
    )
    assert len(shapes(index)) == 2
    for part in ("deleted by their annotators", "parts of objects", "'new' of objects"):
        assert part in notes(index)


def mask(folder: Path, name: str) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (200, 100))
    image.paste(255, (10, 20, 13, 22))
    image.save(file)


SEGM = "<segm><box><xmin>1</xmin><ymin>2</ymin><xmax>4</xmax><ymax>6</ymax></box><mask>m.png</mask></segm>"


def test_a_mask_is_a_file_in_masks(tmp_path: Path) -> None:
    mask(tmp_path, "Masks/set/m.png")
    write(tmp_path, an_object(SEGM), name="Annotations/set/a.xml")
    (found,) = shapes(read(tmp_path / "Annotations"))
    assert set(found.points) == {(10, 20), (13, 20), (13, 22), (10, 22)}


@pytest.mark.parametrize("name", ["m.png", "../../m.png", ""], ids=["missing", "outside", "empty"])
def test_the_box_is_taken_where_the_mask_cannot_be_read(tmp_path: Path, name: str) -> None:
    index = read(write(tmp_path, an_object(SEGM.replace("m.png", name))))
    assert [one.points for one in shapes(index)] == [((1, 2), (3, 4))]
    assert "their boxes are taken" in notes(index)


def test_the_image_is_named_by_the_file_where_no_image_has_the_name_in_it(tmp_path: Path) -> None:
    assert len(shapes(read(write(tmp_path, an_object(POLYGON), file_name="0815.jpg")))) == 1


def test_folders_tell_images_of_one_name_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write(tmp_path, an_object(POLYGON, folder), name=f"ann/{folder}/a.xml", file_name="a.png")
        file = tmp_path / "ann" / folder / "a.xml"
        file.write_text(file.read_text().replace("<folder>set<", f"<folder>{folder}<"))
    index = read(tmp_path / "ann", "one/a.png", "two/a.png")
    assert [shapes(index, f"{folder}__a.png")[0].label for folder in ("one", "two")] == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<polygon><pt><x>here</x><y>1</y></pt></polygon>", "'here' is not a number"),
        ("<polygon><pt><x>1</x></pt></polygon>", "<pt> has no <y>"),
        ("", "the object has no <polygon>"),
        ("<segm><mask>m.png</mask></segm>", "its file does not exist"),
    ],
)
def test_an_object_that_cannot_be_read_is_left_out(tmp_path: Path, content: str, reason: str) -> None:
    index = read(write(tmp_path, an_object(content), an_object(POLYGON)))
    assert len(shapes(index)) == 1
    assert reason in notes(index)
    assert "object 1" in notes(index)


def test_it_is_not_pascal_voc(tmp_path: Path) -> None:
    source = write(tmp_path, an_object(POLYGON))
    assert "the file is LabelMe XML, not Pascal VOC. Set 'format: labelme_xml'." in error(source, format="voc")
    (tmp_path / "a.xml").write_text("<other/>")
    assert "the root of the file is <other>" in error(source, format="labelme_xml")


def test_pascal_voc_with_polygons_is_not_this_format(tmp_path: Path) -> None:
    box = "<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>60</ymax></bndbox>"
    (tmp_path / "a.xml").write_text(
        f"<annotation><filename>a.png</filename><object><name>x</name>{box}<polygon><pt><x>1</x><y>2</y></pt></polygon>"
        "</object></annotation>"
    )
    assert shapes(read(tmp_path / "a.xml"))[0].type is ShapeType.RECTANGLE
