"""Reading any file gives records, or one clear error that names the file."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.image_matching import AnyImage, Image
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.core.shapes import FormatName
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestErrors
from tests.annotations import editor_samples, tool_samples
from tests.annotations.formats.source_folders import errors_of

EXTENSIONS: dict[FormatName, str] = {
    "metalake": "json",
    "coco": "json",
    "yolo": "txt",
    "voc": "xml",
}
SAMPLES: dict[FormatName, bytes] = {
    "metalake": b'{"images": [{"image": "a.jpg", "annotations": [{"type": "rectangle", "bbox": [1, 2, 3, 4],'
    b' "label": "x", "confidence": 0.5, "metadata": {"a": 1}, "attributes": {"c": [{"value": "red"}]}}]}]}',
    "coco": b'{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"id": 1, "image_id": 1, "category_id": 1,'
    b' "bbox": [1, 2, 3, 4], "segmentation": {"size": [2, 2], "counts": [1, 2, 1]}, "keypoints": [1, 2, 2]}],'
    b' "categories": [{"id": 1, "name": "x"}]}',
    "yolo": b"0 0.5 0.5 0.2 0.2 0.9\n0 0.1 0.1 0.2 0.2 0.3 0.1\n",
    "voc": b"<annotation><filename>a.jpg</filename><object><name>x</name><truncated>0</truncated>"
    b"<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>",
}

for JUNK in (tool_samples.JUNK, editor_samples.JUNK):
    EXTENSIONS |= {name: extension for name, (extension, _) in JUNK.items()}
    SAMPLES |= {name: content for name, (_, content) in JUNK.items()}


class SizedImages(AnyImage):
    def size(self, image: Image) -> tuple[int, int]:
        return 640, 480

    def header(self, image: Image) -> None:
        return None


def read(content: bytes, format: FormatName) -> None:
    """Read a file. Every error must be a ManifestErrors whose errors name the file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "classes.txt").write_text("x\n")
        (folder / f"junk.{EXTENSIONS[format]}").write_bytes(content)
        source = f"junk.{EXTENSIONS[format]}"
        spec = AnnotationSpec("o", AnnotationKind.HUMAN, (source,), folder, "m.yaml:1:1", format=format)
        try:
            index = open_index([spec], SizedImages())
        except ManifestErrors as errors:
            mistakes = errors.errors
        else:
            mistakes = ()
            for image in index.images():
                index.record(image)
            index.close()
        assert all(source in str(error) and error.remedy for error in mistakes), mistakes


@pytest.mark.parametrize("format", SAMPLES)
def test_the_samples_are_valid(format: FormatName, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("x\n")
    (tmp_path / f"a.{EXTENSIONS[format]}").write_bytes(SAMPLES[format])
    spec = AnnotationSpec("o", AnnotationKind.HUMAN, (f"a.{EXTENSIONS[format]}",), tmp_path, "m")
    index = open_index([spec], SizedImages())
    assert sum(image.shape_count for image in index.images().values()) >= 1
    index.close()


@pytest.mark.parametrize("format", SAMPLES)
@given(content=st.binary(max_size=60))
@settings(max_examples=25, deadline=None)
def test_any_bytes_give_records_or_a_clear_error(format: FormatName, content: bytes) -> None:
    read(content, format)


@pytest.mark.parametrize("format", SAMPLES)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_damaged_file_gives_records_or_a_clear_error(format: FormatName, data: st.DataObject) -> None:
    sample = SAMPLES[format]
    start = data.draw(st.integers(0, len(sample)))
    end = data.draw(st.integers(start, min(len(sample), start + 12)))
    filling = st.sampled_from(
        [b"", b"null", b"NaN", b"1e999", b"-1", b'"', b"[]", b"{}", b"\xff", b"9" * 5000, b"true"]
    )
    read(sample[:start] + data.draw(filling) + sample[end:], format)


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "value", "size"]), inner),
    max_leaves=6,
)


def _replaced(document: Any, path: list[int], value: Any) -> Any:
    """The document with one value somewhere inside replaced."""
    if not path or not isinstance(document, dict | list) or not document:
        return value
    keys = list(document) if isinstance(document, dict) else list(range(len(document)))
    key = keys[path[0] % len(keys)]
    copied = document.copy()
    copied[key] = _replaced(document[key], path[1:], value)
    return copied


@pytest.mark.parametrize("format", [name for name, extension in EXTENSIONS.items() if extension in ("json", "ndjson")])
@given(path=st.lists(st.integers(0, 9), min_size=1, max_size=7), value=_json_values)
@settings(max_examples=100, deadline=None)
def test_any_value_anywhere_gives_records_or_a_clear_error(format: FormatName, path: list[int], value: Any) -> None:
    read(json.dumps(_replaced(json.loads(SAMPLES[format]), path, value)).encode(), format)


def test_entities_that_expand_are_an_error() -> None:
    doctype = b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 100 + b'">]>'
    for format in ("voc", "labelme_xml"):
        read(doctype + b"<annotation><filename>&b;</filename></annotation>", format)
    read(doctype + b'<annotations><image name="&b;"/></annotations>', "cvat")


def test_deep_nesting_is_an_error() -> None:
    read(b'{"images": ' + b"[" * 100_000, "metalake")
    read(b'{"images": [{"image": "a", "annotations": ' + b"[" * 50_000 + b"]" * 50_000 + b"}]}", "metalake")
    deep = b"[" * 50_000 + b"]" * 50_000
    read(b'{"shapes": ' + deep + b', "imagePath": "a.png"}', "labelme")
    read(b'[{"data": {"image": "a.png"}, "annotations": ' + deep + b"}]", "label_studio")
    read(b'{"data_row": {"external_id": "a.png"}, "projects": ' + deep + b"}", "labelbox")
    read(b"<annotations>" + b"<image name='a'>" * 50_000 + b"</image>" * 50_000 + b"</annotations>", "cvat")
    read(b"<annotation>" + b"<object>" * 50_000 + b"</object>" * 50_000 + b"</annotation>", "labelme_xml")


@pytest.mark.parametrize("name", ["cityscapes", "coco", "darwin", "datumaro", "labelme", "metalake", "supervisely"])
def test_only_the_reader_of_coco_explains_lists_of_results(name: str, tmp_path: Path) -> None:
    found = errors_of(tmp_path, {"a.json": '[{"image_id": 1, "category_id": 2, "score": 0.5}]'}, "a.json", name)
    assert "the top level of the file is a list" in found
    assert ("COCO list of results" in found) == (name == "coco")
