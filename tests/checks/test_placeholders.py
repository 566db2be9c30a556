"""Files that stand in for an image are recognized by their first bytes, and images are not."""

from __future__ import annotations

import pytest

from metalake_sync.checks.placeholders import find_pointer, find_stand_in

OID = b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "check", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n" + OID, "pointer", "Git LFS"),
        (b"version https://git-lfs.github.com/spec/v1\next-0-foo sha256:00\n" + OID, "pointer", "Git LFS"),
        (b"version https://hawser.github.com/spec/v1\n" + OID, "pointer", "Git LFS"),
        (b"/annex/objects/SHA256E-s31390--f50d7ac4.jpg\n", "pointer", "git-annex"),
        (b"../../.git/annex/objects/xK/p2/SHA256E-s1--f5.jpg/SHA256E-s1--f5.jpg", "pointer", "git-annex"),
        (b"", "empty", "0 bytes"),
        (b"\0" * 300, "zeros", "zero bytes"),
        (b"\0", "zeros", "zero bytes"),
        (b"<!DOCTYPE html>\n<html><title>404</title></html>", "other_type", "a web page"),
        (b'\xef\xbb\xbf\r\n <html lang="en">', "other_type", "a web page"),
        (b'<?xml version="1.0"?><html><img width="20"/></html>', "other_type", "a web page"),
        (b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code></Error>", "other_type", "an XML document"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "other_type", "an SVG drawing"),
        (b'<svg width="5"></svg>', "other_type", "an SVG drawing"),
        (b'{"error": "not found"}', "other_type", "a JSON document"),
        (b"[1, 2, 3]", "other_type", "a JSON document"),
        ("<!doctype html><p>ü".encode("utf-16"), "other_type", "a web page"),
    ],
    ids=str,
)
def test_stand_ins_are_recognized(content: bytes, check: str, says: str) -> None:
    found = find_stand_in(content[:4096], len(content))
    assert found is not None
    assert found.check == check
    assert says in found.message


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8\xff\xe0\0\x10JFIF\0",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\0\0\0\x18ftypisom",
        b"\x1a\x45\xdf\xa3",
        b"one of the fake images that tests use",
        b"[notes]",
        b"{braces}",
    ],
)
def test_other_bytes_are_not_stand_ins(content: bytes) -> None:
    assert find_stand_in(content, len(content)) is None


def test_a_long_file_that_begins_like_a_pointer_is_not_one() -> None:
    content = b"version https://git-lfs.github.com/spec/v1\n" + b"x" * 2000
    assert find_pointer(content, len(content)) is None
