"""What users install: the wheel and the source distribution, and the wheel in empty environments."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

OLDEST = (3, 11)
"""The oldest Python that is supported."""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution of this checkout, with its uncommitted changes."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the source distribution has the files that Git tracks, and this is not a Git checkout")
    sources = tmp_path_factory.mktemp("sources") / "project"
    run("git", "clone", "--quiet", "--no-hardlinks", ROOT, sources, cwd=ROOT)
    changed = run("git", "ls-files", "-z", "--modified", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, changed.split("\0")):
        (sources / name).unlink(missing_ok=True)
        if (ROOT / name).exists():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, sources / name)
    run("git", "add", "--all", cwd=sources)
    made = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", made, cwd=sources)
    return made


def wheel_of(distributions: Path) -> Path:
    (wheel,) = distributions.glob("*.whl")
    return wheel


def test_both_distributions_pass_their_checkers(distributions: Path) -> None:
    files = sorted(distributions.iterdir())
    assert {file.suffix for file in files} == {".whl", ".gz"}
    run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=distributions)
    run(Path(sys.executable).with_name("check-wheel-contents"), wheel_of(distributions), cwd=distributions)


def test_the_wheel_has_the_package_with_its_data_and_nothing_else(distributions: Path) -> None:
    with zipfile.ZipFile(wheel_of(distributions)) as wheel:
        names = set(wheel.namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"metalake_sync"}
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "metalake_sync", cwd=ROOT).split(
        "\n"
    )
    missing = {name for name in tracked if name and (ROOT / name).exists()} - names
    assert missing == set()
    assert "metalake_sync/_version.py" in names


def test_the_source_distribution_has_docs_schemas_examples_and_tests(distributions: Path) -> None:
    (archive,) = distributions.glob("*.tar.gz")
    with tarfile.open(archive) as sources:
        names = {name.partition("/")[2] for name in sources.getnames()}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "Makefile", "docs/manifest.md"} <= names
    assert {"schemas/plan.schema.json", "examples/quickstart/manifest.yaml", "tests/conftest.py"} <= names
    assert not [name for name in names if name.startswith((".venv", "build/", ".git/"))]


def test_the_metadata_says_where_to_find_more(distributions: Path) -> None:
    with zipfile.ZipFile(wheel_of(distributions)) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(wheel.read(name).decode())
    labels = {value.partition(",")[0] for value in metadata.get_all("Project-URL", [])}
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= labels
    assert metadata["License-Expression"] == "MIT"
    assert re.match(r"\d+\.\d+", metadata["Version"])


def test_the_extra_all_has_everything_that_messages_tell_users_to_install(distributions: Path) -> None:
    with zipfile.ZipFile(wheel_of(distributions)) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        extras = set(Parser().parsestr(wheel.read(name).decode()).get_all("Provides-Extra", []))
    texts = [*(ROOT / "metalake_sync").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    named = {
        extra.strip()
        for file in texts
        for found in re.findall(r"metalake-sync\[([a-z0-9,_ -]+)\]", file.read_text())
        for extra in found.split(",")
    }
    assert named
    assert named <= extras
    required = re.search(r'^all = \["metalake-sync\[(.*)\]"\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert required
    assert named - {"all"} <= set(required[1].split(","))


def pythons() -> Iterator[Path]:
    """Yield the interpreters of this machine that are supported, one of each version."""
    places = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places += sorted(versions.glob("*/bin")) if versions.is_dir() else []
    seen: set[str] = set()
    for place in places:
        for found in sorted(place.glob("python3.[0-9]*")):
            version = found.name.removeprefix("python")
            if re.fullmatch(r"3\.\d+", version) is None or tuple(map(int, version.split("."))) < OLDEST:
                continue
            works = subprocess.run([found, "-c", "import ssl, venv"], capture_output=True, check=False).returncode == 0
            if version not in seen and works and "pyenv/shims" not in str(found):
                seen.add(version)
                yield found


@pytest.mark.long
def test_the_wheel_runs_the_quickstart_in_an_empty_environment_of_each_python(
    distributions: Path, tmp_path: Path
) -> None:
    found = list(pythons())
    assert found, "not even the Python of this test was found"
    for python in found:
        place = tmp_path / python.name
        run(python, "-m", "venv", place / "environment", cwd=tmp_path)
        programs = place / "environment/bin"
        run(programs / "python", "-m", "pip", "install", "--quiet", wheel_of(distributions), cwd=tmp_path)
        shutil.copytree(ROOT / "examples/quickstart", place / "quickstart")
        for state in place.glob("quickstart/.metalake*"):
            shutil.rmtree(state)
        first = run(programs / "metalake-sync", "apply", "manifest.yaml", cwd=place / "quickstart")
        assert "26 files uploaded, 24 annotation sets sent" in first
        again = run(programs / "metalake-sync", "plan", "manifest.yaml", "--json", cwd=place / "quickstart")
        assert '"upload": 0' in again, f"{python}: {again}"
        print(f"{python.name}: {run(programs / 'metalake-sync', '--version', cwd=tmp_path).strip()}")
