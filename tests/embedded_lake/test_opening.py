"""What a lake checks before it serves from a bucket."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from metalake_sync.embedded_lake.storage.bucket import open_library
from metalake_sync.embedded_lake.storage.interface import parse_storage
from metalake_sync.errors import StateError, UsageError
from tests.embedded_lake.store_servers import StoreServer
from tests.embedded_lake.talk import lake_at


@pytest.mark.parametrize(
    ("scheme", "extra", "library"),
    [("s3", "s3", "boto3"), ("azure", "azure", "azure.storage.blob"), ("gs", "gcs", "google.auth")],
)
def test_a_missing_library_of_a_storage_is_reported_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch, scheme: str, extra: str, library: str
) -> None:
    for module in (f"metalake_sync.embedded_lake.storage.{extra}", f"metalake_sync.key_stores.{extra}"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    address = parse_storage(f"{scheme}://bucket", None)
    assert address is not None
    with pytest.raises(UsageError, match=r"library that is not installed") as refused:
        open_library(address, 60)
    assert f"pip install 'metalake-sync[{extra}]'" in str(refused.value)


def test_a_lake_is_served_only_with_its_original_storage(tmp_path: Path, s3_store: StoreServer) -> None:
    bucket = s3_store.new_bucket("lake")
    with lake_at(tmp_path / "files") as talk:
        talk.upload({"a.txt": b"here"}, kind=7)
    with (
        pytest.raises(StateError, match="objects are in file, not in s3://"),
        lake_at(tmp_path / "files", storage=bucket),
    ):
        pass
    with lake_at(tmp_path / "files") as talk:
        assert talk.read("birds_a.txt") == b"here"
    with lake_at(tmp_path / "bucket", storage=bucket) as talk:
        talk.upload({"a.txt": b"there"}, kind=7)
    with pytest.raises(StateError, match="objects are in s3://.*, not in file"), lake_at(tmp_path / "bucket"):
        pass
