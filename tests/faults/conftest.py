"""Places for shared states: one of each kind of store."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.embedded_lake.store_servers import StoreServer
from tests.key_stores.conftest import azure_environment, database, fake_gcs
from tests.key_stores.servers import PASSWORD, Database, FakeGcs

__all__ = ["database", "fake_gcs"]


@dataclass(frozen=True)
class SharedPlace:
    """Where a state is, and the variables that a run needs to reach it."""

    url: str
    variables: dict[str, str]


@pytest.fixture
def shared_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], SharedPlace]:
    """Makes a new, empty place in a kind of store. The variables are set for this process too."""

    def make(kind: str) -> SharedPlace:
        name = f"test-{secrets.token_hex(6)}"
        match kind:
            case "s3" | "azure":
                server: StoreServer = request.getfixturevalue(f"{kind}_store")
                server.create(name)
                url = f"{kind}://{name}/team/birds"
                variables = {**server.environment, "AWS_ENDPOINT_URL_S3": server.endpoint}
                if kind == "azure":
                    variables = azure_environment(server)
            case "gs":
                gcs: FakeGcs = request.getfixturevalue("fake_gcs")
                gcs.new_bucket(name)
                url, variables = f"gs://{name}/team/birds", {"STORAGE_EMULATOR_HOST": gcs.endpoint}
            case "postgresql":
                postgres: Database = request.getfixturevalue("database")
                url, variables = f"{postgres.url()}/{name}", {"PGPASSWORD": PASSWORD}
            case _:
                raise ValueError(kind)
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        return SharedPlace(url, variables)

    return make
