from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metalake_sync.lake import EmbeddedLake
from tests.conformance.vendor import VendorClient, VendorMissing, VendorProcess, find_python
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


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[EmbeddedLake]:
    with EmbeddedLake(settings(tmp_path / "lake")) as lake:
        yield lake


@pytest.fixture
def vendor(lake: EmbeddedLake, vendor_process: VendorProcess, tmp_path: Path) -> VendorClient:
    """The vendor's client, connected to a new, empty lake."""
    folder = tmp_path / "work"
    folder.mkdir()
    return VendorClient(vendor_process, lake.url, API_KEY, SECRET, folder)
