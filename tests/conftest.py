from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from metalake_sync.embedded_lake import EmbeddedLake
from tests.embedded_lake.store_servers import STORES, StoreMissing, StoreServer
from tests.embedded_lake.talk import settings, talk_to
from tests.end_to_end.world import World

# A busy machine generates examples slowly. That says nothing about the product.
hypothesis_settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("busy")


def pytest_collection_finish() -> None:
    """Take the thousands of collected tests out of what the garbage collector looks through, again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A folder without a manifest, and a new, empty lake."""
    folder = tmp_path / "project"
    folder.mkdir()
    with EmbeddedLake(settings(tmp_path / "lake")) as lake, talk_to(lake.url) as talk:
        yield World(folder, lake, talk)


def _server(name: str, factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """A store's server for the session, with its credentials in the environment."""
    context = STORES[name](factory.mktemp(name))
    try:
        server = context.__enter__()
    except StoreMissing as reason:
        pytest.skip(f"no server of {name}: {reason}")
    try:
        with pytest.MonkeyPatch.context() as environment:
            for variable, value in server.environment.items():
                environment.setenv(variable, value)
            yield server
    finally:
        context.__exit__(None, None, None)


@pytest.fixture(scope="session")
def s3_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    yield from _server("s3", tmp_path_factory)


@pytest.fixture(scope="session")
def azure_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    yield from _server("azure", tmp_path_factory)


@pytest.fixture(scope="session")
def gcs_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    yield from _server("gcs", tmp_path_factory)
