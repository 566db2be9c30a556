"""A table of a PostgreSQL database, with psycopg. Connections are libpq's: PGPASSWORD, PGPASSFILE, PGSSLMODE and so on.

A body is split into rows of at most 8 MB, which one transaction replaces. The first write creates the table. Files use
connections of their own, so that a long transfer does not delay short calls.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from metalake_sync.errors import StateError, SyncError, UsageError
from metalake_sync.key_stores import limits
from metalake_sync.key_stores.base import check_key
from metalake_sync.key_stores.failures import Failure, describe_sdk_error, failed, local_file

T = TypeVar("T")

CREATE_TABLE = (
    "CREATE TABLE IF NOT EXISTS metalake_sync_keys"
    " (prefix text, key text, part integer, body bytea NOT NULL, PRIMARY KEY (prefix, key, part))"
)

_INSERT = "INSERT INTO metalake_sync_keys (prefix, key, part, body) VALUES (%s, %s, %s, %s)"
_CREATE = f"{_INSERT} ON CONFLICT DO NOTHING"
_REPLACE = f"{_INSERT} ON CONFLICT (prefix, key, part) DO UPDATE SET body = EXCLUDED.body"
_CUT = "DELETE FROM metalake_sync_keys WHERE prefix = %s AND key = %s AND part >= %s"
_DELETE = "DELETE FROM metalake_sync_keys WHERE prefix = %s AND key = ANY(%s)"
_GET = "SELECT body FROM metalake_sync_keys WHERE prefix = %s AND key = %s ORDER BY part"
_MEASURE = "SELECT count(*), sum(length(body)) FROM metalake_sync_keys WHERE prefix = %s AND key = %s"
_GET_PART = "SELECT body FROM metalake_sync_keys WHERE prefix = %s AND key = %s AND part = %s"
_LIST = "SELECT key FROM metalake_sync_keys WHERE prefix = %s AND part = 0 AND starts_with(key, %s)"

_CONNECT_PAUSE_S = 0.25

# libpq has no codes for the errors of a connection.
_NO_DATABASE = "does not exist"
_REJECTED = (
    "authentication failed",
    "no password supplied",
    "pg_hba.conf",
    "not permitted to log in",
    "permission denied",
)


class PostgresKeyStore:
    """Keeps bodies in the table `metalake_sync_keys`. `conninfo` is a URL of libpq. Raises UsageError."""

    def __init__(self, conninfo: str, prefix: str, *, location: str) -> None:
        self.location = location
        self._prefix = prefix
        self._settings = _settings(conninfo, location)
        self._connection: psycopg.Connection | None = None
        self._lock = threading.Lock()

    def create(self, key: str, body: bytes) -> bool:
        check_key(key)

        def insert(connection: psycopg.Connection) -> bool:
            with _transaction(connection):
                for part, piece in enumerate(_pieces(body)):
                    if not _execute(connection, _CREATE, self._prefix, key, part, piece).rowcount:
                        return False
            return True

        return self._write(insert) or self.get(key) == body

    def put(self, key: str, body: bytes) -> None:
        check_key(key)
        self._write(lambda connection: self._replace(connection, key, _pieces(body)))

    def get(self, key: str) -> bytes | None:
        rows = self._rows(_GET, check_key(key))
        return b"".join(row[0] for row in rows) if rows else None

    def keys(self, prefix: str) -> list[str]:
        return sorted(row[0] for row in self._rows(_LIST, prefix))

    def delete(self, keys: Sequence[str]) -> None:
        self._rows(_DELETE, [check_key(key) for key in keys])

    def put_file(self, key: str, path: Path) -> None:
        check_key(key)
        with local_file(path):
            self._write(lambda connection: self._replace(connection, key, _pieces_of(path)), alone=True)

    def get_file(self, key: str, path: Path) -> bool:
        place = (self._prefix, check_key(key))

        def fetch(connection: psycopg.Connection) -> bool:
            try:
                with _transaction(connection, "ISOLATION LEVEL REPEATABLE READ, READ ONLY"):
                    (parts, size_bytes) = _execute(connection, _MEASURE, *place).fetchall()[0]
                    if not parts:
                        return False
                    with path.open("wb") as file:
                        for part in range(parts):
                            for (piece,) in _execute(connection, _GET_PART, *place, part).fetchall():
                                file.write(piece)
                        written = file.tell()
            except errors.UndefinedTable:
                return False
            if written != size_bytes:
                raise StateError(f"the body of {key!r} is incomplete", where=self.location)
            return True

        with local_file(path):
            return self._call(fetch, alone=True)

    def close(self) -> None:
        with self._lock:
            self._disconnect()

    def _replace(self, connection: psycopg.Connection, key: str, pieces: Iterator[bytes]) -> None:
        """Replace a body. Two writers of the same key wait for each other at its first row."""
        with _transaction(connection):
            count = 0
            for piece in pieces:
                _execute(connection, _REPLACE, self._prefix, key, count, piece)
                count += 1
            _execute(connection, _CUT, self._prefix, key, count)

    def _rows(self, query: str, parameter: object) -> list[Any]:
        """Return the rows of a query. A table that does not exist has none."""

        def work(connection: psycopg.Connection) -> list[Any]:
            try:
                cursor = _execute(connection, query, self._prefix, parameter)
            except errors.UndefinedTable:
                return []
            return cursor.fetchall() if cursor.description else []

        return self._call(work)

    def _write(self, work: Callable[[psycopg.Connection], T], *, alone: bool = False) -> T:
        def create_and_work(connection: psycopg.Connection) -> T:
            try:
                return work(connection)
            except errors.UndefinedTable:
                self._create_table(connection)
            return work(connection)

        return self._call(create_and_work, alone=alone)

    def _create_table(self, connection: psycopg.Connection) -> None:
        # Another process may create the table, and the type of its rows, at the same time.
        with contextlib.suppress(errors.UniqueViolation, errors.DuplicateTable, errors.DuplicateObject):
            try:
                _execute(connection, CREATE_TABLE)
            except (errors.InsufficientPrivilege, errors.InvalidSchemaName):
                raise StateError(
                    "the role is not allowed to create the table 'metalake_sync_keys'",
                    where=self.location,
                    remedy="Ask the owner of the database to grant SELECT, INSERT, UPDATE and DELETE on a table that"
                    f" this statement creates: {CREATE_TABLE};",
                ) from None

    def _call(self, work: Callable[[psycopg.Connection], T], *, alone: bool = False) -> T:
        """Do work with the shared connection, or with one of its own. Repeat it once if the connection breaks.

        All work can be repeated: it replaces rows, or compares what is there with what it wrote.
        """
        try:
            with self._connected(alone) as connection:
                return work(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            """The connection broke, or two transactions waited for each other."""
        except psycopg.Error as error:
            raise self._failed(error) from None
        try:
            with self._connected(alone) as connection:
                return work(connection)
        except psycopg.Error as error:
            raise self._failed(error) from None

    @contextlib.contextmanager
    def _connected(self, alone: bool) -> Iterator[psycopg.Connection]:
        if alone:
            with contextlib.closing(self._connect()) as connection:
                yield connection
            return
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            try:
                yield self._connection
            except psycopg.OperationalError:
                self._disconnect()
                raise

    def _connect(self) -> psycopg.Connection:
        for attempt in range(limits.ATTEMPTS):
            try:
                return psycopg.connect(**self._settings, autocommit=True, prepare_threshold=None)
            except psycopg.OperationalError as error:
                if attempt == limits.ATTEMPTS - 1 or _why(error) is not Failure.UNREACHABLE:
                    raise self._failed(error) from None
                time.sleep(_CONNECT_PAUSE_S * 2**attempt)
        raise AssertionError

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _failed(self, error: psycopg.Error) -> SyncError:
        detail = describe_sdk_error(error).partition(" Is the server running")[0]
        return failed(
            _why(error),
            detail,
            location=self.location,
            credentials="PGUSER and PGPASSWORD, or PGPASSFILE",
            endpoint="the address of the database",
        )


def _settings(conninfo: str, location: str) -> dict[str, Any]:
    try:
        settings = conninfo_to_dict(conninfo)
    except psycopg.Error as error:
        raise UsageError(
            f"the address of the database is invalid ({describe_sdk_error(error)})", where=location
        ) from None
    limited = {"connect_timeout": limits.CONNECT_TIMEOUT_S, "fallback_application_name": "metalake-sync"}
    return {**limited, **settings, "client_encoding": "utf8"}


def _why(error: psycopg.Error) -> Failure:
    text = str(error)
    if isinstance(error, errors.InsufficientPrivilege) or (error.sqlstate or "").startswith("28"):
        return Failure.CREDENTIALS_REJECTED
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Failure.REJECTED
    if error.sqlstate is None and any(words in text for words in _REJECTED):
        return Failure.CREDENTIALS_REJECTED
    if error.sqlstate is None and _NO_DATABASE in text:
        return Failure.CREDENTIALS_REJECTED if 'role "' in text else Failure.MISSING
    return Failure.UNREACHABLE


def _execute(connection: psycopg.Connection, query: str, *parameters: object) -> psycopg.Cursor[Any]:
    """Execute one statement. A server that does not answer in time loses the connection, which raises OperationalError.

    libpq has no time limit for an answer, and a limit of the server does not help if the server is away.
    """
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
        timer = threading.Timer(limits.READ_TIMEOUT_S, _hang_up, [wire])
        timer.daemon = True
        timer.start()
        try:
            return connection.execute(query.encode(), parameters, binary=True)
        finally:
            timer.cancel()


def _hang_up(wire: socket.socket) -> None:
    with contextlib.suppress(OSError):
        wire.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _transaction(connection: psycopg.Connection, options: str = "") -> Iterator[None]:
    """Like `connection.transaction()`, with a time limit for the commit."""
    _execute(connection, f"BEGIN {options}")
    try:
        yield
    except BaseException:
        with contextlib.suppress(psycopg.Error):
            _execute(connection, "ROLLBACK")
        raise
    _execute(connection, "COMMIT")


def _pieces(body: bytes) -> Iterator[bytes]:
    """Divide a body. An empty one is one empty piece."""
    for start in range(0, len(body) or 1, limits.PART_BYTES):
        yield body[start : start + limits.PART_BYTES]


def _pieces_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield file.read(limits.PART_BYTES)
        while piece := file.read(limits.PART_BYTES):
            yield piece
