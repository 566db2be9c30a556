"""Servers of the stores' protocols, each in a separate process on a free port: moto for S3, Azurite for Azure, and
gcp-storage-emulator for Google.

Their limits: moto and the emulator accept any signature; Azurite checks it. Azurite accepts an empty block, which
Azure rejects. gcp-storage-emulator keeps sessions as Google does: it knows how many bytes they have, and rejects gaps.
But it also rejects bytes that it already has, which Google ignores, and it copies the whole object for each part. Large
files therefore use `small_gcs`, which documents its own limits.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import filelock
import requests

from metalake_sync.key_stores.addresses import BucketAddress
from metalake_sync.protocol.wire import StorageKind
from tests.embedded_lake import small_gcs

ROOT = Path(__file__).parents[2]
AZURITE = ROOT / ".azurite"
AZURITE_VERSION = "3"
PATIENCE_S = 60.0


_MOTO = """
import io
import threading
from moto import server

conditional = threading.Lock()

class Application(server.DomainDispatcherApplication):
    def __call__(self, environ, start_response):
        if "HTTP_IF_NONE_MATCH" not in environ:
            return super().__call__(environ, start_response)
        # A client that is stopped in the middle of its request must not keep the lock.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with conditional:
            return super().__call__(environ, start_response)

server.DomainDispatcherApplication = Application
server.main()
"""
"""Starts moto. By itself, it checks the condition of a write and then writes, so two writes can meet it."""


class StoreMissing(Exception):
    """The server is not available. The message says why."""


@dataclass(frozen=True)
class StoreServer:
    """A running server. `environment`: the variables in which a user would have the credentials."""

    kind: StorageKind
    scheme: str
    endpoint: str
    process: subprocess.Popen[bytes]
    environment: Mapping[str, str]
    create: Callable[[str], None] = field(repr=False)
    put: Callable[[str, str, bytes], None] = field(repr=False)
    """Bucket, key and content: creates an object that another program stored."""

    def new_bucket(self, prefix: str = "") -> BucketAddress:
        """Create an empty bucket."""
        name = f"bucket-{secrets.token_hex(6)}"
        self.create(name)
        return BucketAddress(self.scheme, name, prefix, self.endpoint)


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[StoreServer]:
    if find_spec("moto") is None or find_spec("boto3") is None:
        raise StoreMissing("moto and boto3 are not installed: pip install 'moto[server]' boto3")
    port = free_port()
    command = [sys.executable, "-c", _MOTO, "-H", "127.0.0.1", "-p", str(port)]
    environment = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}

    def create(name: str) -> None:
        requests.put(f"http://127.0.0.1:{port}/{name}", timeout=30).raise_for_status()

    def put(bucket: str, key: str, content: bytes) -> None:
        requests.put(f"http://127.0.0.1:{port}/{bucket}/{key}", content, timeout=30).raise_for_status()

    with running(command, folder, port) as process:
        yield StoreServer(StorageKind.S3, "s3", f"http://127.0.0.1:{port}", process, environment, create, put)


@contextlib.contextmanager
def azure_server(folder: Path) -> Iterator[StoreServer]:
    if find_spec("azure.storage") is None:
        raise StoreMissing("azure-storage-blob is not installed: pip install azure-storage-blob")
    from azure.storage.blob import BlobServiceClient

    port = free_port()
    account, key = "tests", base64.b64encode(secrets.token_bytes(48)).decode()
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    endpoint = f"http://127.0.0.1:{port}/{account}"
    environment = {"AZURE_STORAGE_ACCOUNT": account, "AZURE_STORAGE_KEY": key}
    credential = {"account_name": account, "account_key": key}

    def create(name: str) -> None:
        with BlobServiceClient(endpoint, credential=credential) as service:
            service.create_container(name)

    def put(bucket: str, key: str, content: bytes) -> None:
        with BlobServiceClient(endpoint, credential=credential) as service:
            service.get_blob_client(bucket, key).upload_blob(content)

    accounts = {"AZURITE_ACCOUNTS": f"{account}:{key}"}
    command = [*_azurite(), *options, "--skipApiVersionCheck", "--disableTelemetry"]
    with running(command, folder, port, accounts) as process:
        yield StoreServer(StorageKind.AZURE, "azure", endpoint, process, environment, create, put)


@contextlib.contextmanager
def gcs_server(folder: Path) -> Iterator[StoreServer]:
    if find_spec("gcp_storage_emulator") is None:
        raise StoreMissing("the emulator is not installed: pip install gcp-storage-emulator")
    port = free_port()
    run = f"create_server('127.0.0.1', {port}, in_memory=False, data_dir={str(folder / 'objects')!r}).run()"
    start = f"from gcp_storage_emulator.server import create_server; {run}"
    with _gcs_server(folder, port, [sys.executable, "-c", start]) as server:
        yield server


@contextlib.contextmanager
def large_gcs_server(folder: Path) -> Iterator[StoreServer]:
    port = free_port()
    command = [sys.executable, small_gcs.__file__, str(port), str(folder / "gcs")]
    with _gcs_server(folder, port, command) as server:
        yield server


@contextlib.contextmanager
def _gcs_server(folder: Path, port: int, command: list[str]) -> Iterator[StoreServer]:
    if find_spec("google.cloud.storage") is None:
        raise StoreMissing("google-cloud-storage is not installed: pip install google-cloud-storage")
    endpoint = f"http://127.0.0.1:{port}"
    account = folder / "account.json"
    account.write_text(json.dumps(_service_account()))

    def create(name: str) -> None:
        requests.post(f"{endpoint}/storage/v1/b", json={"name": name}, timeout=30).raise_for_status()

    def put(bucket: str, key: str, content: bytes) -> None:
        url = f"{endpoint}/upload/storage/v1/b/{bucket}/o"
        query = {"uploadType": "media", "name": key}
        requests.post(url, content, params=query, timeout=30).raise_for_status()

    with running(command, folder, port) as process:
        environment = {"GOOGLE_APPLICATION_CREDENTIALS": str(account)}
        yield StoreServer(StorageKind.GCS, "gs", endpoint, process, environment, create, put)


STORES = {"s3": s3_server, "azure": azure_server, "gcs": gcs_server}
LARGE_STORES = {**STORES, "gcs": large_gcs_server}


def _azurite() -> list[str]:
    """Return the command from an installation at the root of the repository. Installs it if it is missing."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise StoreMissing("Azurite needs Node.js, and there is no 'node' or 'npm'")
    script = AZURITE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    AZURITE.mkdir(exist_ok=True)
    with filelock.FileLock(AZURITE / ".lock"):
        if not script.exists():
            install = [
                npm,
                "install",
                "--no-audit",
                "--no-fund",
                "--prefix",
                str(AZURITE),
                f"azurite@{AZURITE_VERSION}",
            ]
            done = subprocess.run(install, capture_output=True, text=True, check=False)
            if done.returncode or not script.exists():
                words = (done.stderr.strip() or "no words").splitlines()[-1]
                raise StoreMissing(f"npm can't install azurite: {words}")
    return [node, str(script)]


def _service_account() -> dict[str, str]:
    """Create a service account that does not exist at Google, with a valid key to sign with."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {
        "type": "service_account",
        "project_id": "tests",
        "private_key_id": "tests",
        "private_key": pem,
        "client_email": "tests@tests.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "http://127.0.0.1:9/token",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    command: list[str],
    folder: Path,
    port: int,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, and wait until it listens on the port."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=folder, env={**os.environ, **(environment or {})}, user=user
        )
    try:
        given_up = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > given_up:
                raise RuntimeError(f"{command[0]} does not start: {log.read_text(errors='replace')[-500:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
