"""The output of a run without a terminal."""

from __future__ import annotations

import json

import pytest

from metalake_sync.cli.listeners import TextListener
from metalake_sync.core.events import Waiting

AWAY = Waiting("https://a.example: the lake cannot be reached (connection refused); retrying for another 56 s")


def test_an_unreachable_lake_is_reported_at_once_and_once_for_all_calls(capsys: pytest.CaptureFixture[str]) -> None:
    listener = TextListener(quiet=False, verbose=False)
    for _ in range(5):
        listener(AWAY)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", AWAY.message + "\n")


@pytest.mark.parametrize(("quiet", "levels"), [(False, ["warning"]), (True, [])])
def test_waiting_is_json_in_a_json_log_and_nothing_with_quiet(
    capsys: pytest.CaptureFixture[str], quiet: bool, levels: list[str]
) -> None:
    TextListener(quiet=quiet, verbose=False, json_log=True)(AWAY)
    assert [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()] == levels
