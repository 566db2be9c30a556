"""Downloads from stores whose complete answers are not the file: too short, too long, endless, or with other bytes."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from metalake_sync.errors import LakeAnswerInvalid
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.retry import RetryPolicy
from metalake_sync.remote.transfers.download import Downloads, FetchFailed, FetchOutcome
from metalake_sync.remote.transfers.file_download import (
    BREAKS_LIMIT,
    PROVEN_BY_MD5_BYTES,
    WRONG_BODIES_LIMIT,
    FileFetched,
    FileToFetch,
)
from metalake_sync.remote.transfers.partial import FOLDER, partial_files
from tests.remote.bare_server import Line, serve

CONTENT = random.Random(7).randbytes(600_000)
OTHER = bytes(byte ^ 1 for byte in CONTENT)
MD5 = hashlib.md5(CONTENT)
ETAG = f'"{MD5.hexdigest()}"'
ONE_PART_ETAG = f'"{hashlib.md5(MD5.digest()).hexdigest()}-1"'

Give = Callable[[Line], object]


class LakeAndStore:
    """Answers the calls of a download.

    `size`: the size that the lake gives, or None for none. `gives`: how the store answers each GET; the last one is
    repeated.
    """

    def __init__(self, *gives: Give, size: object = len(CONTENT)) -> None:
        self._gives = itertools.chain(gives, itertools.repeat(gives[-1]))
        self._size = size
        self.details = 0
        self.gets: list[str] = []

    def __call__(self, line: Line) -> None:
        if line.asked.target.startswith("/o"):
            self.gets.append(line.asked.headers.get("range", ""))
            next(self._gives)(line)
        elif line.asked.target.startswith("/datalake/api/client/downloadUrl"):
            line.answer(200, json.dumps({"url": f"http://{line.asked.headers['host']}/o?sig=2"}).encode())
        else:
            line.read_all()
            self.details += 1
            details = {} if self._size is None else {"fileSize": self._size}
            line.answer(200, json.dumps({"isSuccess": True, "itemDetails": details}).encode())


def bare(body: bytes, etag: str = "") -> Give:
    """A body that ends with its connection."""
    return lambda line: line.say(b"HTTP/1.1 200 OK\r\n" + _etag(etag) + b"Connection: close\r\n\r\n" + body)


def sized(body: bytes, etag: str = "", promised: int | None = None) -> Give:
    length = len(body) if promised is None else promised
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n".encode()
    return lambda line: line.say(head + _etag(etag) + b"\r\n" + body)


def chunked(body: bytes) -> Give:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    return lambda line: line.say(head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")


def endless(head: bytes) -> Give:
    """Ends when the other side closes the connection."""

    def give(line: Line) -> None:
        line.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + head + b"\r\n")
        while True:
            line.say(bytes(1 << 16))

    return give


def _etag(etag: str) -> bytes:
    return f"ETag: {etag}\r\n".encode() if etag else b""


def fetch(
    around: LakeAndStore, folder: Path, *, names: tuple[str, ...] = ("a.jpg",), received: list[int] | None = None
) -> list[FetchOutcome]:
    async def run(url: str) -> list[FetchOutcome]:
        retry = RetryPolicy(give_up_after_s=60, base_s=0.001, cap_s=0.002)
        counted = [] if received is None else received
        with partial_files(folder) as partials:
            async with Downloads(LakeAddress(url, "k", "s"), retry=retry, received=counted.append) as downloads:
                files = [FileToFetch(name, folder / name, name, f"{url}/o?sig=1") for name in names]
                return [outcome async for outcome in downloads.fetch(files, partials)]

    with serve(around) as server:
        return asyncio.run(run(server.url))


@pytest.mark.parametrize(
    "give",
    [
        bare(CONTENT[:200_000]),
        bare(b""),
        bare(CONTENT + b"more"),
        bare(CONTENT[:200_000], ETAG[:-2] + '0"'),
        bare(OTHER, ETAG),
        chunked(CONTENT[:200_000]),
        chunked(CONTENT + b"more"),
        sized(CONTENT[:200_000]),
        sized(CONTENT[:200_000], ETAG),
        sized(CONTENT[:200_000], ONE_PART_ETAG),
        sized(CONTENT + b"more"),
        sized(CONTENT + b"more", ETAG),
        sized(OTHER, ETAG),
        sized(OTHER, ONE_PART_ETAG),
        endless(b""),
        endless(b"Content-Length: 900000000000\r\n"),
        endless(b"Content-Length: 900000000000\r\n" + _etag(ETAG)),
    ],
)
def test_a_response_that_is_not_the_file_is_not_put_in_place(give: Give, tmp_path: Path) -> None:
    received: list[int] = []
    around = LakeAndStore(give)
    (failed,) = fetch(around, tmp_path, received=received)
    assert isinstance(failed, FetchFailed)
    assert failed.retryable
    assert "could not be downloaded completely" in str(failed.error)
    assert "sig=" not in str(failed.error)
    assert not (tmp_path / "a.jpg").exists()
    assert sum(received) <= BREAKS_LIMIT * (len(CONTENT) + (1 << 20))
    # The next run downloads the file, whatever is left on disk.
    fetch(LakeAndStore(sized(CONTENT, ETAG)), tmp_path)
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "give",
    [bare(CONTENT), bare(CONTENT, ETAG), chunked(CONTENT), sized(CONTENT), sized(CONTENT, '"strange"')],
)
def test_the_lakes_size_proves_a_file_and_is_requested_once(give: Give, tmp_path: Path) -> None:
    around = LakeAndStore(give)
    (outcome,) = fetch(around, tmp_path)
    assert isinstance(outcome, FileFetched)
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT
    assert around.details == 1


@pytest.mark.parametrize("etag", [ETAG, ONE_PART_ETAG])
def test_a_stores_md5_proves_a_file_without_a_call(etag: str, tmp_path: Path) -> None:
    around = LakeAndStore(sized(CONTENT, etag))
    (outcome,) = fetch(around, tmp_path)
    assert isinstance(outcome, FileFetched)
    assert around.details == 0


def test_a_truncated_file_is_completed_by_the_next_attempt(tmp_path: Path) -> None:
    (outcome,) = fetch(LakeAndStore(bare(CONTENT[:1000]), bare(CONTENT)), tmp_path)
    assert isinstance(outcome, FileFetched)
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT


def test_a_truncated_body_is_continued_and_the_whole_file_is_checked(tmp_path: Path) -> None:
    def rest(content: bytes) -> Give:
        def give(line: Line) -> None:
            start = int(line.asked.headers["range"].removeprefix("bytes=").rstrip("-"))
            told = f"bytes {start}-{len(content) - 1}/{len(content)}"
            line.answer(206, content[start:], ETag=ETAG, Content_Range=told)

        return give

    around = LakeAndStore(bare(CONTENT[:300_000], ETAG), rest(CONTENT))
    (outcome,) = fetch(around, tmp_path)
    assert isinstance(outcome, FileFetched)
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT
    assert around.gets == ["", "bytes=300000-"]
    # Bytes that were corrupted before the break are detected at the end.
    around = LakeAndStore(bare(OTHER[:300_000], ETAG), rest(CONTENT), sized(CONTENT, ETAG))
    (outcome,) = fetch(around, tmp_path, names=("b.jpg",))
    assert isinstance(outcome, FileFetched)
    assert (tmp_path / "b.jpg").read_bytes() == CONTENT
    assert len(around.gets) == 3


def test_a_partial_file_of_the_right_size_with_other_bytes_is_rejected(tmp_path: Path) -> None:
    with partial_files(tmp_path) as partials:
        (tmp_path / FOLDER / partials.new("a.jpg", ETAG).name).write_bytes(OTHER)
    assert (tmp_path / FOLDER).exists()
    nothing_left = f"bytes */{len(CONTENT)}"
    around = LakeAndStore(lambda line: line.answer(416, Content_Range=nothing_left), sized(CONTENT, ETAG))
    (outcome,) = fetch(around, tmp_path)
    assert isinstance(outcome, FileFetched)
    assert (tmp_path / "a.jpg").read_bytes() == CONTENT


def test_a_file_without_size_and_md5_is_rejected(tmp_path: Path) -> None:
    (failed,) = fetch(LakeAndStore(bare(CONTENT), size=None), tmp_path)
    assert isinstance(failed, FetchFailed)
    assert "neither the lake nor the store says how large the file is" in str(failed.error)
    (proven, *_) = fetch(LakeAndStore(bare(CONTENT, ETAG), size=None), tmp_path)
    assert isinstance(proven, FileFetched)


@pytest.mark.parametrize("size", [float(len(CONTENT)), str(len(CONTENT)), True, -1, "many", [1], None])
def test_a_size_in_another_form_is_read_or_ignored(size: object, tmp_path: Path) -> None:
    (outcome,) = fetch(LakeAndStore(sized(CONTENT), size=size), tmp_path)
    assert isinstance(outcome, FileFetched)


def test_a_file_that_always_breaks_does_not_affect_the_others(tmp_path: Path) -> None:
    around = LakeAndStore(sized(CONTENT[:1000], promised=len(CONTENT)))
    failed = fetch(around, tmp_path, names=("a.jpg", "b.jpg"))
    assert [type(outcome) for outcome in failed] == [FetchFailed, FetchFailed]
    assert all(isinstance(outcome, FetchFailed) and outcome.retryable for outcome in failed)
    assert len(around.gets) == 2 * BREAKS_LIMIT


def test_wrong_bodies_are_retried_a_few_times_only(tmp_path: Path) -> None:
    around = LakeAndStore(sized(OTHER, ETAG))
    (failed,) = fetch(around, tmp_path)
    assert isinstance(failed, FetchFailed)
    assert isinstance(failed.error, LakeAnswerInvalid)
    assert len(around.gets) == WRONG_BODIES_LIMIT


def test_the_lakes_size_limits_a_large_file_whatever_the_store_claims(tmp_path: Path) -> None:
    received: list[int] = []
    around = LakeAndStore(endless(f"Content-Length: {PROVEN_BY_MD5_BYTES + 1}\r\n".encode() + _etag(ETAG)))
    (failed,) = fetch(around, tmp_path, received=received)
    assert isinstance(failed, FetchFailed)
    assert not received
