"""Reading many files: the cache, the order of results, and processes that decode."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from metalake_sync.checks import decoding, reading
from metalake_sync.checks.decode_worker import CHANGED, decode
from metalake_sync.checks.decoding import CRASHED, Decoder
from metalake_sync.checks.reading import FileReader, FileToRead
from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.sources.readings import NoCache, Reading
from tests.checks.made import picture, with_orientation

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


def _damaged_in(data: bytes, kind: str) -> bytes:
    """Return a JPEG whose compressed data is damaged, while all that surrounds it is as it was."""
    begin, end = data.index(b"\xff\xda") + 20, len(data) - 2
    match kind:
        case "noise":
            return data[:begin] + bytes(random.Random(1).randrange(255) for _ in range(end - begin)) + data[end:]
        case "zeros":
            return data[:begin] + bytes(end - begin) + data[end:]
        case "nothing":
            return data[:begin] + data[end:]
        case _:
            middle = (begin + end) // 2
            return data[:middle] + data[middle + 400 :]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "restart_marker_rows": 1}])
@pytest.mark.parametrize("kind", ["noise", "zeros", "nothing", "hole"])
def test_damage_inside_of_the_data_of_a_jpeg_is_found(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    pytest.importorskip("simplejpeg")
    whole = picture("JPEG", (320, 240), **options)
    damaged = write(tmp_path, "damaged.jpg", _damaged_in(whole, kind))
    sound = write(tmp_path, "sound.jpg", whole)
    reader = FileReader(NoCache(), 1, lambda _: None, lambda _: None)
    assert problems(FileReader(NoCache(), 1, lambda _: None, lambda _: None), [damaged, sound]) == {
        "damaged.jpg": "undecodable"
    }
    (_, facts), _ = reader.decoded(reader.structures([damaged, sound]), LIMIT)
    assert facts is not None
    assert facts.problem is not None
    assert facts.problem.message.startswith("has damaged image data: ")


def _with_profile(data: bytes) -> bytes:
    """A JPEG with a color profile that ends early."""
    return data[:2] + b"\xff\xe2\x00\x10ICC_PROFILE\x00\x05\x01" + data[2:]


def _in_ink() -> bytes:
    out = io.BytesIO()
    Image.new("CMYK", (64, 48), (10, 20, 30, 40)).save(out, "JPEG")
    return out.getvalue()


def test_unusual_jpegs_are_no_problem(tmp_path: Path) -> None:
    """A few bytes before the end mark as cameras write them, color profiles, inks, gray, and data after the end."""
    whole = picture("JPEG", (320, 240))
    gray = io.BytesIO()
    Image.new("L", (64, 48), 7).save(gray, "JPEG")
    unusual = {
        "camera.jpg": whole[:-2] + bytes(4) + whole[-2:],
        "profile.jpg": _with_profile(whole),
        "ink.jpg": _in_ink(),
        "gray.jpg": gray.getvalue(),
        "turned.jpg": with_orientation(6),
    }
    files = [write(tmp_path, name, data) for name, data in unusual.items()]
    assert problems(FileReader(NoCache(), 1, lambda _: None, lambda _: None), files) == {}


def test_a_result_without_the_strict_decoder_does_not_count_with_it(
    files: list[FileToRead], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = MemoryCache()
    counts: list[int] = []
    reader = FileReader(cache, 2, lambda _: None, counts.append)
    for name in (reading.PIXELS_READER, reading.STRICT_PIXELS_READER, reading.STRICT_PIXELS_READER):
        monkeypatch.setattr(reading, "pixels_reader", lambda name=name: name)
        problems(reader, files)
    assert counts == [*range(1, 11)] * 2


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
