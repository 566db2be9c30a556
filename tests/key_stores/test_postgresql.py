"""What only the table of a database has: its creation, roles, connections that break, and rows."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from metalake_sync.errors import StateCredentialsRejected, StateError
from metalake_sync.key_stores import limits
from metalake_sync.key_stores.opening import open_key_store
from metalake_sync.key_stores.postgresql import CREATE_TABLE
from tests.key_stores.servers import Database


@pytest.fixture
def admin(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a new database without the table."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(database.url(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    with psycopg.connect(database.url(database=name), autocommit=True) as connection:
        yield connection


def url_of(admin: psycopg.Connection[Any], user: str = "postgres") -> str:
    return f"postgresql://{user}@127.0.0.1:{admin.info.port}/{admin.info.dbname}/birds"


def test_reading_creates_no_table(admin: psycopg.Connection[Any], tmp_path: Path) -> None:
    store = open_key_store(url_of(admin))
    assert store.get("key") is None
    assert store.keys("") == []
    assert not store.get_file("key", tmp_path / "file")
    store.delete(["key"])
    assert admin.execute("SELECT to_regclass('metalake_sync_keys')").fetchone() == (None,)
    store.close()


def test_several_processes_may_create_the_table_at_once(admin: psycopg.Connection[Any]) -> None:
    count = 6
    stores = [open_key_store(url_of(admin)) for _ in range(count)]
    start = threading.Barrier(count)
    created: list[bool] = []

    def create(number: int) -> None:
        stores[number].keys("")
        start.wait()
        created.append(stores[number].create("lease/1", b"%d" % number))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(created) == [False] * (count - 1) + [True]
    for store in stores:
        store.close()


def test_a_role_that_may_not_create_the_table_gets_the_statement(
    admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"role_{secrets.token_hex(6)}"
    admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'of-the-role'".encode())
    admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    monkeypatch.setenv("PGPASSWORD", "of-the-role")
    store = open_key_store(url_of(admin, role))
    with pytest.raises(StateError, match="not allowed to create the table") as refused:
        store.put("key", b"x")
    assert CREATE_TABLE in str(refused.value)
    admin.execute(CREATE_TABLE)
    with pytest.raises(StateCredentialsRejected, match="permission denied for table"):
        store.put("key", b"x")
    admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON metalake_sync_keys TO {role}".encode())
    store.put("key", b"x")
    assert store.create("key", b"x")
    store.delete(["key"])
    assert store.keys("") == []
    store.close()


def test_a_call_survives_a_connection_that_the_server_ended(admin: psycopg.Connection[Any]) -> None:
    store = open_key_store(url_of(admin))
    store.put("key", b"x")
    for call in (lambda: store.create("key", b"x"), lambda: store.get("key"), lambda: store.keys("")):
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert call()
    store.close()


def test_a_body_of_several_rows_is_replaced_as_a_whole(
    admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "PART_BYTES", 1000)
    store = open_key_store(url_of(admin))
    long, short = os.urandom(4500), os.urandom(1500)
    count = "SELECT count(*) FROM metalake_sync_keys"
    assert store.create("key", long)
    assert admin.execute(count).fetchone() == (5,)
    assert not store.create("key", short)
    assert store.create("key", long)
    store.put("key", short)
    assert admin.execute(count).fetchone() == (2,)
    assert store.get("key") == short
    assert store.keys("") == ["key"]
    store.delete(["key"])
    assert admin.execute(count).fetchone() == (0,)
    store.close()


def test_writers_of_one_key_never_mix_their_rows(
    admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PART_BYTES", 1000)
    bodies = [bytes([number]) * (1000 * number + 1) for number in range(1, 5)]
    stores = [open_key_store(url_of(admin)) for _ in bodies]
    reader = open_key_store(url_of(admin))
    reader.put("key", bodies[0])
    seen: list[bytes | None] = []

    def write(number: int) -> None:
        for _ in range(10):
            stores[number].put("key", bodies[number])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.append(reader.get("key"))
    for thread in threads:
        thread.join()
    assert {*seen, reader.get("key")} <= {*bodies}
    for store in (*stores, reader):
        store.close()


def test_short_calls_do_not_wait_for_the_transfer_of_a_file(admin: psycopg.Connection[Any], tmp_path: Path) -> None:
    """The lease of a run is renewed while its snapshot is on its way. A FIFO without its end holds the transfer."""
    store = open_key_store(url_of(admin))
    store.put("lease/1", b"taken")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    transfer = threading.Thread(target=store.put_file, args=("snapshot/1", fifo))
    transfer.start()
    end = None
    while end is None:
        # Opening fails until the transfer, in its transaction, opens the other end.
        with contextlib.suppress(OSError):
            end = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        assert transfer.is_alive()
        time.sleep(0.01)
    try:
        store.put("lease/1", b"renewed")
        assert transfer.is_alive()
        os.write(end, b"snapshot")
    finally:
        os.close(end)
        transfer.join()
    assert store.get("lease/1") == b"renewed"
    assert store.get("snapshot/1") == b"snapshot"
    store.close()
