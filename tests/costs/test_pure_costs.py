"""What one more file costs where nothing waits for anything: calls of functions are counted, and not seconds.

A count is the same on every machine. The bounds leave room for other versions of Python and of libraries; a change that
does something for each file that was done for each folder before does not fit in.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.coco_one_box import png
from benchmarks.synthetic import make_state, make_tree
from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.image_matching import LocalImages
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.core.diff import CollectionRules, compare
from metalake_sync.core.metadata import NO_METADATA
from metalake_sync.core.snapshots import (
    AnnotationKind,
    CollectionKey,
    CollectionPolicy,
    DesiredFile,
    Fingerprint,
    MediaType,
    Origin,
    RecordedFile,
    RemoteFile,
)
from metalake_sync.engine import Engine
from metalake_sync.manifest import load_manifest
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.sources.hashing import HashRequest, hash_files
from metalake_sync.sources.rules import ScanRules
from metalake_sync.sources.scan import scan_folder

LAKE = "http://127.0.0.1:9"
FEW, MANY = 20, 60


def calls_of(work: Callable[[], object]) -> int:
    """The number of function calls, including built-in ones, that `work` makes in this thread."""
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


def for_each(work_on: Callable[[int], Callable[[], object]]) -> float:
    """The cost of one more file. A first, uncounted run loads what is loaded once."""
    work_on(FEW)()
    return (calls_of(work_on(MANY)) - calls_of(work_on(FEW))) / (MANY - FEW)


def tree(place: Path, count: int) -> Path:
    folder = place / str(count)
    if not folder.exists():
        make_tree(folder / "images", [9] * count)
    return folder


def test_scanning_a_file(tmp_path: Path) -> None:
    rules = ScanRules(MediaType.IMAGE)

    def scan(count: int) -> Callable[[], object]:
        folder = str(tree(tmp_path, count) / "images")
        return lambda: list(scan_folder(folder, rules))

    assert for_each(scan) <= 7


@pytest.mark.parametrize(("checksum", "most"), [(False, 7), (True, 38)], ids=["by fingerprint", "by content"])
def test_planning_an_unchanged_file(tmp_path: Path, checksum: bool, most: int) -> None:
    def plan(count: int) -> Callable[[], object]:
        folder = tree(tmp_path, count)
        if not (folder / "manifest.yaml").exists():
            make_state(folder / ".metalake-sync" / "bench.db", folder / "images", LAKE, hashed=True)
            (folder / "manifest.yaml").write_text(
                f"version: 1\nname: bench\nremote: {{url: '{LAKE}', api_key: k, secret: s}}\n"
                "collections: [{name: many, type: image, folders: [{path: images}]}]\n"
            )
        manifest = load_manifest(str(folder / "manifest.yaml"), variables={}, environment={}, stdin=None)
        options = RunOptions(refresh="none", checksum=checksum)

        def run() -> None:
            with Engine(manifest, options, lambda _event: None).plan() as planned:
                assert planned.plan.summary().unchanged == count

        return run

    assert for_each(plan) <= most


def test_comparing_a_file_that_is_the_same_in_all_snapshots() -> None:
    rules = CollectionRules(CollectionKey(MediaType.IMAGE, "birds"), CollectionPolicy(), lambda _: {})
    same = Fingerprint(1, 1, 1, 1)
    desired = DesiredFile("a", "a", same, NO_METADATA, "x")
    recorded = RecordedFile("a", "a", same, "x", NO_METADATA.digest, "1", "birds_a", Origin.UPLOADED)
    remote = RemoteFile("a", "1", "birds_a")

    def comparing(count: int) -> Callable[[], object]:
        return lambda: [compare(rules, desired, recorded, remote) for _ in range(count)]

    assert for_each(comparing) <= 15


def test_hashing_a_small_file(tmp_path: Path) -> None:
    def hashing(count: int) -> Callable[[], object]:
        requests = []
        for path in sorted((tree(tmp_path, count) / "images").rglob("*.jpg")):
            found = path.stat()
            fingerprint = Fingerprint(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
            requests.append(HashRequest(str(path), fingerprint))
        # So few and small ones are read in this thread.
        return lambda: list(hash_files(requests, threads=2))

    assert for_each(hashing) <= 22


def test_reading_an_image_of_an_annotation_source(tmp_path: Path) -> None:
    def reading(count: int) -> Callable[[], object]:
        folder = tmp_path / str(count)
        folder.mkdir(exist_ok=True)
        names = [f"{number:04}.png" for number in range(count)]
        images: list[dict[str, Any]] = []
        for name in names:
            (folder / name).write_bytes(png(640, 480))
            box = {"type": "rectangle", "bbox": [1, 2, 3, 4], "label": "cell"}
            images.append({"image": name, "annotations": [box]})
        (folder / "boxes.json").write_text(json.dumps({"images": images}))
        spec = AnnotationSpec("op", AnnotationKind.HUMAN, ("boxes.json",), folder, "m.yaml:1:1")
        pictures = LocalImages([(name, name, str(folder / name)) for name in names])

        def read() -> None:
            index = open_index([spec], pictures)
            assert index.has_shapes
            index.close()

        return read

    assert for_each(reading) <= 300
