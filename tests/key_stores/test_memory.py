"""A file may be larger than the memory: what a transfer uses does not grow with its size."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.embedded_lake.store_servers import ROOT, StoreServer
from tests.key_stores.conftest import azure_environment
from tests.key_stores.servers import Database, FakeGcs

MEGABYTE = 1 << 20

PROGRAM = """
import json, resource, sys
from pathlib import Path
from metalake_sync.key_stores.opening import open_key_store

url, environment, there, back = sys.argv[1:]
store = open_key_store(url, json.loads(environment))
store.put("small", b"x" * 10_000_000)
store.get("small")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.put_file("large", Path(there))
assert store.get_file("large", Path(back))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)
"""


def new_place(kind: str, request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """Return the URL of a new place, and the environment to open it with."""
    name = f"memory-{secrets.token_hex(6)}"
    if kind == "s3":
        s3: StoreServer = request.getfixturevalue("s3_store")
        s3.create(name)
        return f"s3://{name}/birds", {"AWS_ENDPOINT_URL_S3": s3.endpoint}
    if kind == "azure":
        azure: StoreServer = request.getfixturevalue("azure_store")
        azure.create(name)
        return f"azure://{name}/birds", azure_environment(azure)
    if kind == "gcs":
        gcs: FakeGcs = request.getfixturevalue("fake_gcs")
        gcs.new_bucket(name)
        return f"gs://{name}/birds", {"STORAGE_EMULATOR_HOST": gcs.endpoint}
    database: Database = request.getfixturevalue("database")
    return f"{database.url()}/{name}", {}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["s3", "azure", "gcs", "postgresql"])
def test_a_transfer_uses_less_memory_than_its_file(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url, environment = new_place(kind, request)
    there, back = tmp_path / "there", tmp_path / "back"
    size_bytes = 200 * MEGABYTE
    with there.open("wb") as file:
        file.truncate(size_bytes)
    command = [sys.executable, "-c", PROGRAM, url, json.dumps(environment), str(there), str(back)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert back.stat().st_size == size_bytes
    assert int(done.stdout) < 40 * MEGABYTE
