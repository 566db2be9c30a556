"""How things read on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalake_sync.cli.options import rate
from metalake_sync.cli.wording import count, duration, shown, size
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
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_numbers_agree_with_their_nouns() -> None:
    assert [count(1, "file"), count(2, "file"), count(2, "try", "tries")] == ["1 file", "2 files", "2 tries"]


@given(st.text())
def test_nothing_that_a_name_holds_reaches_the_terminal_as_a_command(text: str) -> None:
    assert shown(text).isprintable()


def test_an_escape_sequence_is_shown_and_not_obeyed() -> None:
    assert shown("a\x1b[31mb") == "a\\x1b[31mb"


@pytest.mark.parametrize(("text", "bytes_per_second"), [("800k", 8e5), ("10M", 1e7), ("1.5G", 1.5e9), ("77", 77)])
def test_rates_take_units(text: str, bytes_per_second: float) -> None:
    assert rate(text) == bytes_per_second


@pytest.mark.parametrize("text", ["", "fast", "-1", "0", "nan", "inf", "1T"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no rate"):
        rate(text)
