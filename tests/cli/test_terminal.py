"""Text for a terminal: sizes, durations, names."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalake_sync.cli.options import rate
from metalake_sync.cli.terminal import count, duration, for_logs, shown, size
from metalake_sync.errors import UsageError


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (48_200_000, "48.2 MB"),
        (999_960_000, "1.0 GB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_sizes_are_decimal(size_bytes: float, words: str) -> None:
    assert size(size_bytes) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (8.24, "8.2 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_have_readable_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_numbers_agree_with_their_nouns() -> None:
    assert [count(1, "file"), count(2, "file"), count(2, "try", "tries")] == ["1 file", "2 files", "2 tries"]


@given(st.text())
def test_no_name_reaches_the_terminal_as_a_command(text: str) -> None:
    assert shown(text).isprintable()


def test_an_escape_sequence_is_printed_as_text() -> None:
    assert shown("a\x1b[31mb") == "a\\x1b[31mb"


@pytest.mark.parametrize(("text", "bytes_per_second"), [("800k", 8e5), ("10M", 1e7), ("1.5G", 1.5e9), ("77", 77)])
def test_rates_take_units(text: str, bytes_per_second: float) -> None:
    assert rate(text) == bytes_per_second


@pytest.mark.parametrize("text", ["", "fast", "-1", "0", "nan", "inf", "1T"])
def test_an_invalid_rate_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not a rate"):
        rate(text)


@pytest.mark.parametrize(
    "text",
    [
        "::error::x",
        "  ::set-output name=a::b",
        "a ##[group]b",
        "##vso[task.setvariable]x",
        "##teamcity[x]",
        "\n::error::",
    ],
)
def test_no_text_starts_a_command_of_a_ci_system(text: str) -> None:
    """GitHub executes lines that start with :: and ##[ anywhere, Azure ##vso[, TeamCity ##teamcity[."""
    told = shown(text)
    assert not told.lstrip().startswith("::")
    assert not re.search(r"##(\[|vso\[|teamcity\[)", told)
    document = json.dumps({"name": text})
    assert "##" not in for_logs(document)
    assert json.loads(for_logs(document)) == {"name": text}


def test_colons_and_hashes_elsewhere_stay() -> None:
    for text in ("std::vector", "# heading", "a##b", "a ::b"):
        assert shown(text) == text
