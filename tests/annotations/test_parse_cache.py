"""Sets that an earlier run parsed are taken from the cache; only changed ones are parsed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.image_matching import LocalImages
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.annotations.parse_cache import NO_MEMO, SetMemo
from metalake_sync.annotations.validation import InvalidPolicy
from metalake_sync.core.shapes import KnownSet
from metalake_sync.core.snapshots import AnnotationKind
from tests.embedded_lake.talk import png

NAMES = [f"{number}.png" for number in range(20)]


class Kept:
    """A memo in memory that counts its misses."""

    def __init__(self) -> None:
        self.sets: dict[bytes, KnownSet] = {}
        self.misses = 0

    def get(self, key: bytes) -> KnownSet | None:
        found = self.sets.get(key)
        self.misses += found is None
        return found

    def put(self, key: bytes, known: KnownSet) -> None:
        self.sets[key] = known


def coco() -> dict[str, Any]:
    return {
        "images": [{"id": number, "file_name": name, "width": 40, "height": 20} for number, name in enumerate(NAMES)],
        "categories": [{"id": 1, "name": "bird"}, {"id": 2, "name": "bee"}],
        "annotations": [
            {
                "image_id": number,
                "category_id": 1 + number % 2,
                "bbox": [number, 1, 5 + row, 6],
                "attributes": {"sex": "f"},
            }
            for number in range(len(NAMES))
            for row in range(3)
        ],
    }


def metalake() -> dict[str, Any]:
    return {
        "shape_type": "rectangle",
        "images": [
            {
                "image": name,
                "annotations": [
                    {"bbox": [number, 1, 5 + row, 6], "label": "bee", "attributes": {"sex": [{"value": "f"}]}}
                    for row in range(3)
                ],
            }
            for number, name in enumerate(NAMES)
        ],
    }


class Bench:
    """One operation with its images, which tests read repeatedly."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self.folder = folder
        self.document = document
        self.memo = Kept()
        self.spec = AnnotationSpec("op", AnnotationKind.HUMAN, ("a.json",), folder, "m.yaml:1:1")
        for name in NAMES:
            (folder / name).write_bytes(png(40, 20))

    def open(self, memo: SetMemo) -> AnnotationIndex:
        (self.folder / "a.json").write_text(json.dumps(self.document))
        return open_index([self.spec], LocalImages([(name, name, str(self.folder / name)) for name in NAMES]), memo)

    def misses(self) -> int:
        """Read with the memo, and check that the result equals that without it. Returns the number of misses."""
        self.memo.misses = 0
        assert reported(self.open(self.memo)) == reported(self.open(NO_MEMO))
        return self.memo.misses


def reported(index: AnnotationIndex) -> Any:
    try:
        images = {name: (one.digest, one.shape_count, one.place) for name, one in index.images().items()}
        records = {name: index.record(name) for name in images}
        notes = [(note.code, note.message, note.where) for note in index.notes()]
        return images, records, index.labels(), notes, index.without_file, index.has_shapes
    finally:
        index.close()


@pytest.fixture(params=[coco, metalake])
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    document: Callable[[], dict[str, Any]] = request.param
    made = Bench(tmp_path, document())
    assert made.misses() == len(NAMES)
    assert made.misses() == 0
    return made


def box_of(document: dict[str, Any], image: int) -> list[float]:
    found: list[float]
    if "categories" in document:
        found = document["annotations"][3 * image]["bbox"]
    else:
        found = document["images"][image]["annotations"][0]["bbox"]
    return found


def test_a_moved_box_causes_one_image_to_be_parsed(bench: Bench) -> None:
    box_of(bench.document, 7)[0] = 2.5
    assert bench.misses() == 1


def test_sets_in_another_order_are_cached_and_have_new_places(bench: Bench) -> None:
    bench.document["images"].reverse()
    assert bench.misses() == 0


def test_only_a_new_image_is_parsed(bench: Bench) -> None:
    bench.document["images"] = bench.document["images"][:10]
    assert bench.misses() == 0
    bench.document["images"] += [{**bench.document["images"][0], "id": 99, "file_name": "11.png", "image": "11.png"}]
    assert bench.misses() == 0


def test_an_image_of_another_size_is_parsed_again(bench: Bench) -> None:
    (bench.folder / NAMES[3]).write_bytes(png(9, 9))
    # COCO states another size. That is reported in every run, so the cache is not asked.
    assert bench.misses() == (0 if "categories" in bench.document else 1)
    assert bench.misses() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {"bee": "wasp"}},
        {"allowed": frozenset({"bee", "bird"})},
        {"kind": AnnotationKind.MACHINE},
        {"invalid": InvalidPolicy("fix")},
        {"normalized": "convert"},
    ],
)
def test_other_settings_in_the_manifest_cause_everything_to_be_parsed(bench: Bench, changes: dict[str, Any]) -> None:
    if "normalized" in changes:
        for image in range(len(NAMES)):
            box_of(bench.document, image)[:] = [0.1, 0.1, 0.2, image / 50 + 0.1]
    bench.spec = replace(bench.spec, **changes)
    assert bench.misses() == len(NAMES)


def test_the_default_type_and_the_categories_are_part_of_the_key(bench: Bench) -> None:
    if "categories" in bench.document:
        bench.document["categories"][0]["name"] = "eagle"
    else:
        bench.document["shape_type"] = "points"
        for image in bench.document["images"]:
            for annotation in image["annotations"]:
                annotation["points"] = [[1, 2]]
    assert bench.misses() == len(NAMES)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda box: box.__setitem__(2, 0),
        lambda box: box.__setitem__(0, 39),
        lambda box: box.__setitem__(1, float("nan")),
    ],
)
def test_an_entry_with_a_note_is_reported_in_every_run(bench: Bench, spoil: Callable[[list[float]], None]) -> None:
    spoil(box_of(bench.document, 7))
    assert bench.misses() == 1
    assert bench.misses() == 1
    assert any(note[1] for note in reported(bench.open(bench.memo))[3])


def test_shapes_in_the_first_pixel_are_reported_in_every_run(bench: Bench) -> None:
    for part in bench.document["annotations"] if "categories" in bench.document else ():
        part["bbox"] = [0.1, 0.1, 0.2, part["image_id"] / 50 + 0.1]
    for number, image in enumerate(bench.document["images"]):
        for annotation in image.get("annotations", ()):
            annotation["bbox"] = [0.1, 0.1, 0.2, number / 50 + 0.1]
    assert bench.misses() == len(NAMES)
    assert bench.misses() == len(NAMES)
    assert "looks like fractions" in str(reported(bench.open(bench.memo))[3])


def test_the_form_and_the_bucket_are_part_of_the_key(bench: Bench) -> None:
    if "shape_type" not in bench.document:
        pytest.skip("only MetaLake's JSON has an old form")
    for image in bench.document["images"]:
        for annotation in image["annotations"]:
            annotation["metadata"] = {"pose": "flying"}
    assert bench.misses() == len(NAMES)
    bench.spec = replace(bench.spec, options={"old_form": False})
    assert bench.misses() == len(NAMES)
    bench.document["images"][0]["storageName"] = "cold"
    assert bench.misses() == 0
