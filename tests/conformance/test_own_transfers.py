"""Files through the Python API over each store: sizes at the edges, and downloads that go on where they broke off."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests

from metalake_sync import SomeFailed
from metalake_sync.remote import storage as stores
from metalake_sync.remote.async_calls import AsyncCalls
from metalake_sync.remote.retry import Attempt
from metalake_sync.remote.storage import PART_BYTES, PART_LIMIT
from metalake_sync.remote.transfers import transfer_files
from metalake_sync.remote.transfers.partial import PartialFiles, partial_files
from tests.conformance.our_driver import OurClient

CONTENTS = {"empty.bin": b"", "part.bin": os.urandom(PART_BYTES), "more.bin": os.urandom(PART_BYTES + 4) + b"\x01"}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_empty_files_and_files_around_one_part_go_up_and_come_down_whole(ours: OurClient, tmp_path: Path) -> None:
    sent = ours.lake.upload_files_to_collection(write(tmp_path / "notes", CONTENTS), "other", "notes")
    got = ours.lake.download_files_from_collection(sent.collection_id, tmp_path / "out", naming="name")
    assert {path.name: path.read_bytes() for path in got.fetched.values()} == CONTENTS


def test_equal_bytes_are_proven_where_the_store_tells_an_md5_and_other_bytes_never_pass(
    ours: OurClient, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    notes = write(tmp_path / "notes", CONTENTS)
    sent = ours.lake.upload_files_to_collection(notes, "other", "notes").collection_id
    out = tmp_path / "out"
    ours.lake.download_files_from_collection(sent, out, naming="name")
    # Azure knows no MD5 of a file that went up in blocks; gcp-storage-emulator tells none, where Google tells one.
    unproven = {"part.bin", "more.bin"} if request.node.callspec.id in ("azure", "gcs") else set()
    again = ours.lake.download_files_from_collection(sent, out, naming="name")
    assert {path.name for path in again.fetched.values()} == unproven
    (out / "more.bin").write_bytes(other := CONTENTS["more.bin"][:-1] + b"\x00")
    assert other != CONTENTS["more.bin"]
    ours.lake.download_files_from_collection(sent, out, naming="name")
    assert (out / "more.bin").read_bytes() == CONTENTS["more.bin"]
    (notes / "more.bin").write_bytes(other)
    replaced = ours.lake.upload_files_to_collection(notes, "other", "notes", existing="replace")
    assert set(replaced.uploaded) == {"more.bin"} | unproven


def _leave(partials: PartialFiles, key: str, etag: str | None, content: bytes) -> None:
    with os.fdopen(partials.open(partials.new(key, etag)), "wb") as file:
        file.write(content)


def test_a_download_goes_on_where_it_broke_off(
    ours: OurClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(1 << 20)
    sent = ours.lake.upload_files_to_collection(write(tmp_path / "films", {"a.mp4": content}), "video", "films")
    (item,) = ours.lake.get_item_list_from_collection(sent.collection_id)
    url = ours.lake.get_downloadable_url(item.unique_name)
    etag = requests.get(url, headers={"Range": "bytes=0-0"}, timeout=30).headers.get("ETag")
    here = content[: len(content) // 2]
    with partial_files(tmp_path / "out") as partials:
        _leave(partials, item.id, etag, here)
    ranges: list[str | None] = []
    get = AsyncCalls.get

    def noted(calls: AsyncCalls, url: str, headers: Mapping[str, str], attempt: Attempt) -> object:
        ranges.append(headers.get("Range"))
        return get(calls, url, headers, attempt)

    monkeypatch.setattr(AsyncCalls, "get", noted)
    result = ours.lake.download_files_from_collection(sent.collection_id, tmp_path / "out")
    assert result.fetched[item.unique_name].read_bytes() == content
    # gcp-storage-emulator gives no ETag: nothing promises the same bytes, and the file is fetched anew.
    assert ranges == [f"bytes={len(here)}-" if etag else None]


def test_a_part_of_other_bytes_is_not_gone_on_with(ours: OurClient, tmp_path: Path) -> None:
    content = os.urandom(1 << 20)
    sent = ours.lake.upload_files_to_collection(write(tmp_path / "films", {"a.mp4": content}), "video", "films")
    (item,) = ours.lake.get_item_list_from_collection(sent.collection_id)
    with partial_files(tmp_path / "out") as partials:
        _leave(partials, item.id, '"0123456789abcdef0123456789abcdef"', b"other bytes")
    result = ours.lake.download_files_from_collection(sent.collection_id, tmp_path / "out")
    assert result.fetched[item.unique_name].read_bytes() == content


@pytest.mark.parametrize("storage", [None], ids=["file"])
def test_a_file_of_more_parts_than_a_store_takes_fails_alone(
    ours: OurClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("PART_BYTES", "PART_BYTES_LIMIT", "_ALIGNMENT"):
        monkeypatch.setattr(stores, limit, 1)
    notes = write(tmp_path / "notes", {"large.bin": bytes(PART_LIMIT + 1), "small.bin": b"1"})
    with pytest.raises(SomeFailed, match=f"more than {PART_LIMIT} parts") as failed:
        ours.lake.upload_files_to_collection(notes, "other", "notes")
    assert [item.name for item in failed.value.failed] == ["large.bin"]
    assert ours.lake.get_item_count_from_metalake("other") == 1


@pytest.mark.long
@pytest.mark.parametrize("storage", [None], ids=["file"])
def test_a_file_of_as_many_parts_as_a_store_takes_arrives_whole(
    ours: OurClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("PART_BYTES", "PART_BYTES_LIMIT", "_ALIGNMENT"):
        monkeypatch.setattr(stores, limit, 1)
    monkeypatch.setattr(transfer_files, "SMALL_BYTES", 0)  # a small file is one part
    content = os.urandom(PART_LIMIT)
    notes = write(tmp_path / "notes", {"large.bin": content})
    sent = ours.lake.upload_files_to_collection(notes, "other", "notes")
    got = ours.lake.download_files_from_collection(sent.collection_id, tmp_path / "out")
    assert got.fetched["notes_large.bin"].read_bytes() == content
