"""The conformance suite of the `Source` port: every source passes it.

To add a source, add a function to `SOURCES` that creates a source with the given files, and one that changes a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from metalake_sync.core.snapshots import MediaType
from metalake_sync.errors import SourceChanged
from metalake_sync.sources.base import ScannedFile, ScanProblem, Source, Trouble
from metalake_sync.sources.local_folder import LocalFolder
from metalake_sync.sources.rules import ScanRules

FILES = {"a.jpg": b"first", "note.txt": b"text", "sub/b.jpg": b"second", "sub/deep/c.jpg": b"third", "z/d.jpg": b""}
IMAGES = ScanRules(MediaType.IMAGE)


class Made(NamedTuple):
    """A source, and a function that gives a file other bytes."""

    source: Source
    write: Callable[[str, bytes], None]


def local_folder(place: Path, files: Mapping[str, bytes]) -> Made:
    def write(path: str, content: bytes) -> None:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)

    for path, content in files.items():
        write(path, content)
    return Made(LocalFolder(str(place)), write)


SOURCES: dict[str, Callable[[Path, Mapping[str, bytes]], Made]] = {"local folder": local_folder}


@pytest.fixture(params=sorted(SOURCES))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    return SOURCES[request.param](tmp_path / "files", FILES)


def listed(source: Source, rules: ScanRules = IMAGES, start: str = "", *, deep: bool = True) -> dict[str, list[str]]:
    return {
        listing.relative_dir: [file.filename for file in listing.files]
        for listing in source.list(rules, start, deep=deep)
    }


def found(source: Source, path: str) -> ScannedFile:
    file = source.stat(path)
    assert isinstance(file, ScannedFile)
    return file


def test_a_listing_has_every_wanted_file_by_folder_in_order(made: Made) -> None:
    folders = listed(made.source)
    assert list(folders.items()) == [("", ["a.jpg"]), ("sub", ["b.jpg"]), ("sub/deep", ["c.jpg"]), ("z", ["d.jpg"])]


def test_rules_restrict_a_listing(made: Made) -> None:
    assert listed(made.source, ScanRules(MediaType.IMAGE, exclude=("sub/deep/",)))["sub"] == ["b.jpg"]
    assert "sub/deep" not in listed(made.source, ScanRules(MediaType.IMAGE, exclude=("sub/deep/",)))
    assert listed(made.source, ScanRules(MediaType.IMAGE, recursive=False)) == {"": ["a.jpg"]}
    assert listed(made.source, ScanRules(MediaType.OTHER, include=("*.txt",)))[""] == ["note.txt"]


@pytest.mark.parametrize("start", ["", "sub", "sub/deep", "z"])
def test_a_part_is_listed_as_in_the_whole(made: Made, start: str) -> None:
    whole = {listing.relative_dir: listing for listing in made.source.list(IMAGES)}
    assert list(made.source.list(IMAGES, start, deep=False)) == [whole[start]]
    below = [listing for name, listing in whole.items() if not start or f"{name}/".startswith(f"{start}/")]
    assert list(made.source.list(IMAGES, start)) == below


def test_a_part_that_does_not_exist_or_is_excluded_yields_nothing(made: Made) -> None:
    assert listed(made.source, start="nowhere") == {}
    assert listed(made.source, ScanRules(MediaType.IMAGE, exclude=("sub/",)), "sub") == {}


@pytest.mark.parametrize("path", ["a.jpg", "sub/deep/c.jpg"])
def test_a_single_file_is_the_one_that_a_listing_has(made: Made, path: str) -> None:
    folder, _, name = path.rpartition("/")
    (listing,) = made.source.list(IMAGES, folder, deep=False)
    assert found(made.source, path) == next(file for file in listing.files if file.filename == name)


def test_a_missing_file_is_a_problem_and_does_not_raise(made: Made) -> None:
    problem = made.source.stat("missing.jpg")
    assert isinstance(problem, ScanProblem)
    assert problem.trouble is Trouble.MISSING


def test_the_version_changes_with_the_content_and_with_nothing_else(made: Made) -> None:
    before = found(made.source, "a.jpg").version()
    other = found(made.source, "sub/b.jpg").version()
    made.write("sub/b.jpg", b"another content")
    assert found(made.source, "a.jpg").version() == before
    assert found(made.source, "sub/b.jpg").version() != other
    assert hash(before) == hash(found(made.source, "a.jpg").version())


def test_a_range_has_the_requested_bytes(made: Made) -> None:
    version = found(made.source, "sub/b.jpg").version()
    for start, length, expected in [(0, None, b"second"), (2, None, b"cond"), (1, 3, b"eco"), (6, None, b"")]:
        with made.source.open_range("sub/b.jpg", version, start, length) as body:
            assert body.read() == expected


def test_an_empty_file_is_read_as_no_bytes(made: Made) -> None:
    with made.source.open_range("z/d.jpg", found(made.source, "z/d.jpg").version()) as body:
        assert body.read() == b""


def test_a_range_beyond_the_end_is_an_error(made: Made) -> None:
    version = found(made.source, "a.jpg").version()
    with made.source.open_range("a.jpg", version, 3, 10) as body, pytest.raises(EOFError):
        body.read()


def test_a_changed_file_is_refused_when_it_is_opened(made: Made) -> None:
    version = found(made.source, "a.jpg").version()
    made.write("a.jpg", b"other and longer")
    with pytest.raises(SourceChanged), made.source.open_range("a.jpg", version) as body:
        body.read()


def test_a_file_that_changes_while_it_is_read_is_refused_at_the_end(made: Made) -> None:
    version = found(made.source, "a.jpg").version()
    with pytest.raises(SourceChanged), made.source.open_range("a.jpg", version, 0, 2) as body:
        body.read()
        made.write("a.jpg", b"other and longer")
