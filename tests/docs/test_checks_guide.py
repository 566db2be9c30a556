"""docs/guides/checks.md is true: its commands print what the page shows, and its table has every check."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from metalake_sync.core.checks import Check
from tests.checks.made import picture
from tests.end_to_end.world import World

PAGE = (Path(__file__).parents[2] / "docs/guides/checks.md").read_text()
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"


def test_the_commands_of_the_page_print_what_it_shows(world: World) -> None:
    (manifest,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    world.write("birds.yaml", manifest)
    world.write("train/crow.jpg", picture("JPEG"))
    world.write("train/gull.jpg", POINTER)
    world.write("train/jay.jpg", picture("JPEG", seed=1)[:-300])
    world.write("val/owl.jpg", picture("JPEG"))
    blocks = re.findall(r"```console\n\$ ([^\n]*)\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for command, shown in blocks:
        program, *words = shlex.split(command)
        assert program == "metalake-sync"
        done = world.run(*words)
        assert done.code == 7
        assert done.out + done.err == shown


def test_every_check_is_explained() -> None:
    assert [check for check in Check if f"`{check.value}`" not in PAGE] == []
