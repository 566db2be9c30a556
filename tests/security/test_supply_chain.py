"""Installed packages are used, used packages are declared, and every requirement has a lower bound."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[2]
MODULES = {module: {canonicalize_name(name) for name in names} for module, names in packages_distributions().items()}
"""Top-level module → the distributions that contain it. Several may contain a namespace such as `google`."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = (
    "s3",
    "azure",
    "gcs",
    "postgres",
    "exif",
    "preview",
    "masks",
    "checks",
    "html",
    "ui",
    "metrics",
    "keyring",
    "workers",
    "dask",
)

# A dependency of one of our dependencies, and a part of its interface.
SPOKEN_WITH = {
    "pydantic-core": "pydantic",
    "botocore": "boto3",
    "google-auth": "google-cloud-storage",
}
SPOKEN_WITH |= {"markupsafe": "jinja2"}
SPOKEN_WITH |= {"google-api-core": "google-cloud-storage", "azure-core": "azure-storage-blob"}
SPOKEN_WITH |= {"certifi": "requests", "urllib3": "requests"}


def requirements(*extras: str) -> list[Requirement]:
    texts = list(PROJECT["dependencies"])
    for extra in extras:
        texts += PROJECT["optional-dependencies"].get(extra, ())
    return [Requirement(text) for text in texts]


def imported(folder: Path) -> Iterator[str]:
    """Every module that the package imports, by its full name."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module


def distributions_of(module: str) -> set[NormalizedName]:
    return MODULES.get(module.split(".")[0], set())


FOREIGN = sorted(
    {
        name
        for name in imported(ROOT / "metalake_sync")
        if name.split(".")[0] not in sys.stdlib_module_names and name.split(".")[0] != "metalake_sync"
    }
)


@pytest.mark.parametrize("module", FOREIGN)
def test_every_imported_package_is_declared(module: str) -> None:
    declared = {canonicalize_name(one.name) for one in requirements(*EXTRAS)}
    found = distributions_of(module)
    if not found:
        pytest.skip(f"{module} is not installed here")
    assert {SPOKEN_WITH.get(name, name) for name in found} & declared


@pytest.mark.parametrize("requirement", requirements(*EXTRAS), ids=str)
def test_every_declared_package_is_imported(requirement: Requirement) -> None:
    used = {name for module in FOREIGN for name in distributions_of(module)}
    name = canonicalize_name(requirement.name)
    if not any(name in known for known in MODULES.values()):
        pytest.skip(f"{name} is not installed here")
    assert name in used


@pytest.mark.parametrize("requirement", requirements(*EXTRAS), ids=str)
def test_every_requirement_has_a_lower_bound(requirement: Requirement) -> None:
    assert [part.operator for part in requirement.specifier if part.operator in (">=", "~=", "==")]


def test_no_installed_package_has_a_known_vulnerability() -> None:
    audit = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable"]
    done = subprocess.run(audit, capture_output=True, text=True, timeout=300, check=False)
    if not done.stdout:
        pytest.skip(
            f"no vulnerability database can be reached: {(done.stderr.strip().splitlines() or ['no words'])[-1]}"
        )
    audited = [one for one in json.loads(done.stdout)["dependencies"] if "vulns" in one]
    if not audited:
        pytest.skip("no vulnerability database can be reached: nothing was audited")
    known = {f"{one['name']} {one['version']}: {vuln['id']}" for one in audited for vuln in one["vulns"]}
    assert not known
