"""YAML becomes plain values with places; broken and endless documents are errors with a place."""

from __future__ import annotations

import pytest

from metalake_sync.errors import Location, ManifestError
from metalake_sync.manifest.scalars import NODE_LIMIT, Variables
from metalake_sync.manifest.yaml_tree import Tree, parse


def read(text: str) -> Tree:
    return parse(text, "a.yaml", Variables({"A": "x: [1]"}, {}))


def error_text(text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        read(text)
    return str(caught.value)


def messages(text: str) -> list[str]:
    return [str(error) for error in read(text).errors]


def test_every_value_and_every_key_has_a_place() -> None:
    tree = read("a:\n  - b: 1\n    c: x\n")
    assert tree.value == {"a": [{"b": 1, "c": "x"}]}
    assert tree.places[("a", 0, "c")] == Location("a.yaml", 3, 8)
    assert tree.keys[("a", 0, "c")] == Location("a.yaml", 3, 5)


def test_columns_count_characters_and_not_bytes() -> None:
    assert read("{ä😀: 1, b: 2}").places[("b",)] == Location("a.yaml", 1, 12)


def test_a_duplicate_key_is_an_error_with_both_lines() -> None:
    assert messages("a: 1\nb: 2\na: 3\n") == [
        "a.yaml:3:1: the key 'a' is set twice; the first is in line 1. Keep one of them."
    ]


def test_keys_are_always_texts() -> None:
    assert read("{no: 1, 7: 2, true: 3, 2024-01-01: 4}").value == {"no": 1, "7": 2, "true": 3, "2024-01-01": 4}


def test_a_key_that_is_a_list_is_an_error() -> None:
    assert messages("? [a]\n: b\n") == ["a.yaml:1:3: a key must be text. Write it as 'key: value'."]


def test_the_value_of_a_variable_adds_no_structure() -> None:
    assert read("a: ${A}").value == {"a": "x: [1]"}


def test_aliases_and_merge_keys_are_expanded() -> None:
    tree = read("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{y: 4}, *a]}\nd: *a\n")
    assert tree.errors == []
    assert tree.value["b"] == {"x": 1, "y": 3}
    assert tree.value["c"] == {"x": 1, "y": 4}
    assert tree.value["d"] == {"x": 1, "y": 2}
    assert tree.places[("b", "x")] == Location("a.yaml", 1, 11)


def test_a_merge_key_accepts_only_mappings() -> None:
    assert messages("a: {<<: 3, x: 1}") == [
        "a.yaml:1:9: '<<' takes a mapping, or a list of mappings. Write <<: *anchor."
    ]


@pytest.mark.parametrize("tag", ["!!python/object:os.system", "!!set", "!!binary", "!mine"])
@pytest.mark.parametrize("value", ["{}", "[]", "x"])
def test_yaml_tags_are_errors(tag: str, value: str) -> None:
    (message,) = messages(f"a: {tag} {value}")
    assert message.startswith("a.yaml:1:4: the tag ")


def bomb(merge: bool) -> str:
    lines = ["a0: &a0 {x: 1}" if merge else "a0: &a0 [x, x]"]
    for level in range(1, 40):
        others = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{others}]}}" if merge else f"[{others}]"))
    return "\n".join(lines)


@pytest.mark.parametrize("merge", [False, True])
def test_a_document_that_expands_without_end_is_an_error(merge: bool) -> None:
    # It has 9^39 values: reading them all would never end.
    assert (
        "the manifest has too many values after its aliases are expanded. The limit is 200,000 values."
        in error_text(bomb(merge))
    )


def test_a_document_with_too_many_values_is_an_error() -> None:
    assert (
        error_text("[" + "a," * NODE_LIMIT + "]")
        == "a.yaml: the manifest has too many values. The limit is 200,000 values."
    )


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {<<: *a}", "&a {b: *a}"])
def test_an_alias_that_contains_itself_is_an_error(text: str) -> None:
    assert "the manifest is nested too deeply, or an alias contains itself. The limit is 64 levels." in error_text(text)


@pytest.mark.parametrize("depth", [66, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}"), ("- ", "")])
def test_a_document_that_is_nested_too_deeply_is_an_error(depth: int, opening: str, closing: str) -> None:
    assert "the manifest is nested too deeply" in error_text(opening * depth + closing * depth)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n\tb: 2\n", "a.yaml:2:1: broken YAML: a tab. Indent with spaces."),
        ("a: 1\n---\nb: 2\n", "a.yaml:2:1: a second YAML document starts here. Keep one document."),
        ("a: {b: ${A}}\n", 'Inside [ ] and { }, put "${NAME}" in quotes.'),
        ("a: *b\n", "a.yaml:1:4: broken YAML: found undefined alias. Fix it there."),
        ("a: 'b\n", "broken YAML: found unexpected end of stream, while scanning a quoted scalar."),
        ("a: b\nc: \x07\n", "a.yaml:2:4: broken YAML: the character U+0007 is not allowed in a text file."),
        ("a: \ud800\n", "a.yaml:1:4: broken YAML: the character U+D800 is not allowed in a text file."),
        ("", "a.yaml: the manifest is empty. 'metalake-sync init' writes an example."),
        ("# only a comment\n---\n", "a.yaml: the manifest is empty."),
    ],
)
def test_broken_yaml_is_an_error_with_place_and_problem(text: str, message: str) -> None:
    assert message in error_text(text)


def test_a_date_needs_no_quotes_only_in_keys_with_dates() -> None:
    tree = read("downloads: [{filter: {from_date: 2022-08-02}}]\nmetadata: {from_date: 2022-08-02}")
    assert tree.value["downloads"][0]["filter"]["from_date"] == "2022-08-02"
    assert [str(error.where) for error in tree.errors] == ["a.yaml:2:23"]
