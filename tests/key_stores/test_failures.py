"""What users see when a store is away, is missing, or rejects the credentials: one sentence in bounded time."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from metalake_sync.errors import ExitCode, StateCredentialsRejected, StateError, StateUnreachable, UsageError
from metalake_sync.key_stores import limits
from metalake_sync.key_stores.base import KeyStore
from metalake_sync.key_stores.opening import open_key_store
from tests.embedded_lake.store_servers import StoreServer, free_port
from tests.key_stores.conftest import azure_environment
from tests.key_stores.servers import Database, FakeGcs

SECRET = base64.b64encode(b"the secret key of the tests").decode()
SIGNED = "https://bucket.example/key?X-Amz-Signature=cafe&sig=cafe"

pytestmark = pytest.mark.usefixtures("short_limits", "aws_credentials")


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECT_TIMEOUT_S", 2)
    monkeypatch.setattr(limits, "READ_TIMEOUT_S", 1)
    monkeypatch.setattr(limits, "ATTEMPTS", 2)
    monkeypatch.setattr(limits, "PAUSE_BASE_S", 0)
    monkeypatch.setattr(limits, "RETRY_S", 1)


@pytest.fixture
def aws_credentials(s3_store: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the credentials that `s3_store` sets for the session, until the end of the test."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def open_at(kind: str, port: int) -> KeyStore:
    """Open a store of a kind whose server is on a port of this machine."""
    endpoint = f"http://127.0.0.1:{port}"
    if kind == "s3":
        return open_key_store("s3://bucket/birds", {"AWS_ENDPOINT_URL_S3": endpoint})
    if kind == "azure":
        account = {"AccountName": "tests", "AccountKey": SECRET, "BlobEndpoint": f"{endpoint}/tests"}
        parts = ";".join(f"{name}={value}" for name, value in account.items())
        return open_key_store("azure://bucket/birds", {"AZURE_STORAGE_CONNECTION_STRING": parts})
    if kind == "gcs":
        return open_key_store("gs://bucket/birds", {"STORAGE_EMULATOR_HOST": endpoint})
    return open_key_store(f"postgresql://tests@127.0.0.1:{port}/tests/birds")


def calls(store: KeyStore, path: Path) -> dict[str, Callable[[], object]]:
    path.write_bytes(b"x")
    return {
        "create": lambda: store.create("key", b"x"),
        "put": lambda: store.put("key", b"x"),
        "get": lambda: store.get("key"),
        "keys": lambda: store.keys(""),
        "delete": lambda: store.delete(["key"]),
        "put_file": lambda: store.put_file("key", path),
        "get_file": lambda: store.get_file("key", path),
    }


KINDS = ["s3", "azure", "gcs", "postgresql"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_port_is_a_store_that_is_away(kind: str, tmp_path: Path) -> None:
    store = open_at(kind, free_port())
    for name, call in calls(store, tmp_path / "file").items():
        if name not in ("create", "get_file"):
            continue
        with pytest.raises(StateUnreachable, match=r"did not answer.*refused") as away:
            call()
        assert away.value.exit_code is ExitCode.LAKE_AWAY
        assert str(away.value).startswith(store.location)
    store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_never_answers_ends_a_call(kind: str) -> None:
    """The listening socket accepts connections in the kernel, and nothing reads them."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        store = open_at(kind, silent.getsockname()[1])
        with pytest.raises(StateUnreachable, match="did not answer"):
            store.get("key")
        store.close()


class _Failing(BaseHTTPRequestHandler):
    status, body = 503, b""

    def answer(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def failing_server(answer_status: int, answer_body: str = "") -> Iterator[int]:
    class Handler(_Failing):
        status, body = answer_status, answer_body.encode()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
def test_a_store_that_keeps_failing_is_away(kind: str) -> None:
    with failing_server(503) as port:
        store = open_at(kind, port)
        with pytest.raises(StateUnreachable, match="503|service unavailable"):
            store.keys("")
        store.close()


REPEATING = (
    f"<Error><Code>AccessDenied</Code><Message>AKIATESTS {SECRET} {SIGNED} string to sign: cafe</Message></Error>"
)


@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
@pytest.mark.parametrize("status", [403, 400, 503])
def test_no_error_repeats_what_the_store_says_about_a_request(kind: str, status: int, tmp_path: Path) -> None:
    """A store may repeat the signature of a request, or the string that was signed."""
    with failing_server(status, REPEATING) as port:
        store = open_at(kind, port)
        for name, call in calls(store, tmp_path / "file").items():
            if status == 503 and name != "create":
                continue
            with pytest.raises((StateError, StateUnreachable, StateCredentialsRejected)) as refused:
                call()
            for secret in (SECRET, "cafe", "AKIATESTS"):
                assert secret not in str(refused.value), name
            assert refused.value.__cause__ is None
            assert refused.value.__suppress_context__ or refused.value.__context__ is None
            if status == 403:
                assert refused.value.exit_code is ExitCode.CREDENTIALS_REJECTED
        store.close()


def test_rejected_credentials_of_azure(azure_store: StoreServer) -> None:
    wrong = azure_environment(azure_store)["AZURE_STORAGE_CONNECTION_STRING"].replace(
        azure_store.environment["AZURE_STORAGE_KEY"], SECRET
    )
    store = open_key_store("azure://bucket/birds", {"AZURE_STORAGE_CONNECTION_STRING": wrong})
    with pytest.raises(StateCredentialsRejected, match="Check AZURE_STORAGE") as rejected:
        store.get("key")
    assert SECRET not in str(rejected.value)
    store.close()


@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
def test_a_bucket_that_does_not_exist_is_reported(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if kind == "azure":
        store = open_key_store("azure://absent/birds", azure_environment(request.getfixturevalue("azure_store")))
    else:
        server: StoreServer | FakeGcs = request.getfixturevalue("s3_store" if kind == "s3" else "fake_gcs")
        variable = "AWS_ENDPOINT_URL_S3" if kind == "s3" else "STORAGE_EMULATOR_HOST"
        store = open_key_store(f"{'s3' if kind == 's3' else 'gs'}://absent/birds", {variable: server.endpoint})
    for name, call in calls(store, tmp_path / "file").items():
        with pytest.raises(StateUnreachable, match="the bucket or the database does not exist") as missing:
            call()
        assert "Create it" in str(missing.value), name
    store.close()


def test_missing_credentials_of_s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    store = open_at("s3", 9)
    with pytest.raises(UsageError, match="Set AWS_ACCESS_KEY_ID"):
        store.get("key")
    store.close()


def test_a_wrong_password_of_a_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    store = open_key_store(f"{database.url()}/birds")
    with pytest.raises(StateCredentialsRejected, match=r"authentication failed.*PGPASSWORD") as rejected:
        store.get("key")
    assert SECRET not in str(rejected.value)
    monkeypatch.delenv("PGPASSWORD")
    with pytest.raises(StateCredentialsRejected, match="no password supplied"):
        store.get("key")


def test_a_database_or_role_that_does_not_exist(database: Database) -> None:
    with pytest.raises(StateUnreachable, match=r"the bucket or the database does not exist.*'absent'|\"absent\""):
        open_key_store(f"{database.url(database='absent')}/birds").get("key")
    with pytest.raises(StateCredentialsRejected):
        open_key_store(f"{database.url(user='absent')}/birds").get("key")


def test_a_file_that_cannot_be_read_or_written_is_no_fault_of_the_store(
    fake_gcs: FakeGcs, database: Database, tmp_path: Path
) -> None:
    fake_gcs.new_bucket("local-files")
    for store in (
        open_key_store("gs://local-files/birds", {"STORAGE_EMULATOR_HOST": fake_gcs.endpoint}),
        open_key_store(f"{database.url()}/local-files"),
    ):
        store.put("key", b"x")
        with pytest.raises(StateError, match="no such file"):
            store.put_file("key", tmp_path / "absent")
        with pytest.raises(StateError, match="is a directory"):
            store.get_file("key", tmp_path)
        store.close()
