"""The triggers on real folders: their hints, and where they poll."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.manifest import load_manifest
from metalake_sync.watch.hints import (
    Change,
    EventsLost,
    FolderTouched,
    Hint,
    HintBox,
    ManifestTouched,
    Places,
    SourceTouched,
    places_of,
)
from metalake_sync.watch.triggers import Triggers


@pytest.fixture
def box() -> Iterator[HintBox]:
    found = HintBox()
    yield found
    found.close()


def places(root: Path) -> Places:
    return Places(frozenset({str(root)}), frozenset(), frozenset(), frozenset())


def watch_counts(triggers: Triggers) -> dict[bytes, int]:
    """Return the library's counts of watches by path."""
    observer: Any = triggers._observer
    (emitter,) = observer.emitters
    found: dict[bytes, int] = emitter._inotify._active_callbacks_by_path
    return found


def receives(box: HintBox, wanted: Callable[[Hint], bool]) -> bool:
    """Whether such a hint arrives within 20 seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if any(wanted(hint) for hint in box.take()):
            return True
        time.sleep(0.02)
    return False


def test_a_network_file_system_is_polled_and_its_changes_are_found(tmp_path: Path, box: HintBox) -> None:
    camera = tmp_path / "camera"
    (camera / "day").mkdir(parents=True)
    table = tmp_path / "mountinfo"
    table.write_text(
        f"1 25 0:1 / / rw shared:1 - ext4 /dev/sda1 rw\n2 25 0:2 / {camera} rw shared:1 - nfs4 nas:/camera rw\n"
    )
    reported: list[str] = []
    triggers = Triggers(box, places(camera), None, reported.append, table)
    triggers._poller._poll_s = 0.1
    triggers.start()
    assert reported == [f"{camera} is on nfs4, which sends no notifications: it is polled"]
    (camera / "day" / "a.png").write_bytes(b"x")
    assert receives(box, lambda hint: hint == FolderTouched(str(camera / "day")))
    triggers.close()


def test_a_folder_that_was_replaced_is_watched_again(tmp_path: Path, box: HintBox) -> None:
    camera, away = tmp_path / "camera", tmp_path / "away"
    camera.mkdir()
    triggers = Triggers(box, places(camera), None, lambda _: None)
    triggers.start()
    camera.rename(away)
    triggers.supervise()
    camera.mkdir()
    triggers.supervise()
    box.take()
    (camera / "a.png").write_bytes(b"x")
    assert receives(box, lambda hint: hint == FolderTouched(str(camera)))
    triggers.close()


def test_a_dead_thread_is_replaced_and_everything_is_scanned(tmp_path: Path, box: HintBox) -> None:
    triggers = Triggers(box, places(tmp_path), None, lambda _: None)
    triggers.start()
    assert triggers._observer is not None
    triggers._observer.stop()
    triggers._observer.join()
    triggers.supervise()
    assert receives(box, lambda hint: isinstance(hint, EventsLost))
    (tmp_path / "a.png").write_bytes(b"x")
    assert receives(box, lambda hint: hint == FolderTouched(str(tmp_path)))
    triggers.close()


def test_a_dead_reader_is_replaced_without_leaking_descriptors(tmp_path: Path, box: HintBox) -> None:
    """In watchdog 7.1.0, a folder that two watches cover can break the bookkeeping and end the reading thread."""
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    triggers = Triggers(box, places(root), None, lambda _: None)
    triggers.start()
    del watch_counts(triggers)[str(root / "a" / "b").encode()]
    (root / "a" / "b").rmdir()
    assert receives(box, lambda hint: hint == EventsLost("a thread of watchdog ended with KeyError"))
    open_before = len(os.listdir("/proc/self/fd"))
    triggers.supervise()
    assert len(os.listdir("/proc/self/fd")) <= open_before
    assert receives(box, lambda hint: isinstance(hint, EventsLost))
    (root / "a" / "new.png").write_bytes(b"x")
    assert receives(box, lambda hint: hint == FolderTouched(str(root / "a")))
    triggers.close()


def test_an_observer_with_broken_bookkeeping_can_be_ended(tmp_path: Path, box: HintBox) -> None:
    (tmp_path / "a").mkdir()
    before = threading.excepthook
    triggers = Triggers(box, places(tmp_path), None, lambda _: None)
    triggers.start()
    observer = triggers._observer
    watch_counts(triggers).clear()
    triggers.close()
    assert observer is not None
    assert not observer.is_alive()
    assert threading.excepthook is before


def test_a_folder_of_manifests_is_polled(tmp_path: Path, box: HintBox) -> None:
    polled = Triggers(
        box, Places(frozenset(), frozenset(), frozenset(), frozenset({str(tmp_path)})), 0.1, lambda _: None
    )
    polled.start()
    (tmp_path / "birds.yaml").write_text("version: 1\n")
    assert receives(box, lambda hint: hint == ManifestTouched())
    polled.close()


def test_a_source_folder_that_is_created_later_is_read(tmp_path: Path, box: HintBox) -> None:
    boxes = tmp_path / "boxes"
    triggers = Triggers(
        box, Places(frozenset(), frozenset(), frozenset({str(boxes)}), frozenset()), None, lambda _: None
    )
    triggers.start()
    boxes.mkdir()
    (boxes / "a.json").write_text("{}")
    box.take()
    triggers.supervise()
    assert receives(box, lambda hint: hint == SourceTouched(str(boxes)))
    triggers.close()


def test_the_stamp_of_a_manifest_changes_with_each_of_its_files(tmp_path: Path) -> None:
    key, folder = tmp_path / "key", tmp_path / "manifests"
    folder.mkdir()
    own = Places(frozenset(), frozenset(), frozenset(), frozenset({str(key), str(folder)}))
    stamps = [own.stamp()]
    for path, text in ((key, "a"), (key, "ab"), (folder / "one.yaml", "x"), (folder / "one.yaml", "xy")):
        path.write_text(text)
        stamps.append(own.stamp())
    key.unlink()
    stamps.append(own.stamp())
    assert len(set(map(tuple, stamps))) == len(stamps)
    (folder / "notes.txt").write_text("not a manifest")
    assert own.stamp() == stamps[-1]


def test_every_file_that_a_manifest_names_causes_a_hint(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("key")
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(
        "version: 1\n"
        "remote: {url: 'https://lake.example', api_key_file: k, secret_file: s, ca_file: tls/ca.pem}\n"
        "notify: {url: 'https://hooks.example', secret_file: n}\n"
        "annotations: [{operation: o, kind: human, source: elsewhere.json, by: unique_name}]\n"
        "metadata: [{source: described.json, by: unique_name}]\n"
        "collections:\n"
        "  - name: birds\n"
        "    type: image\n"
        "    folders: [{path: images}]\n"
        "    file_metadata: [plain.json, {source: table.csv}]\n"
        "    annotations: [{operation: o, kind: human, source: boxes/*.json}]\n"
    )
    found = places_of(load_manifest(str(manifest), environment={}), manifest, [tmp_path / "vars.yaml"])

    def hint_types(name: str) -> set[type]:
        return {type(hint) for hint in found.hints(Change(str(tmp_path / name)))}

    for name in ("k", "s", "n", "tls/ca.pem", "manifest.yaml", "vars.yaml", "tls/..data"):
        assert hint_types(name) == {ManifestTouched}, name
    for name in ("elsewhere.json", "described.json", "plain.json", "table.csv", "boxes/a.json"):
        assert hint_types(name) == {SourceTouched}, name
    assert hint_types("..data") == {ManifestTouched, SourceTouched}, "Kubernetes swaps all files of a volume at once"
    assert hint_types("images/a.png") == {FolderTouched}
    assert hint_types("images/a.png.part") == hint_types("other.txt") == set()


def test_brackets_in_the_name_of_the_manifests_folder_are_not_a_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "birds [v2]"
    (folder / "images").mkdir(parents=True)
    manifest = folder / "manifest.yaml"
    sources = [{"operation": name, "kind": "human", "source": name} for name in ("ann/*.json", "boxes.json")]
    collection = {"name": "birds", "type": "image", "folders": [{"path": "images"}], "annotations": sources}
    manifest.write_text(json.dumps({"version": 1, "remote": {"url": "embedded:lake"}, "collections": [collection]}))
    found = places_of(load_manifest(str(manifest), environment={}), manifest, [])
    assert found.folders() == {str(folder / "images"): True, str(folder / "ann"): True, str(folder): False}
    assert list(found.hints(Change(str(tmp_path / "other" / "x.json")))) == []
    assert list(found.hints(Change(str(folder / "ann" / "a.json")))) == [SourceTouched(str(folder / "ann" / "a.json"))]
