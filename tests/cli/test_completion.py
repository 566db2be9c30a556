"""Completion in shells: the scripts are valid, and answer what a shell asks while the user types."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("metalake-sync")


def answers(*words: str) -> list[str]:
    """Return the completions of the last word, each with its kind."""
    environment = {
        **os.environ,
        "COMP_WORDS": " ".join(["metalake-sync", *words]),
        "COMP_CWORD": str(len(words)),
        "_METALAKE_SYNC_COMPLETE": "bash_complete",
    }
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_valid(shell: str) -> None:
    script = subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, check=True).stdout
    assert "_METALAKE_SYNC_COMPLETE" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed, so only the text of its script was checked")
    checked = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_commands_options_and_choices_are_completed() -> None:
    assert answers("ap") == ["plain,apply"]
    assert answers("state", "unl") == ["plain,unlock"]
    assert set(answers("plan", "--det")) == {"plain,--detailed-exitcode"}
    assert answers("apply", "--refresh", "f") == ["plain,full"]


def test_a_manifest_is_completed_as_a_file() -> None:
    assert answers("apply", "bi") == ["file,bi"]


def test_bash_completes_with_the_script() -> None:
    script = subprocess.run([PROGRAM, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    asks = 'COMP_WORDS=(metalake-sync histo); COMP_CWORD=1; _metalake_sync_completion metalake-sync; echo "$COMPREPLY"'
    path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{asks}"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "history"


def test_to_complete_a_command_imports_no_command() -> None:
    code = (
        "import os, sys; from metalake_sync.cli.main import cli;"
        "from click.shell_completion import ShellComplete as S;"
        "S(cli, {}, 'metalake-sync', '_X').get_completions([], 'a');"
        "print(*[name for name in sys.modules if name.startswith('metalake_sync.cli.commands.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
