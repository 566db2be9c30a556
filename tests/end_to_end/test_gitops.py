"""The scripts in the pipelines of examples/gitops, run as the runners run them, against a served lake."""

from __future__ import annotations

import os
import subprocess
import threading
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.end_to_end.world import BIRDS, PROGRAM, World

GITOPS = Path(__file__).parents[2] / "examples" / "gitops"


@dataclass
class Runner:
    """Runs a script in the world's folder. `shell`: as the pipeline's documentation gives it."""

    world: World
    shell: tuple[str, ...]

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [*self.shell, script],
            cwd=self.world.folder,
            env={**self.world.environment(), "PATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


def github_step(job: str, name: str) -> str:
    workflow = yaml.safe_load((GITOPS / "github-actions.yaml").read_text())
    (script,) = [step["run"] for step in workflow["jobs"][job]["steps"] if step.get("name") == name]
    return str(script)


def gitlab_script(job: str) -> str:
    """GitLab runs the lines one after the other, and ends at the first that fails."""
    return "\n".join(yaml.safe_load((GITOPS / "gitlab-ci.yaml").read_text())[job]["script"])


@pytest.fixture
def github(world: World) -> Runner:
    world.pictures("a.png", "b.png")
    world.manifest({**BIRDS, "prune": True})
    return Runner(world, ("bash", "-e", "-c"))


@pytest.fixture
def gitlab(github: Runner) -> Runner:
    return Runner(github.world, ("sh", "-e", "-c"))


def plan_on_github(runner: Runner) -> tuple[int, str, str]:
    """Exit code, output and summary of the step."""
    output, summary = runner.world.folder.parent / "output", runner.world.folder.parent / "summary"
    output.write_text("")
    summary.write_text("")
    files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
    done = runner.run(github_step("plan", "Plan"), **files)
    return done.returncode, output.read_text(), summary.read_text()


def test_github_shows_a_plan_that_has_changes_and_passes(github: Runner) -> None:
    code, output, summary = plan_on_github(github)
    assert (code, output) == (0, "code=2\n")
    assert "### metalake-sync plan" in summary
    assert "a.png" in summary
    assert (github.world.folder / "plan.md").read_text() == summary


def test_github_passes_a_plan_without_changes_and_fails_a_manifest_that_is_broken(github: Runner) -> None:
    assert github.run(github_step("apply", "Apply"), APPROVE="").returncode == 0
    assert plan_on_github(github)[:2] == (0, "code=0\n")
    github.world.write("manifest.yaml", "version: 2\n")
    assert plan_on_github(github)[:2] == (64, "code=64\n")


def test_github_comments_with_the_plan(github: Runner, tmp_path: Path) -> None:
    """A stand-in for GitHub's own program, which every runner has, writes down how it is called."""
    plan_on_github(github)
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > called\ncp plan.md commented\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    done = github.run(github_step("plan", "Comment"), PULL_REQUEST="7", PATH=path)
    assert done.returncode == 0, done.stderr
    assert (github.world.folder / "called").read_text().split() == [
        *("pr", "comment", "7", "--body-file", "plan.md", "--edit-last", "--create-if-none")
    ]


def test_github_applies_what_is_approved_and_names_the_way_where_it_is_not(github: Runner) -> None:
    apply = github_step("apply", "Apply")
    assert github.run(apply, APPROVE="").returncode == 0
    assert github.world.names() == ["a.png", "b.png"]
    (github.world.folder / "images" / "a.png").unlink()
    held = github.run(apply, APPROVE="")
    assert held.returncode == 7
    assert "::error::the plan takes something away" in held.stdout
    assert github.world.names() == ["a.png", "b.png"]
    assert github.run(apply, APPROVE="--auto-approve").returncode == 0
    assert github.world.names() == ["b.png"]


def test_gitlab_plans_applies_and_approves_with_the_codes_that_its_jobs_allow(gitlab: Runner) -> None:
    jobs = yaml.safe_load((GITOPS / "gitlab-ci.yaml").read_text())
    world = gitlab.world
    assert gitlab.run(gitlab_script("plan")).returncode in jobs["plan"]["allow_failure"]["exit_codes"]
    assert "a.png" in (world.folder / "plan.md").read_text()
    assert gitlab.run(gitlab_script("apply")).returncode == 0
    assert gitlab.run(gitlab_script("plan")).returncode == 0
    (world.folder / "images" / "a.png").unlink()
    assert gitlab.run(gitlab_script("apply")).returncode == 7
    assert 7 in jobs["apply"]["allow_failure"]["exit_codes"]
    assert gitlab.run(gitlab_script("apply with approval")).returncode == 0
    assert world.names() == ["b.png"]


def test_gitlab_writes_the_plan_as_a_note(gitlab: Runner) -> None:
    got: list[tuple[str, str | None, str]] = []

    class Notes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            got.append((self.path, self.headers["PRIVATE-TOKEN"], urllib.parse.parse_qs(body)["body"][0]))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    gitlab.run(gitlab_script("plan"))
    server = HTTPServer(("127.0.0.1", 0), Notes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        done = gitlab.run(
            gitlab_script("comment"),
            CI_API_V4_URL=f"http://127.0.0.1:{server.server_port}/api/v4",
            CI_PROJECT_ID="12",
            CI_MERGE_REQUEST_IID="7",
            GITLAB_NOTE_TOKEN="note-token",
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.returncode == 0, done.stderr
    plan = (gitlab.world.folder / "plan.md").read_text()
    assert got == [("/api/v4/projects/12/merge_requests/7/notes", "note-token", plan)]
