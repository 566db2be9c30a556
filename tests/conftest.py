from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lake.store_servers import STORES, StoreMissing, StoreServer


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
