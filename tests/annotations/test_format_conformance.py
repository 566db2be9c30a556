"""The conformance suite of annotation formats: the built-in ones, and one of another package.

A new format gets a `Sample` here. Round trips through `write_records` concern formats that are written; all other tests
concern formats that are read.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metalake_sync import format_registry
from metalake_sync.annotations.entries import AnnotationSpec, ReadNotes, SourceFile
from metalake_sync.annotations.formats import detect_format, format_named
from metalake_sync.annotations.formats.base import AnnotationFormat, ReadOptions, SizeUse, WriteReport
from metalake_sync.annotations.image_matching import AnyImage, Image
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.annotations.validation import InvalidPolicy
from metalake_sync.annotations.writing import Fitting, write_records
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Shape, ShapeType
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestErrors
from tests.annotations import editor_samples, tool_samples
from tests.annotations.toy_package.toy_annotations import FORMAT as TOY

SIZE = (640, 480)


class SizedImages(AnyImage):
    """Every image that a source names, of one size."""

    def size(self, image: Image) -> tuple[int, int]:
        return SIZE


@dataclass(frozen=True)
class Sample:
    """A source with two images, `a` and `b`, each with one box, and the same source with a broken box of `b`."""

    file: str
    """The name of the source, or of the file of `b` where each image has its own."""
    good: Mapping[str, str | bytes]
    """File → content."""
    broken: str | bytes
    """The content of `file` in which the box of `b` can't be read."""
    place: str
    """What the report of the broken box names, besides the file."""
    images: tuple[str, str] = ("a", "b")
    """The names of `a` and `b`, where the format gives them."""


def _metalake(box: str) -> str:
    images = [
        f'{{"image": "{name}.png", "annotations": [{{"type": "rectangle", "label": "cell", "bbox": {numbers}}}]}}'
        for name, numbers in (("a", "[10, 20, 30, 40]"), ("b", box))
    ]
    return f'{{"images": [{", ".join(images)}]}}'


def _coco(box: str) -> str:
    images = '[{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]'
    one = '{"id": %d, "image_id": %d, "category_id": 1, "bbox": %s}'
    boxes = f"{one % (1, 1, '[10, 20, 30, 40]')}, {one % (2, 2, box)}"
    return f'{{"images": {images}, "annotations": [{boxes}], "categories": [{{"id": 1, "name": "cell"}}]}}'


def _voc(image: str, right: str) -> str:
    sides = f"<xmin>10</xmin><ymin>20</ymin><xmax>{right}</xmax><ymax>60</ymax>"
    box = f"<object><name>cell</name><bndbox>{sides}</bndbox></object>"
    return f"<annotation><filename>{image}.png</filename>{box}</annotation>"


SAMPLES = {
    "metalake": Sample(
        "all.json", {"all.json": _metalake("[1, 2, 3, 4]")}, _metalake('"here"'), "images[1].annotations[0]"
    ),
    "coco": Sample("all.json", {"all.json": _coco("[1, 2, 3, 4]")}, _coco('"here"'), "annotations[1]"),
    "voc": Sample("b.xml", {"a.xml": _voc("a", "40"), "b.xml": _voc("b", "40")}, _voc("b", "here"), "object 1"),
    "yolo": Sample(
        "b.txt",
        {"a.txt": "0 0.1 0.1 0.1 0.1\n", "b.txt": "0 0.2 0.2 0.1 0.1\n", "classes.txt": "cell\n"},
        "0 0.2 0.2 0.1 here\n",
        "b.txt:1",
    ),
    "toy": Sample(
        "all.boxes",
        {"all.boxes": "#toy\na.png cell 10 20 30 40\nb.png cell 1 2 3 4\n"},
        "#toy\na.png cell 10 20 30 40\nb.png cell 1 2 here 4\n",
        "line 3",
    ),
}


SAMPLES |= {
    name: Sample(*parts, tool_samples.IMAGES.get(name, ("a", "b"))) for name, parts in tool_samples.CONFORMANCE.items()
}
SAMPLES |= {name: Sample(*parts) for name, parts in editor_samples.CONFORMANCE.items()}


@pytest.fixture(autouse=True)
def _installed_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the toy format in this process. `test_installed_formats` covers its discovery."""
    found = format_registry.load_format
    monkeypatch.setattr("metalake_sync.annotations.formats.load_format", lambda n: TOY if n == "toy" else found(n))


def formats() -> list[AnnotationFormat]:
    return [*format_registry.usable_formats(), TOY]


def test_every_format_has_a_sample() -> None:
    assert {one.name for one in formats()} == set(SAMPLES)


def write_source(folder: Path, sample: Sample, **changed: str | bytes) -> Path:
    source = folder / "labels"
    source.mkdir()
    for name, content in {**sample.good, **changed}.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return source


def spec(source: Path, name: str, **more: Any) -> AnnotationSpec:
    return AnnotationSpec("o", AnnotationKind.MACHINE, (str(source),), source.parent, "m.yaml:1:1", format=name, **more)


def records(source: Path, name: str) -> dict[str, ImageRecord]:
    with closing(open_index([spec(source, name)], SizedImages())) as index:
        return {Path(image).stem: index.record(image) for image in index.images()}


@pytest.mark.parametrize("name", SAMPLES)
def test_declarations_are_complete(name: str) -> None:
    one = format_named(name)
    assert one.name == name
    assert all(extension.startswith(".") and extension == extension.lower() for extension in one.extensions)
    assert one.reads or one.writes
    if one.writes:
        output = one.output()
        assert output.shape_types <= frozenset(ShapeType)
        assert isinstance(output.sizes, SizeUse)
        assert output.file_names or output.image_file_extension


@pytest.mark.parametrize("name", SAMPLES)
def test_a_source_is_read_image_by_image_with_the_place_of_each_shape(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    source = write_source(tmp_path, sample)
    found = records(source, name)
    assert sorted(found) == [*sample.images]
    assert [shape.label for record in found.values() for shape in record.shapes] == ["cell", "cell"]
    file = SourceFile(source / sample.file, sample.file, source)
    notes = ReadNotes()
    reader = format_named(name).reader(ReadOptions(kind=AnnotationKind.MACHINE), notes)
    entries = [entry.parsed(notes, SIZE) for entry in reader.read(file, notes)]
    assert not notes
    assert len({entry.place + entry.place_of(0) for entry in entries}) == len(entries) > 0


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "toy"])
def test_a_file_is_detected(name: str, tmp_path: Path) -> None:
    source = write_source(tmp_path, SAMPLES[name])
    assert detect_format(SourceFile(source / SAMPLES[name].file, "it", source)).name == name


@pytest.mark.parametrize("name", SAMPLES)
def test_an_invalid_shape_is_reported_once_with_its_place_and_the_rest_is_read(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    source = write_source(tmp_path, sample, **{sample.file: sample.broken})
    with closing(open_index([spec(source, name)], SizedImages())) as index:
        reports = [str(note) for note in index.notes() if sample.place in str(note)]
        assert len(reports) == 1, list(index.notes())
        assert sample.file in reports[0]
        assert "left out" in reports[0]
        assert any(Path(image).stem == sample.images[0] and index.record(image).shapes for image in index.images())


@pytest.mark.parametrize("name", SAMPLES)
def test_an_invalid_shape_is_an_error_if_the_manifest_says_fail(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    source = write_source(tmp_path, sample, **{sample.file: sample.broken})
    with pytest.raises(ManifestErrors) as caught:
        open_index([spec(source, name, strict=True, invalid=InvalidPolicy("fail"))], SizedImages())
    (error,) = caught.value.errors
    assert sample.file in str(error.where)
    assert sample.place in str(error)
    assert error.remedy


BOX = Shape(ShapeType.RECTANGLE, ((64.0, 48.0), (32.0, 24.0)), "cell", 0.5)
RICH = Shape(
    ShapeType.POLYGON,
    ((10.0, 10.0), (50.0, 10.0), (10.0, 50.0)),
    "cell",
    0.25,
    {"track_id": 7, "note": "two words"},
    {"color": (AttributeValue("red", 0.5),)},
)
WRITTEN = [one.name for one in formats() if one.writes]
IN_ONE_FILE = [one.name for one in formats() if one.writes and one.output().image_file_extension is None]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_written_record_is_read_back_and_every_loss_is_counted(name: str, tmp_path: Path) -> None:
    wanted = [ImageRecord("a.png", (BOX,)), ImageRecord("b.png", (RICH,)), ImageRecord("c.png", (BOX, BOX))]
    report = write_records(wanted, name, tmp_path / "labels", lambda _: SIZE)
    fitting = Fitting(format_named(name).output(), lambda _: SIZE)
    fitted = {Path(one.image).stem: one for record in wanted if (one := fitting.fit(record)) is not None}
    assert report == fitting.report
    found = records(tmp_path / "labels", name)
    for stem, record in fitted.items():
        kept = found[stem].shapes if record.shapes else ()
        assert [(one.type, one.label, one.confidence) for one in kept] == [
            (one.type, one.label, one.confidence) for one in record.shapes
        ]
        assert [dict(one.metadata) for one in kept] == [dict(one.metadata) for one in record.shapes]
        assert [dict(one.attributes) for one in kept] == [dict(one.attributes) for one in record.shapes]
    kept_all = fitted["b"].shapes and fitted["b"].shapes[0] == RICH
    assert bool(report.losses) != bool(kept_all) or name == "yolo"


@pytest.mark.parametrize("name", WRITTEN)
def test_only_declared_files_are_written(name: str, tmp_path: Path) -> None:
    write_records([ImageRecord("a.png", (BOX,))], name, tmp_path, lambda _: SIZE)
    output = format_named(name).output()
    own = {f"a{output.image_file_extension}"} if output.image_file_extension else set()
    assert {path.name for path in tmp_path.iterdir()} == own | set(output.file_names)


@pytest.mark.parametrize("name", [name for name in WRITTEN if name not in IN_ONE_FILE])
def test_no_annotation_file_replaces_or_becomes_a_file_that_describes_the_folder(name: str, tmp_path: Path) -> None:
    output = format_named(name).output()
    extension = output.image_file_extension
    assert extension is not None
    described = {*output.file_names, *(side for one in formats() for side in one.side_files), f"notes{extension}"}
    stems = sorted(Path(other).stem for other in described if Path(other).suffix == extension)
    images = [f"{stem.capitalize()}.png" for stem in stems] + [f"inner/{stems[0]}.png"]
    written = [ImageRecord(image, (BOX,)) for image in ("a.png", *images)]
    report = write_records(written, name, tmp_path, lambda _: SIZE, reserved=[f"notes{extension}"])
    ((loss, count),) = report.losses.items()
    assert (loss.partition(";")[0], count) == (
        "images whose annotation file would have the name of a file that describes the folder",
        len(images),
    )
    assert report.images == 1
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {f"a{extension}", *output.file_names}


@pytest.mark.parametrize("name", IN_ONE_FILE)
def test_memory_does_not_grow_with_the_file(name: str, tmp_path: Path) -> None:
    def peak(images: int) -> int:
        folder = tmp_path / str(images)
        write_records(
            (ImageRecord(f"{number}.png", (BOX,) * 20) for number in range(images)), name, folder, lambda _: SIZE
        )
        (path,) = folder.iterdir()
        notes = ReadNotes()
        reader = format_named(name).reader(ReadOptions(kind=AnnotationKind.MACHINE), notes)
        tracemalloc.start()
        try:
            shapes = 0
            for entry in reader.read(SourceFile(path, path.name, folder), notes):
                shapes += len(entry.parsed(notes, SIZE).record.shapes)
            assert shapes == images * 20
            assert path.stat().st_size > images * 20 * 20
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # The window of a JSON file is 1 MB of text, and 1,500 images of 20 boxes are more.
    assert peak(3000) < 1.5 * peak(1500)


def test_a_report_of_losses_names_the_first_image() -> None:
    report = WriteReport()
    report.lose("attributes", "a.png", 2)
    report.lose("attributes", "b.png")
    report.lose("metadata fields", "c.png", 0)
    assert list(report.lines()) == ["attributes: 3, first in a.png"]
