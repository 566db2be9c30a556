"""Labelbox: kinds of objects, nested answers, labels of several persons, names of images, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.annotations.formats.reading import error, notes, read, shapes, values

BOX = {"name": "door", "bounding_box": {"top": 2, "left": 1, "height": 4, "width": 3}}


def row(*objects: Any, about: Any = None, labels: Any = None, **annotations: Any) -> dict[str, Any]:
    first = {"annotations": {"objects": list(objects), "classifications": [], **annotations}}
    found = [first] if labels is None else labels
    return {"data_row": about or {"external_id": "a.png"}, "projects": {"p": {"labels": found}}}


def write(folder: Path, *rows: Any) -> Path:
    (folder / "export.ndjson").write_text("".join(f"{json.dumps(one)}\n" for one in rows))
    return folder / "export.ndjson"


def test_the_kinds_of_objects(tmp_path: Path) -> None:
    points = [{"x": 1, "y": 2}, {"x": 9, "y": 2}, {"x": 9, "y": 8}]
    objects = [BOX, {"name": "p", "polygon": points}, {"name": "l", "line": points}, {"name": "k", "point": points[0]}]
    found = shapes(read(write(tmp_path, row(*objects))))
    assert [one.type.value for one in found] == ["rectangle", "polygon", "line", "points"]
    assert found[0].points == ((1.0, 2.0), (3.0, 4.0))


def test_nested_answers_are_attributes(tmp_path: Path) -> None:
    sort = {"name": "Sort", "text_answer": {"content": "oak"}}
    answers = [
        {"name": "Material", "radio_answer": {"name": "Wood", "value": "wood", "classifications": [sort]}},
        {"name": "Defects", "checklist_answers": [{"name": "Scratch"}, {"name": "Dent"}]},
    ]
    (box,) = shapes(read(write(tmp_path, row({**BOX, "classifications": answers, "confidence": 0.5}))))
    assert values(box) == {"Material": ["Wood"], "Sort": ["oak"], "Defects": ["Scratch", "Dent"]}
    assert box.confidence == 0.5


def test_answers_that_are_nested_too_deeply_are_left_out(tmp_path: Path) -> None:
    question: dict[str, Any] = {"name": "q", "text_answer": {"content": "deep"}}
    for _ in range(30):
        question = {"name": "q", "radio_answer": {"name": "a", "classifications": [question]}}
    index = read(write(tmp_path, row({**BOX, "classifications": [question]})))
    assert values(shapes(index)[0]) == {"q": ["a"]}
    assert "nested too deeply" in notes(index)


@pytest.mark.parametrize(
    "about",
    [
        {"external_id": "a.png", "global_key": "z"},
        {"external_id": "other", "global_key": "a.png"},
        {"row_data": "https://x/y/a.png?signature=1"},
        {"external_id": "", "row_data": "gs://bucket/a.png"},
    ],
)
def test_the_image_of_a_row(tmp_path: Path, about: dict[str, str]) -> None:
    assert list(read(write(tmp_path, row(BOX, about=about)), "a.png", "b.png").images()) == ["a.png"]


def test_the_first_label_counts(tmp_path: Path) -> None:
    def label(name: str, *, skipped: bool = False) -> dict[str, Any]:
        objects = {"objects": [{**BOX, "name": name}]}
        return {"annotations": objects, "performance_details": {"skipped": skipped}}

    index = read(write(tmp_path, row(labels=[label("s", skipped=True), label("first"), label("second")])))
    assert [one.label for one in shapes(index)] == ["first"]
    assert "skipped by their annotators" in notes(index)
    assert "another annotator or project" in notes(index)


def test_what_is_left_out_is_reported(tmp_path: Path) -> None:
    mask = {"name": "m", "mask": {"url": "https://x"}}
    source = write(
        tmp_path,
        row(mask, {"name": "n", "annotation_kind": "New"}, classifications=[{}], relationships=[{}]),
        row(labels=[], about={"external_id": "b.png"}),
        row(frames={}, about={"external_id": "c.png"}),
    )
    index = read(source, "a.png", "b.png", "c.png")
    for part in (
        "masks are at an address",
        "kind 'New'",
        "whole images",
        "relationships",
        "no label to read",
        "videos",
    ):
        assert part in notes(index)


def test_a_file_may_be_a_list(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(json.dumps([row(BOX)]))
    assert len(shapes(read(tmp_path / "export.json"))) == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (7, "the object is 7"),
        ({"name": "x", "bounding_box": {"top": "here"}}, "is not a number"),
        ({"name": "x", "polygon": 7}, "the points is 7"),
        ({"name": "x", "point": 7}, "a point is 7"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_object_that_cannot_be_read_is_left_out(tmp_path: Path, wrong: Any, reason: str) -> None:
    index = read(write(tmp_path, row(wrong, BOX)))
    assert len(shapes(index)) == 1
    assert reason in notes(index)
    assert "line 1, objects[0]" in notes(index)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"data_row": {"external_id": "a.png"}}\n{"a": 1}\n', "line 2: the row has no 'data_row'"),
        ('{"data_row": {}}\n', "line 1: the data row has no 'external_id'"),
        ('{"data_row": \n', "export.ndjson:2:1: broken JSON"),
        ("\n", "the file has no data rows"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_with_its_place(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "export.ndjson").write_text(content)
    assert reason in error(tmp_path / "export.ndjson", format="labelbox")
