"""What a lake was asked: for tests, benchmarks and whoever wants to see that a second run sends nothing.

Must not: see a query, a header or a body.
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
"""A log file that reaches this size is renamed to `NAME.1`, in place of the one before it."""

STORE_ROUTES = frozenset({"put_part", "get_object"})
"""The store's own two routes."""


class RequestKind(NamedTuple):
    """One kind of request. `route`: the name of a route of the protocol in small letters, `put_part` or `get_object`
    for the store, `unknown` for anything else."""

    method: str
    route: str
    mutating: bool


@dataclass(slots=True)
class RequestLog:
    """Keeps counts, and writes a line for each request if it has a file."""

    path: Path | None = None
    counts: Counter[RequestKind] = field(default_factory=Counter)
    _file: TextIO | None = None
    _size: int = 0

    @property
    def writes(self) -> int:
        """How many requests changed the lake, or began something that will."""
        return sum(count for asked, count in list(self.counts.items()) if asked.mutating)

    def of(self, route: str) -> int:
        """How many requests a route got."""
        return sum(count for asked, count in list(self.counts.items()) if asked.route == route)

    def clear(self) -> None:
        self.counts.clear()

    def open(self) -> None:
        """Raises OSError."""
        if self.path is not None:
            self._file = open(self.path, "a", buffering=1, opener=_private)  # noqa: SIM115
            self._size = self._file.tell()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def note(self, asked: RequestKind, status: int, bytes_in: int) -> None:
        self.counts[asked] += 1
        if self._file is not None:
            effect = Effect.WRITES if asked.mutating else Effect.READS
            line = {
                "method": asked.method,
                "route": asked.route,
                "effect": effect.value,
                "status": status,
                "bytes_in": bytes_in,
            }
            self._write(self._file, json.dumps(line) + "\n")

    def _write(self, file: TextIO, line: str) -> None:
        file.write(line)
        self._size += len(line)
        # A pipe or a device takes lines without end, and has no size.
        if self._size >= LIMIT_BYTES and self.path is not None and self.path.is_file():
            self.close()
            os.replace(self.path, f"{self.path}.1")
            self.open()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
