"""The scripts in the pipelines of examples/gitops, run like in the runners, against a served lake."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
import threading
import tomllib
import urllib.parse
import zlib
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tests.embedded_lake.talk import png
from tests.end_to_end.world import BIRDS, PROGRAM, World

GITOPS = Path(__file__).parents[2] / "examples" / "gitops"


@dataclass
class Runner:
    """Runs a script in the world's folder. `shell`: the command from the pipeline's documentation."""

    world: World
    shell: tuple[str, ...]

    @property
    def temporary(self) -> Path:
        folder = self.world.folder.parent / "temporary"
        folder.mkdir(exist_ok=True)
        return folder

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [*self.shell, script],
            cwd=self.world.folder,
            env={
                **self.world.environment(),
                "METALAKE_SYNC_ORIGIN": self.world.lake.url,
                "RUNNER_TEMP": str(self.temporary),
                "PATH": path,
                **environment,
            },
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
    """GitLab runs the lines in order, and stops at the first one that fails."""
    return "\n".join(yaml.safe_load((GITOPS / "gitlab-ci.yaml").read_text())[job]["script"])


@pytest.fixture
def github(world: World) -> Runner:
    world.images("a.png", "b.png")
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


def test_github_shows_a_plan_with_changes_and_passes(github: Runner) -> None:
    code, output, summary = plan_on_github(github)
    assert (code, output) == (0, "code=2\n")
    assert "### metalake-sync plan" in summary
    assert "a.png" in summary
    assert (github.temporary / "plan.md").read_text() == summary


def test_github_keeps_the_plan_and_links_it(github: Runner) -> None:
    plan_on_github(github)
    assert "a.png" in (github.temporary / "plan.html").read_text()
    assert "metalake-sync plan" in (github.temporary / "lake.plan").read_text()
    steps = yaml.safe_load((GITOPS / "github-actions.yaml").read_text())["jobs"]["plan"]["steps"]
    names = [step.get("name") for step in steps]
    (kept,) = [step for step in steps if step.get("uses", "").startswith("actions/upload-artifact@")]
    assert kept["with"]["path"].split("\n")[:-1] == [
        "${{ runner.temp }}/lake.plan",
        "${{ runner.temp }}/plan.html",
    ]
    assert names.index("Plan") < steps.index(kept) < names.index("Comment")
    assert steps[names.index("Comment")]["env"]["ARTIFACT"] == f"${{{{ steps.{kept['id']}.outputs.artifact-url }}}}"


def test_gitlab_keeps_the_plan_with_images(gitlab: Runner) -> None:
    gitlab.run(gitlab_script("plan"))
    kept = yaml.safe_load((GITOPS / "gitlab-ci.yaml").read_text())["plan"]["artifacts"]
    assert all((gitlab.world.folder / path).exists() for path in kept["paths"])
    assert "a.png" in (gitlab.world.folder / "plan.html").read_text()
    assert kept["access"] == "developer"


def test_pipelines_install_a_tag_with_the_extras_that_they_need() -> None:
    github = yaml.safe_load((GITOPS / "github-actions.yaml").read_text())
    gitlab = yaml.safe_load((GITOPS / "gitlab-ci.yaml").read_text())
    jobs = [github["jobs"][name]["steps"] for name in ("plan", "apply")]
    installs = {step["run"] for steps in jobs for step in steps if step.get("name") == "Install"}
    before = gitlab[".install"]["before_script"]
    (command,) = installs | {line for line in before if line.startswith("pip ")}
    program, action, requirement = shlex.split(command)
    assert (program, action) == ("pip", "install")
    tag = github["env"]["METALAKE_SYNC_TAG"]
    assert gitlab["variables"]["METALAKE_SYNC_TAG"] == tag
    repository = "https://github.com/acme/metalake-sync"
    named = requirement.replace("$METALAKE_SYNC_REPOSITORY", repository).replace("$METALAKE_SYNC_TAG", tag)
    parsed = Requirement(named)
    assert (parsed.name, parsed.url) == ("metalake-sync", f"git+{repository}@{tag}")
    pyproject = tomllib.loads((GITOPS.parents[1] / "pyproject.toml").read_text())
    assert parsed.extras <= set(pyproject["project"]["optional-dependencies"])
    assert parsed.extras == {"html", "s3"}
    # The version follows from the tags. The fallback is the version of the coming one.
    assert tag == f"v{pyproject['tool']['setuptools_scm']['fallback_version']}"


def test_a_pipeline_without_the_variable_of_the_state_stops(github: Runner, gitlab: Runner) -> None:
    """Otherwise each job would begin a state of its own on its disk."""
    workflow = yaml.safe_load((GITOPS / "github-actions.yaml").read_text())
    assert workflow["env"]["METALAKE_SYNC_STATE"] == "${{ vars.METALAKE_SYNC_STATE }}"
    # On GitHub, a variable that does not exist is empty.
    files = {name: str(github.temporary / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    done = github.run(github_step("plan", "Plan"), METALAKE_SYNC_STATE="", **files)
    assert (done.returncode, "METALAKE_SYNC_STATE is empty" in done.stderr) == (64, True)
    check = yaml.safe_load((GITOPS / "gitlab-ci.yaml").read_text())[".install"]["before_script"][0]
    done = gitlab.run(check)
    assert (done.returncode, "Set the variable METALAKE_SYNC_STATE" in done.stdout) == (64, True)
    assert gitlab.run(check, METALAKE_SYNC_STATE="s3://acme-state/birds").returncode == 0


@pytest.mark.parametrize("pipeline", ["github", "gitlab"])
def test_signals_arrive_because_the_program_takes_the_place_of_the_shell(tmp_path: Path, pipeline: str) -> None:
    program = tmp_path / "metalake-sync"
    program.write_text('#!/bin/sh\necho "$$ $*"\n')
    program.chmod(0o755)
    jobs = ("apply",) if pipeline == "github" else ("apply", "apply approved plan", "apply with approval")
    for job in jobs:
        script = github_step(job, "Apply") if pipeline == "github" else gitlab_script(job)
        environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PLAN": "lake.plan", "FOUND": "approved"}
        shell = subprocess.Popen(["bash", "-e", "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        printed = shell.communicate(timeout=60)[0]
        assert printed.startswith(f"{shell.pid} apply "), job


def test_github_passes_a_plan_without_changes_and_fails_a_broken_manifest(github: Runner) -> None:
    assert github.run(github_step("apply", "Apply"), PLAN="manifest.yaml", APPROVE="").returncode == 0
    assert plan_on_github(github)[:2] == (0, "code=0\n")
    github.world.write("manifest.yaml", "version: 2\n")
    assert plan_on_github(github)[:2] == (64, "code=64\n")


@pytest.mark.parametrize(
    ("there", "code", "calls", "says"),
    [
        ("", "2", ["POST repos/acme/birds/issues/7/comments"], "a.png"),
        ("41", "2", ["PATCH repos/acme/birds/issues/comments/41"], "a.png"),
        ("41", "0", ["PATCH repos/acme/birds/issues/comments/41"], "a.png"),
        ("41", "64", ["PATCH repos/acme/birds/issues/comments/41"], "failed: see the job's log"),
        ("", "0", [], None),
    ],
)
def test_github_keeps_one_comment_up_to_date(
    github: Runner, tmp_path: Path, there: str, code: str, calls: list[str], says: str | None
) -> None:
    """The program `gh` is replaced by one that has one comment or none, and records its calls."""
    plan_on_github(github)
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\nfor last; do :; done\n[ "$1" = api ] || exit 9\n'
        'case "$*" in\n'
        '*"--method "*"--field body=@comment.md") echo "$4 $5" >> called; cp comment.md commented ;;\n'
        '*"--jq "*"<!-- metalake-sync plan -->"*) echo "$THERE" ;;\n'
        "*) exit 8 ;;\nesac\n"
    )
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    done = github.run(
        github_step("plan", "Comment"),
        PULL_REQUEST="7",
        PATH=path,
        CODE=code,
        THERE=there,
        ARTIFACT="https://github.com/acme/birds/actions/runs/7/artifacts/3",
        GITHUB_REPOSITORY="acme/birds",
    )
    assert done.returncode == 0, done.stderr
    called = github.temporary / "called"
    assert (called.read_text().splitlines() if called.exists() else []) == calls
    if says is not None:
        text = (github.temporary / "commented").read_text()
        assert text.startswith("<!-- metalake-sync plan -->\n")
        assert says in text
        link = "\n[The plan with images](https://github.com/acme/birds/actions/runs/7/artifacts/3)\n"
        assert text.endswith(link) == (code != "64")


@pytest.mark.skipif(shutil.which("jq") is None or shutil.which("curl") is None, reason="curl and jq are not installed")
def test_gitlab_keeps_one_note_up_to_date(gitlab: Runner) -> None:
    notes: dict[int, str] = {3: "well done"}
    tokens: set[str | None] = set()

    class Notes(BaseHTTPRequestHandler):
        def answer(self, document: Any) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def body(self) -> str:
            tokens.add(self.headers["PRIVATE-TOKEN"])
            return urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["body"][0]

        def do_GET(self) -> None:
            assert self.path.startswith("/api/v4/projects/12/merge_requests/7/notes?")
            self.answer([{"id": number, "body": body} for number, body in notes.items()])

        def do_POST(self) -> None:
            assert self.path == "/api/v4/projects/12/merge_requests/7/notes"
            notes[len(notes) + 3] = self.body()
            self.answer({})

        def do_PUT(self) -> None:
            notes[int(self.path.removeprefix("/api/v4/projects/12/merge_requests/7/notes/"))] = self.body()
            self.answer({})

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Notes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def comment() -> str:
        done = gitlab.run(
            gitlab_script("comment"),
            CI_API_V4_URL=f"http://127.0.0.1:{server.server_port}/api/v4",
            CI_PROJECT_ID="12",
            CI_MERGE_REQUEST_IID="7",
            GITLAB_NOTE_TOKEN="note-token",
        )
        assert done.returncode == 0, done.stderr
        assert list(notes) == [3, 4]
        assert notes[4].startswith("<!-- metalake-sync plan -->\n")
        return notes[4]

    try:
        gitlab.run(gitlab_script("plan"))
        assert "a.png" in comment()
        gitlab.run(gitlab_script("apply"))
        gitlab.run(gitlab_script("plan"))
        assert "Nothing to do" in comment()
        (gitlab.world.folder / "plan.md").unlink()
        assert "The plan of this merge request failed" in comment()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert tokens == {"note-token"}


# What a pull request may not do.


def test_a_plan_of_a_proposed_manifest_runs_no_command_and_calls_no_other_lake(github: Runner) -> None:
    world = github.world
    asked = world.lake.requests.counts.total()
    world.manifest(BIRDS)
    manifest = world.folder / "manifest.yaml"
    good = manifest.read_text()
    for bad, words in (
        (good.replace("secret: ${LAYERNEXT_SECRET}", "secret_command: touch ran"), "'secret_command' is not allowed"),
        (good.replace("url: ${LAYERNEXT_URL}", "url: https://evil.example"), "METALAKE_SYNC_ORIGIN"),
        (good.replace("path: images", "path: /etc"), "outside the repository"),
        (good.replace("type: image", "type: image\n  metadata: {Note: '${HOME}'}"), "HOME is not read from"),
    ):
        assert bad != good
        manifest.write_text(bad)
        code, _, summary = plan_on_github(github)
        assert (code, summary) == (64, ""), words
        done = github.run("metalake-sync plan manifest.yaml --safe")
        assert words in done.stderr
    assert not (world.folder / "ran").exists()
    assert world.lake.requests.counts.total() == asked
    manifest.write_text(good)
    assert plan_on_github(github)[0] == 0
    assert world.run("plan", "manifest.yaml", "--safe").code == 64, "without an origin nothing is asked"


def test_a_proposed_image_that_claims_to_be_huge_takes_no_memory(github: Runner) -> None:
    world = github.world
    small = png(1, 1)
    claim = b"IHDR" + struct.pack(">II", 60_000, 60_000) + small[24:29]
    world.write("images/a.png", small[:12] + claim + struct.pack(">I", zlib.crc32(claim)) + small[33:])
    limited = "import os, resource, sys; size = 2 << 30; resource.setrlimit(resource.RLIMIT_AS, (size, size))"
    world.prefix = (sys.executable, "-c", f"{limited}; os.execv(sys.argv[1], sys.argv[1:])")
    world.good("plan", "manifest.yaml", "--safe", "--html", "plan.html", METALAKE_SYNC_ORIGIN=world.lake.url)
    page = (world.folder / "plan.html").read_text()
    assert "The image is not shown: it has more than 100 million pixels." in page
    assert page.count("data:image/") == 1, "the other image is shown"


def test_a_data_file_of_a_proposal_cannot_read_files_outside(github: Runner) -> None:
    world = github.world
    outside = world.folder.parent / "outside"
    (outside / "labels").mkdir(parents=True)
    (outside / "labels" / "a.txt").write_text("root:x:0:0\n")
    world.write("data.yaml", f"path: {outside}\ntrain: labels\nnames: [bird]\n")
    world.write("set/classes.txt", "bird\n")
    world.write("train.txt", f"{outside}/labels/a.txt\n")
    for source in ("data.yaml", "train.txt"):
        annotation = {"operation": "op", "kind": "human", "source": source, "format": "yolo"}
        world.manifest({**BIRDS, "annotations": [annotation]})
        done = github.run("metalake-sync plan manifest.yaml --safe -v")
        assert "root:x" not in done.stdout + done.stderr, source


def test_hostile_names_do_not_start_commands_in_a_log(github: Runner) -> None:
    world = github.world
    world.manifest({**BIRDS, "name": "::error::owned ##[group]x"})
    world.images("::warning::a.png", "##[error]b.png", "@all.png")
    applied = ("apply", "status -v", "history", "apply --log-format json")
    for command in ("plan -v", "plan --json", "plan --markdown", *applied):
        done = github.run(f"metalake-sync {command} manifest.yaml")
        for line in (done.stdout + done.stderr).splitlines():
            assert not line.strip().startswith("::"), (command, line)
            assert "##[" not in line, (command, line)
    assert len(world.names("::error::owned ##[group]x")) == 5
