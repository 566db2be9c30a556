"""`metalake-sync apply` with the embedded lake on each store: the whole program, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.remote.storage import PART_BYTES
from tests.embedded_lake.talk import API_KEY, SECRET, Talk, png, talk_to

LONG = pytest.mark.long  # test_own_transfers.py tests these sizes in the default run

MANIFEST = """
version: 1
name: birds
remote: {{url: "{url}", api_key: "${{API_KEY}}", secret: "${{SECRET}}"}}
collections:
  - name: birds
    type: image
    storage_prefix: dir_1/sub
    metadata: {{City: Rome, Tags: [x]}}
    folders: [{{path: pictures}}]
    annotations: [{{operation: people, kind: human, source: boxes.json, format: metalake, normalized: true}}]
  - name: notes
    type: other
    folders: [{{path: notes}}]
"""


def apply(folder: Path, *flags: str) -> dict[str, Any]:
    """Apply the manifest of a folder, and return the summary."""
    done = subprocess.run(
        [sys.executable, "-m", "metalake_sync", "apply", "manifest.yaml", "--json", *flags],
        cwd=folder,
        env={**os.environ, "API_KEY": API_KEY, "SECRET": SECRET},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


@pytest.fixture
def work(lake: EmbeddedLake, tmp_path: Path) -> Path:
    """A folder with a manifest for the lake."""
    folder = tmp_path / "work"
    for name in ("pictures", "notes"):
        (folder / name).mkdir(parents=True)
    (folder / "manifest.yaml").write_text(MANIFEST.format(url=lake.url))
    for name in ("crow", "jay ü#%?&+"):
        (folder / "pictures" / f"{name}.png").write_bytes(png(40, 20, name.encode()))
    shape = {"type": "rectangle", "bbox": [0.25, 0.5, 0.5, 0.25], "label": "bird", "metadata": {}, "attributes": {}}
    (folder / "boxes.json").write_text(json.dumps({"images": [{"image": "crow.png", "annotations": [shape]}]}))
    return folder


@pytest.fixture
def talk(lake: EmbeddedLake) -> Any:
    with talk_to(lake.url) as talk:
        yield talk


def test_files_metadata_and_annotations_arrive_and_a_second_run_sends_nothing(
    lake: EmbeddedLake, work: Path, talk: Talk, in_bucket: Callable[[str], str]
) -> None:
    (work / "notes" / "a b.txt").write_bytes(b"note")
    done = apply(work)["done"]
    assert (done["upload"], done["annotate"]) == (3, 1)
    assert talk.read("birds_crow.png") == png(40, 20, b"crow")
    assert talk.read("birds_jay ü#%?&+.png") == png(40, 20, "jay ü#%?&+".encode())
    details = talk.details("birds_crow.png", "City", "Tags", "storagePath", "fileSize", "resolution")
    assert details["storagePath"] == in_bucket("dir_1/sub/birds/crow.png")
    assert (details["City"], details["Tags"], details["resolution"]) == ("Rome", ["x"], {"width": 40, "height": 20})
    collection = talk.asked("/api/client/metadata/getCollectionIdByName", {"collectionName": "birds", "objectType": 5})
    assert talk.annotations(collection["collectionId"])["crow.png"][0]["bbox"] == [10, 10, 20, 5]
    lake.requests.clear()
    assert apply(work)["done"]["upload"] == 0
    assert lake.requests.writes == 0


@pytest.mark.parametrize(
    "size_bytes",
    [
        pytest.param(0, marks=LONG),
        pytest.param(PART_BYTES, marks=LONG),
        2 * PART_BYTES,
        pytest.param(2 * PART_BYTES + 5, marks=LONG),
    ],
)
def test_files_around_the_size_of_a_part_arrive_complete(work: Path, talk: Talk, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    (work / "notes" / "a.bin").write_bytes(content)
    apply(work)
    assert talk.read("notes_a.bin") == content
    assert talk.details("notes_a.bin", "fileSize")["fileSize"] == size_bytes


def test_a_changed_file_is_replaced_and_the_trashed_one_keeps_its_bytes(
    lake: EmbeddedLake, work: Path, talk: Talk, tmp_path: Path
) -> None:
    (work / "notes" / "a.txt").write_bytes(b"first")
    apply(work)
    (before,) = [item["url"] for item in talk.items(contentType=6)]
    (work / "notes" / "a.txt").write_bytes(b"second one")
    assert apply(work, "--auto-approve")["done"]["replace"] == 1
    assert talk.read("notes_a.txt") == b"second one"
    assert talk.http.get(before, headers={"Authorization": ""}, timeout=30).content == b"first"
