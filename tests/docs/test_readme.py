"""The README is true: what it shows is what the commands print, and the names that it lists are those that exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from metalake_sync.cli.main import COMMANDS
from metalake_sync.errors import ExitCode
from tests.end_to_end.world import World

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

_MOVING = re.compile(r"\d+ requests, [\d.]+ s")
"""What differs from run to run: how often a job was asked for, and the time."""


def block_after(words: str) -> str:
    """The first fenced text block after these words."""
    found = re.search(r"```text\n(.*?)```", README[README.index(words) :], re.DOTALL)
    assert found is not None
    return found[1]


def masked(text: str) -> str:
    return _MOVING.sub("… requests, … s", text)


@pytest.fixture
def quickstart(world: World) -> World:
    """The quickstart's folder without what a run leaves there, at the place that the README speaks of."""
    shutil.copytree(
        ROOT / "examples/quickstart",
        world.folder / "examples/quickstart",
        ignore=shutil.ignore_patterns(".metalake*", "__pycache__"),
    )
    return world


def test_the_quickstart_prints_what_the_readme_shows(quickstart: World) -> None:
    environment = {"LAYERNEXT_URL": "", "LAYERNEXT_API_KEY": "", "LAYERNEXT_SECRET": ""}
    for words in ("applies `examples/quickstart/manifest.yaml`", "Run it again"):
        done = quickstart.good("apply", "examples/quickstart/manifest.yaml", **environment)
        shown = block_after(words)
        assert masked(shown).startswith(masked(done.out).rstrip()), words
        assert done.err == ""


def test_the_makefile_says_how_to_look_at_the_result() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in block_after("applies `examples/quickstart/manifest.yaml`").splitlines()[-2:]:
        assert line.replace(".venv/bin", "$(BIN)") in makefile


def test_the_two_targets_stand_at_the_top() -> None:
    top = README[: README.index("## Use it")]
    assert "$ make quickstart" in top
    assert "$ make test" in top


def test_every_command_and_exit_code_is_listed() -> None:
    for command in COMMANDS:
        assert f"`metalake-sync {command}" in README, command
    for code in ExitCode:
        assert f"| {code.value} |" in README, code


def test_the_manifest_that_the_readme_shows_is_valid(world: World) -> None:
    found = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert found is not None
    world.write("manifest.yaml", found[1])
    world.images("a.jpg", "b_night.jpg")
    world.write("metadata.json", {"files": []})
    world.write("annotations.json", {"images": []})
    assert "is valid: 1 collection, 2 files" in world.good("validate", "manifest.yaml").out


def test_links_lead_to_files_that_are_there() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_to_sections_lead_to_headings() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text()):
            if "://" not in target:
                assert anchor in anchors_of(page.parent / target if target else page), f"{page.name}: {target}#{anchor}"
