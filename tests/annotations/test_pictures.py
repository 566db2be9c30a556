"""Sizes of pictures come from the cache of readings, where the file is as it was read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metalake_sync.annotations.pictures import LocalPictures, Picture
from metalake_sync.core.facts import Fingerprint
from tests.lake.talk import png


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
    picture = tmp_path / "a.png"
    picture.write_bytes(png(40, 20))
    kept = Kept({"width": 7, "height": 5, "orientation": 1})
    pictures = LocalPictures([("a.png", "a.png", str(picture))], kept)
    assert pictures.size(Picture("a.png", str(picture))) == (7, 5)
    assert kept.asked == [str(picture)]


def test_a_header_that_can_not_be_read_is_no_size_also_from_the_cache(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"no picture")
    for cache in (Kept(None), Kept({})):
        assert LocalPictures([("a.png", "a.png", str(picture))], cache).size(Picture("a.png", str(picture))) is None
    picture.write_bytes(png(40, 20))
    assert LocalPictures([("a.png", "a.png", str(picture))]).size(Picture("a.png", str(picture))) == (40, 20)
