"""Every dotted name and module path that documentation and docstrings mention exists."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from metalake_sync.manifest.models import Manifest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "metalake_sync"
MODULES = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}

DOTTED = re.compile(r"`((?:metalake_sync\.)?([a-z_]+)(?:\.\w+)+)(?:\([^`]*\))?`")
"""A name in backticks, such as `core.diff.compare`, and its first part below `metalake_sync`."""

MODULE_PATH = re.compile(r"`((?:metalake_sync/|tests/|benchmarks/)?[a-z_]+/[\w/]+\.py)`")
"""A path in backticks, such as `sources/globs.py`."""

FILE_ENDINGS = (".json", ".jsonl", ".yaml", ".yml", ".md", ".db", ".py", ".csv", ".txt", ".xml")


def texts() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *PACKAGE.rglob("*.py")]


def dotted_names(text: str) -> Iterator[str]:
    """Yield the dotted names of modules that are neither file names nor manifest keys such as `remote.url`."""
    for name, first in DOTTED.findall(text):
        if first in MODULES and not name.endswith(FILE_ENDINGS) and not is_manifest_key(name):
            yield name


def is_manifest_key(name: str) -> bool:
    """Whether `name` is a path of keys in a manifest, such as `remote.ca_file`."""
    model: type[BaseModel] | None = Manifest
    for key in name.split("."):
        field = model.model_fields.get(key) if model is not None else None
        if field is None:
            return False
        parts = (field.annotation, *get_args(field.annotation))
        model = next((one for one in parts if isinstance(one, type) and issubclass(one, BaseModel)), None)
    return True


def resolves(name: str) -> bool:
    """Whether `name` is a module, or an attribute or an annotated field of one, below `metalake_sync`."""
    parts = ["metalake_sync", *name.removeprefix("metalake_sync.").split(".")]
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            if not hasattr(found, attribute):
                return attribute in getattr(found, "__annotations__", {})
            found = getattr(found, attribute)
        return True
    return False


def test_every_dotted_name_exists() -> None:
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in texts()
        for name in dotted_names(path.read_text())
        if not resolves(name)
    ]
    assert not missing, "\n" + "\n".join(missing)


def test_every_module_path_exists() -> None:
    missing = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in texts()
        for module in MODULE_PATH.findall(path.read_text())
        if not (ROOT / module).exists() and not (PACKAGE / module).exists()
    ]
    assert not missing, "\n" + "\n".join(missing)


def test_every_type_on_the_way_of_a_file_exists() -> None:
    page = (ROOT / "docs/how-it-works.md").read_text()
    sources = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    defined = set(re.findall(r"^ *class (\w+)", sources, re.MULTILINE))
    used = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)(?:\([^`]*\))?`", page))
    assert used > {"ScannedFile", "DesiredFile"}
    assert used <= defined, used - defined


@pytest.mark.parametrize(
    ("name", "exists"),
    [
        ("core.diff.compare", True),
        ("metalake_sync.core.snapshots.DesiredFile", True),
        ("apply.recorder.Recorder", True),
        ("core.diff.compared", False),
        ("core.no_such_module.compare", False),
    ],
)
def test_names_are_resolved_to_the_last_part(name: str, exists: bool) -> None:
    assert resolves(name) is exists


def test_manifest_keys_and_file_names_are_not_modules() -> None:
    assert list(dotted_names("`remote.url`, `annotations.json`, `core.diff`")) == ["core.diff"]
