"""What a command loads before it does anything: modules are most of its start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODULES = (
    "import sys; from metalake_sync.cli.main import run; code = run(sys.argv[1:]); print(*sys.modules); sys.exit(code)"
)


def loaded(folder: Path, *args: str) -> set[str]:
    """The modules that a command has loaded when it is done."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES, *args], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"a")
    (tmp_path / "manifest.yaml").write_text(
        "version: 1\nname: few\nremote: {url: 'http://127.0.0.1:9', api_key: k, secret: s}\n"
        "collections: [{name: few, type: image, folders: [{path: images}]}]\n"
    )
    return tmp_path


def test_the_version_is_told_without_the_engine(tmp_path: Path) -> None:
    modules = loaded(tmp_path, "--version")
    assert not {"pydantic", "yaml", "sqlite3", "metalake_sync.engine"} & modules
    assert len(modules) < 160


def test_a_plan_loads_what_it_needs(manifest: Path) -> None:
    plan = ("plan", "-q", "--refresh", "none", "manifest.yaml")
    new = loaded(manifest, *plan)
    modules = loaded(manifest, *plan)
    # To make the state needs nothing more.
    assert new == modules
    unneeded = {
        "sqlite_utils",
        "numpy",
        "requests",
        "urllib3",
        "aiohttp",
        "pycurl",
        "filelock",
        "imagesize",
        "urllib.request",
        "metalake_sync.cli.documents",
    }
    assert not unneeded & modules
    assert not {name for name in modules if name.startswith(("metalake_sync.annotations.", "metalake_sync.protocol."))}
    assert len(modules) < 480
