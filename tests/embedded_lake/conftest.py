from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded_lake.talk import Talk, lake_at


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    """A connection to a new, empty lake."""
    with lake_at(tmp_path / "lake") as talk:
        yield talk
