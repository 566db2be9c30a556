"""Which metadata a revert writes: one case for each relation of before, after, record and lake."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pytest

from metalake_sync.operations.revert_metadata import ChangedMetadata, revert_metadata


class Case(NamedTuple):
    """A run that changed `before` to `after`, and what is left of it."""

    before: dict[str, Any]
    after: dict[str, Any]
    lake: dict[str, Any]
    """The lake now. What we recorded is `after`, unless `recorded` says otherwise."""
    update: dict[str, Any]
    """What the revert writes."""
    record: dict[str, Any]
    """What the state has of it afterwards."""
    recorded: dict[str, Any] | None = None
    confirmed: dict[str, Any] | None = None
    """What we had written before the run, if another client had changed it."""
    tags: Literal["own", "exact"] = "own"
    changed_later: tuple[str, ...] = ()
    """The fields that later runs wrote."""
    overwrites: bool = False
    stay: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


A, B, C = {"City": "Rome"}, {"City": "Oslo"}, {"City": "Bern"}

CASES = {
    "the lake has what the run wrote": Case(A, B, B, A, A),
    "another client changed the field since": Case(A, B, C, A, A, overwrites=True),
    "another client restored the field": Case(A, B, A, {}, B),
    "the lake lost the field": Case(A, B, {}, A, A),
    "a later run changed the field": Case(A, B, C, {}, C, recorded=C, changed_later=("City",), left_out=("City",)),
    "a later run changed another field": Case(
        A, B, {**B, "Site": 2}, A, {**A, "Site": 2}, recorded={**B, "Site": 2}, changed_later=("Site",)
    ),
    "a later run changed the field back": Case(A, B, A, {}, A, recorded=A, changed_later=("City",)),
    "another client changed a field that the run did not write": Case(
        {**A, "Site": 1}, {**B, "Site": 1}, {**B, "Site": 9}, A, {**A, "Site": 1}
    ),
    "another client changed a field that did not exist, and a later run another field": Case(
        {}, B, {**C, "Site": 2}, {}, {"Site": 2}, recorded={**B, "Site": 2}, changed_later=("Site",), stay=("City",)
    ),
    "the field did not exist": Case({}, B, B, {}, {}, stay=("City",)),
    "the field did not exist, and another one did": Case(
        {"Site": 1}, {"Site": 2, **B}, {"Site": 2, **B}, {"Site": 1}, {"Site": 1}, stay=("City",)
    ),
    "the manifest dropped a field, which stayed in the lake": Case(
        {**A, "Site": 1}, B, {**B, "Site": 1}, A, A
    ),
    "the run overwrote another client's value": Case(A, B, B, A, C, confirmed=C),
    "the run overwrote another client's value of a field that we had not written": Case(A, B, B, A, {}, confirmed={}),
    "a number in the lake is its text": Case({"Size": 1}, {"Size": 2}, {"Size": "2"}, {"Size": 1}, {"Size": 1}),
    "a field that the lake computes": Case({"fileSize": 1}, {"fileSize": 2}, {"fileSize": 77}, {}, {"fileSize": 2}),
    "tags": Case(
        {"Tags": ["a", "b"]}, {"Tags": ["b", "c"]}, {"Tags": ["b", "c"]}, {"Tags": ["a", "b"]}, {"Tags": ["a", "b"]}
    ),
    "tags that the run wrote first stay, because the lake may have had them": Case(
        {}, {"Tags": ["a"]}, {"Tags": ["a"]}, {}, {"Tags": ["a"]}
    ),
    "a tag of the run that another client had set before it": Case(
        {"Tags": ["a", "x"]}, {"Tags": ["a", "x"]}, {"Tags": ["a", "x"]}, {}, {"Tags": ["a"]},
        confirmed={"Tags": ["a"]},
    ),
    "the first tag of a lake without tags": Case(
        {"Tags": []}, {"Tags": ["a"]}, {"Tags": ["a"]}, {"Tags": []}, {}, confirmed={}
    ),
    "the last tag, removed by the run": Case({"Tags": ["a"]}, {}, {"Tags": []}, {"Tags": ["a"]}, {"Tags": ["a"]}),
    "tags of another client stay": Case(
        {"Tags": ["a"]}, {"Tags": ["b"]}, {"Tags": ["b", "x"]}, {"Tags": ["x", "a"]}, {"Tags": ["a"]}
    ),
    "tags that a later run added stay": Case(
        {"Tags": ["a"]}, {"Tags": ["b"]}, {"Tags": ["b", "c"]}, {"Tags": ["a", "c"]}, {"Tags": ["a", "c"]},
        recorded={"Tags": ["b", "c"]}, changed_later=("Tags",),
    ),
    "another client's tag, which the history saw and the run kept": Case(
        {"Tags": ["a", "x"]}, {"Tags": ["b"]}, {"Tags": ["b"]}, {"Tags": ["a"]}, {"Tags": ["a"]},
        confirmed={"Tags": ["a"]},
    ),
    "a tag of ours that another client had removed before the run": Case(
        {"Tags": ["a", "x"]}, {"Tags": ["b"]}, {"Tags": ["x", "b"]}, {"Tags": ["x", "a"]}, {"Tags": ["a", "c"]},
        confirmed={"Tags": ["a", "c"]},
    ),
    "the run was a revert after which the record had another tag than the lake": Case(
        {"Tags": ["c", "b"]}, {"Tags": ["c"]}, {"Tags": ["c"]}, {"Tags": ["c", "b"]}, {"Tags": ["b"]},
        recorded={"Tags": ["a"]}, confirmed={"Tags": ["b"]},
    ),
    "another client's tag alone, which an exact run removed": Case(
        {"Tags": ["a", "x"]}, {"Tags": ["a"]}, {"Tags": ["a"]}, {"Tags": ["a", "x"]}, {"Tags": ["a"]},
        confirmed={"Tags": ["a"]}, tags="exact",
    ),
    "another client's tag, which an exact run removed": Case(
        {"Tags": ["a", "x"]}, {"Tags": ["b"]}, {"Tags": ["b"]}, {"Tags": ["a", "x"]}, {"Tags": ["a"]},
        confirmed={"Tags": ["a"]}, tags="exact",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_revert_writes(name: str) -> None:
    case = CASES[name]
    found = revert_metadata(
        ChangedMetadata(case.before, case.after, case.confirmed),
        case.after if case.recorded is None else case.recorded,
        case.lake,
        case.tags,
        changed_later=case.changed_later,
    )
    assert found.update == case.update
    assert found.record.values == case.record
    assert (found.overwrites, tuple(found.stay), tuple(found.changed_later)) == (
        case.overwrites,
        case.stay,
        case.left_out,
    )
    assert {change.what: change.after for change in found.changes} == case.update
