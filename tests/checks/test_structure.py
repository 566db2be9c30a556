"""The structure of files: whole ones pass, in every form that tools write, and damaged ones are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metalake_sync.checks.structure import Facts, OpenFile, read_structure
from tests.checks.made import box, large_box, mkv, mp4, picture, with_orientation

JPG, PNG = picture("JPEG"), picture("PNG")


def read(folder: Path, name: str, content: bytes) -> Facts:
    path = folder / "content"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read_structure(OpenFile(descriptor, len(content)), name)
    finally:
        os.close(descriptor)


WHOLE = {
    "baseline.jpg": JPG,
    "capitals.JPG": JPG,
    "other_ending.jpeg": JPG,
    "progressive.jpg": picture("JPEG", progressive=True),
    "turned.jpg": with_orientation(6),
    "large.jpg": picture("JPEG", (900, 700), quality=95),
    "with_icc.jpg": picture("JPEG", icc_profile=b"p" * 200_000),
    "padded.jpg": JPG + b"\0" * 10_000,
    "with_video_behind.jpg": JPG + mp4() * 2000,
    "filled_before_marker.jpg": JPG[:2] + b"\xff\xff\xff" + JPG[2:],
    "plain.png": PNG,
    "large.png": picture("PNG", (900, 700)),
    "with_bytes_behind.png": PNG + b"behind",
    "video.mp4": mp4(),
    "index_first.mp4": mp4(index_first=True),
    "quicktime.mp4": mp4()[24:],
    "large_boxes.mp4": box(b"ftyp", b"isom") + large_box(b"mdat", b"x" * 50) + box(b"moov"),
    "padded.mp4": mp4() + b"\0" * 100,
    "last_box_to_the_end.mp4": box(b"ftyp", b"isom") + box(b"moov") + b"\0\0\0\0mdat" + b"x" * 50,
    "video.mkv": mkv(),
    "live.mkv": mkv(size=b"\x01" + b"\xff" * 7),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_has_no_problem(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, name, WHOLE[name]).problem is None


@pytest.mark.parametrize(
    ("name", "size"), [("baseline.jpg", (64, 48)), ("turned.jpg", (64, 48)), ("large.png", (900, 700))]
)
def test_the_size_is_that_of_the_stored_pixels(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    facts = read(tmp_path, name, WHOLE[name])
    assert (facts.width, facts.height) == size


@pytest.mark.parametrize(
    ("name", "content", "check", "says"),
    [
        ("a.jpg", PNG, "other_type", "image/png"),
        ("a.png", JPG, "other_type", "image/jpeg"),
        ("a.jpg", b"%PDF-1.7\n" + b"x" * 100, "other_type", "application/pdf"),
        ("a.png", b"GIF89a" + b"\1" * 50, "other_type", "image/gif"),
        ("a.jpg", b"RIFF\x10\0\0\0WEBPVP8 " + b"\1" * 30, "other_type", "image/webp"),
        ("a.jpg", b"PK\3\4" + b"\1" * 60, "other_type", "application/zip"),
        ("a.mp4", box(b"ftyp", b"heic\0\0\0\0mif1heic") + b"\1" * 30, "other_type", "image/heic"),
        ("a.jpg", box(b"ftyp", b"avif\0\0\0\0avifmif1") + b"\1" * 30, "other_type", "image/avif"),
        ("a.jpg", mp4(), "other_type", "video/mp4"),
        ("a.mkv", mp4(), "other_type", "video/mp4"),
        ("a.jpg", b"a text file", "other_type", "first bytes of a JPEG image"),
        ("a.png", b'{"error": 1}', "other_type", "a JSON document"),
        ("a.jpg", b"<html></html>", "other_type", "a web page"),
        ("a.jpg", b"", "empty", "0 bytes"),
        ("a.jpg", b"\0" * 9000, "zeros", "zero bytes"),
        ("a.mp4", b"\0" * 9000, "zeros", "zero bytes"),
        ("a.jpg", JPG[:4], "truncated", "before its image data"),
        ("a.jpg", JPG[:300], "truncated", "ends"),
        ("a.jpg", JPG[:-2], "truncated", "inside its image data"),
        ("a.jpg", JPG[: len(JPG) // 2] + b"\0" * (len(JPG) // 2), "truncated", "inside its image data"),
        ("a.jpg", with_orientation(6)[:-400], "truncated", "ends"),
        ("a.jpg", b"\xff\xd8\xff\xd9", "truncated", "before its image data"),
        ("a.jpg", b"\xff\xd8\xff\xd9" + b"x" * 9, "truncated", "no image data"),
        ("a.jpg", JPG[:20] + b"x" * 100, "undecodable", "no JPEG marker"),
        ("a.png", PNG[:10], "truncated", "inside its header"),
        ("a.png", PNG[:-20], "truncated", "inside its image data"),
        ("a.png", PNG[:-12], "truncated", "inside its image data"),
        ("a.png", PNG[:400] + b"\0" * 400, "truncated", "inside its image data"),
        ("a.png", PNG[:19] + b"\1" + PNG[20:], "undecodable", "damaged header"),
        ("a.mp4", mp4()[:150], "truncated", "'mdat'"),
        ("a.mp4", mp4()[:-60], "truncated", "'moov'"),
        ("a.mp4", box(b"ftyp", b"isom") + box(b"mdat", b"x" * 90), "truncated", "no index"),
        ("a.mp4", box(b"ftyp", b"isom") + box(b"mdat", b"x" * 90) + b"\0" * 500, "truncated", "no valid part"),
        ("a.mkv", mkv()[:-1], "truncated", "inside its content"),
        ("a.mkv", mkv()[:16], "truncated", "before its content"),
    ],
)
def test_a_damaged_file_is_found(tmp_path: Path, name: str, content: bytes, check: str, says: str) -> None:
    problem = read(tmp_path, name, content).problem
    assert problem is not None
    assert (problem.check, says in problem.message or problem.message) == (check, True)


@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg", "plain.png", "index_first.mp4", "video.mkv"])
def test_a_file_that_ends_anywhere_too_early_is_found(tmp_path: Path, name: str) -> None:
    content = WHOLE[name]
    ends = [*range(0, len(content) - 1, 7), len(content) - 1]
    missed = [end for end in ends if read(tmp_path, name, content[:end]).problem is None]
    assert missed == []


@given(
    name=st.sampled_from(["a.jpg", "a.png", "a.mp4", "a.mkv"]),
    start=st.sampled_from([b"", JPG[:200], PNG[:60], mp4()[:40], mkv()[:30]]),
    rest=st.binary(max_size=400),
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_an_answer(
    name: str, start: bytes, rest: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    facts = read(tmp_path_factory.getbasetemp(), name, start + rest)
    assert facts.problem is None or facts.problem.message
