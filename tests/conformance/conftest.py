from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metalake_sync.lake import EmbeddedLake
from metalake_sync.lake.storage.address import BucketAddress
from tests.conformance.vendor import VendorClient, VendorMissing, VendorProcess, find_python
from tests.lake.store_servers import STORES, StoreServer
from tests.lake.talk import API_KEY, SECRET, settings


@pytest.fixture(scope="session")
def vendor_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VendorProcess]:
    try:
        python = find_python()
    except VendorMissing as reason:
        pytest.skip(f"the vendor's client can't be had: {reason}")
    process = VendorProcess(python, tmp_path_factory.mktemp("vendor") / "output.txt")
    yield process
    process.close()


@pytest.fixture(params=["file", *STORES])
def storage(request: pytest.FixtureRequest) -> BucketAddress | None:
    """Where the lake's objects are: every test sees the same lake over each."""
    if request.param == "file":
        return None
    server: StoreServer = request.getfixturevalue(f"{request.param}_store")
    return server.new_bucket("lake")


@pytest.fixture
def lake(tmp_path: Path, storage: BucketAddress | None) -> Iterator[EmbeddedLake]:
    with EmbeddedLake(settings(tmp_path / "lake", storage=storage)) as lake:
        yield lake


@pytest.fixture
def in_bucket(storage: BucketAddress | None) -> Callable[[str], str]:
    """The storage path of what the lake keeps under a path."""
    return storage.key if storage else str


@pytest.fixture
def vendor(lake: EmbeddedLake, vendor_process: VendorProcess, tmp_path: Path) -> VendorClient:
    """The vendor's client, connected to a new, empty lake."""
    folder = tmp_path / "work"
    folder.mkdir()
    return VendorClient(vendor_process, lake.url, API_KEY, SECRET, folder)
