"""YOLO as tools and people write it: class names, columns, lists, data files, and other texts beside the labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.image_matching import AnyImage, LocalImages
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.annotations.writing import write_records
from metalake_sync.core.notes import NoteCode
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestErrors
from tests.annotations.opened import closed_afterwards, last_opened, notes, shapes
from tests.embedded_lake.talk import png

BOX = "0 0.5 0.5 0.2 0.2\n"
LFS_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 4\n"


def write(base: Path, **files: str) -> None:
    """Files by their paths, in which `__` stands for `/`, and the last `_` for the dot."""
    for name, text in files.items():
        stem, _, extension = name.replace("__", "/").rpartition("_")
        path = base / f"{stem}.{extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read(base: Path, source: str, *images: str, **spec: Any) -> AnnotationIndex:
    """Read a source for images of 100 x 100 pixels, which are in `images`."""
    files = []
    for name in images or ("a.png",):
        path = base / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(100, 100))
        files.append((name, name, str(path)))
    kind = AnnotationKind.MACHINE
    return closed_afterwards(
        open_index([AnnotationSpec("op", kind, (source,), base, "m.yaml:1:1", **spec)], LocalImages(files))
    )


def error_text(base: Path, source: str, *images: str, **spec: Any) -> str:
    with pytest.raises(ManifestErrors) as raised:
        read(base, source, *images, **spec)
    return str(raised.value)


def labels(base: Path, names: str, count: int) -> list[str]:
    """The labels of one box for each class, with `names` in the data file."""
    lines = "".join(f"{number} 0.5 0.5 0.2 0.2\n" for number in range(count))
    write(base, l__a_txt=lines, l__data_yaml=names)
    return [shape.label for shape in shapes(read(base, "l"))]


# Class names.


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("names: [Yes, off, 1:30, 0x1F]", ["Yes", "off", "1:30", "0x1F"]),
        ("names:\n- 007\n- 1e3\n- 2020-02-02\n- .5\n- null", ["007", "1e3", "2020-02-02", ".5", "null"]),
        ("names: {'1': up, '0': down}", ["down", "up"]),
        ("nc: 02\nnames: {0: 'on', 1: \" y \"}", ["on", "y"]),
    ],
)
def test_class_names_are_the_texts_of_the_data_file(tmp_path: Path, names: str, wanted: list[str]) -> None:
    assert labels(tmp_path, names, len(wanted)) == wanted


@pytest.mark.parametrize("name", ["~", ""])
def test_an_unnamed_class_is_an_error_at_its_use(tmp_path: Path, name: str) -> None:
    write(tmp_path, l__a_txt=BOX, l__data_yaml=f"names:\n  0: {name}\n  1: cat\n")
    assert "l/a.txt:1: class 0 is not one of the 1 that have a name in l/data.yaml" in error_text(tmp_path, "l")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("names: cat", "'names' is neither a list nor a mapping"),
        ("names: {cat: 0}", "'names' is neither a list nor a mapping"),
        ("names: [[cat]]", "names[0] is not a text"),
        ("names: [cat]\nkpt_shape: 17", "'kpt_shape' is '17'"),
        ("names: [cat]\nkpt_shape: [17, 4]", "'kpt_shape' is ['17', '4']"),
    ],
)
def test_the_error_for_an_unusable_data_file_names_it(tmp_path: Path, names: str, message: str) -> None:
    write(tmp_path, l__a_txt=BOX, l__data_yaml=names)
    assert message in error_text(tmp_path, "l")


@pytest.mark.parametrize("place", ["set/animals.yaml", "config/data.yaml", "config/any.yml"])
def test_class_names_come_from_the_data_file_of_the_source(tmp_path: Path, place: str) -> None:
    write(tmp_path, set__labels__a_txt=BOX, set__data_yaml="names: [wrong]", set__classes_txt="wrong too")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("path: ../set\ntrain: images\nnames: {0: right}\n")
    (tmp_path / "set/images").mkdir()
    assert [shape.label for shape in shapes(read(tmp_path, place))] == ["right"]


def test_different_names_of_a_class_in_two_files_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, l__a_txt=BOX, l__data_yaml="names: [cat]", l__classes_txt="dog\ncat")
    assert "class 0 is 'cat' in l/data.yaml and 'dog' in l/classes.txt" in error_text(tmp_path, "l")
    write(tmp_path, l__classes_txt="cat\ndog")
    assert [shape.label for shape in shapes(read(tmp_path, "l"))] == ["cat"]


def test_an_invalid_data_file_beside_valid_names_is_ignored(tmp_path: Path) -> None:
    write(tmp_path, l__a_txt=BOX, l__data_yaml="names: [cat]", l__dataset_yml="names: {", l__classes_txt=LFS_POINTER)
    assert [shape.label for shape in shapes(read(tmp_path, "l"))] == ["cat"]


def test_a_darknet_data_file_is_a_source(tmp_path: Path) -> None:
    data = "classes = 1\n# a comment\ntrain = data/train.txt\nvalid = gone.txt\nnames = data/obj.names\n"
    write(tmp_path, set__obj_data=data, set__obj_names="kite", set__train_txt="data/obj_train_data/a.png")
    write(tmp_path, set__obj_train_data__a_txt=BOX, set__obj_train_data__b_txt="nothing of ours")
    assert [shape.label for shape in shapes(read(tmp_path, "set/obj.data"))] == ["kite"]
    write(tmp_path, set__obj_data="train = train.txt\nnames = none.names\n")
    assert "set/obj.data: 'names' is 'none.names', which does not exist" in error_text(tmp_path, "set/obj.data")


# Data files and lists of other machines.


@pytest.mark.parametrize(
    "data",
    [
        "path: C:\\work\\birds\ntrain: images\\train",
        "path: /content/datasets/birds\ntrain: /content/datasets/birds/images/train",
        "path: ../datasets/birds\ntrain: images/train\nval:\ntest: null",
        "train: D:\\sets\\birds\\images\\train",
        "train: ['../images/train', ~]",
        "path: .\ntrain: ./train.txt",
    ],
)
def test_paths_of_another_machine_are_found_beside_the_data_file(tmp_path: Path, data: str) -> None:
    write(tmp_path, birds__labels__train__a_txt=BOX, birds__data_yaml=f"{data}\nnames: [bird]\n")
    write(tmp_path, birds__train_txt="\\\\share\\birds\\images\\train\\a.jpg\nC:\\birds\\images\\train\\b.jpg\n")
    index = read(tmp_path, "birds/data.yaml")
    assert [shape.label for shape in shapes(index)] == ["bird"]
    assert index.mode == "replace"
    assert index.images()["a.png"].place == "birds/labels/train/a.txt"


@pytest.mark.parametrize(
    "image",
    ["images/a images.png", "images/set/images 1.png", "/srv/images/x/images/images12.png", "myimages/a.png"],
)
def test_only_a_folder_named_images_is_replaced(tmp_path: Path, image: str) -> None:
    place = image.removeprefix("/srv/images/x/")
    label = tmp_path / "set" / ("/".join(["labels", *place.split("/")[1:]]) if place.startswith("images/") else place)
    label = label.with_suffix(".txt")
    label.parent.mkdir(parents=True)
    label.write_text(BOX)
    write(tmp_path, set__list_txt=image + "\n", set__data_yaml="train: list.txt\nnames: [bird]\n")
    name = Path(image).name
    assert len(shapes(read(tmp_path, "set/data.yaml", name), name)) == 1


def test_listed_images_without_labels_are_counted(tmp_path: Path) -> None:
    write(tmp_path, labels__a_txt=BOX, list_txt="images/a.png\nimages/b.png\nimages/c.png\n")
    write(tmp_path, data_yaml="train: list.txt\nnames: [bird]\n")
    assert "images that data.yaml: list.txt lists have no label file (2 times)" in notes(read(tmp_path, "data.yaml"))


@pytest.mark.parametrize("gone", ["gone/images", "gone.txt", "unlabelled/images", "list.txt"])
def test_a_missing_part_of_a_data_file_removes_no_set(tmp_path: Path, gone: str) -> None:
    write(tmp_path, labels__a_txt=BOX, data_yaml=f"train: images\nval: {gone}\nnames: [bird]\n")
    write(tmp_path, list_txt="elsewhere/images/q.png\n")
    (tmp_path / "unlabelled/images").mkdir(parents=True)
    index = read(tmp_path, "data.yaml")
    assert len(shapes(index)) == 1
    assert index.mode == "append"
    assert f"'val' of data.yaml is '{gone}', and its labels are not found" in notes(index)


# Columns after the shape.


def columns(base: Path, *texts: str) -> list[tuple[str, float | None, Any]]:
    """Type, confidence and track id of the shapes in each file of a source."""
    names = [chr(ord("a") + number) for number in range(len(texts))]
    write(base, l__classes_txt="car", **{f"l__{name}_txt": text for name, text in zip(names, texts, strict=True)})
    index = read(base, "l", *(f"{name}.png" for name in names))
    found = [shape for name in names for shape in shapes(index, f"{name}.png")]
    return [(shape.type.value, shape.confidence, shape.metadata.get("track_id")) for shape in found]


def test_whole_numbers_above_1_are_track_ids_in_the_whole_source(tmp_path: Path) -> None:
    found = columns(tmp_path, "0 .5 .5 .2 .2 1\n", "0 .5 .5 .2 .2 12\n", "0 .1 .1 .3 .3 .3 .1 1\n")
    assert found == [("rectangle", None, 1), ("rectangle", None, 12), ("polygon", None, 1)]
    assert "read as track ids (3 times, first: l/b.txt:1)" in notes(last_opened())


def test_fractions_are_confidences_in_the_whole_source(tmp_path: Path) -> None:
    found = columns(tmp_path, "0 .5 .5 .2 .2 1\n", "0 .5 .5 .2 .2 0.75\n0 .1 .1 .3 .3 .3 .1 0.5\n")
    assert found == [("rectangle", 1, None), ("rectangle", 0.75, None), ("polygon", 0.5, None)]
    assert notes(last_opened()) == ""


def test_a_1_that_may_be_confidence_or_track_id_is_neither(tmp_path: Path) -> None:
    assert columns(tmp_path, "0 .5 .5 .2 .2 1\n0 .5 .5 .4 .4 0\n") == [("rectangle", None, None)] * 2
    assert "lines end in 0 or 1, which may be a confidence or a track id" in notes(last_opened())
    assert columns(tmp_path, "0 .5 .5 .2 .2 1.0\n") == [("rectangle", 1, None)]


def test_seven_values_that_end_in_a_number_above_1_are_a_box_with_confidence_and_track_id(tmp_path: Path) -> None:
    assert columns(tmp_path, "0 0.5 0.5 0.2 0.2 0.9 42\n") == [("rectangle", 0.9, 42)]


def test_seven_values_that_end_in_1_are_a_triangle_and_this_is_told(tmp_path: Path) -> None:
    assert columns(tmp_path, "0 0.5 0.5 0.2 0.2 0.9 1\n") == [("polygon", None, None)]
    assert "lines are read as polygons, and may be a box with a confidence and a track id" in notes(last_opened())


def test_triangles_stay_polygons(tmp_path: Path) -> None:
    found = columns(tmp_path, "0 0.5 0.5 0.2 0.2 0.9 1\n", "0 0.1 0.1 0.2 0.2 0.3 0.4\n", "0 0 0 1 0 1 1 0 1\n")
    assert [kind for kind, _, _ in found] == ["polygon"] * 3


def test_a_polygon_with_confidence_and_track_id_keeps_its_corners(tmp_path: Path) -> None:
    found = columns(tmp_path, "0 .1 .1 .3 .1 .3 .3 .1 .3 0.8 7\n0 .1 .1 .3 .1 .3 .3 .1 .3 0.8 1\n")
    assert found == [("polygon", 0.8, 7), ("polygon", 0.8, 1)]
    assert len(shapes(last_opened())[0].points) == 4


def test_written_lines_do_not_end_with_a_whole_number(tmp_path: Path) -> None:
    triangle = Shape(ShapeType.POLYGON, ((0.0, 0.0), (50.0, 30.0), (90.0, 100.0)), "car")
    box = Shape(ShapeType.RECTANGLE, ((0.0, 0.0), (50.0, 50.0)), "car", 1.0)
    records = [ImageRecord("a.png", (triangle,)), ImageRecord("b.png", (box,))]
    write_records(records, "yolo", tmp_path / "out", lambda _: (100, 100))
    index = read(tmp_path, "out", "a.png", "b.png")
    assert [shapes(index, image) for image in ("a.png", "b.png")] == [(triangle,), (box,)]


# Keypoints.

POSE = "0 .5 .5 .4 .4  .4 .4 2  .6 .6 1  0 0 0\n"


def test_a_pose_is_a_box_with_its_keypoints(tmp_path: Path) -> None:
    data = "names: [bird]\nkpt_shape: [3, 3]\nkpt_names: {0: [beak, eye, tail]}\ntrain: .\n"
    write(tmp_path, l__a_txt=POSE + BOX, l__data_yaml=data)
    box, points, other = shapes(read(tmp_path, "l/data.yaml"))
    assert [shape.type.value for shape in (box, points, other)] == ["rectangle", "points", "rectangle"]
    assert [*points.points] == [(40, 40), (60, 60)]
    assert points.metadata == {"keypoints": ["beak", "eye"], "visibility": [2, 1]}


def test_keypoints_without_visibility_are_labelled_if_not_zero(tmp_path: Path) -> None:
    write(tmp_path, l__a_txt="0 .5 .5 .4 .4 .4 .4 0 0\n", l__data_yaml="names: [bird]\nkpt_shape: [2, 2]\n")
    assert [(shape.type.value, len(shape.points)) for shape in shapes(read(tmp_path, "l"))] == [
        ("rectangle", 2),
        ("points", 1),
    ]


def test_a_line_that_fits_a_pose_is_not_read_as_a_polygon(tmp_path: Path) -> None:
    write(tmp_path, l__a_txt=POSE, l__classes_txt="bird")
    index = read(tmp_path, "l")
    assert [shape.type.value for shape in shapes(index)] == ["rectangle", "points"]
    assert "lines are read as a box with keypoints" in notes(index)


def test_kpt_shape_of_a_data_file_above_applies_beside_class_names(tmp_path: Path) -> None:
    write(tmp_path, set__labels__a_txt="0 .5 .5 .4 .4 .4 .4 .6 .6\n", set__labels__classes_txt="bird")
    write(tmp_path, set__data_yaml="names: [bird]\nkpt_shape: [2, 2]\n")
    assert [shape.type.value for shape in shapes(read(tmp_path, "set/labels"))] == ["rectangle", "points"]


def test_a_line_that_does_not_fit_kpt_shape_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, l__a_txt=POSE, l__data_yaml="names: [bird]\nkpt_shape: [17, 3]\n")
    assert "l/a.txt:1: the line has 14 values, and 'kpt_shape' [17, 3] needs 56" in error_text(tmp_path, "l")


# Lines and files that are not labels.


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,0.5,0.5,0.2,0.2", "values are separated by commas. Separate them by blanks."),
        ("0, 0.5, 0.5, 0.2, 0.2", "values are separated by commas"),
        ("0;0.5;0.5;0.2;0.2", "values are separated by semicolons"),
        ("0 0,5 0,5 0,2 0,2", "numbers have a decimal comma. Write a decimal point: 0.5."),
        ("0 0.5 0.5", "the line has 3 values. Write a box as: class, center x and y, width, height."),
        ("cat 0.5 0.5 0.2 0.2", "'cat' is not a number"),
        ("see the notes", "the file is not a label file: the line is 'see the notes'"),
    ],
)
def test_the_error_for_a_line_that_is_not_a_label_describes_it(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, l__a_txt=f"\n{line}\n", l__classes_txt="bird")
    assert f"l/a.txt:2: {message}" in error_text(tmp_path, "l")


def test_comments_are_skipped_and_counted(tmp_path: Path) -> None:
    write(tmp_path, l__a_txt=f"# by hand\n{BOX}#\n", l__classes_txt="bird")
    index = read(tmp_path, "l")
    assert len(shapes(index)) == 1
    assert notes(index) == "l/a.txt: lines are comments; they are skipped (2 times, first: line 1)"


@pytest.mark.parametrize("format", [None, "yolo"])
def test_other_texts_of_an_export_are_left_out_and_reported(tmp_path: Path, format: Any) -> None:
    write(tmp_path, set__train__labels__a_txt=BOX, set__data_yaml="names: [bird]")
    write(tmp_path, set__README_txt="1 set of birds\n", set__train_txt="data/a.png\n", set__log_txt="epoch 1: done\n")
    (tmp_path / "set/LICENSE.txt").write_bytes(b"\xa9 me\n")
    (tmp_path / "set/notes.json").write_text(json.dumps({"categories": [{"id": 0, "name": "bird"}], "info": {}}))
    index = read(tmp_path, "set", format=format)
    assert len(shapes(index)) == 1
    left_out = "files hold no annotations and are left out: set/LICENSE.txt, set/README.txt, set/log.txt, set/train.txt"
    assert left_out in notes(index)
    assert ("JSON files of a folder hold no annotations" in notes(index)) == (format is None)


def test_other_texts_are_recognized_without_local_images(tmp_path: Path) -> None:
    write(tmp_path, set__a_txt=BOX, set__classes_txt="bird", set__Readme_txt="See", set__val_txt="images\\a.JPG\n")
    spec = AnnotationSpec("op", AnnotationKind.MACHINE, ("set",), tmp_path, "m.yaml:1:1", normalized=True)
    index = closed_afterwards(open_index([spec], AnyImage()))
    assert list(index.images()) == ["a"]
    write(tmp_path, set__b_txt="not a number\n")
    index = closed_afterwards(open_index([spec], AnyImage()))
    assert list(index.images()) == ["a"]
    (note,) = [note for note in index.notes() if note.code is NoteCode.ANNOTATIONS_INVALID]
    assert str(note).startswith("set/b.txt:1: the file is not a label file")


def test_a_folder_with_only_other_texts_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, set__README_txt="Birds\n")
    assert "set/README.txt:1: the file is not a label file" in error_text(tmp_path, "set")


@pytest.mark.parametrize("name", ["l/a.txt", "l/classes.txt", "l/data.yaml"])
def test_a_git_lfs_pointer_is_not_read_as_labels_or_names(tmp_path: Path, name: str) -> None:
    write(tmp_path, l__a_txt=BOX, l__classes_txt="bird")
    (tmp_path / name).write_text(LFS_POINTER)
    assert f"{name}: it is a Git LFS pointer, not the file itself. Run 'git lfs pull'" in error_text(tmp_path, "l")


@pytest.mark.parametrize("format", ["metalake", "coco"])
def test_other_json_in_a_folder_is_left_out_and_reported(tmp_path: Path, format: Any) -> None:
    images = [{"image": "a.png", "annotations": []}] if format == "metalake" else [{"id": 1, "file_name": "a.png"}]
    write(tmp_path, set__boxes_json=json.dumps({"images": images}), set__settings_json='{"theme": "dark"}')
    index = read(tmp_path, "set", format=format)
    assert list(index.images()) == ["a.png"]
    assert "1 file holds no annotations and is left out: set/settings.json" in notes(index)


@pytest.mark.parametrize("name", ["a.json", "a.xml"])
def test_a_git_lfs_pointer_is_reported_in_every_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(LFS_POINTER)
    assert f"{name}: it is a Git LFS pointer" in error_text(tmp_path, name)
