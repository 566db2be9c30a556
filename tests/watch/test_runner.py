"""Runs over hinted folders against a real lake. They read a source again only if it has entries for a new image."""

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
from metalake_sync.engine import Engine
from metalake_sync.manifest import load_manifest
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.sources.hashing import RACY_NS
from metalake_sync.watch.debounce import Coverage, Work
from metalake_sync.watch.runner import Exclusions, ProjectRunner, RunResult
from tests.embedded_lake.talk import API_KEY, SECRET, Talk, png, settings, talk_to

EXCLUDE_NOTHING = Exclusions(lambda _path, _file: False, frozenset())


class WatchedFolder:
    """A manifest with boxes on its images, and its runner."""

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
        self.runner = ProjectRunner(Engine(manifest, RunOptions(), lambda _event: None), lambda: True)

    def image(self, path: str, width: int = 40) -> None:
        place = self.folder / "images" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(width, salt=path.encode()))

    def boxes(self, *images: str, width: float = 30) -> None:
        shape = {"type": "rectangle", "bbox": [1, 1, width, 2], "label": "bird", "metadata": {}}
        document = {"images": [{"image": image, "annotations": [shape]} for image in images]}
        (self.folder / "people.json").write_text(json.dumps(document))

    def run(self, *folders: str) -> RunResult:
        """Run over the whole disk, or over some folders of images."""
        paths = frozenset(os.path.join(self.folder, "images", path).rstrip("/") for path in folders)
        return self.runner.run(Work(Coverage.FOLDERS, paths) if folders else Work(Coverage.FULL), EXCLUDE_NOTHING)

    def shapes(self, image: str) -> list[float]:
        """The widths of an image's boxes in the lake."""
        body = {"collectionName": "birds", "objectType": 5}
        found = self.talk.asked("/api/client/metadata/getCollectionIdByName", body)["collectionId"]
        return [shape["bbox"][2] for shape in self.talk.annotations(found).get(image, ())]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedFolder]:
    folder = tmp_path / "project"
    folder.mkdir()
    with EmbeddedLake(settings(tmp_path / "lake")) as lake, talk_to(lake.url) as talk:
        watched = WatchedFolder(folder, lake, talk)
        for name in ("a.png", "b.png"):
            watched.image(name)
        watched.boxes("a.png", "b.png", "later.png", "deep/c.png")
        # A file that is too new when it is recorded would be hashed again.
        time.sleep(RACY_NS / 1e9 + 0.1)
        watched.run()
        yield watched
        watched.runner.annotation_cache.close()


def test_an_image_without_entry_is_sent_without_reading_the_source(watched: WatchedFolder) -> None:
    (watched.folder / "people.json").unlink()
    watched.image("new.png")
    ran = watched.run("")
    assert (ran.finished.done.upload, list(ran.broken)) == (1, [])
    assert watched.shapes("a.png") == [30]
    assert [part.operation for part in watched.run().broken] == ["people"], "a full run reads the source"


@pytest.mark.parametrize("path", ["later.png", "deep/c.png", "somewhere/later.png"])
def test_an_image_that_arrives_after_its_entry_gets_its_boxes_at_once(watched: WatchedFolder, path: str) -> None:
    watched.image(path)
    ran = watched.run(os.path.dirname(path))
    assert (ran.finished.done.upload, ran.finished.done.annotate) == (1, 1)
    assert watched.shapes(os.path.basename(path)) == [30]


def test_an_image_that_became_smaller_loses_the_boxes_that_do_not_fit(watched: WatchedFolder) -> None:
    watched.image("a.png", width=20)
    ran = watched.run("")
    assert ran.finished.done.replace == 1
    assert watched.shapes("a.png") == []
    assert watched.shapes("b.png") == [30]


def test_a_changed_source_is_read_by_the_next_run_over_the_disk(watched: WatchedFolder) -> None:
    watched.boxes("a.png", "b.png", width=10)
    watched.image("new.png")
    assert watched.run("").finished.done.annotate == 0
    assert watched.runner.run(Work(Coverage.DISK), EXCLUDE_NOTHING).finished.done.annotate == 2
    assert watched.shapes("b.png") == [10]


def test_a_broken_source_is_read_by_each_run_until_it_is_valid(watched: WatchedFolder) -> None:
    valid = (watched.folder / "people.json").read_text()
    (watched.folder / "people.json").write_text("{")
    assert len(watched.run().broken) == 1
    assert len(watched.run("").broken) == 1
    (watched.folder / "people.json").write_text(valid)
    watched.image("later.png")
    ran = watched.run("")
    assert (list(ran.broken), ran.finished.done.annotate) == ([], 1)


def test_the_annotations_kept_between_runs_are_closed(
    watched: WatchedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Annotations are kept in a file, not in memory, so that the file can be counted.
    monkeypatch.setattr("metalake_sync.sources.scratch.IN_MEMORY_BYTES", 0)
    watched.run()
    # Objects of other tests must not be closed while files are counted.
    gc.collect()
    before = open_files(tmp_path / "lake")
    for _ in range(3):
        watched.run()
        watched.run("")
    assert open_files(tmp_path / "lake") == before
    watched.runner.annotation_cache.close()
    assert open_files(tmp_path / "lake") == before - 1


def open_files(lake: Path) -> int:
    """Count the files that this process has open, without sockets and without files of the lake, which runs in this
    process too and closes a connection a little after its client."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/self/fd/{number}")
            count += target.startswith("/") and not target.startswith((f"{lake}/", "/proc/"))
    return count
