from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metalake_sync.key_stores.base import KeyStore
from metalake_sync.key_stores.opening import open_key_store
from tests.embedded_lake.store_servers import StoreMissing, StoreServer
from tests.key_stores.folder_store import FolderKeyStore
from tests.key_stores.servers import PASSWORD, Database, FakeGcs, fake_gcs_server, postgres_server


@pytest.fixture(scope="session")
def fake_gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcs]:
    try:
        with fake_gcs_server(tmp_path_factory.mktemp("gcs")) as server:
            yield server
    except StoreMissing as reason:
        pytest.skip(f"no server of Google Cloud Storage: {reason}")


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    try:
        with postgres_server() as server, pytest.MonkeyPatch.context() as environment:
            environment.setenv("PGPASSWORD", PASSWORD)
            yield server
    except StoreMissing as reason:
        pytest.skip(f"no PostgreSQL server: {reason}")


def azure_environment(server: StoreServer) -> dict[str, str]:
    account, key = server.environment["AZURE_STORAGE_ACCOUNT"], server.environment["AZURE_STORAGE_KEY"]
    parts = f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};BlobEndpoint={server.endpoint};"
    return {"AZURE_STORAGE_CONNECTION_STRING": parts}


@pytest.fixture(params=["folder", "s3", "azure", "gcs", "postgresql"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], KeyStore]]:
    """Open stores of one kind. Each test has a bucket, a folder or a schema of its own."""
    opened: list[KeyStore] = []
    name = f"test-{secrets.token_hex(6)}"

    def keep(store: KeyStore) -> KeyStore:
        opened.append(store)
        return store

    if request.param == "folder":
        yield lambda prefix: keep(FolderKeyStore(tmp_path / "store" / prefix))
    elif request.param == "s3":
        s3: StoreServer = request.getfixturevalue("s3_store")
        s3.create(name)
        environment = {"AWS_ENDPOINT_URL_S3": s3.endpoint}
        yield lambda prefix: keep(open_key_store(f"s3://{name}/{prefix}", environment))
    elif request.param == "azure":
        azure: StoreServer = request.getfixturevalue("azure_store")
        azure.create(name)
        yield lambda prefix: keep(open_key_store(f"azure://{name}/{prefix}", azure_environment(azure)))
    elif request.param == "gcs":
        gcs: FakeGcs = request.getfixturevalue("fake_gcs")
        gcs.new_bucket(name)
        environment = {"STORAGE_EMULATOR_HOST": gcs.endpoint}
        yield lambda prefix: keep(open_key_store(f"gs://{name}/{prefix}", environment))
    else:
        database: Database = request.getfixturevalue("database")
        yield lambda prefix: keep(open_key_store(f"{database.url()}/{name}/{prefix}"))
    for store in opened:
        store.close()
