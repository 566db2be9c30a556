"""What every key store must do, over a folder and over each kind of store with a server of its own."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from metalake_sync.errors import StateError
from metalake_sync.key_stores import limits
from metalake_sync.key_stores.base import KeyStore
from metalake_sync.key_stores.conditional_writes import check_conditional_writes

HOSTILE_KEYS = [
    "birds",
    "birds/log/000000000413",
    "a b/ c /%2F%00?versions#x",
    "+&=;:@!$'()*,[]{}<>|^`~\"",
    "Größe/写真/🐦",
    "é",
    "e\u0301",
    "_%/_%",
    "B",
    "b",
    ".hidden/..hidden/-x",
    "x" * 200,
]


@pytest.fixture
def store(new_store: Callable[[str], KeyStore]) -> KeyStore:
    return new_store("team/birds")


def test_a_key_is_created_once(store: KeyStore) -> None:
    assert store.create("lease/1", b"first")
    assert not store.create("lease/1", b"second")
    assert store.get("lease/1") == b"first"


def test_a_creation_whose_answer_was_lost_can_be_repeated(store: KeyStore) -> None:
    assert store.create("log/1", b"rows")
    assert store.create("log/1", b"rows")
    store.put("log/1", b"others")
    assert not store.create("log/1", b"rows")


def test_a_deleted_key_can_be_created_again(store: KeyStore) -> None:
    assert store.create("lease/1", b"first")
    store.delete(["lease/1"])
    assert store.get("lease/1") is None
    assert store.create("lease/1", b"second")
    assert store.get("lease/1") == b"second"


def test_put_overwrites(store: KeyStore) -> None:
    for body in (b"a longer body", b"short", b""):
        store.put("key", body)
        assert store.get("key") == body


def test_bodies_are_kept_byte_by_byte(store: KeyStore) -> None:
    every_byte = bytes(range(256)) * 5
    assert store.create("bytes", every_byte)
    assert store.create("empty", b"")
    assert store.get("bytes") == every_byte
    assert store.get("empty") == b""
    assert store.get("absent") is None


def test_keys_are_listed_by_prefix_and_sorted(store: KeyStore) -> None:
    for key in ("birds/log/10", "birds/log/9", "birds/log", "birds2/log/1", "Birds/log/1"):
        store.put(key, b"x")
    assert store.keys("birds/log/") == ["birds/log/10", "birds/log/9"]
    assert store.keys("birds/log") == ["birds/log", "birds/log/10", "birds/log/9"]
    assert store.keys("birds") == ["birds/log", "birds/log/10", "birds/log/9", "birds2/log/1"]
    assert store.keys("") == ["Birds/log/1", "birds/log", "birds/log/10", "birds/log/9", "birds2/log/1"]
    assert store.keys("bi_ds") == store.keys("bird%") == []


def test_missing_keys_are_deleted_without_an_error(store: KeyStore) -> None:
    store.put("a", b"x")
    store.put("b", b"x")
    store.delete(["a", "absent", "also/absent"])
    store.delete([])
    assert store.keys("") == ["b"]


def test_every_key_is_kept_as_it_is(store: KeyStore) -> None:
    for number, key in enumerate(HOSTILE_KEYS):
        assert store.create(key, b"%d" % number), key
    assert store.keys("") == sorted(HOSTILE_KEYS)
    assert [store.get(key) for key in HOSTILE_KEYS] == [b"%d" % number for number in range(len(HOSTILE_KEYS))]
    store.delete(HOSTILE_KEYS)
    assert store.keys("") == []


def test_a_key_that_a_store_would_change_is_refused(store: KeyStore) -> None:
    for key in ("", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a.", "a\\b", "a\nb", "a\0b", "x" * 513, "\udc80"):
        for call in (
            functools.partial(store.create, key, b"x"),
            functools.partial(store.put, key, b"x"),
            functools.partial(store.get, key),
            functools.partial(store.delete, [key]),
        ):
            with pytest.raises(StateError, match="cannot be a key"):
                call()
    assert store.keys("") == []


def test_a_large_file_goes_there_and_back(store: KeyStore, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    with there.open("wb") as file:
        for number in range(20):
            file.write(hashlib.shake_128(b"%d" % number).digest(1_000_000))
        file.write(b"a size that no part divides")
    store.put_file("snapshot/1", there)
    assert store.get_file("snapshot/1", back)
    assert back.read_bytes() == there.read_bytes()
    there.write_bytes(b"small now")
    store.put_file("snapshot/1", there)
    assert store.get_file("snapshot/1", back)
    assert back.read_bytes() == b"small now"
    assert store.get("snapshot/1") == b"small now"
    there.write_bytes(b"")
    store.put_file("snapshot/1", there)
    assert store.get_file("snapshot/1", back)
    assert back.read_bytes() == b""


def test_a_file_that_is_absent_is_not_written(store: KeyStore, tmp_path: Path) -> None:
    assert not store.get_file("absent", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_one_of_two_threads_creates_a_key(store: KeyStore) -> None:
    rounds = 10
    start = threading.Barrier(2)
    created: dict[tuple[int, bytes], bool] = {}

    def create(body: bytes) -> None:
        for number in range(rounds):
            start.wait()
            created[number, body] = store.create(f"race/{number}", body)

    threads = [threading.Thread(target=create, args=(body,)) for body in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(rounds):
        (winner,) = (body for body in (b"one", b"two") if created[number, body])
        assert store.get(f"race/{number}") == winner


def test_two_prefixes_of_one_place_are_apart(new_store: Callable[[str], KeyStore]) -> None:
    birds, others = new_store("team/birds"), new_store("team/birds2")
    birds.put("lineage.json", b"birds")
    others.put("lineage.json", b"others")
    others.delete(["lineage.json", "absent"])
    assert birds.get("lineage.json") == b"birds"
    assert birds.keys("") == ["lineage.json"]
    assert others.keys("") == []
    assert birds.location != others.location


def test_a_list_of_several_pages_is_complete(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEYS_PER_PAGE", 10)
    keys = [f"log/{number:04d}" for number in range(35)]
    for key in reversed(keys):
        store.put(key, b"x")
    assert store.keys("log/") == keys
    store.delete(keys[:30])
    assert store.keys("log/") == keys[30:]


@pytest.mark.long
def test_a_list_of_3000_keys_is_complete(store: KeyStore) -> None:
    keys = [f"log/{number:04d}" for number in range(3000)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: store.create(key, b"x"), keys))
    assert store.keys("log/") == keys
    store.delete(keys)
    assert store.keys("") == []


def test_a_store_with_conditional_writes_is_accepted(store: KeyStore) -> None:
    check_conditional_writes(store)
    assert store.keys("") == []
