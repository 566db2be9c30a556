"""A call whose answer is lost is repeated, and ends as if the first attempt had been answered."""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from metalake_sync.errors import StateUnreachable
from metalake_sync.key_stores import limits
from metalake_sync.key_stores.base import KeyStore
from metalake_sync.key_stores.opening import open_key_store
from tests.embedded_lake.store_servers import StoreServer
from tests.key_stores.conftest import azure_environment
from tests.key_stores.servers import Database, FakeGcs


class _Proxy:
    """Forwards connections. It cuts answers to requests that contain `marker`, with their connections."""

    def __init__(self, target: int, marker: bytes) -> None:
        self._target = target
        self.marker = marker
        self.cuts = 1
        """How many answers to cut."""
        self.after_bytes = 0
        """How much of each to forward."""
        self.dropped = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Close the listener. Shutting it down wakes the thread that accepts."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server, contextlib.suppress(OSError):
            selector = selectors.DefaultSelector()
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            marked, left = False, self.after_bytes
            while True:
                for key, _ in selector.select():
                    source, to = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    if source is client:
                        if not marked and self.marker in data and self.dropped < self.cuts:
                            marked, left = True, self.after_bytes
                    elif marked and not data.startswith(b"HTTP/1.1 100"):
                        if len(data) > left:
                            to.sendall(data[:left])
                            self.dropped += 1
                            return
                        left -= len(data)
                    to.sendall(data)


READING = {"s3": b"GET /", "azure": b"GET /", "gcs": b"GET /", "postgresql": b"ORDER BY part"}


@pytest.fixture(params=["s3", "azure", "gcs", "postgresql"])
def losing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[KeyStore, _Proxy]]:
    """A store behind a proxy that loses the first answer to a creation."""
    monkeypatch.setattr(limits, "ATTEMPTS", 3)
    monkeypatch.setattr(limits, "PAUSE_BASE_S", 0)
    monkeypatch.setattr(limits, "RETRY_S", 2)
    name = f"lost-{secrets.token_hex(6)}"
    if request.param == "postgresql":
        database: Database = request.getfixturevalue("database")
        proxy = _Proxy(database.port, b"COMMIT")
        store = open_key_store(f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres/{name}")
    elif request.param == "azure":
        azure: StoreServer = request.getfixturevalue("azure_store")
        azure.create(name)
        port = urlsplit(azure.endpoint).port or 0
        proxy = _Proxy(port, b"If-None-Match")
        environment = {
            variable: value.replace(f":{port}/", f":{proxy.port}/")
            for variable, value in azure_environment(azure).items()
        }
        store = open_key_store(f"azure://{name}/birds", environment)
    elif request.param == "s3":
        s3: StoreServer = request.getfixturevalue("s3_store")
        s3.create(name)
        proxy = _Proxy(urlsplit(s3.endpoint).port or 0, b"If-None-Match")
        store = open_key_store(f"s3://{name}/birds", {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"})
    else:
        gcs: FakeGcs = request.getfixturevalue("fake_gcs")
        gcs.new_bucket(name)
        proxy = _Proxy(urlsplit(gcs.endpoint).port or 0, b"ifGenerationMatch=0")
        store = open_key_store(f"gs://{name}/birds", {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{proxy.port}"})
    yield store, proxy
    store.close()
    proxy.close()


def test_a_creation_whose_answer_was_lost_is_a_creation(losing: tuple[KeyStore, _Proxy]) -> None:
    store, proxy = losing
    assert store.create("log/1", b"rows")
    assert proxy.dropped == 1
    assert store.get("log/1") == b"rows"
    assert not store.create("log/1", b"other rows")


def test_a_body_that_broke_off_is_read_again(losing: tuple[KeyStore, _Proxy], request: pytest.FixtureRequest) -> None:
    store, proxy = losing
    body = bytes(range(256)) * 8192
    proxy.cuts = 0
    store.put("snapshot/1", body)
    proxy.marker = READING[request.node.callspec.params["losing"]]
    proxy.after_bytes, proxy.cuts, proxy.dropped = len(body) // 2, 1, 0
    assert store.get("snapshot/1") == body
    assert proxy.dropped == 1


def test_a_body_that_always_breaks_off_is_no_body(
    losing: tuple[KeyStore, _Proxy], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store, proxy = losing
    body = bytes(range(256)) * 8192
    proxy.cuts = 0
    store.put("snapshot/1", body)
    kind = request.node.callspec.params["losing"]
    proxy.marker = b"SELECT body" if kind == "postgresql" else READING[kind]
    # Google's SDK continues where a body broke off, so the pieces must be short.
    proxy.after_bytes, proxy.cuts, proxy.dropped = 2000, 1_000_000, 0
    with pytest.raises(StateUnreachable, match="did not answer or kept failing"):
        store.get("snapshot/1")
    with pytest.raises(StateUnreachable, match="did not answer or kept failing"):
        store.get_file("snapshot/1", tmp_path / "file")
    assert proxy.dropped > 1
