"""Cityscapes: the image of a file, and objects that are deleted or can't be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.annotations.formats.source_folders import drawn, errors_of, read_source
from tests.annotations.opened import notes

CAR = {"label": "car", "polygon": [[1, 2], [9, 2], [9, 8]]}


def street(*objects: Any) -> str:
    return json.dumps({"imgHeight": 100, "imgWidth": 200, "objects": [*objects]})


def test_a_file_matches_its_image_of_another_ending_and_folder(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        f"gtFine/train/{city}/{city}_000000_000019_gtFine_polygons.json": street(CAR) for city in ("aachen", "bochum")
    }
    local = tuple(f"leftImg8bit/train/{city}/{city}_000000_000019_leftImg8bit.png" for city in ("aachen", "bochum"))
    index = read_source(tmp_path, files, "gtFine", local=local)
    assert drawn(index) == {image: [("polygon", "car", [1, 2, 9, 2, 9, 8])] for image in local}


def test_another_file_has_the_name_of_its_image(tmp_path: Path) -> None:
    assert list(drawn(read_source(tmp_path, {"a.json": street(CAR)}, local=("a.png",)))) == ["a.png"]


def test_deleted_objects_are_told(tmp_path: Path) -> None:
    index = read_source(tmp_path, {"a.json": street({**CAR, "deleted": 1}, {**CAR, "deleted": 0})})
    assert len(drawn(index)["a"]) == 1
    assert "objects are deleted and are left out (once: objects[0])" in notes(index)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (1, "the object is 1, not an object"),
        ({"label": "car"}, "'polygon' is missing"),
        ({"label": "car", "polygon": [[1, 2, 3]]}, "a corner is not x and y"),
        ({"label": "car", "polygon": [[1, "y"]]}, "'y' is not a number"),
        ({"label": 3, "polygon": CAR["polygon"]}, "'label' is 3, not a text"),
    ],
)
def test_objects_that_cannot_be_read_are_told_with_their_place(tmp_path: Path, broken: Any, told: str) -> None:
    index = read_source(tmp_path, {"a.json": street(CAR, broken)})
    assert len(drawn(index)["a"]) == 1
    assert f"{told}; left out (once: objects[1])" in notes(index)


def test_a_file_without_objects_is_refused(tmp_path: Path) -> None:
    assert "it has no 'objects'" in errors_of(tmp_path, {"a.json": '{"x": 1}'}, "a.json", "cityscapes")
    found = errors_of(tmp_path, {"a.json": '{"imgHeight": 1, "objects": {}}'}, "a.json")
    assert "'objects' is {}, not a list" in found
