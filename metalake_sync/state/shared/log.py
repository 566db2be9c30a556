"""The log of a shared state: segments of changed rows in the order of their sequence numbers, each created once.

A writer creates the segment after the last one. If it is there already, another run took over the lease, and the writer
stops. So a holder that was paused longer than its lease can do no harm (`lease`).

Owns: the form of a segment, and reading segments in order.
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from metalake_sync.errors import StateError
from metalake_sync.key_stores.base import KeyStore
from metalake_sync.state.schema import MIGRATIONS
from metalake_sync.state.shared.changes import damaged, encoded

FORMAT = 1
LOG = "log/"

READ_AT_ONCE = 16

MAX_SEGMENT_BYTES = 1 << 30
"""How large a segment may become when it is decompressed."""


class SegmentMissing(Exception):
    """A segment was deleted since the keys were listed, because a snapshot replaced it."""


def segment_key(sequence: int) -> str:
    return f"{LOG}{sequence:012d}"


def sequences(keys: Sequence[str], prefix: str) -> list[int]:
    """Return the sequence numbers that keys below a prefix begin with, in order. Other keys are ignored."""
    found = []
    for key in keys:
        number = key.removeprefix(prefix)[:12]
        if number.isascii() and number.isdigit():
            found.append(int(number))
    return sorted(found)


def pack(segment: dict[str, Any]) -> bytes:
    """Return the body of a segment."""
    return zlib.compress(encoded({"format": FORMAT, **segment}), 6)


def new_segment(sequence: int, epoch: int, tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a segment, which no other writer can make: it has a random number of its own.

    `epoch`: of the writer's lease. `tables`: the changes (`changes.to_document`). The newest migration tells versions
    that do not know it to leave the state alone.
    """
    return {
        "sequence": sequence,
        "epoch": epoch,
        "writer": secrets.token_hex(8),
        "migration": MIGRATIONS[-1].__name__,
        "tables": tables,
    }


def unpack(body: bytes, key: str, location: str) -> dict[str, Any]:
    """Return the segment of a body. `location`: of the state. Raises StateError."""
    try:
        inflate = zlib.decompressobj()
        text = inflate.decompress(body, MAX_SEGMENT_BYTES)
        if not inflate.eof:
            raise ValueError("it is cut off or too large")
        segment = json.loads(text)
        if not isinstance(segment, dict):
            raise TypeError("it is not an object")
        form = segment["format"]
        if form == FORMAT and not (isinstance(segment["tables"], list) and isinstance(segment["migration"], str)):
            raise TypeError("values of another kind")
    except (zlib.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(f"{key} cannot be read ({error})", location) from None
    if form != FORMAT:
        raise newer_version(key, location)
    return segment


def newer_version(key: str, location: str) -> StateError:
    """Return the error for an object that a newer version of this program wrote."""
    return StateError(
        f"the shared state was written by a newer version of metalake-sync ({key})",
        where=location,
        remedy="Update metalake-sync, or use another state with --state.",
    )


def read_segments(store: KeyStore, wanted: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield segments in the given order, several read at once. Raises SegmentMissing, StateError, StateUnreachable."""
    with ThreadPoolExecutor(READ_AT_ONCE, thread_name_prefix="state-log") as threads:
        for start in range(0, len(wanted), READ_AT_ONCE * 4):
            numbers = wanted[start : start + READ_AT_ONCE * 4]
            bodies = threads.map(lambda number: store.get(segment_key(number)), numbers)
            for number, body in zip(numbers, bodies, strict=True):
                if body is None:
                    raise SegmentMissing
                yield number, unpack(body, segment_key(number), store.location)
