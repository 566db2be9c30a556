"""Sizes of unchanged images come from the cache of readings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metalake_sync.annotations.image_matching import Image, LocalImages
from metalake_sync.core.snapshots import Fingerprint
from tests.embedded_lake.talk import png


class Kept:
    """A cache that returns one reading for every request, and counts what is stored."""

    def __init__(self, reading: Mapping[str, Any] | None) -> None:
        self.reading = reading
        self.asked: list[str] = []

    def get(self, reader: str, path: str, fingerprint: Fingerprint) -> Mapping[str, Any] | None:
        self.asked.append(path)
        return self.reading

    def put(self, reader: str, path: str, fingerprint: Fingerprint, reading: Mapping[str, Any]) -> None:
        self.reading = reading


def test_a_cached_size_is_not_read_again(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(png(40, 20))
    kept = Kept({"width": 7, "height": 5, "orientation": 1})
    images = LocalImages([("a.png", "a.png", str(image))], kept)
    assert images.size(Image("a.png", str(image))) == (7, 5)
    assert kept.asked == [str(image)]


def test_an_unreadable_header_gives_no_size_also_from_the_cache(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"no picture")
    for cache in (Kept(None), Kept({})):
        assert LocalImages([("a.png", "a.png", str(image))], cache).size(Image("a.png", str(image))) is None
    image.write_bytes(png(40, 20))
    assert LocalImages([("a.png", "a.png", str(image))]).size(Image("a.png", str(image))) == (40, 20)
