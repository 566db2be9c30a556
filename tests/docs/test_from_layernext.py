"""The page for those who come from the vendor's client is true: what it shows runs, no cell is empty."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from metalake_sync import MetaLake
from metalake_sync.cli.main import COMMANDS, cli, run
from metalake_sync.manifest import Manifest
from tests.end_to_end.world import World
from tests.lake.talk import png

PAGE = Path(__file__).parents[2] / "docs" / "from-layernext.md"
TEXT = PAGE.read_text()

HEADER = """\
version: 1
name: page
remote: {url: "${LAYERNEXT_URL}", api_key: "${LAYERNEXT_API_KEY}", secret: "${LAYERNEXT_SECRET}"}
"""


@dataclass(frozen=True)
class Block:
    language: str
    line: int
    text: str


def blocks() -> Iterator[Block]:
    for match in re.finditer(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
        yield Block(match[1], TEXT.count("\n", 0, match.start()) + 2, match[2])


def rows() -> list[list[str]]:
    lines = [line for line in TEXT.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@pytest.fixture
def project(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """What the page's reader has: pictures, metadata and annotations in each of the ways that name a file."""
    world.pictures("dog_1.jpeg", "dog_2.jpeg", "flower3.jpg", "Dog_3.jpeg")
    shape = {"type": "rectangle", "bbox": [1, 2, 3, 4], "label": "Bird", "metadata": {}}
    for suffix, name in (
        ("", "dog_1.jpeg"),
        ("_by_path", "my_collection/dog_1.jpeg"),
        ("_by_unique_name", "my_collection_dog_1.jpeg"),
    ):
        slash = "/" if suffix == "_by_path" else ""
        world.write(f"annotation{suffix}.json", {"images": [{"image": slash + name, "annotations": [shape]}]})
        entry = {"file": name, "metadata": {"from": suffix or "name", "Tags": ["retail"]}}
        world.write(f"metadata{suffix}.json", {"files": [entry]})
    monkeypatch.chdir(world.folder)
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    return world


def carry_out(block: Block, names: dict[str, Any], world: World) -> None:
    """Run one block as its reader would."""
    place = f"{PAGE.name}:{block.line}"
    match block.language:
        case "python":
            exec(compile(block.text, place, "exec"), names)
            os.environ["JOB_ID"] = names.get("job_id", "")
        case "console":
            for line in block.text.splitlines():
                program, *args = shlex.split(os.path.expandvars(line.removeprefix("$ ")))
                assert program == "metalake-sync"
                assert run(args) == 0, f"{place}: {line}"
        case "yaml":
            world.write("page.yaml", HEADER + block.text)
            if yaml.safe_load(block.text).keys() <= Manifest.model_fields.keys():
                assert run(["apply", "page.yaml", "--auto-approve", "--quiet"]) == 0, place
                assert run(["plan", "page.yaml", "--detailed-exitcode", "--quiet"]) == 0, f"{place}: not settled"
        case other:
            raise AssertionError(f"{place}: nobody runs {other}")


def test_the_page_runs_from_top_to_bottom_as_printed(project: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_ID", "")
    names: dict[str, Any] = {}
    for block in blocks():
        carry_out(block, names, project)
    names["lake"].close()
    jay = project.talk.details("my_collection_dog_1.jpeg", "Captured Location", "Owner", "from", "Tags")
    assert (jay["Captured Location"], jay["Tags"]) == ("Winnipeg", ["retail"])
    for folder in ("my_collection", "again", "by_manifest"):
        assert (project.folder / "out" / folder / "my_collection_dog_1.jpeg").read_bytes() == png(salt=b"dog_1.jpeg")
        document = json.loads((project.folder / "out" / folder / "annotations.json").read_text())
        drawn = {entry["image"]: len(entry["annotations"]) for entry in document["images"]}
        assert drawn["my_collection_dog_1.jpeg"] == 1
    assert project.names("old_runs") == []


def test_every_section_says_it_in_python_on_the_command_line_and_in_a_manifest() -> None:
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    numbered = {section.split()[0]: section for section in sections if re.match(r"2\.\d", section)}
    assert [number for number, *_ in rows() if number] == list(numbered)
    for number, section in numbered.items():
        for language in ("python", "console", "yaml"):
            assert f"```{language}" in section or (number, language) == ("2.9", "yaml"), f"{number}: no {language}"


def test_no_cell_of_the_table_is_empty_and_what_it_names_exists() -> None:
    assert len(rows()) > 25
    for number, old, method, command, manifest in rows():
        assert old, number
        assert manifest, old
        for name in re.findall(r"`(\w+)`", method):
            assert callable(getattr(MetaLake, name)), name
        assert re.findall(r"`(\w+)`", method), old
        for line in re.findall(r"`([^`]+)`", command):
            verb, *rest = line.split()
            assert verb in COMMANDS
            found: Any = cli.get_command(None, verb)  # type: ignore[arg-type]
            if rest and not rest[0].startswith("--"):
                found = found.commands[rest.pop(0)]
            flags = {name for parameter in found.params for name in parameter.opts}
            assert set(rest) <= flags, line
