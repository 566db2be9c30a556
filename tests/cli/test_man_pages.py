"""The manual pages: they have what the help has, and man renders them without a warning."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from metalake_sync.cli.main import COMMANDS, cli
from metalake_sync.cli.man_pages import EXIT_STATUS, man_page, page_names
from metalake_sync.errors import ExitCode
from tests.end_to_end.world import World

README = (Path(__file__).parents[2] / "README.md").read_text()


def rendered(page: str) -> str:
    """Return a page as `man -l` shows it on a terminal of 80 columns, without bold."""
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    done = subprocess.run(
        ["man", "--warnings", "-l", "-"],
        input=page,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MANWIDTH": "80", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"},
    )
    assert (done.returncode, done.stderr) == (0, ""), page
    return re.sub(r".\x08", "", done.stdout)


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_man_renders_each_page_without_a_warning(name: str | None) -> None:
    shown = rendered(man_page(cli, name))
    title = "metalake-sync" if name is None else f"metalake-sync-{name}"
    assert shown.splitlines()[0].startswith(f"{title.upper()}(1)")
    assert re.search(rf"^NAME\n +{title} - \S", shown, re.MULTILINE)
    assert max(len(line) for line in shown.splitlines()) <= 80


def options_of(command: click.Command, context: click.Context) -> set[str]:
    found = {flag for one in command.params if isinstance(one, click.Option) for flag in one.opts}
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            found |= options_of(below, context)
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_has_every_option_of_its_command(name: str) -> None:
    context = click.Context(cli, info_name="metalake-sync")
    command = cli.get_command(context, name)
    assert command is not None
    page = man_page(cli, name).replace("\\-", "-")
    terms = " ".join(re.findall(r"^\.TP\n\\fB(.*)\\fR$", page, re.MULTILINE)) + " "
    assert {flag for flag in options_of(command, context) if not re.search(rf"{flag}[ ,]", terms)} == set()


def test_the_page_of_the_program_has_the_exit_codes_of_the_readme() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", README.split("### Exit codes")[1].split("\n## ")[0], re.MULTILINE))
    plain = {int(code): re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", words).replace("`", "") for code, words in rows.items()}
    assert plain == {int(code): words for code, words in EXIT_STATUS.items()}
    assert set(EXIT_STATUS) == set(ExitCode)
    shown = rendered(man_page(cli))
    assert all(f"metalake-sync-{name}(1)" in shown for name in COMMANDS)
    assert "METALAKE_SYNC_LOCK_TIMEOUT" in shown


def test_the_pages_are_written_and_man_finds_them(world: World) -> None:
    done = world.good("man", "--to", "share/man/man1")
    folder = world.folder / "share" / "man" / "man1"
    assert {path.name for path in folder.iterdir()} == {f"{name}.1" for name in page_names(cli)}
    assert f"Wrote {len(COMMANDS) + 1} pages" in done.out
    assert (folder / "metalake-sync-apply.1").read_text() == world.good("man", "apply").out
    if shutil.which("man") is not None:
        environment = {**os.environ, "MANPATH": str(folder.parent)}
        where = subprocess.run(
            ["man", "-w", "metalake-sync-apply"], capture_output=True, text=True, check=True, env=environment
        )
        assert Path(where.stdout.strip()) == folder / "metalake-sync-apply.1"


def test_an_unknown_command_has_no_page(world: World) -> None:
    done = world.run("man", "aply")
    assert (done.code, "Did you mean 'apply'?" in done.err) == (ExitCode.USAGE, True)
