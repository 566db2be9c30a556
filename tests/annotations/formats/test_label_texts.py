"""KITTI, DOTA, MOTChallenge and YOLO share the extension .txt: each takes its own files, and tells what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metalake_sync.annotations.writing import write_records
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType
from tests.annotations.formats.source_folders import drawn, errors_of, read_source
from tests.annotations.opened import notes, shapes

KITTI = "Car 0.50 2 -1.57 10 20 40 60 1.5 1.6 3.9 1.0 1.5 8.0 -1.5\n"
DOTA = "imagesource:GoogleEarth\ngsd:0.15\n10 20 30 20 30 40 10 40 small vehicle 1\n"
MOT = "1,7,10,20,30,40,1,1,0.8\n"


def test_each_text_format_is_detected_by_its_lines(tmp_path: Path) -> None:
    for name, text, file in (("kitti", KITTI, "a.txt"), ("dota", DOTA, "a.txt"), ("mot", MOT, "gt.txt")):
        index = read_source(tmp_path, {f"{name}/{file}": text}, name)
        assert sum(len(index.record(image).shapes) for image in index.images()) == 1


# KITTI


def test_kitti_keeps_truncation_and_occlusion_and_tells_of_3d_boxes(tmp_path: Path) -> None:
    index = read_source(tmp_path, {"a.txt": KITTI + "DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10\n"})
    assert drawn(index) == {"a": [("rectangle", "Car", [10, 20, 30, 40])]}
    assert shapes(index, "a")[0].metadata == {"truncated": 0.5, "occluded": 2}
    told = notes(index)
    assert "3D boxes (dimensions, location and rotation) are left out (once: line 1)" in told
    assert "regions 'DontCare', which are not annotated, are left out (once: line 2)" in told


def test_a_class_of_kitti_ends_at_the_first_number_and_a_sixteenth_column_is_a_score(tmp_path: Path) -> None:
    line = "bicycle with space -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10 0.25\n"
    (shape,) = shapes(read_source(tmp_path, {"a.txt": line}), "a")
    assert (shape.label, shape.confidence, shape.metadata) == ("bicycle with space", 0.25, {})


def test_labels_of_kitti_match_the_images_of_their_folder(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"training/label_2/{name}.txt": KITTI for name in ("000001", "000002")}
    files |= {"training/calib/000001.txt": "P0: 1 2 3 4 5 6 7 8 9 10 11 12\n", "training/label_2/000003.txt": ""}
    local = tuple(f"training/image_2/00000{number}.png" for number in (1, 2, 3))
    for format in (None, "kitti"):
        index = read_source(tmp_path, files, "training", format, local=local)
        assert {image: len(found) for image, found in drawn(index).items()} == {local[0]: 1, local[1]: 1, local[2]: 0}
        assert "calib" not in notes(index)


def test_a_broken_file_of_a_folder_is_read_as_the_others_are(tmp_path: Path) -> None:
    index = read_source(tmp_path, {"a.txt": KITTI, "b.txt": KITTI.replace("20", "x")})
    assert "lines can't be read: 'x' is not a number; left out (once: line 1)" in notes(index)


def test_a_readme_beside_labels_of_kitti_is_no_error(tmp_path: Path) -> None:
    index = read_source(tmp_path, {"a.txt": KITTI, "readme.txt": "Labels of two cars.\n"})
    assert "1 file holds no annotations and is left out" in notes(index)
    assert "not a KITTI label file" in errors_of(tmp_path / "b", {"x.txt": "Labels of cars.\n"}, format="kitti")


# DOTA


def test_dota_gives_four_corners_and_how_difficult_the_object_is(tmp_path: Path) -> None:
    index = read_source(tmp_path, {"a.txt": DOTA + "1 2 3 2 3 4 1 4 plane\n"})
    assert drawn(index)["a"] == [
        ("polygon", "small vehicle", [10, 20, 30, 20, 30, 40, 10, 40]),
        ("polygon", "plane", [1, 2, 3, 2, 3, 4, 1, 4]),
    ]
    assert [dict(shape.metadata) for shape in shapes(index, "a")] == [{"difficult": 1}, {}]
    assert "lines describe the image ('imagesource', 'gsd') and are left out (2 times, first: line 1)" in notes(index)


def test_labels_of_dota_match_the_images_of_their_split(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"set/{split}/labelTxt/P1.txt": DOTA for split in ("train", "val")}
    local = ("set/train/images/P1.png", "set/val/images/P1.png")
    index = read_source(tmp_path, files, "set", local=local)
    assert {image: len(found) for image, found in drawn(index).items()} == dict.fromkeys(local, 1)


def test_lines_of_dota_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    index = read_source(tmp_path, {"a.txt": DOTA + "1 2 3 2 3 4 1 4\n1 2 3 2 3 4 1 y plane 0\n"})
    told = notes(index)
    assert "the line has 8 columns, and needs eight numbers and a class; left out (once: line 4)" in told
    assert "'y' is not a number; left out (once: line 5)" in told


# MOTChallenge


def test_frames_of_a_sequence_match_their_images(tmp_path: Path) -> None:
    rows = "1,3,10,20,30,40,1,1,0.8\n2,-1,1,2,3,4,1,2,1\n1,4,5,5,6,6,1,2,1\n"
    files: dict[str, str | bytes] = {
        "seq/gt/gt.txt": rows,
        "seq/gt/labels.txt": "person\ncar\n",
        "seq/seqinfo.ini": "[Sequence]\nimDir=img1\nimWidth=200\nimHeight=100\n",
    }
    local = ("seq/img1/000001.jpg", "seq/img1/000002.jpg")
    index = read_source(tmp_path, files, "seq", local=local)
    assert drawn(index) == {
        local[0]: [("rectangle", "person", [10, 20, 30, 40]), ("rectangle", "car", [5, 5, 6, 6])],
        local[1]: [("rectangle", "car", [1, 2, 3, 4])],
    }
    found = [dict(shape.metadata) for image in local for shape in shapes(index, image)]
    assert found == [{"track_id": 3, "visibility": 0.8}, {"track_id": 4, "visibility": 1}, {"visibility": 1}]
    assert not notes(index)


def test_boxes_of_gt_that_do_not_count_are_left_out_and_classes_are_those_of_mot16(tmp_path: Path) -> None:
    index = read_source(tmp_path, {"MOT16-02/gt/gt.txt": f"# comment\n{MOT}1,8,1,2,3,4,0,8,1\n1,9,1,2,3,4,1,3,1\n"})
    assert [label for _, label, _ in drawn(index)["MOT16-02/img1/000001"]] == ["Pedestrian", "Car"]
    assert "boxes that do not count (column 7 is 0) are left out (once: line 3)" in notes(index)


def test_column_seven_is_a_confidence_in_det_alone(tmp_path: Path) -> None:
    detections = "1,-1,10,20,30,40,0.75,-1,-1,-1\n"
    index = read_source(tmp_path, {"seq/det/det.txt": detections}, "seq/det/det.txt")
    (shape,) = shapes(index, "seq/img1/000001")
    assert (shape.label, shape.confidence, dict(shape.metadata)) == ("Pedestrian", 0.75, {})
    index = read_source(tmp_path, {"seq/gt/gt.txt": "1,1,10,20,30,40,1,-1,-1,-1\n"}, "seq")
    (shape,) = shapes(index, "seq/img1/000001")
    assert (shape.label, shape.confidence, dict(shape.metadata)) == ("Pedestrian", None, {"track_id": 1})
    assert "det.txt" in notes(index)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("1,1,10,20,30,40,1,99,1", "class 99 is not one of the 13 that have a name"),
        ("1.5,1,10,20,30,40,1,1,1", "the frame is not a whole number"),
        ("1,1,10", "the row has 3 columns, and needs seven to ten"),
        ("1,1,10,20,wide,40,1,1,1", "'wide' is not a number"),
    ],
)
def test_rows_of_mot_that_cannot_be_read_are_told(tmp_path: Path, row: str, told: str) -> None:
    index = read_source(tmp_path, {"gt.txt": f"{MOT}{row}\n"})
    assert f"{told}; left out (once: line 2)" in notes(index)


# YOLO


def test_an_empty_text_is_an_image_without_objects_in_any_of_the_formats(tmp_path: Path) -> None:
    assert drawn(read_source(tmp_path, {"a.txt": ""})) == {"a": []}


def test_boxes_are_written_as_labels_of_kitti_and_losses_are_counted(tmp_path: Path) -> None:
    def box(label: str, confidence: float | None = None, **metadata: Any) -> Shape:
        return Shape(ShapeType.RECTANGLE, ((10.0, 20.5), (30.0, 40.0)), label, confidence, metadata)

    kept = (box("big car", 0.25, occluded=2, truncated=0.5), box("Van"))
    lost = (box("route 66"), box("DontCare"), box("a  b"))
    report = write_records([ImageRecord("a.png", (*kept, *lost, box("Van", id=7, occluded=True)))], "kitti", tmp_path)
    assert (tmp_path / "a.txt").read_text() == (
        "big car 0.5 2 -10 10.0 20.5 40.0 60.5 -1 -1 -1 -1000 -1000 -1000 -10 0.25\n"
        + 2 * "Van -1 -1 -10 10.0 20.5 40.0 60.5 -1 -1 -1 -1000 -1000 -1000 -10\n"
    )
    assert report.losses == {"shapes whose label KITTI can't hold; they are left out": 3, "metadata fields": 2}
    assert shapes(read_source(tmp_path, {}, format="kitti"), "a")[:2] == kept


@pytest.mark.parametrize("names", ["classes.txt", "obj.names", "labels.txt", "_darknet.labels"])
def test_the_names_of_classes_may_be_in_any_of_the_usual_files(tmp_path: Path, names: str) -> None:
    index = read_source(tmp_path, {"train/a.txt": "1 0.5 0.5 0.5 0.5\n", f"train/{names}": "cat\ndog\n"}, "train")
    assert drawn(index) == {"a": [("rectangle", "dog", [50, 25, 100, 50])]}
