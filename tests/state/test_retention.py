"""Old runs leave the history, with the values that only they refer to, and the state's file shrinks."""

from __future__ import annotations

from pathlib import Path

import pytest

from metalake_sync.core.addresses import Address, By, FileAt
from metalake_sync.core.metadata import metadata_set
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.runs import ActionRow, SentSet
from metalake_sync.state.store import StateStore
from tests.state.test_annotation_bases import boxes, handle, record, rows, state, wanted

__all__ = ["handle", "state"]

YEARS = (2021, 2022, 2023)


def base_id(state: StateStore, handle: CollectionHandle, name: str) -> int | None:
    return state.of_collection(handle).base_ids("human", [name])[name]


def send(state: StateStore, handle: CollectionHandle, year: int, *names: str, shapes: ImageRecord) -> None:
    """One run of a year, which sends the same shapes to images, as the recorder records it."""
    before = {name: state.of_collection(handle).base_ids("human", [name]).get(name) for name in names}
    with state.write():
        state.bases.keep_for_history(before.values())
    for name in names:
        record(state, handle, name, shapes)
    sent = [SentSet("human", before[name], base_id(state, handle, name)) for name in names]
    with state.write():
        state.bases.keep_for_history(one.after for one in sent)
        state.runs.begin(f"{year}0101T000000-ab", "apply", f"{year}-01-01T00:00:00.000+00:00")
        actions = [ActionRow("annotate", "cells", name, "annotations_changed") for name in names]
        state.runs.record_actions(f"{year}0101T000000-ab", actions, dict(enumerate(sent)))


def lefts(record: ImageRecord | None) -> list[float] | None:
    return None if record is None else [shape.points[0][0] for shape in record.shapes]


def sent_by(state: StateStore, year: int) -> list[tuple[list[float] | None, list[float] | None]]:
    return [(lefts(one.set_before), lefts(one.set_after)) for one in state.runs.values(f"{year}0101T000000-ab")]


def test_a_later_run_keeps_the_values_that_it_refers_to(state: StateStore, handle: CollectionHandle) -> None:
    for number, year in enumerate(YEARS):
        send(state, handle, year, "a.jpg", shapes=boxes(number))
    assert state.delete_old_runs("2022-06-01") == 2
    assert [run.id[:4] for run in state.runs.last()] == ["2023"]
    assert sent_by(state, 2023) == [([1.0], [2.0])]
    assert (rows(state), rows(state, "run_sets"), rows(state, "run_actions")) == (2, 1, 1)
    assert state.delete_old_runs("2022-06-01") == 0


def test_a_record_keeps_its_base_when_its_run_is_deleted(state: StateStore, handle: CollectionHandle) -> None:
    send(state, handle, 2021, "a.jpg", "b.jpg", shapes=boxes(1))
    assert state.delete_old_runs("2022-01-01") == 1
    assert lefts(state.of_collection(handle).base("human", "a.jpg")) == [1.0]
    record(state, handle, "a.jpg", boxes(2))
    assert rows(state) == 2, "the base of the old set is deleted, because no run refers to it"
    send(state, handle, 2022, "a.jpg", shapes=boxes(3))
    assert sent_by(state, 2022) == [([2.0], [3.0])]


def test_the_base_of_a_set_that_was_removed_is_deleted_with_its_run(
    state: StateStore, handle: CollectionHandle
) -> None:
    send(state, handle, 2021, "a.jpg", shapes=boxes(1))
    send(state, handle, 2022, "b.jpg", shapes=boxes(2, image="b.jpg"))
    with state.write():
        state.annotation_sets.forget(handle, [("a.jpg", "human")])
    assert rows(state) == 2, "the run of 2021 still refers to the set"
    assert state.delete_old_runs("2022-01-01") == 1
    assert rows(state) == 1
    assert lefts(state.of_collection(handle).base("human", "b.jpg")) == [2.0]


def test_the_base_and_the_metadata_of_an_unmanaged_file_stay(state: StateStore) -> None:
    address = Address(By.UNIQUE_NAME)
    records = state.of_address("lake", address)
    values = metadata_set({"City": "Rome"})
    with state.write():
        records.record_sets([(FileAt(address, "a.jpg"), wanted(boxes(1.0)))], lambda *_: boxes(1.0))
        records.record_metadata([(FileAt(address, "a.jpg"), values)])
        base = records.base_ids("human", ["a.jpg"])["a.jpg"]
        state.bases.keep_for_history([base])
        state.runs.begin("20210101T000000-ab", "apply", "2021-01-01T00:00:00.000+00:00")
        rows_of_run = [
            ActionRow("annotate", "*", "a.jpg", "new"),
            ActionRow("update_metadata", "*", "a.jpg", "new", None, values.digest),
        ]
        state.runs.record_actions("20210101T000000-ab", rows_of_run, {0: SentSet("human", 0, base)})
    assert state.delete_old_runs("2022-01-01") == 1
    assert records.base("human", "a.jpg") == boxes(1.0)
    assert state.metadata_sets.values(values.digest) == {"City": "Rome"}


def test_metadata_stays_while_a_run_or_a_record_refers_to_it(state: StateStore, handle: CollectionHandle) -> None:
    values = [metadata_set({"City": city}) for city in ("Rome", "Oslo", "Bern", "Linz")]
    with state.write():
        state.metadata_sets.remember(values)
        state.files.record_metadata(handle, [("a.jpg", values[1])])
        for number, year in enumerate(YEARS):
            state.runs.begin(f"{year}0101T000000-ab", "apply", f"{year}-01-01T00:00:00.000+00:00")
            row = ActionRow(
                "update_metadata", "cells", "a.jpg", "metadata_changed",
                values[number].digest, values[number + 1].digest,
            )  # fmt: skip
            state.runs.record_actions(f"{year}0101T000000-ab", [row])
    assert state.delete_old_runs("2023-01-01") == 2
    known = [state.metadata_sets.values(one.digest) is not None for one in values]
    assert known == [False, True, True, True]


def test_what_we_had_sent_before_another_clients_edit_stays_with_its_run(
    state: StateStore, handle: CollectionHandle
) -> None:
    values, in_the_lake = metadata_set({"City": "Rome"}), metadata_set({"City": "Oslo"})
    with state.write():
        state.metadata_sets.remember([values, in_the_lake])
        ours, theirs, after = state.bases.put([boxes(1), boxes(2), boxes(3)])
        state.bases.keep_for_history([ours, theirs, after])
        for year in YEARS[:2]:
            state.runs.begin(f"{year}0101T000000-ab", "apply", f"{year}-01-01T00:00:00.000+00:00")
            actions = [
                ActionRow("annotate", "cells", "a.jpg", "annotations_changed"),
                ActionRow(
                    "update_metadata",
                    "cells",
                    "a.jpg",
                    "metadata_changed",
                    before=in_the_lake.digest,
                    confirmed=values.digest,
                ),
            ]
            sent = SentSet("human", theirs, after, "human", ours)
            state.runs.record_actions(f"{year}0101T000000-ab", actions, {0: sent})
    assert state.delete_old_runs("2022-01-01") == 1
    of_set, of_metadata = state.runs.values("20220101T000000-ab")
    assert lefts(of_set.set_confirmed) == [1.0]
    assert of_metadata.metadata_confirmed == values.values
    assert state.delete_old_runs("2023-01-01") == 1
    assert rows_of_values(state) == (0, False)


def rows_of_values(state: StateStore) -> tuple[int, bool]:
    return rows(state), state.metadata_sets.values(metadata_set({"City": "Rome"}).digest) is not None


def columns_of_digests(state: StateStore) -> set[tuple[str, str]]:
    tables = [name for (name,) in state._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        (table, column)
        for table in tables
        for (_, column, *_) in state._connection.execute(f"PRAGMA table_info({table})")
        if "digest" in column
    }


def test_every_column_that_can_refer_to_metadata_is_known(state: StateStore) -> None:
    from metalake_sync.state.retention import _USED_METADATA

    not_of_metadata = {
        ("metadata_sets", "digest"),
        ("annotation_sets", "digest"),
        ("addressed_sets", "digest"),
        ("set_memo", "digest"),
        ("pending_sets", "digest"),
    }
    assert columns_of_digests(state) - not_of_metadata == {one for one in _USED_METADATA if one[0] != "run_actions"}


def test_the_file_shrinks_when_most_of_it_is_unused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    shapes = [boxes(*(float(10 * number + step) for number in range(300))) for step in range(10)]
    with StateStore(path) as state, state.write():
        bases = [one or 0 for one in state.bases.put(one for one in shapes for _ in range(30))]
        state.bases.keep_for_history(bases)
        state.runs.begin("20210101T000000-ab", "apply", "2021-01-01T00:00:00.000+00:00")
        rows = [ActionRow("annotate", "cells", str(number), "new") for number in range(len(bases))]
        sent = {number: SentSet("human", 0, base) for number, base in enumerate(bases)}
        state.runs.record_actions("20210101T000000-ab", rows, sent)
    full = path.stat().st_size
    with StateStore(path) as state:
        assert state.delete_old_runs("2022-01-01") == 1
    assert path.stat().st_size < full / 2


@pytest.mark.parametrize("before", ["2020-12-31", "2021-01-01"])
def test_no_run_is_too_old(state: StateStore, handle: CollectionHandle, before: str) -> None:
    send(state, handle, 2021, "a.jpg", shapes=boxes(1))
    assert state.delete_old_runs(before) == 0
    assert len(state.runs.last()) == 1


def test_a_state_without_runs(state: StateStore) -> None:
    assert state.delete_old_runs("2022-01-01") == 0
