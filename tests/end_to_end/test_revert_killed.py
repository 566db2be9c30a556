"""A revert that is killed can be run again, and one that a user confirms at a terminal waits for the answer."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from typing import Any

import pytest

from tests.end_to_end.test_revert import FIRST, MOVED, describe, edit, lake_content, last_run, revert
from tests.end_to_end.world import PROGRAM, TIMEOUT_S, World
from tests.faults.mortal import run_in_child
from tests.forked import CONTEXT

STEPS = 40
"""More commits, before and after each, than a revert of this run makes."""


def killed_revert(world: World, run: str, step: int) -> bool:
    """Run a revert that kills itself at a commit of its state. False if it came to its end before."""
    args = ["revert", run, "manifest.yaml", "--auto-approve", "--json"]
    child = CONTEXT.Process(target=run_in_child, args=(str(world.folder), args, world.environment(), step))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def test_a_killed_revert_is_finished_by_another_one(world: World) -> None:
    world.images("a.png", "b.png", "c.png")
    first = {"Source": "BCCD", "Tags": ["one", "two"]}
    describe(world, FIRST, first)
    world.good("apply", "manifest.yaml")
    before = lake_content(world)
    kills = 0
    for step in range(1, STEPS, 3):  # Before and after commits in turn.
        describe(world, MOVED, {"Source": "BCCD-v2", "Tags": ["two", "three"]})
        world.good("apply", "--refresh", "full", "--auto-approve", "manifest.yaml")
        run = last_run(world)
        killed = killed_revert(world, run, step)
        kills += killed
        done = revert(world, run, "--auto-approve")
        assert done.code == 0, (step, done.out, done.err)
        assert lake_content(world) == before, step
        # With the old sources, nothing is left to do.
        describe(world, FIRST, first)
        assert "Nothing to do" in world.good("plan", "manifest.yaml").out, step
        if not killed:
            break
    assert kills >= 3


def answered(world: World, answer: str, *args: str) -> tuple[int, str]:
    """Run a command on a terminal, type an answer at its prompt, and return its exit code and what it showed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [PROGRAM, *args],
        cwd=world.folder,
        env=world.environment(TERM="dumb"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""
        typed = False
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break  # The program has closed the terminal.
            if not part:
                break
            shown += part
            if not typed and b"[y/N]" in shown:
                os.write(ours, answer.encode() + b"\n")
                typed = True
        os.close(ours)
        code = process.wait(TIMEOUT_S)
    return code, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode().replace("\r", ""))


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_a_user_is_asked_at_a_terminal(world: World, command: str) -> None:
    world.images("a.png", "b.png", "c.png")
    metadata: dict[str, Any] = {"Source": "BCCD"}
    describe(world, FIRST, metadata)
    world.good("apply", "manifest.yaml")
    before = lake_content(world)
    describe(world, MOVED, metadata)
    args = ["apply", "manifest.yaml"]
    if command == "revert":
        world.good("apply", "manifest.yaml")
        args = ["revert", last_run(world), "manifest.yaml"]
    edit(world, "a.png", (7, 7, 3, 3))
    edited = lake_content(world)
    for answer in ("n", ""):
        code, shown = answered(world, answer, *args)
        assert code == 7
        assert "overwrites what another client wrote" in shown
        assert "Continue? [y/N]" in shown
        assert lake_content(world) == edited
    code, shown = answered(world, "y", *args)
    assert (code, "Applied: " in shown) == (0, True), shown
    assert (lake_content(world) == before) == (command == "revert")
    assert lake_content(world) != edited
