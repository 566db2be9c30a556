"""The hook for pre-commit: its file is valid, and its command checks each manifest."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / ".pre-commit-hooks.yaml"
(HOOK,) = yaml.safe_load(HOOKS.read_text())

MANIFEST = "version: 1\nname: {name}\nremote: {{url: 'embedded:lake'}}\ncollections: []\n"


def commit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command of the hook as pre-commit does."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [*shlex.split(HOOK["entry"]), *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


def test_pre_commit_accepts_the_file() -> None:
    pytest.importorskip("pre_commit")
    command = [sys.executable, "-m", "pre_commit", "validate-manifest", str(HOOKS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_manifest_is_checked_and_the_wrong_one_named(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(MANIFEST.format(name="first").replace("collections", "collection"))
    (tmp_path / "second manifest.yaml").write_text(MANIFEST.format(name="second"))
    done = commit(tmp_path, "first.yaml", "second manifest.yaml")
    assert done.returncode == 64
    assert "first.yaml:4" in done.stderr
    assert "second manifest.yaml is valid" in done.stdout
    assert commit(tmp_path, "second manifest.yaml").returncode == 0
    assert not (tmp_path / ".metalake-sync").exists()


def test_options_reach_each_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text(MANIFEST.format(name="${SPECIES}"))
    assert commit(tmp_path, "manifest.yaml").returncode == 64
    (tmp_path / "ci.env").write_text("SPECIES=birds\n")
    assert commit(tmp_path, "--var-file=ci.env", "manifest.yaml").returncode == 0


@pytest.mark.parametrize(
    ("path", "is_checked"),
    [("manifest.yaml", True), ("birds/lake.yml", True), ("docs/mkdocs.yaml", False), ("my-manifest.yaml", False)],
)
def test_the_pattern_finds_manifests(path: str, is_checked: bool) -> None:
    assert (re.search(HOOK["files"], path) is not None) is is_checked
