"""Parsed annotation sets are kept while runs use them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from metalake_sync.core.shapes import KnownSet
from metalake_sync.state.caches import FORGET_AFTER_DAYS, TOUCH_AFTER_DAYS, StoredSets
from metalake_sync.state.store import StateStore

KEY, OTHER = b"k" * 32, b"o" * 32
KNOWN = KnownSet("ab" * 32, 3, {"bee": {"sex": ["f", "m"]}, "☃": {}}, ("bee", "snow"))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateStore]:
    with StateStore(tmp_path / "s.db") as opened:
        yield opened


def on(state: StateStore, day: int) -> StoredSets:
    return StoredSets(state._connection, state.write, lambda: day)


def rows(state: StateStore) -> list[tuple[bytes, int]]:
    return state._connection.execute("SELECT key, used_on FROM set_memo ORDER BY key").fetchall()


def test_a_stored_set_is_returned_unchanged(state: StateStore) -> None:
    state.set_memo.put(KEY, KNOWN)
    state.flush_caches()
    assert state.set_memo.get(KEY) == KNOWN
    assert state.set_memo.get(OTHER) is None


def test_a_set_that_was_not_used_for_a_month_is_deleted(state: StateStore) -> None:
    memo = on(state, 1000)
    memo.put(KEY, KNOWN)
    memo.put(OTHER, KNOWN)
    memo.flush()
    later = on(state, 1000 + TOUCH_AFTER_DAYS + 1)
    assert later.get(KEY) == KNOWN
    later.flush()
    assert rows(state) == [(KEY, 1008), (OTHER, 1000)]
    last = on(state, 1000 + FORGET_AFTER_DAYS + 1)
    last.put(b"n" * 32, KNOWN)
    last.flush()
    assert [key for key, _ in rows(state)] == [KEY, b"n" * 32]


def test_nothing_is_written_if_nothing_is_new(state: StateStore) -> None:
    memo = on(state, 1000)
    memo.put(KEY, KNOWN)
    memo.flush()
    writes: list[str] = []
    state._connection.set_trace_callback(writes.append)
    assert on(state, 1001).get(KEY) == KNOWN
    on(state, 1001).flush()
    state._connection.set_trace_callback(None)
    assert [statement.split()[0] for statement in writes] == ["SELECT"]
    assert isinstance(state._connection, sqlite3.Connection)
