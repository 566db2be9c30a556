"""Memory does not grow with the file: entries are read one after the other, and rows wait in a temporary file."""

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path

import pytest

from metalake_sync.annotations import json_stream
from metalake_sync.annotations.entries import ReadNotes, SourceFile
from metalake_sync.annotations.formats import by_image, detect_format
from metalake_sync.annotations.formats.base import ReadOptions
from tests.annotations.formats.source_folders import errors_of

EACH = 10
"""How many boxes an image has."""


def via(images: int) -> str:
    box = {
        "shape_attributes": {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4},
        "region_attributes": {"a": "b"},
    }
    entries = {f"{at}.png1": {"filename": f"{at}.png", "regions": [box] * EACH} for at in range(images)}
    return json.dumps({"_via_settings": {}, "_via_img_metadata": entries})


def createml(images: int) -> str:
    box = {"label": "cat", "coordinates": {"x": 1, "y": 2, "width": 3, "height": 4}}
    return json.dumps([{"image": f"{at}.png", "annotations": [box] * EACH} for at in range(images)])


def ground_truth(images: int) -> str:
    boxes = {"annotations": [{"class_id": 0, "left": 1, "top": 2, "width": 3, "height": 4}] * EACH}
    more = {"x": boxes, "x-metadata": {"class-map": {"0": "cat"}}}
    return "\n".join(json.dumps({"source-ref": f"s3://b/{at}.png", **more}) for at in range(images))


def tf_csv(images: int) -> str:
    rows = [f"{at}.png,9,9,cat,1,2,3,4" for _ in range(EACH) for at in range(images)]
    return "\n".join(["filename,width,height,class,xmin,ymin,xmax,ymax", *rows])


def mot(images: int) -> str:
    return "\n".join(f"{at + 1},{track},1,2,3,4,1,1,1" for track in range(EACH) for at in range(images))


@pytest.mark.parametrize(
    ("name", "write"),
    [("all.json", via), ("all.json", createml), ("all.manifest", ground_truth), ("all.csv", tf_csv), ("gt.txt", mot)],
    ids=["via", "createml", "ground_truth", "tf_csv", "mot"],
)
def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: object
) -> None:
    monkeypatch.setattr(json_stream, "WINDOW_CHARS", 1 << 14)
    monkeypatch.setattr(json_stream, "BATCH_CHARS", 1 << 12)
    monkeypatch.setattr(by_image, "_BATCH", 100)

    def peak(images: int) -> int:
        assert callable(write)
        (tmp_path / name).write_text(write(images))
        file = SourceFile(tmp_path / name, name, tmp_path)
        notes = ReadNotes()
        tracemalloc.start()
        try:
            entries = detect_format(file).reader(ReadOptions(), notes).read(file, notes)
            assert sum(len(entry.parsed(notes, (9, 9)).record.shapes) for entry in entries) == images * EACH
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(20)  # what is imported and cached once
    assert peak(320) < 1.5 * peak(80)


@pytest.mark.parametrize("form", ["voc", "cvat", "labelme_xml"])
def test_broken_xml_files_do_not_stay_in_memory(tmp_path: Path, form: str) -> None:
    """Without the garbage collector, which rarely looks at old objects: nothing that refers to itself keeps them."""
    root = "annotations" if form == "cvat" else "annotation"
    broken = f"<{root}>" + "<object>" * 5_000

    def peak(files: int) -> int:
        folder = tmp_path / f"{files}"
        named = {f"{number}.xml": broken for number in range(files)}
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            assert errors_of(folder, named, format=form).count("broken XML") == files
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            gc.enable()

    peak(1)  # imports
    assert peak(12) < 2 * peak(3)
