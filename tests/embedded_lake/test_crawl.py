"""Importing files that were in a bucket before the lake existed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from metalake_sync.embedded_lake.crawl import Crawled, crawl
from metalake_sync.embedded_lake.storage.bucket import Place, open_library
from metalake_sync.embedded_lake.storage.interface import parse_storage
from metalake_sync.errors import StateLocked, UsageError
from tests.embedded_lake.store_servers import STORES, StoreServer
from tests.embedded_lake.talk import box, error_of, image_set, lake_at, png, settings


def crawled(lake: Path, folder: str, **changes: Any) -> Crawled:
    return crawl(settings(lake, **changes), folder, lambda _: None)


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A local folder that serves as a bucket."""
    root = tmp_path / "img_bucket_2"
    (root / "folder" / "sub").mkdir(parents=True)
    (root / "folder" / "sub" / "a.PNG").write_bytes(png())
    (root / "folder" / "sub" / "film.mp4").write_bytes(b"film")
    (root / "read me.txt").write_bytes(b"text")
    return root


def test_each_folder_becomes_a_collection_per_kind_of_file(tmp_path: Path, bucket: Path) -> None:
    assert crawled(tmp_path / "lake", str(bucket)) == Crawled(taken=3, collections=3)
    with lake_at(tmp_path / "lake") as talk:
        assert talk.names(contentType=5) == talk.names(contentType=4) == ["img_bucket_2/folder/sub"]
        assert talk.names(contentType=7) == ["img_bucket_2"]
        assert talk.read("img_bucket_2_folder_sub_a.PNG") == png()
        details = talk.details("img_bucket_2_folder_sub_a.PNG", "bucketName", "storagePath", "fileSize", "resolution")
        assert details["bucketName"] == "img_bucket_2"
        assert details["storagePath"] == "folder/sub/a.PNG"
        assert (details["fileSize"], details["resolution"]) == (len(png()), {"width": 40, "height": 20})


def test_a_second_crawl_imports_only_new_files_and_no_trashed_ones(tmp_path: Path, bucket: Path) -> None:
    crawled(tmp_path / "lake", str(bucket))
    with lake_at(tmp_path / "lake") as talk:
        (film,) = talk.items(contentType=1)
        talk.trash(objectIdList=[film["id"]], contentType=1)
    (bucket / "new.txt").write_bytes(b"new")
    again = crawled(tmp_path / "lake", str(bucket))
    assert (again.taken, again.known) == (1, 3)
    with lake_at(tmp_path / "lake") as talk:
        assert talk.count(contentType=1) == 0


def test_crawled_files_can_be_addressed_by_storage_path_and_bucket(tmp_path: Path, bucket: Path) -> None:
    crawled(tmp_path / "lake", str(bucket))
    with lake_at(tmp_path / "lake") as talk:
        by_json = "/api/client/metadata/uploadMetadataByJson"
        page = {"metadata": [{"file": "folder/sub/a.PNG", "metadata": {"City": "Rome"}}]}
        assert talk.asked(by_json, {**page, "bucketName": "img_bucket_2"})["message"] == "1 of 1 files updated"
        assert talk.asked(by_json, {**page, "bucketName": "DEFAULT"})["message"] == "0 of 1 files updated"
        assert error_of(talk.post(by_json, {**page, "bucketName": "missing"})) == (406, "No such bucket: 'missing'")
        entry = image_set("", box("bird", 1, 2, 3, 4), storagePath="/folder/sub/a.PNG", bucketName="img_bucket_2")
        assert talk.annotate("op", [entry]).ok
        assert talk.names(query="annotation.label=bird") == ["a.PNG"]
        assert talk.details("img_bucket_2_folder_sub_a.PNG", "City")["City"] == "Rome"


def test_links_and_invalid_names_are_skipped(tmp_path: Path, bucket: Path) -> None:
    (bucket / "link.txt").symlink_to(bucket / "read me.txt")
    (bucket / "two\nlines.txt").write_bytes(b"x")
    found = crawled(tmp_path / "lake", str(bucket))
    assert (found.taken, len(found.left_out)) == (3, 2)


def test_a_crawl_is_rejected_while_the_lake_is_being_served(tmp_path: Path, bucket: Path) -> None:
    with lake_at(tmp_path / "lake"), pytest.raises(StateLocked):
        crawled(tmp_path / "lake", str(bucket))


def test_the_command_prints_how_many_files_it_imported(tmp_path: Path, bucket: Path) -> None:
    command = [sys.executable, "-m", "metalake_sync", "lake", "crawl", str(bucket), "--dir", str(tmp_path / "lake")]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"taken": 3, "known": 0, "collections": 3, "left_out": {}}
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "0 files added, in 0 collections; 3 were known\n"


@pytest.mark.parametrize("name", STORES)
def test_a_folder_of_a_bucket_is_imported(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    server: StoreServer = request.getfixturevalue(f"{name}_store")
    address, other = server.new_bucket("lake"), server.new_bucket()
    for bucket, key in ((address, "raw/2026/a.png"), (address, "raw/2027/b.png"), (other, "raw/c.png")):
        server.put(bucket.bucket, key, png(40, 20, key.encode()))
    first = crawled(tmp_path / "lake", "raw/2026", storage=address)
    elsewhere = crawled(tmp_path / "lake", str(other), storage=address)
    assert (first.taken, elsewhere.taken) == (1, 1)
    with lake_at(tmp_path / "lake", storage=address) as talk:
        assert sorted(talk.names(contentType=2)) == ["a.png", "c.png"]
        assert talk.read("raw_2026_a.png") == png(40, 20, b"raw/2026/a.png")
        theirs = f"{other.bucket}_raw_c.png"
        assert talk.read(theirs) == png(40, 20, b"raw/c.png")
        assert talk.details(theirs, "bucketName")["bucketName"] == other.bucket
    assert crawled(tmp_path / "lake", "", storage=address).taken == 1


def test_an_upload_does_not_overwrite_an_existing_object_of_the_bucket(tmp_path: Path, s3_store: StoreServer) -> None:
    address = s3_store.new_bucket()
    s3_store.put(address.bucket, "birds/a.png", b"a stranger's")
    with lake_at(tmp_path / "lake", storage=address) as talk:
        talk.upload({"a.png": png()})
        path = talk.details("birds_a.png", "storagePath")["storagePath"]
        assert path.startswith("birds/a.")
        assert path != "birds/a.png"
        assert talk.read("birds_a.png") == png()
    theirs = open_library(address, 60).read_url(Place(address.bucket, "birds/a.png"))
    assert requests.get(theirs, timeout=30).content == b"a stranger's"


@pytest.mark.parametrize(
    ("storage", "endpoint"),
    [("s3:/x", None), ("ftp://x", None), ("s3://", None), ("s3://b?x=1", None), ("s3://b", "nowhere"), ("file", "x")],
)
def test_an_invalid_storage_is_a_usage_error(storage: str, endpoint: str | None) -> None:
    with pytest.raises(UsageError):
        parse_storage(storage, endpoint)


def test_a_storage_address_has_a_bucket_and_a_prefix() -> None:
    address = parse_storage("azure://photos/a/b/", "http://127.0.0.1:1/x/")
    assert address is not None
    assert (address.bucket, address.prefix, address.endpoint, str(address)) == (
        "photos", "a/b", "http://127.0.0.1:1/x", "azure://photos/a/b",
    )  # fmt: skip


def test_hidden_names_links_and_other_lakes_are_skipped_with_a_reason(tmp_path: Path, bucket: Path) -> None:
    (bucket / ".hidden").mkdir()
    (bucket / ".hidden" / "secret.png").write_bytes(png())
    (bucket / ".env").write_bytes(b"secret")
    (bucket / "link.txt").symlink_to("read me.txt")
    with lake_at(bucket / "other"):
        pass
    found = crawled(tmp_path / "lake", str(bucket))
    assert (found.taken, found.collections) == (3, 3)
    assert {Path(path).name: reason for path, reason in found.left_out.items()} == {
        ".hidden": "it is hidden",
        ".env": "it is hidden",
        "link.txt": "it is a link",
        "other": "it is the folder of a lake",
    }


def test_an_empty_folder_name_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the folder name is empty"):
        crawled(tmp_path / "lake", "")
