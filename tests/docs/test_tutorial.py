"""docs/tutorial.md is true: its commands, run one after the other, print what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs/tutorial.md").read_text()

BLOCK = re.compile(r'```(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)```', re.DOTALL)

RUN_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")

_MOVING = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d+ requests|\d+\.\d s\b|(?<=  by ).* on .*")
"""What differs from machine to machine."""


def masked(text: str) -> str:
    return _MOVING.sub("…", RUN_ID.sub("RUN", text)).strip()


def commands(body: str) -> list[tuple[str, str]]:
    """Return the commands of a block, each with the output that the page shows."""
    return re.findall(r"^\$ ([^\n]*)\n(.*?)(?=^\$ |\Z)", body, re.DOTALL | re.MULTILINE)


def test_the_commands_of_the_page_print_what_it_shows(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    last_run = ""
    done = 0
    for block in BLOCK.finditer(PAGE):
        if block["title"]:
            (tmp_path / block["title"]).write_text(block["body"])
        if block["kind"] != "console":
            continue
        for command, shown in commands(block["body"]):
            here = RUN_ID.sub(last_run, command)
            ended = subprocess.run(
                ["bash", "-c", here], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            printed = ended.stdout + ended.stderr
            assert (ended.returncode, masked(printed)) == (0, masked(shown)), f"{here}\n{printed}"
            last_run = (RUN_ID.findall(printed) or [last_run])[-1]
            done += 1
    assert done >= 12


def test_the_tutorial_leaves_no_step_untested() -> None:
    kinds = {(block["kind"], bool(block["title"])) for block in BLOCK.finditer(PAGE)}
    # The first block installs metalake-sync, which the test has already.
    assert kinds == {("sh", False), ("python", True), ("yaml", True), ("console", False)}
    assert len([block for block in BLOCK.finditer(PAGE) if block["kind"] == "sh"]) == 1
