"""What proves that a local file has the bytes of a stored one, and what does not."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.content_proof import Pair, claims_of, same_bytes
from metalake_sync.remote.storage import PART_BYTES
from tests.remote.bare_server import Line, serve

CONTENT = b"the bytes of a file"
MD5 = hashlib.md5(CONTENT)
B64 = base64.b64encode(MD5.digest()).decode()
OF_ONE_PART = hashlib.md5(MD5.digest()).hexdigest()


def asked(tmp_path: Path, headers: Mapping[str, str], status: int = 206, content: bytes = CONTENT) -> set[str]:
    """Compare a local file with a stored one. `headers` and `status`: the answer of the store."""
    (tmp_path / "file").write_bytes(content)

    def answer(line: Line) -> None:
        assert "authorization" not in line.asked.headers
        assert line.asked.headers["range"] == "bytes=0-0"
        line.answer(status, b"t", **{name.replace("-", "_"): value for name, value in headers.items()})

    with serve(answer) as server, LakeClient(LakeAddress(server.url, "key", "secret")) as client:
        pair = Pair("birds_file", str(tmp_path / "file"), len(content), f"{server.url}/o?signature=s")
        return same_bytes(client, [pair], 4)


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": f'"{MD5.hexdigest()}"'},
        {"ETag": f'"{OF_ONE_PART}-1"'},
        {"ETag": '"0x8D"', "x-ms-blob-content-md5": B64},
        {"ETag": '"gcs"', "x-goog-hash": f"crc32c=AAAAAA==, md5={B64}"},
    ],
)
def test_each_form_of_a_stores_md5_proves_equal_bytes(tmp_path: Path, headers: dict[str, str]) -> None:
    assert asked(tmp_path, headers) == {"birds_file"}
    assert asked(tmp_path, headers, content=CONTENT[:-1] + b"?") == set()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 206),
        ({"ETag": '"0x8DC0FFEE"'}, 206),
        ({"ETag": f'"{OF_ONE_PART}-2"'}, 206),
        ({"ETag": f'"{MD5.hexdigest()}"', "x-amz-server-side-encryption": "aws:kms"}, 206),
        ({"Content-MD5": B64}, 206),
        ({"x-goog-hash": "crc32c=AAAAAA=="}, 206),
        ({"ETag": f'"{MD5.hexdigest()}"'}, 403),
        ({"ETag": f'"{MD5.hexdigest()}"', "Location": "/elsewhere"}, 302),
    ],
)
def test_other_headers_prove_nothing(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    assert asked(tmp_path, headers, status) == set()


def test_content_md5_is_used_only_for_a_complete_response() -> None:
    assert claims_of(200, {"content-md5": B64}).md5s == {MD5.hexdigest()}
    assert not claims_of(206, {"content-md5": B64})


def test_the_etag_of_a_multipart_upload_is_recomputed(tmp_path: Path) -> None:
    content = b"x" * PART_BYTES + b"y"
    parts = b"".join(hashlib.md5(part).digest() for part in (content[:PART_BYTES], content[PART_BYTES:]))
    assert asked(tmp_path, {"ETag": f'"{hashlib.md5(parts).hexdigest()}-2"'}, content=content) == {"birds_file"}


def test_an_empty_file_needs_no_proof_and_a_missing_file_has_none(tmp_path: Path) -> None:
    address = LakeAddress("http://127.0.0.1:9", "key", "secret")
    with LakeClient(address) as client:
        assert same_bytes(client, [Pair("a", str(tmp_path / "a"), 0)], 4) == {"a"}
        assert same_bytes(client, [Pair("b", str(tmp_path / "b"), 3, "http://127.0.0.1:9/o")], 4) == set()
