"""Lists are read element by element with any content, and batches do not change the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metalake_sync.annotations import json_stream
from metalake_sync.annotations.entries import SourceFile
from metalake_sync.annotations.formats.base import PAIRS_SHOWN, FileHead
from metalake_sync.annotations.json_stream import TOP_LEVEL, BrokenJson, members

TEXTS = st.text(st.sampled_from('ab"\\{}[],: \n☃😀'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**20) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FLAT = st.dictionaries(TEXTS, st.integers() | TEXTS | st.lists(st.floats(0, 9), max_size=4), max_size=4)
ELEMENTS = st.lists(FLAT, max_size=30) | st.lists(FLAT | VALUES, max_size=30)


def read(path: Path) -> list[tuple[str, int | None, Any]]:
    return list(members(path, "a.json", {"list"}))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    elements=ELEMENTS,
    window=st.integers(16, 200),
    batch=st.integers(2, 120),
    indent=st.sampled_from([None, 1]),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,\n ", " :")]),
)
def test_a_list_is_complete_and_in_order(
    tmp_path: Path, elements: list[Any], window: int, batch: int, indent: int | None, separators: tuple[str, str]
) -> None:
    path = tmp_path / "a.json"
    document = {"before": 1, "list": elements, "after": [{}]}
    path.write_text(json.dumps(document, ensure_ascii=False, indent=indent, separators=separators))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "WINDOW_CHARS", window)
        patch.setattr(json_stream, "BATCH_CHARS", batch)
        found = read(path)
    listed: list[tuple[str, int | None, Any]]
    listed = [("list", number, element) for number, element in enumerate(elements)] or [("list", None, [])]
    assert found == [("before", None, 1), *listed, ("after", None, [{}])]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('{"list": [{"a": 1},\n{"a": },\n{"a": 3}]}', 2, 7),
        ('{"list": [{"a": 1},\n{"a": 2},\n]}', 3, 1),
        ('{"list": [{"a": 1},\n{"a": 2}\n{"a": 3}]}', 3, 1),
        ('{"list": [{"a": 1},\n{"a": "2},\n{"a": 3}]}', 2, 11),
    ],
)
def test_an_error_among_elements_has_its_place(tmp_path: Path, text: str, line: int, column: int) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BrokenJson) as caught:
        read(tmp_path / "a.json")
    assert str(caught.value.where) == f"a.json:{line}:{column}"


def test_flat_elements_are_decoded_in_batches_and_nested_ones_singly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    decode = json.loads

    def counting(text: str) -> Any:
        calls.append(text)
        return decode(text)

    monkeypatch.setattr(json, "loads", counting)
    (tmp_path / "a.json").write_text(json.dumps({"list": [{"id": number} for number in range(20_000)]}))
    assert len(read(tmp_path / "a.json")) == 20_000
    assert len(calls) <= 5
    calls.clear()
    nested = [[{"a": number}, {"b": 2}] for number in range(20_000)]
    (tmp_path / "a.json").write_text(json.dumps({"list": nested}))
    assert len(read(tmp_path / "a.json")) == 20_000
    assert len(calls) == json_stream.BATCH_TRIES


@pytest.mark.parametrize("window", range(16, 48))
def test_a_number_at_the_end_of_the_window_is_read_completely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(json_stream, "WINDOW_CHARS", window)
    path = tmp_path / "a.json"
    path.write_text('{"list": [{"a": 1}, 0.25, 6e-3, 7E+2, -0.5]}')
    assert [value for _, _, value in members(path, "a.json", {"list"})] == [{"a": 1}, 0.25, 6e-3, 7e2, -0.5]


@pytest.mark.parametrize("elements", [[], [1], [{"a": [1, {"b": 2}]}, None, "x"]])
def test_a_list_at_the_top_level_is_read_element_by_element_where_it_is_expected(
    tmp_path: Path, elements: list[Any]
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(elements))
    found = list(members(path, "a.json", {TOP_LEVEL}))
    assert found == [(TOP_LEVEL, at, one) for at, one in enumerate(elements)] or found == [(TOP_LEVEL, None, [])]
    path.write_text(json.dumps(elements) + "x")
    with pytest.raises(BrokenJson, match="text after the document's end"):
        list(members(path, "a.json", {TOP_LEVEL}))


def test_what_follows_the_first_document_is_ignored_on_request(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}\n{"b": 2}\n')
    assert list(members(path, "a.json", set(), only_first=True)) == [("a", None, 1)]


def test_an_object_is_read_pair_by_pair_where_it_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"other": {"x": 1}, "all": {"a": [1], "b": {"c": 2}}, "none": {}}')
    assert list(members(path, "a.json", (), {"all", "none"})) == [
        ("other", None, {"x": 1}),
        ("all", 0, ("a", [1])),
        ("all", 1, ("b", {"c": 2})),
        ("none", None, {}),
    ]
    path.write_text('{"all": {"a": 1 "b": 2}}')
    with pytest.raises(BrokenJson):
        list(members(path, "a.json", (), {"all"}))


def test_the_head_of_a_file_shows_the_first_pairs_of_an_object_and_the_first_element_of_a_list(tmp_path: Path) -> None:
    many = {str(number): [number] for number in range(PAIRS_SHOWN + 5)}
    (tmp_path / "a.json").write_text(json.dumps({"a": 1, "many": many, "list": [7, 8], "few": {"x": {"y": 2}}, "b": 3}))
    head = FileHead(SourceFile(tmp_path / "a.json", "a.json", tmp_path))
    found = [(key, position, value) for key, position, value in head.members()]
    assert found == list(head.members())
    assert [found[0], *found[2:]] == [
        ("a", None, 1),
        ("list", 0, 7),
        ("few", None, {"x": {"y": 2}}),
        ("b", None, 3),
    ]
    assert found[1] == ("many", None, dict(list(many.items())[:PAIRS_SHOWN]))
    head.close()
