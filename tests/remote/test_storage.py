"""How files are split into parts, and the requests for each store."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalake_sync.protocol.wire import StorageKind
from metalake_sync.remote.storage import (
    PART_BYTES,
    PART_LIMIT,
    TooManyParts,
    choose_part_size,
    split_parts,
    store_for,
)

TERABYTE = 1 << 40


@given(st.integers(0, 30 * TERABYTE))
def test_parts_cover_a_file_without_gaps_within_the_limits_of_every_store(size_bytes: int) -> None:
    part_size = choose_part_size(size_bytes)
    parts = split_parts(size_bytes, part_size)
    assert len(parts) <= PART_LIMIT
    assert part_size % (256 << 10) == 0
    assert sum(length for _, length in parts) == size_bytes
    assert all(offset == number * part_size for number, (offset, _) in enumerate(parts))
    assert all(length == part_size for _, length in parts[:-1])


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, [(0, 0)]),
        (1, [(0, 1)]),
        (PART_BYTES, [(0, PART_BYTES)]),
        (PART_BYTES + 1, [(0, PART_BYTES), (PART_BYTES, 1)]),
    ],
)
def test_a_file_of_exactly_one_part_has_no_empty_second_part(size_bytes: int, expected: list[tuple[int, int]]) -> None:
    assert split_parts(size_bytes, choose_part_size(size_bytes)) == expected


def test_the_part_size_grows_only_above_the_limit_of_parts() -> None:
    assert choose_part_size(PART_BYTES * PART_LIMIT) == PART_BYTES
    assert choose_part_size(PART_BYTES * PART_LIMIT + 1) == PART_BYTES + (1 << 20)


def test_a_file_that_is_too_large_for_any_store_is_rejected() -> None:
    with pytest.raises(TooManyParts, match="more than 10000 parts"):
        choose_part_size(50 * TERABYTE)


def test_an_s3_etag_is_kept_without_quotes() -> None:
    store = store_for(StorageKind.S3)
    assert store.etag({"etag": '"abc"'}) == "abc"
    assert store.etag({}) is None
    assert (store.accepted(200, last=False), store.accepted(201, last=True)) == (True, False)


def test_gcs_gets_ranges_and_answers_308_before_the_last_part() -> None:
    store = store_for(StorageKind.GCS)
    request = store.part_request(
        "https://gcs/x?upload_id=1", number=2, offset=10, length=5, total=15, content_type="image/png"
    )
    assert request.headers["Content-Range"] == "bytes 10-14/15"
    assert not store.parallel_parts
    assert store.parts_of_empty == {1: ""}
    assert [store.accepted(status, last=last) for status, last in ((308, False), (200, True), (200, False))] == [
        True, True, False,
    ]  # fmt: skip


def test_azure_block_ids_are_encoded_twice() -> None:
    store = store_for(StorageKind.AZURE)
    request = store.part_request("https://az/x?sig=a%2Bb", number=3, offset=0, length=1, total=1, content_type="a/b")
    query = parse_qs(urlsplit(request.url).query)
    assert query["comp"] == ["block"]
    assert base64.b64decode(base64.b64decode(query["blockid"][0])) == b"000002"
    assert "sig=a%2Bb" in request.url
    assert store.parts_of_empty == {}
    assert store.accepted(201, last=False)
