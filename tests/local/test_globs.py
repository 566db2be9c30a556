"""Patterns match what gitignore's match, and no name makes one slow."""

from __future__ import annotations

import re
import subprocess
import sys

import pathspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metalake_sync.errors import ManifestError
from metalake_sync.local.globs import compile_patterns
from metalake_sync.local.rules import PatternList

PART = st.text(st.sampled_from("ab?*[]!-\\."), min_size=1, max_size=8)
PATTERN = st.lists(PART | st.just("**") | st.sampled_from("ab"), min_size=1, max_size=7).map("/".join)
PATH = st.lists(
    st.text(st.sampled_from("ab.-]"), min_size=1, max_size=8) | st.sampled_from("ab"), min_size=1, max_size=7
).map("/".join)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@given(lines=st.lists(PATTERN, min_size=1, max_size=3), path=PATH)
@settings(max_examples=400, deadline=None)
def test_a_pattern_takes_what_pathspec_takes(lines: list[str], path: str) -> None:
    try:
        wanted = pathspec.GitIgnoreSpec.from_lines(lines)
    except (ValueError, re.error):
        with pytest.raises(ValueError):
            compile_patterns(lines)
        return
    assert compile_patterns(lines).match_file(path) == wanted.match_file(path)


@pytest.mark.parametrize(
    "pattern",
    [
        "sub/" + "*a" * 15 + "*b",
        "sub/" + "*[ab]" * 15 + "*c/x",
        "**/" + "*?a" * 12 + "*b",
        "**a" * 8 + "**b",
        "*" * 300 + "b",
        "**/" + "a/**/" * 12 + "b",
        "sub/" + "**/a/" * 14 + "b",
        "sub/" + "**/*a*/" * 10 + "*b",
        "**/" * 40 + "b",
    ],
)
@pytest.mark.parametrize("name", ["sub/" + "a" * 250, "sub/" + "a/" * 120 + "a"])
def test_many_stars_come_to_an_end(pattern: str, name: str) -> None:
    code = f"from metalake_sync.local.globs import compile_patterns as c; c([{pattern!r}]).match_file({name!r})"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_a_range_that_runs_backwards_is_no_pattern() -> None:
    with pytest.raises(ManifestError, match="can't be understood"):
        PatternList(["sub/[z-a]"])
    with pytest.raises(ManifestError, match="can't be understood"):
        PatternList(["[z-a].jpg"])
