"""Sizes of pictures come from the cache of readings, where the file is as it was read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metalake_sync.annotations.images import Image, LocalImages
from metalake_sync.core.snapshots import Fingerprint
from tests.embedded_lake.talk import png


class Kept:
    """A cache that has one reading, whatever is asked for, and counts what it is given."""

    def __init__(self, reading: Mapping[str, Any] | None) -> None:
        self.reading = reading
        self.asked: list[str] = []

    def get(self, reader: str, path: str, fingerprint: Fingerprint) -> Mapping[str, Any] | None:
        self.asked.append(path)
        return self.reading

    def put(self, reader: str, path: str, fingerprint: Fingerprint, reading: Mapping[str, Any]) -> None:
        self.reading = reading


def test_a_size_that_was_read_before_is_taken_from_the_cache(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(png(40, 20))
    kept = Kept({"width": 7, "height": 5, "orientation": 1})
    images = LocalImages([("a.png", "a.png", str(image))], kept)
    assert images.size(Image("a.png", str(image))) == (7, 5)
    assert kept.asked == [str(image)]


def test_a_header_that_can_not_be_read_is_no_size_also_from_the_cache(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"no picture")
    for cache in (Kept(None), Kept({})):
        assert LocalImages([("a.png", "a.png", str(image))], cache).size(Image("a.png", str(image))) is None
    image.write_bytes(png(40, 20))
    assert LocalImages([("a.png", "a.png", str(image))]).size(Image("a.png", str(image))) == (40, 20)
