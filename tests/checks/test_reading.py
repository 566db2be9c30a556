"""Reading many files: the cache, the order of results, and processes that decode."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metalake_sync.checks import decoding, reading
from metalake_sync.checks.decode_worker import CHANGED, decode
from metalake_sync.checks.decoding import CRASHED, Decoder
from metalake_sync.checks.reading import FileReader, FileToRead
from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.sources.readings import NoCache, Reading
from tests.checks.made import picture

LIMIT = 10**8


class MemoryCache:
    """A cache in memory that counts."""

    def __init__(self) -> None:
        self.readings: dict[tuple[str, str, Fingerprint], Reading] = {}

    def get(self, reader: str, path: str, fingerprint: Fingerprint) -> Reading | None:
        return self.readings.get((reader, path, fingerprint))

    def put(self, reader: str, path: str, fingerprint: Fingerprint, reading: Reading) -> None:
        self.readings[reader, path, fingerprint] = reading


def write(folder: Path, name: str, content: bytes) -> FileToRead:
    path = folder / name
    path.write_bytes(content)
    return FileToRead(name, str(path), Fingerprint.of(os.stat(path)))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[FileToRead]:
    """Whole images, and one of each kind of damage."""
    # Files that were just written are too young for the cache.
    monkeypatch.setattr(reading, "is_racy", lambda *_: False)
    png = bytearray(picture("PNG", (200, 100)))
    png[150:200] = bytes(50)
    return [
        *(write(tmp_path, f"{number}.jpg", picture("JPEG", seed=number)) for number in range(9)),
        write(tmp_path, "cut.jpg", picture("JPEG")[:-200]),
        write(tmp_path, "broken.png", bytes(png)),
        write(tmp_path, "video.mp4", b"no video"),
    ]


def problems(reader: FileReader, files: list[FileToRead]) -> dict[str, str]:
    results = list(reader.decoded(reader.structures(files), LIMIT))
    assert [file.path for file, _ in results] == [file.path for file in files]
    return {file.path: facts.problem.check for file, facts in results if facts is not None and facts.problem}


def test_a_second_check_reads_nothing(files: list[FileToRead]) -> None:
    counts: list[tuple[str, int]] = []
    cache = MemoryCache()
    reader = FileReader(cache, 2, lambda n: counts.append(("read", n)), lambda n: counts.append(("decoded", n)))
    found = problems(reader, files)
    assert found == {"cut.jpg": "truncated", "broken.png": "undecodable", "video.mp4": "other_type"}
    assert counts[0] == ("read", len(files))
    assert counts[-1] == ("decoded", 10)
    for file in files:
        os.unlink(file.place)
    counts.clear()
    assert problems(reader, files) == found
    assert counts == []


def test_results_of_young_files_are_not_kept(tmp_path: Path) -> None:
    cache = MemoryCache()
    reader = FileReader(cache, 2, lambda _: None, lambda _: None)
    one = write(tmp_path, "a.jpg", picture("JPEG"))
    list(reader.structures([one]))
    assert cache.readings == {}


def test_many_files_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FILES_AT_ONCE", 7)
    files = [write(tmp_path, f"{number}.jpg", picture("JPEG", (8, 8), seed=number)) for number in range(40)]
    assert problems(FileReader(NoCache(), 3, lambda _: None, lambda _: None), files) == {}


def test_a_file_that_changed_since_the_scan_has_no_result(tmp_path: Path) -> None:
    one = write(tmp_path, "a.jpg", picture("JPEG"))
    Path(one.place).write_bytes(picture("JPEG", seed=3) + b"\0")
    reader = FileReader(NoCache(), 1, lambda _: None, lambda _: None)
    assert list(reader.decoded(reader.structures([one]), LIMIT)) == [(one, None)]
    assert decode(one.place, one.fingerprint.version()) == CHANGED
    os.unlink(one.place)
    assert list(reader.structures([one])) == [(one, None)]


def test_images_with_too_many_pixels_are_not_decoded(tmp_path: Path) -> None:
    png = bytearray(picture("PNG", (200, 100)))
    png[150:200] = bytes(50)
    one = write(tmp_path, "a.png", bytes(png))
    reader = FileReader(NoCache(), 1, lambda _: None, lambda _: None)
    ((_, facts),) = reader.decoded(reader.structures([one]), 100)
    assert facts is not None
    assert facts.problem is None


def test_an_image_that_ends_its_process_is_named_and_the_others_are_decoded(
    files: list[FileToRead], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program of the test ends itself at one image, as a decoder with a bug does."""
    program = tmp_path / "worker.py"
    program.write_text(
        "import os, sys\n"
        "from metalake_sync.checks import decode_worker as worker\n"
        "whole = worker.decode\n"
        "worker.decode = lambda path, expected: os._exit(9) if path.endswith(b'4.jpg') else whole(path, expected)\n"
        "worker.serve(sys.stdin.buffer, sys.stdout.buffer)\n"
    )
    monkeypatch.setattr(decoding, "PROGRAM", (str(program),))
    whole = files[:9]
    with Decoder(2) as decoder:
        answers = list(decoder.decode((file.place, file.fingerprint) for file in whole))
    assert answers == [CRASHED if file.path == "4.jpg" else ("", "") for file in whole]


def test_processes_end_with_the_decoder(files: list[FileToRead]) -> None:
    with Decoder(2) as decoder:
        assert next(iter(decoder.decode([(files[0].place, files[0].fingerprint)]))) == ("", "")
        (process,) = [worker.process for worker in decoder.workers if worker.process is not None]
    assert process.returncode is not None
