from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metalake_sync.lake import EmbeddedLake
from tests.end_to_end.world import World
from tests.lake.talk import settings, talk_to


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A folder without a manifest, and a new, empty lake."""
    folder = tmp_path / "project"
    folder.mkdir()
    with EmbeddedLake(settings(tmp_path / "lake")) as lake, talk_to(lake.url) as talk:
        yield World(folder, lake, talk)
