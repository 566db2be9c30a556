"""Counts and logs the requests to a lake, for tests, benchmarks, and users who check what a run sends.

Must not: record a query, a header or a body.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TextIO

from metalake_sync.protocol.routes import Effect

LIMIT_BYTES = 64 << 20
"""A log file that reaches this size is renamed to `NAME.1`, which replaces an older one."""

STORE_ROUTES = frozenset({"put_part", "get_object"})
"""The routes of the object store."""


class RequestKind(NamedTuple):
    """A kind of request."""

    method: str
    route: str
    """The name of a route of the protocol in lower case, `put_part` or `get_object` for the store, or `unknown`."""
    mutating: bool


@dataclass(slots=True)
class RequestLog:
    """Counts requests, and writes a line per request if `path` is set."""

    path: Path | None = None
    counts: Counter[RequestKind] = field(default_factory=Counter)
    _file: TextIO | None = None
    _size: int = 0

    @property
    def writes(self) -> int:
        """The number of requests that changed the lake, or started something that will."""
        return sum(count for kind, count in list(self.counts.items()) if kind.mutating)

    def of(self, route: str) -> int:
        """Return the number of requests to a route."""
        return sum(count for kind, count in list(self.counts.items()) if kind.route == route)

    def clear(self) -> None:
        self.counts.clear()

    def open(self) -> None:
        """Open the log file. Raises OSError."""
        if self.path is not None:
            self._file = open(self.path, "a", buffering=1, opener=_private)  # noqa: SIM115
            self._size = self._file.tell()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def note(self, kind: RequestKind, status: int, bytes_in: int) -> None:
        self.counts[kind] += 1
        if self._file is not None:
            effect = Effect.WRITES if kind.mutating else Effect.READS
            line = {
                "method": kind.method,
                "route": kind.route,
                "effect": effect.value,
                "status": status,
                "bytes_in": bytes_in,
            }
            self._write(self._file, json.dumps(line) + "\n")

    def _write(self, file: TextIO, line: str) -> None:
        file.write(line)
        self._size += len(line)
        # A pipe or a device has no size, and is not renamed.
        if self._size >= LIMIT_BYTES and self.path is not None and self.path.is_file():
            self.close()
            os.replace(self.path, f"{self.path}.1")
            self.open()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
