"""Open Images: names of labels, flags, and the other tables of its folder."""

from __future__ import annotations

from pathlib import Path

from tests.annotations.formats.source_folders import drawn, errors_of, read_source
from tests.annotations.opened import notes, shapes

HEAD = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
BOX = "a,xclick,/m/1,1,0.1,0.6,0.2,0.3,1,0,-1,-1,-1\n"


def test_fractions_become_pixels_and_ids_become_names(tmp_path: Path) -> None:
    files = {"boxes.csv": HEAD + BOX, "class-descriptions-boxable.csv": '/m/1,"Cat, big"\n'}
    index = read_source(tmp_path, files)
    assert drawn(index) == {"a": [("rectangle", "Cat, big", [20, 20, 100, 10])]}
    (shape,) = shapes(index, "a")
    assert shape.confidence == 1
    assert shape.metadata == {"IsOccluded": True, "IsTruncated": False}


def test_descriptions_may_have_a_first_row_and_be_in_the_folder_above(tmp_path: Path) -> None:
    files = {"set/boxes/b.csv": HEAD + BOX, "set/oidv6-class-descriptions.csv": "LabelName,DisplayName\n/m/1,Cat\n"}
    assert [label for _, label, _ in drawn(read_source(tmp_path, files, "set/boxes"))["a"]] == ["Cat"]


def test_a_label_without_a_name_is_sent_as_its_id_and_told(tmp_path: Path) -> None:
    index = read_source(tmp_path, {"boxes.csv": HEAD + BOX})
    assert shapes(index, "a")[0].label == "/m/1"
    assert "labels have no name in a table of class descriptions; their ids are sent (once: line 2)" in notes(index)


def test_labels_of_whole_images_are_counted_and_other_tables_are_left_out(tmp_path: Path) -> None:
    files = {
        "train-boxes.csv": HEAD + BOX,
        "train-labels.csv": "ImageID,Source,LabelName,Confidence\na,verification,/m/1,1\nb,verification,/m/1,0\n",
        "image_ids.csv": "ImageID,Subset,OriginalURL\na,train,\n",
        "class-descriptions.csv": "/m/1,Cat\n",
        "hierarchy.json": '{"LabelName": "/m/0", "Subcategory": []}',
    }
    for format in (None, "open_images"):
        index = read_source(tmp_path, files, format=format)
        assert list(drawn(index)) == ["a"]
        told = notes(index)
        assert "labels of whole images are left out: they are not shapes (once: line 2)" in told
        assert "labels that the images were verified not to have are left out (once: line 3)" in told
        assert "2 files hold no annotations and are left out" in told


def test_rows_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    rows = "a,xclick,/m/1,1,0.1,x,0.2,0.3\na,xclick,/m/1,1,0.1\n,xclick,/m/1,1,0.1,0.2,0.2,0.3\n"
    told = notes(read_source(tmp_path, {"boxes.csv": HEAD + BOX + rows, "class-descriptions.csv": "/m/1,Cat\n"}))
    assert "rows can't be read: 'x' is not a number; left out (once: line 3)" in told
    assert "rows end before 'xmax', so images without an entry keep their sets; left out (once: line 4)" in told
    assert "rows name no image; left out (once: line 5)" in told


def test_a_row_of_image_labels_that_was_cut_off_is_told(tmp_path: Path) -> None:
    table = "ImageID,Source,LabelName,Confidence\na,verification,/m/1,1\na,ve"
    told = notes(read_source(tmp_path, {"boxes.csv": HEAD + BOX, "labels.csv": table}))
    assert "labels.csv: labels of whole images are left out: they are not shapes (once: line 2)" in told
    assert "labels.csv: rows end before 'labelname'" in told


def test_a_table_without_boxes_is_refused(tmp_path: Path) -> None:
    found = errors_of(tmp_path, {"ids.csv": "ImageID,Subset\na,train\n"}, "ids.csv", "open_images")
    assert "the table has no column 'labelname'" in found
