"""Plain scalars mean what they mean to most people; what is ambiguous has to be quoted."""

from __future__ import annotations

import pytest
from yaml import ScalarNode

from metalake_sync.manifest.scalars import Loader, RefusedScalar, scalar_value


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
def test_numbers_booleans_and_nulls_are_told_apart(text: str, meant: object) -> None:
    found = value(text)
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    "text", ["no", "on", "Yes", "y", "12:30", "1_000", "1.2.3", "0b1", "=", "a<<", "2024", "'2024'"]
)
def test_what_looks_like_something_only_to_old_yaml_stays_a_text(text: str) -> None:
    quoted = text.strip("'")
    assert value(f"'{quoted}'") == quoted
    if text != "2024":
        assert value(text) == quoted


@pytest.mark.parametrize("text", ["2024-01-31", "2024-1-3", "2024-01-31T10:00:00Z", "2024-01-31 10:00:00.5 +02:00"])
def test_a_date_has_to_be_quoted(text: str) -> None:
    with pytest.raises(RefusedScalar, match="looks like a date") as caught:
        value(text)
    assert caught.value.remedy == f'If it is text, put it in quotes: "{text}".'
    assert value(f'"{text}"') == text


@pytest.mark.parametrize("text", ["007", "-01", "00"])
def test_a_number_with_a_leading_zero_has_to_be_quoted(text: str) -> None:
    with pytest.raises(RefusedScalar, match="a number to some YAML readers and text to others"):
        value(text)


@pytest.mark.parametrize("text", [".nan", ".inf", "-.INF", "1e999", "!!float x"])
def test_what_json_can_not_write_is_refused(text: str) -> None:
    with pytest.raises(RefusedScalar, match="not a number in JSON"):
        value(text)


@pytest.mark.parametrize("text", ["9" * 5000, "0x" + "f" * 17, "!!int x"])
def test_a_whole_number_has_at_most_64_bits(text: str) -> None:
    with pytest.raises(RefusedScalar, match="not a whole number of up to 64 bits"):
        value(text)
