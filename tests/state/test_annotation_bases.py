"""The state keeps the shapes of each set that the lake confirmed, and drops them with their set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metalake_sync.core.addresses import Address, By, FileAt
from metalake_sync.core.metadata import NO_METADATA
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Shape, ShapeType
from metalake_sync.core.snapshots import AnnotationKind, CollectionKey, DesiredSet, Fingerprint, MediaType, Origin
from metalake_sync.state import annotation_bases
from metalake_sync.state.annotation_sets import ReadBackSet
from metalake_sync.state.files import ConfirmedFile
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

KEY = CollectionKey(MediaType.IMAGE, "cells")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateStore]:
    with StateStore(tmp_path / "state.db") as state:
        yield state


@pytest.fixture
def handle(state: StateStore) -> CollectionHandle:
    files = [
        ConfirmedFile(name, name, Fingerprint(1, 2, 3, 4), "A", NO_METADATA, f"id-{name}", f"c_{name}", Origin.UPLOADED)
        for name in ("a.jpg", "b.jpg")
    ]
    with state.write():
        handle = state.collections.record("lake", KEY, "c1", "cells")
        state.files.record(handle, files, "run")
    return handle


def boxes(*lefts: float, label: str = "RBC", image: str = "a.jpg") -> ImageRecord:
    attributes = {"stage": (AttributeValue("young", 0.5),)}
    shapes = [Shape(ShapeType.RECTANGLE, ((x, 2.0), (3.0, 4.0)), label, attributes=attributes) for x in lefts]
    return ImageRecord(image, tuple(shapes))


def wanted(record: ImageRecord, operation: str = "human") -> DesiredSet:
    return DesiredSet(operation, AnnotationKind.HUMAN, "D", len(record.shapes))


def record(state: StateStore, handle: CollectionHandle, name: str, shapes: ImageRecord) -> None:
    with state.write():
        state.annotation_sets.record(handle, [(name, wanted(shapes))], lambda *_: shapes)


def rows(state: StateStore, table: str = "annotation_bases") -> int:
    (count,) = state._connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def test_the_shapes_are_there_after_opening_again(state: StateStore, handle: CollectionHandle) -> None:
    record(state, handle, "a.jpg", boxes(1.0, 2.5))
    with StateStore(state.path) as again:
        assert again.annotation_sets.base(handle, "a.jpg", "human") == boxes(1.0, 2.5)


def test_a_set_of_an_earlier_version_has_unknown_shapes(state: StateStore, handle: CollectionHandle) -> None:
    with state.write():
        state.annotation_sets.record(handle, [("a.jpg", wanted(boxes(1.0)))])
    assert state.annotation_sets.base(handle, "a.jpg", "human") is None
    assert state.annotation_sets.base(handle, "b.jpg", "human") is None


def test_shapes_that_cannot_be_read_are_unknown(state: StateStore, handle: CollectionHandle) -> None:
    record(state, handle, "a.jpg", boxes(1.0))
    with state.write():
        state._connection.execute("UPDATE annotation_bases SET body = x'ff00'")
    assert state.annotation_sets.base(handle, "a.jpg", "human") is None


def test_a_set_that_is_recorded_again_keeps_only_its_new_shapes(state: StateStore, handle: CollectionHandle) -> None:
    for shapes in (boxes(1.0), boxes(2.0)):
        record(state, handle, "a.jpg", shapes)
        assert state.annotation_sets.base(handle, "a.jpg", "human") == shapes
        assert rows(state) == 1
    with state.write():
        state.annotation_sets.record(handle, [("a.jpg", wanted(boxes(3.0)))])
    assert state.annotation_sets.base(handle, "a.jpg", "human") is None
    assert rows(state) == 0


def test_reading_a_set_back_keeps_its_shapes(state: StateStore, handle: CollectionHandle) -> None:
    record(state, handle, "a.jpg", boxes(1.0))
    with state.write():
        state.annotation_sets.record_seen(handle, [ReadBackSet("a.jpg", "human", "D", "E")])
    assert state.annotation_sets.base(handle, "a.jpg", "human") == boxes(1.0)


@pytest.mark.parametrize("what", ["set", "file", "replaced file", "collection"])
def test_shapes_go_with_what_they_belong_to(state: StateStore, handle: CollectionHandle, what: str) -> None:
    record(state, handle, "a.jpg", boxes(1.0))
    record(state, handle, "b.jpg", boxes(2.0))
    assert rows(state) == 2
    with state.write():
        match what:
            case "set":
                state.annotation_sets.forget(handle, [("a.jpg", "human")])
            case "file":
                state.files.forget(handle, ["a.jpg"])
            case "replaced file":
                (file,) = state.files.named(handle, ["a.jpg"]).values()
                confirmed = ConfirmedFile(
                    file.name, file.path, file.fingerprint, "B", NO_METADATA, "id2", "c_a", Origin.UPLOADED
                )
                state.files.record(handle, [confirmed], "run2")
            case "collection":
                state.collections.forget(handle)
    assert rows(state) == (0 if what == "collection" else 1)
    assert state.annotation_sets.base(handle, "a.jpg", "human") is None


def test_sets_of_unmanaged_files_have_bases_too(state: StateStore) -> None:
    address = Address(By.UNIQUE_NAME)
    records = state.of_address("lake", address)
    with state.write():
        records.record_sets([(FileAt(address, "a.jpg"), wanted(boxes(1.0)))], lambda *_: boxes(1.0))
    assert records.base("human", "a.jpg") == boxes(1.0)
    with state.write():
        records.forget_sets("human", ["a.jpg"])
    assert records.base("human", "a.jpg") is None
    assert rows(state) == 0


def test_texts_are_stored_once_for_all_sets(state: StateStore, handle: CollectionHandle) -> None:
    record(state, handle, "a.jpg", boxes(1.0, 2.0))
    shared = rows(state, "shared_texts")
    record(state, handle, "b.jpg", boxes(3.0, 4.0, 5.0))
    assert shared == rows(state, "shared_texts") == 2
    (longest,) = state._connection.execute("SELECT max(length(body)) FROM annotation_bases").fetchone()
    assert longest < 40


def test_a_transaction_that_fails_takes_its_texts_along(state: StateStore, handle: CollectionHandle) -> None:
    with pytest.raises(RuntimeError), state.write():
        state.annotation_sets.record(handle, [("a.jpg", wanted(boxes(1.0)))], lambda *_: boxes(1.0))
        raise RuntimeError
    record(state, handle, "a.jpg", boxes(1.0, label="WBC"))
    record(state, handle, "b.jpg", boxes(1.0))
    assert state.annotation_sets.base(handle, "a.jpg", "human") == boxes(1.0, label="WBC")
    assert state.annotation_sets.base(handle, "b.jpg", "human") == boxes(1.0, image="b.jpg")


def test_the_number_of_shared_texts_is_limited(
    state: StateStore, handle: CollectionHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotation_bases, "SHARED_TEXTS_LIMIT", 1)
    record(state, handle, "a.jpg", boxes(1.0))
    record(state, handle, "b.jpg", boxes(1.0, label="WBC"))
    assert rows(state, "shared_texts") == 1
    assert state.annotation_sets.base(handle, "b.jpg", "human") == boxes(1.0, label="WBC", image="b.jpg")
