from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metalake_sync import MetaLake
from metalake_sync.lake import EmbeddedLake
from metalake_sync.lake.storage.address import BucketAddress
from tests.conformance.driver import Driver
from tests.conformance.our_driver import OurClient, OurDriver
from tests.conformance.vendor import VendorClient, VendorMissing, VendorProcess, find_python
from tests.conformance.vendor_driver import VendorDriver
from tests.lake.store_servers import StoreServer
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


@pytest.fixture(params=["file", "s3", "azure", pytest.param("gcs", marks=pytest.mark.long)])
def storage(request: pytest.FixtureRequest) -> BucketAddress | None:
    """Where the lake's objects are: every test sees the same lake over each."""
    return storage_named(request.param, request)


def storage_named(name: str, request: pytest.FixtureRequest) -> BucketAddress | None:
    """A new bucket of a store; None for `file`."""
    if name == "file":
        return None
    server: StoreServer = request.getfixturevalue(f"{name}_store")
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


@pytest.fixture
def ours(lake: EmbeddedLake, tmp_path: Path) -> Iterator[OurClient]:
    """Our own client, connected to a new, empty lake."""
    with MetaLake(lake.url, API_KEY, SECRET) as client:
        yield OurClient(client, tmp_path / "ours")


DRIVERS: dict[str, tuple[str, Callable[[Any], Driver]]] = {
    "vendor": ("vendor", VendorDriver),
    "ours": ("ours", OurDriver),
}
"""Each client that the suite is run with: the fixture that is connected to the lake, and what makes a driver of it."""


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, lake: EmbeddedLake) -> Driver:
    """A client of a new, empty lake."""
    fixture, make = DRIVERS[request.param]
    return make(request.getfixturevalue(fixture))
