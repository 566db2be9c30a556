from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from metalake_sync import MetaLake
from metalake_sync.embedded_lake import EmbeddedLake
from tests.embedded_lake.talk import API_KEY, SECRET, Talk, png, settings, talk_to

IMAGES = {f"{name}.png": png(40, 20, name.encode()) for name in ("crow", "gull", "jay")}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[EmbeddedLake]:
    with EmbeddedLake(settings(tmp_path / "lake")) as lake:
        yield lake


@pytest.fixture
def talk(served: EmbeddedLake) -> Iterator[Talk]:
    """Sends raw HTTP requests to the same lake, like another client."""
    with talk_to(served.url) as talk:
        yield talk


@pytest.fixture
def lake(served: EmbeddedLake) -> Iterator[MetaLake]:
    with MetaLake(served.url, API_KEY, SECRET) as lake:
        yield lake


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, content in IMAGES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def boxes(tmp_path: Path) -> Callable[..., Path]:
    """Writes an annotation file: image → rectangles."""

    def write(images: Mapping[str, list[tuple[float, float, float, float]]], name: str = "boxes.json") -> Path:
        document = {
            "images": [
                {
                    "image": image,
                    "annotations": [{"type": "rectangle", "bbox": list(box), "label": "bird"} for box in bs],
                }
                for image, bs in images.items()
            ]
        }
        path = tmp_path / name
        path.write_text(json.dumps(document))
        return path

    return write


@pytest.fixture
def metadata_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a metadata file: file → metadata."""

    def write(files: Mapping[str, Mapping[str, Any]]) -> Path:
        path = tmp_path / "metadata.json"
        path.write_text(json.dumps({"files": [{"file": name, "metadata": values} for name, values in files.items()]}))
        return path

    return write
