"""docs/guides/history.md is true: its commands print what the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.end_to_end.world import World, boxes

PAGE = (Path(__file__).parents[2] / "docs/guides/history.md").read_text()

_MOVING = re.compile(
    r"(?P<time>^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)|(?P<run>\d{8}T\d{6}-[0-9a-f]{8})|(?P<host> on [^,]+,)"
    r"|(?P<seconds>\d+\.\d s)",
    re.MULTILINE,
)
"""What differs from machine to machine."""

RUN_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")


def console_blocks() -> list[tuple[str, str]]:
    """The commands of the page, each with its output."""
    return re.findall(r"```console\n\$ ([^\n]*)\n(.*?)```", PAGE, re.DOTALL)


def masked(text: str) -> str:
    return _MOVING.sub(lambda found: f"<{found.lastgroup}>", text)


@pytest.fixture
def applied_twice(world: World) -> World:
    """The two runs of the page."""
    (manifest,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    world.images("crow.png", "gull.png", "jay.png")
    first = {"crow_png": [[1, 1, 8, 8], [20, 10, 6, 6]], "gull_png": [[3, 3, 10, 10]], "jay_png": [[5, 5, 9, 9]]}
    second = {"crow_png": [[2, 1, 8, 8], [20, 10, 6, 6]], "gull_png": [[3, 3, 10, 10], [12, 4, 5, 5]], "jay_png": []}
    runs = (
        (first, manifest, "8f3c2d1e5b7a9046c1de22f0b3a4958776605f4e", "7214"),
        (
            second,
            manifest.replace('"#birds"', '"#birds", reviewed'),
            "c41d90be7725fa1388604e9d2b3c5a6f70819e4d",
            "7239",
        ),
    )
    for drawn, text, commit, run in runs:
        world.write("boxes.json", boxes(**drawn))
        world.write("birds.yaml", text)
        world.write(".git/HEAD", f"{commit}\n")
        job = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "acme/birds", "GITHUB_RUN_ID": run}
        world.good("apply", "birds.yaml", "--auto-approve", LOGNAME="runner", **job)
    return world


def test_the_commands_of_the_page_print_what_it_shows(applied_twice: World) -> None:
    (last,) = applied_twice.good("history", "--json", "--limit", "1", "birds.yaml").document
    commands = [command for command, _ in console_blocks()]
    assert len(commands) == 2
    for command, shown in console_blocks():
        program, *words = shlex.split(RUN_ID.sub(last["id"], command))
        assert program == "metalake-sync"
        printed = applied_twice.good(*words).out
        assert masked(printed) == masked(shown), command


def test_the_filter_of_the_page_finds_the_run_of_a_commit(applied_twice: World) -> None:
    (words,) = re.findall(r"jq '\.\[\] \| select\((.*)\)\.id'", PAGE)
    assert words == '.provenance.commit == "COMMIT"'
    commits = [run["provenance"]["commit"] for run in applied_twice.good("history", "--json", "birds.yaml").document]
    assert [commit[:4] for commit in commits] == ["c41d", "8f3c"]
