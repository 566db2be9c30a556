"""The output of a run without a terminal."""

from __future__ import annotations

import json

import pytest

from metalake_sync.cli.listeners import JsonListener, TextListener
from metalake_sync.core.events import Progress, RunFinished, Waiting
from metalake_sync.core.summary import Summary

AWAY = Waiting("https://a.example: the lake cannot be reached (connection refused); retrying for another 56 s")


def test_an_unreachable_lake_is_reported_at_once_and_once_for_all_calls(capsys: pytest.CaptureFixture[str]) -> None:
    listener = TextListener(quiet=False, verbose=False)
    for _ in range(5):
        listener(AWAY)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", AWAY.message + "\n")


def test_the_last_progress_of_a_run_is_in_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    listener = JsonListener()
    for done in range(4):
        listener(Progress(done, 3, done * 10, 30, "birds", 0.1))
    listener(RunFinished("run", Summary.empty(), (), 30, 9, 3, 0.2))
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event.get("files_done") for event in events] == [0, 3, None]


@pytest.mark.parametrize(("quiet", "levels"), [(False, ["warning"]), (True, [])])
def test_waiting_is_json_in_a_json_log_and_nothing_with_quiet(
    capsys: pytest.CaptureFixture[str], quiet: bool, levels: list[str]
) -> None:
    TextListener(quiet=quiet, verbose=False, json_log=True)(AWAY)
    assert [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()] == levels
