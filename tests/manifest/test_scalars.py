"""Plain scalars follow YAML 1.2, ambiguous ones must be quoted, and variables are replaced."""

from __future__ import annotations

import pytest
from yaml import ScalarNode

from metalake_sync.manifest.scalars import (
    Loader,
    MalformedReference,
    MissingVariables,
    RefusedScalar,
    Variables,
    literal_part,
    scalar_value,
)
from tests.manifest.conftest import HEAD, ManifestFolder


def value(text: str) -> object:
    node = Loader(text).get_single_node()
    assert isinstance(node, ScalarNode)
    return scalar_value(node)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
    ],
)
def test_numbers_booleans_and_nulls_are_distinguished(text: str, meant: object) -> None:
    found = value(text)
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    "text", ["no", "on", "Yes", "y", "12:30", "1_000", "1.2.3", "0b1", "=", "a<<", "2024", "'2024'"]
)
def test_values_that_only_yaml_1_1_converts_are_texts(text: str) -> None:
    quoted = text.strip("'")
    assert value(f"'{quoted}'") == quoted
    if text != "2024":
        assert value(text) == quoted


@pytest.mark.parametrize("text", ["2024-01-31", "2024-1-3", "2024-01-31T10:00:00Z", "2024-01-31 10:00:00.5 +02:00"])
def test_a_date_must_be_quoted(text: str) -> None:
    with pytest.raises(RefusedScalar, match="looks like a date") as caught:
        value(text)
    assert caught.value.remedy == f'If it is text, put it in quotes: "{text}".'
    assert value(f'"{text}"') == text


@pytest.mark.parametrize("text", ["007", "-01", "00"])
def test_a_number_with_a_leading_zero_must_be_quoted(text: str) -> None:
    with pytest.raises(RefusedScalar, match="a number to some YAML readers and text to others"):
        value(text)


@pytest.mark.parametrize("text", [".nan", ".inf", "-.INF", "1e999", "!!float x"])
def test_values_that_json_cannot_represent_are_errors(text: str) -> None:
    with pytest.raises(RefusedScalar, match="not a number in JSON"):
        value(text)


@pytest.mark.parametrize("text", ["9" * 5000, "0x" + "f" * 17, "!!int x"])
def test_a_whole_number_has_at_most_64_bits(text: str) -> None:
    with pytest.raises(RefusedScalar, match="not a whole number of up to 64 bits"):
        value(text)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${A}", "a"),
        ("x-${A}-${B}", "x-a-b"),
        ("${C:-default}", "default"),
        ("${C:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${C:-embedded:.metalake}", "embedded:.metalake"),
        ("$${A}", "${A}"),
        ("$${", "${"),
        ("$A $ {A}", "$A $ {A}"),
        ("${NESTED}", "${A}"),
    ],
)
def test_references_are_replaced(text: str, filled: str) -> None:
    variables = Variables({"A": "a"}, {"A": "never", "B": "b", "EMPTY": "", "NESTED": "${A}"})
    assert variables.fill_in(text) == filled


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${A-x}", "${A:?x}", "${ A }", "${1A}", "${A:-${B}}"])
def test_a_malformed_reference_is_an_error(text: str) -> None:
    with pytest.raises(MalformedReference):
        Variables({"A": "a"}).fill_in(text)


def test_missing_variables_of_a_text_are_each_named_once() -> None:
    with pytest.raises(MissingVariables) as caught:
        Variables().fill_in("${A} ${B} ${A}")
    assert caught.value.names == ("A", "B")


@pytest.mark.parametrize(("text", "literal"), [("${A}", ""), ("${A:-x}", "x"), ("y${A}", "y"), ("$${A}", "${A}")])
def test_the_literal_part_is_the_text_that_is_written_in_the_manifest(text: str, literal: str) -> None:
    assert literal_part(text) == literal


def test_given_variables_override_the_environment(manifests: ManifestFolder) -> None:
    text = HEAD + "name: ${NAME}\n"
    assert manifests.load(text, variables={"NAME": "given"}, environment={"NAME": "inherited"}).name == "given"
    assert manifests.load(text, environment={"NAME": "inherited"}).name == "inherited"


def test_a_missing_variable_is_the_only_error_at_its_place(manifests: ManifestFolder) -> None:
    text = HEAD + "collections:\n  - {name: x, type: '${T}', prune: '${P}', files: ['${F}']}\n"
    assert [message.partition(". ")[0] for message in manifests.messages(text)] == [
        "birds.yaml:4:21: the variable T has no value",
        "birds.yaml:4:36: the variable P has no value",
        "birds.yaml:4:52: the variable F has no value",
    ]


def test_variables_may_give_booleans_enumerated_values_and_the_version(manifests: ManifestFolder) -> None:
    text = (
        "version: ${V}\nremote: {url: embedded:x}\ncollections:\n"
        "  - {name: '${N}', type: '${T}', prune: '${P}', metadata: {Count: '${N}'}}\n"
    )
    (one,) = manifests.load(text, variables={"V": "1", "N": "2024", "T": "image", "P": "true"}).collections
    assert (one.name, one.type, one.prune, one.metadata_layers[1]) == ("2024", "image", True, {"Count": "2024"})


def test_references_in_keys_are_not_replaced(manifests: ManifestFolder) -> None:
    loaded = manifests.load(
        HEAD + "collections: [{name: x, type: other, metadata: {'${A}': 1}}]\n", variables={"A": "a"}
    )
    assert loaded.collections[0].metadata_layers[1] == {"${A}": 1}
