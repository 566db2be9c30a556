"""Runs over hinted folders, against a real lake: they read no source again, unless a picture at hand is meant by it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.manifest import load_manifest
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.project import Project
from metalake_sync.sources.hashing import RACY_NS
from metalake_sync.watch.debounce import Coverage, Work
from metalake_sync.watch.runner import Exclusions, ProjectRunner, RunResult
from tests.embedded_lake.talk import API_KEY, SECRET, Talk, png, settings, talk_to

LEAVE_NOTHING = Exclusions(lambda _path, _file: False, frozenset())


class Desk:
    """A manifest with boxes on its pictures, and a runner for it."""

    def __init__(self, folder: Path, lake: EmbeddedLake, talk: Talk) -> None:
        self.folder, self.talk = folder, talk
        (folder / "manifest.yaml").write_text(
            f"version: 1\nremote: {{url: '{lake.url}', api_key: {API_KEY}, secret: {SECRET}}}\n"
            "collections:\n"
            "  - name: birds\n"
            "    type: image\n"
            "    folders: [{path: images}]\n"
            "    annotations: [{operation: people, kind: human, source: people.json}]\n"
        )
        manifest = load_manifest(str(folder / "manifest.yaml"), environment={})
        self.runner = ProjectRunner(Project(manifest, RunOptions(), lambda _event: None), lambda: True)

    def image(self, path: str, width: int = 40) -> None:
        place = self.folder / "images" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(width, salt=path.encode()))

    def boxes(self, *images: str, width: float = 30) -> None:
        shape = {"type": "rectangle", "bbox": [1, 1, width, 2], "label": "bird", "metadata": {}}
        document = {"images": [{"image": image, "annotations": [shape]} for image in images]}
        (self.folder / "people.json").write_text(json.dumps(document))

    def run(self, *folders: str) -> RunResult:
        """A run over the whole disk, or over some folders of pictures."""
        paths = frozenset(os.path.join(self.folder, "images", path).rstrip("/") for path in folders)
        return self.runner.run(Work(Coverage.FOLDERS, paths) if folders else Work(Coverage.FULL), LEAVE_NOTHING)

    def shapes(self, image: str) -> list[float]:
        """The widths of an image's boxes in the lake."""
        body = {"collectionName": "birds", "objectType": 5}
        found = self.talk.asked("/api/client/metadata/getCollectionIdByName", body)["collectionId"]
        return [shape["bbox"][2] for shape in self.talk.annotations(found).get(image, ())]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    folder = tmp_path / "project"
    folder.mkdir()
    with EmbeddedLake(settings(tmp_path / "lake")) as lake, talk_to(lake.url) as talk:
        desk = Desk(folder, lake, talk)
        for name in ("a.png", "b.png"):
            desk.image(name)
        desk.boxes("a.png", "b.png", "later.png", "deep/c.png")
        # A file that is too young when it is recorded is looked at closely once more.
        time.sleep(RACY_NS / 1e9 + 0.1)
        desk.run()
        yield desk
        desk.runner.annotation_cache.close()


def test_a_image_that_no_entry_means_is_sent_without_a_look_at_the_source(desk: Desk) -> None:
    (desk.folder / "people.json").unlink()
    desk.image("new.png")
    ran = desk.run("")
    assert (ran.finished.done.upload, list(ran.broken)) == (1, [])
    assert desk.shapes("a.png") == [30]
    assert [part.operation for part in desk.run().broken] == ["people"], "a look at everything reads it"


@pytest.mark.parametrize("path", ["later.png", "deep/c.png", "somewhere/later.png"])
def test_a_image_that_comes_after_its_entry_gets_its_boxes_at_once(desk: Desk, path: str) -> None:
    desk.image(path)
    ran = desk.run(os.path.dirname(path))
    assert (ran.finished.done.upload, ran.finished.done.annotate) == (1, 1)
    assert desk.shapes(os.path.basename(path)) == [30]


def test_a_image_that_became_smaller_gets_no_box_that_does_not_fit(desk: Desk) -> None:
    desk.image("a.png", width=20)
    ran = desk.run("")
    assert ran.finished.done.replace == 1
    assert desk.shapes("a.png") == []
    assert desk.shapes("b.png") == [30]


def test_a_source_that_changed_is_read_by_the_next_look_at_the_disk(desk: Desk) -> None:
    desk.boxes("a.png", "b.png", width=10)
    desk.image("new.png")
    assert desk.run("").finished.done.annotate == 0
    assert desk.runner.run(Work(Coverage.DISK), LEAVE_NOTHING).finished.done.annotate == 2
    assert desk.shapes("b.png") == [10]


def test_a_source_that_is_broken_is_tried_by_each_run_until_it_is_whole(desk: Desk) -> None:
    whole = (desk.folder / "people.json").read_text()
    (desk.folder / "people.json").write_text("{")
    assert len(desk.run().broken) == 1
    assert len(desk.run("").broken) == 1
    (desk.folder / "people.json").write_text(whole)
    desk.image("later.png")
    ran = desk.run("")
    assert (list(ran.broken), ran.finished.done.annotate) == ([], 1)


def test_what_is_kept_between_runs_is_closed_in_the_end(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Annotations are kept in a file, not in memory, so that the file can be counted.
    monkeypatch.setattr("metalake_sync.sources.scratch.IN_MEMORY_BYTES", 0)
    desk.run()
    # What other tests left behind must not be closed meanwhile.
    gc.collect()
    before = open_files(tmp_path / "lake")
    for _ in range(3):
        desk.run()
        desk.run("")
    assert open_files(tmp_path / "lake") == before
    desk.runner.annotation_cache.close()
    assert open_files(tmp_path / "lake") == before - 1


def open_files(lake: Path) -> int:
    """How many files this process has open. Its sockets are not counted, nor is what the lake holds, which lives in
    this process too, and closes a connection a little after its client."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/self/fd/{number}")
            count += target.startswith("/") and not target.startswith((f"{lake}/", "/proc/"))
    return count
