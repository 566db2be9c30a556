from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metalake_sync import MetaLake
from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.key_stores.addresses import BucketAddress
from metalake_sync.protocol.routes import Generation
from tests.conformance.driver import Driver
from tests.conformance.our_driver import OurClient, OurDriver
from tests.conformance.vendor import (
    RELEASE_2,
    RELEASE_3,
    Release,
    VendorClient,
    VendorMissing,
    VendorProcess,
    find_python,
)
from tests.conformance.vendor_driver import VendorDriver
from tests.embedded_lake.store_servers import StoreServer
from tests.embedded_lake.talk import API_KEY, SECRET, settings


def _process(release: Release, factory: pytest.TempPathFactory) -> Iterator[VendorProcess]:
    try:
        python = find_python(release)
    except VendorMissing as reason:
        pytest.skip(f"the vendor's client cannot be installed: {reason}")
    process = VendorProcess(release, python, factory.mktemp("vendor") / "output.txt")
    yield process
    process.close()


@pytest.fixture(scope="session")
def vendor_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VendorProcess]:
    """The vendor's client of generation 2."""
    yield from _process(RELEASE_2, tmp_path_factory)


@pytest.fixture(scope="session")
def vendor_3_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VendorProcess]:
    """The vendor's client of generation 3."""
    yield from _process(RELEASE_3, tmp_path_factory)


@pytest.fixture(params=["file", "s3", *(pytest.param(name, marks=pytest.mark.long) for name in ("azure", "gcs"))])
def storage(request: pytest.FixtureRequest) -> BucketAddress | None:
    """The storage of the lake's objects. The lake behaves the same with each."""
    return storage_named(request.param, request)


def storage_named(name: str, request: pytest.FixtureRequest) -> BucketAddress | None:
    """Return a new bucket of a store, or None for `file`."""
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
    """Return the storage path that the lake uses for a path."""
    return storage.key if storage else str


@pytest.fixture
def vendor(lake: EmbeddedLake, vendor_process: VendorProcess, tmp_path: Path) -> VendorClient:
    """The vendor's client, connected to a new, empty lake."""
    folder = tmp_path / "work"
    folder.mkdir()
    return VendorClient(vendor_process, lake.url, API_KEY, SECRET, folder)


@pytest.fixture
def vendor_3(lake: EmbeddedLake, vendor_3_process: VendorProcess, tmp_path: Path) -> VendorClient:
    """The vendor's client of generation 3, connected to a new, empty lake."""
    folder = tmp_path / "work_3"
    folder.mkdir()
    return VendorClient(vendor_3_process, lake.url, API_KEY, SECRET, folder)


@pytest.fixture
def ours(lake: EmbeddedLake, tmp_path: Path) -> Iterator[OurClient]:
    """Our own client, connected to a new, empty lake."""
    with MetaLake(lake.url, API_KEY, SECRET) as client:
        yield OurClient(client, tmp_path / "ours")


@dataclass(frozen=True)
class Contender:
    """A client to run the suite with, and the one generation that its lake serves."""

    fixture: str
    """The fixture of the connected client."""
    make: Callable[[Any], Driver]
    """Creates the driver for the client."""
    generation: Generation
    usual_storage: str
    """The storage of the lake's objects in the default run. The long run uses all storages."""


CONTENDERS = {
    "layernext": Contender("vendor", VendorDriver, Generation.TWO, "s3"),
    "layernext-beta": Contender("vendor_3", VendorDriver, Generation.THREE, "azure"),
    "ours-2": Contender("ours", OurDriver, Generation.TWO, "file"),
    "ours-3": Contender("ours", OurDriver, Generation.THREE, "s3"),
}
STORAGES = ("file", "s3", "azure", "gcs")

PAIRINGS = [
    pytest.param(
        (contender, storage),
        id=f"{name}-{storage}",
        marks=[] if storage == contender.usual_storage else [pytest.mark.long],
    )
    for name, contender in CONTENDERS.items()
    for storage in STORAGES
]
"""Each client with each storage."""
