"""A written record is read back unchanged, except for the losses that the writer reports."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.formats import format_named
from metalake_sync.annotations.formats.coco.writing import merged_order
from metalake_sync.annotations.image_matching import AnyImage, Image
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.annotations.writing import Fitting, write_records
from metalake_sync.core.shapes import AttributeValue, FormatName, ImageRecord, Shape, ShapeType
from metalake_sync.core.snapshots import AnnotationKind

FORMATS: tuple[FormatName, ...] = ("metalake", "coco", "yolo", "voc", "cvat", "labelme", "datumaro", "darwin")
SIZE = (640, 480)

_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda text: text.strip()
)
_name = st.from_regex(r"[a-z0-9ä _]{1,6}(/[a-z]{1,3})?\.(jpg|png)", fullmatch=True).filter(
    lambda name: Path(name).stem.strip(". ") != ""
)
_x = st.floats(0, 500, allow_subnormal=False).map(lambda number: round(number, 3))
_length = st.floats(1, 100).map(lambda number: round(number, 3))
_json = st.one_of(_text, st.integers(-5, 5), st.booleans(), st.lists(st.integers(0, 3), max_size=2))
_metadata = st.dictionaries(
    st.one_of(st.sampled_from(["truncated", "pose", "part", "iscrowd"]), _text), _json, max_size=2
)
_confidence = st.none() | st.floats(0, 1).map(lambda number: round(number, 3))
_attributes = st.dictionaries(
    _text,
    st.lists(st.builds(AttributeValue, _text, _confidence, _metadata), min_size=1, max_size=2).map(tuple),
    max_size=1,
)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    kind = draw(st.sampled_from(ShapeType))
    point = st.tuples(_x, st.floats(0, 300).map(lambda number: round(number, 3)))
    points: Any
    if kind is ShapeType.RECTANGLE:
        points = (draw(point), (draw(_length), draw(_length)))
    else:
        fewest = {ShapeType.POLYGON: 3, ShapeType.LINE: 2, ShapeType.POINTS: 1}[kind]
        points = tuple(draw(st.lists(point, min_size=fewest, max_size=fewest + 3)))
    metadata: dict[str, Any] = draw(_metadata)
    if kind is ShapeType.POINTS:
        names = st.permutations(["nose", "eye", "ear", "tail"]).map(lambda found: list(found)[: len(points)])
        flags = st.lists(st.sampled_from([1, 2]), min_size=len(points), max_size=len(points))
        about: dict[str, st.SearchStrategy[Any]] = {"keypoints": names, "visibility": flags}
        metadata |= draw(st.fixed_dictionaries({}, optional=about))
    label = draw(st.sampled_from(["cat", "dog"]) | _text)
    return Shape(kind, points, label, draw(_confidence), metadata, draw(_attributes))


_records = st.lists(
    st.builds(ImageRecord, _name, st.lists(shapes(), max_size=4).map(tuple)),
    max_size=4,
    unique_by=lambda one: one.image,
)


class SizedImages(AnyImage):
    def size(self, image: Image) -> tuple[int, int]:
        return SIZE

    def header(self, image: Image) -> None:
        return None


def read_back(folder: Path, format: FormatName) -> dict[str, ImageRecord]:
    spec = AnnotationSpec("o", AnnotationKind.MACHINE, (str(folder),), folder, "m.yaml:1:1", format=format)
    index = open_index([spec], SizedImages())
    try:
        assert [note for note in index.notes() if "looks like fractions" not in note.message] == []
        return {name: index.record(name) for name in index.images()}
    finally:
        index.close()


def same(found: Shape, wanted: Shape) -> bool:
    """Numbers may differ by the rounding of fractions to twelve digits and of corners to sizes."""
    near = len(found.points) == len(wanted.points) and all(
        abs(a - b) < 1e-6
        for one, other in zip(found.points, wanted.points, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    rest = [(s.type, s.label, s.confidence, dict(s.metadata), dict(s.attributes)) for s in (found, wanted)]
    return near and rest[0] == rest[1]


@pytest.mark.parametrize("format", FORMATS)
@given(records=_records)
@settings(max_examples=25, deadline=None)
def test_a_record_is_read_back_as_far_as_the_format_holds_it(format: FormatName, records: list[ImageRecord]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = write_records(records, format, folder, lambda _: SIZE)
        fitting = Fitting(format_named(format).output(), lambda _: SIZE)
        pixels = Fitting(format_named("metalake").output(), lambda _: SIZE)
        wanted = [pixels.fit(fitted) for record in records if (fitted := fitting.fit(record)) is not None]
        if not wanted and format_named(format).output().image_file_extension is not None:
            return
        found = read_back(folder, format)
    assert (report.images, report.losses) == (len(wanted), fitting.report.losses)
    if not report.losses:
        assert [one.shapes for one in wanted if one] == [one.shapes for one in records] or format == "yolo"
    assert len(found) == len(wanted)
    for record in wanted:
        assert record is not None
        key = record.image if format != "yolo" else str(Path(record.image).with_suffix(""))
        back = found[key].shapes
        assert len(back) == len(record.shapes)
        assert all(map(same, back, record.shapes)), (back, record.shapes)


def _box(label: str = "cat", **more: Any) -> Shape:
    return Shape(ShapeType.RECTANGLE, ((1.0, 2.0), (3.0, 4.0)), label, **more)


def _losses(format: FormatName, tmp_path: Path, *records: ImageRecord, size: Any = SIZE) -> list[str]:
    return list(write_records(records, format, tmp_path / "out", lambda _: size).lines())


def test_the_report_names_what_a_format_cannot_hold(tmp_path: Path) -> None:
    line = Shape(ShapeType.LINE, ((0.0, 0.0), (1.0, 1.0)), "rail")
    record = ImageRecord("a.jpg", (_box(metadata={"by": "me"}), line))
    assert _losses("yolo", tmp_path, record) == [
        "metadata fields: 1, first in a.jpg",
        "shapes of type line; they are left out: 1, first in a.jpg",
    ]
    assert _losses("metalake", tmp_path, record) == []


def test_a_name_that_leaves_the_folder_is_not_written(tmp_path: Path) -> None:
    lost = _losses("voc", tmp_path, ImageRecord("../../evil.jpg", ()), ImageRecord("/etc/evil.jpg", ()))
    assert lost == ["images whose name can't be a file name; they are left out: 2, first in ../../evil.jpg"]
    assert not list(tmp_path.rglob("*.xml"))


def test_images_with_one_stem_do_not_overwrite_each_other(tmp_path: Path) -> None:
    lost = _losses("yolo", tmp_path, ImageRecord("a.jpg", (_box(),)), ImageRecord("a.png", ()))
    assert "only in their extension" in lost[0]
    assert (tmp_path / "out/a.txt").read_text() == "0 0.00390625 0.00833333333333 0.0046875 0.00833333333333\n"


def test_yolo_leaves_out_and_reports_images_of_unknown_size(tmp_path: Path) -> None:
    assert "unknown size" in _losses("yolo", tmp_path, ImageRecord("a.jpg", (_box(),)), size=None)[0]


def test_pycocotools_loads_written_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    triangle = Shape(ShapeType.POLYGON, ((0.0, 0.0), (10.0, 0.0), (0.0, 10.0)), "dog", 0.5)
    write_records([ImageRecord("a.jpg", (_box(), triangle))], "coco", tmp_path, lambda _: SIZE)
    coco = COCO(str(tmp_path / "annotations.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["cat", "dog"]
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert [annotation["bbox"] for annotation in annotations] == [[1, 2, 3, 4], [0, 0, 10, 10]]
    assert annotations[1]["area"] == 50


def test_coco_that_is_read_and_written_keeps_its_keys(tmp_path: Path) -> None:
    mask = {"segmentation": [[0, 0, 10, 0, 0, 10]], "bbox": [0, 0, 10, 10], "area": 50.0, "iscrowd": 1}
    poses = [
        {"keypoints": [0, 0, 0, 5, 6, 1, 7, 9, 2], "num_keypoints": 2, "bbox": [5, 6, 2, 3], "area": 6.0},
        {"keypoints": [1, 2, 2, 3, 4, 2, 0, 0, 0], "num_keypoints": 2, "bbox": [1, 2, 2, 2], "area": 4.0},
    ]
    box = {"bbox": [1, 2, 3, 4], "area": 12.0, "segmentation": [], "score": 0.5, "track_id": 7}
    box["attributes"] = {"colour": "red"}
    annotations = [
        {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, **one}
        for number, one in enumerate([mask, *poses, box], start=1)
    ]
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "bird", "keypoints": ["beak", "eye", "tail"]}],
    }
    (tmp_path / "in").mkdir()
    (tmp_path / "in/annotations.json").write_text(json.dumps(document))
    records = list(read_back(tmp_path / "in", "coco").values())
    report = write_records(records, "coco", tmp_path / "out", lambda _: SIZE)
    assert report.losses == {}
    written = json.loads((tmp_path / "out/annotations.json").read_text())
    assert (written.pop("info")["contributor"], written.pop("licenses")) == ("metalake-sync", [])
    assert written == document


def test_keypoint_names_keep_the_order_that_all_annotations_have() -> None:
    assert merged_order([], ["a", "c"]) == ["a", "c"]
    assert merged_order(["a", "c"], ["a", "b", "c", "d"]) == ["a", "b", "c", "d"]
    assert merged_order(["a", "b"], ["b", "a"]) is None


def test_confidence_1_of_a_plain_attribute_is_left_out_and_counted(tmp_path: Path) -> None:
    shape = _box(attributes={"colour": (AttributeValue("red", 1.0),), "age": (AttributeValue("old", 0.4),)})
    assert _losses("coco", tmp_path, ImageRecord("a.jpg", (shape,))) == [
        "attribute values with a confidence of 1; they are written without it: 1, first in a.jpg"
    ]
    (annotation,) = json.loads((tmp_path / "out/annotations.json").read_text())["annotations"]
    assert annotation["attributes"] == {"colour": "red", "age": [{"value": "old", "confidence": 0.4}]}


def test_a_triangle_that_ends_at_a_rim_is_read_back_without_a_note(tmp_path: Path) -> None:
    triangle = Shape(ShapeType.POLYGON, ((244.0, 33.0), (0.0, 204.0), (0.4, 0.0)), "cat")
    write_records([ImageRecord("a.jpg", (triangle,))], "yolo", tmp_path, lambda _: SIZE)
    (back,) = read_back(tmp_path, "yolo")["a"].shapes
    assert same(back, triangle)
