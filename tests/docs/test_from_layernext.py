"""The page for those who come from the vendor's client is true: what it shows runs, no cell is empty."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest
import yaml

from metalake_sync import AnnotationSource, MetaLake
from metalake_sync.cli.main import COMMANDS, cli, run
from metalake_sync.manifest import Manifest
from tests.docs.test_manifest_reference import models_in
from tests.embedded_lake.talk import png
from tests.end_to_end.world import World

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


def table_in(text: str) -> list[list[str]]:
    """The cells of a text's table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in re.split(r" \| |\| \|", line.strip("|"))] for line in lines]


def rows() -> list[list[str]]:
    lines = [line for line in TEXT.split("\n## ")[0].splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def sections() -> dict[str, str]:
    """Number → text of a section of the vendor's page."""
    found = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    return {section.split()[0]: section for section in found if re.match(r"2\.\d", section)}


@pytest.fixture
def project(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """What the page's reader has: pictures, metadata and annotations in each of the ways that name a file."""
    world.images("dog_1.jpeg", "dog_2.jpeg", "flower3.jpg", "Dog_3.jpeg")
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
    old = {"bbox": [1, 2, 3, 4], "label": "Bird", "metadata": {"pose": "flying"}}
    world.write("annotation_old.json", {"images": [{"image": "dog_1.jpeg", "annotations": [old]}]})
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
        (shape,) = next(one for one in document["images"] if one["image"] == "my_collection_dog_1.jpeg")["annotations"]
        assert [value["value"] for value in shape["attributes"]["pose"]] == ["flying"]
    assert "old_runs" not in project.talk.names(contentType=5)


def test_every_section_says_it_in_python_on_the_command_line_and_in_a_manifest() -> None:
    numbered = sections()
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


PARAMETERS = {
    "2.1": "path content_type collection_name meta_data_object meta_data_override file_meta_data_json_path"
    " storage_prefix_path annotation_data json_data_file_path operation_unique_id is_normalized is_model_run"
    " job_id collection_id unique_name is_success",
    "2.2": "collection_name operation_unique_id json_data_file_path is_normalized is_model_run",
    "2.3": "operation_unique_id json_data_file_path is_normalized is_model_run bucket_name",
    "2.4": "operation_unique_id json_data_file_path is_normalized is_model_run",
    "2.5": "job_id operation_unique_id json_data_file_path is_normalized is_model_run",
    "2.6": "collection_name operation_unique_id json_data_file_path shape_type is_normalized is_model_run"
    " destination_project_id",
    "2.7": "collection_id annotation_type operation_id_list custom_download_path is_media_include",
    "2.8": "collection_id model_id",
    "2.9": "file_key",
    "2.10": "collection_id query filter message isSuccess",
    "2.11": "datalake_query datalake_filter content_type message isSuccess",
    "2.13": "collection_name content_type metadata_obj is_apply_to_all_files isSuccess message",
    "2.14": "job_id json_data_file_path isSuccess message",
    "2.15": "json_data_file_path bucket_name isSuccess message",
    "2.16": "json_data_file_path isSuccess message",
    "2.17": "collection_name content_type file_meta_data_json_path isSuccess message",
    "2.18": "path content_type collection_name meta_data_object override",
    "2.19": "item_type custom_download_path page_index page_size query filter sort_order is_success message",
    "2.20": "collection_id custom_download_path page_index page_size query filter sort_order is_success message",
}
"""Section → parameters and return values, as the vendor's page has them."""


@pytest.mark.parametrize("number", PARAMETERS)
def test_the_table_of_a_section_maps_every_parameter_to_names_that_exist(number: str) -> None:
    method_name, command = next((row[2], row[3]) for row in rows() if row[0] == number)
    method = getattr(MetaLake, method_name.strip("`"))
    result = get_type_hints(method)["return"]
    known = {*inspect.signature(method).parameters, *dir(result), *getattr(result, "__dataclass_fields__", ())}
    known |= {"SomeFailed", *AnnotationSource.__dataclass_fields__}
    found: Any = cli
    for word in re.findall(r"`([^`]+)`", command)[0].split():
        if not word.startswith("--"):
            found = found.get_command(click.Context(found), word)
    flags = {name for one in found.params for name in (*one.opts, *one.secondary_opts)}
    flags |= {one.make_metavar(click.Context(found)) for one in found.params if isinstance(one, click.Argument)}
    keys = {field.alias or name for model in models_in(Manifest) for name, field in model.model_fields.items()}

    table = table_in(sections()[number])
    old = [name for row in table for name in re.findall(r"`(\w+)`", row[0])]
    assert old == PARAMETERS[number].split()
    for _, python, line, manifest in table:
        for name in re.findall(r"`(\w+)(?:=[^`]*)?`", python):
            assert name in known, name
        for flag in re.findall(r"`(--[\w-]+|[A-Z_]+)`", line):
            assert flag in flags, flag
        for key in re.findall(r"`(\w+)(?:: \w+)?`", manifest):
            assert key in keys | {"apply", "pull"}, key
