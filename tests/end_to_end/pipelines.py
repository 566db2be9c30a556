"""Small runners for the pipelines of examples/gitops: each job gets a new clone, and nothing else but artifacts.

They carry out what the files say: conditions, expressions, needs, environment variables, scripts and artifacts. Actions
that others provide (checkout, artifacts) are replaced by a copy between folders, and `gh` by a script.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.embedded_lake.talk import API_KEY, SECRET, png
from tests.end_to_end.world import PROGRAM

GITOPS = Path(__file__).parents[2] / "examples" / "gitops"
TIMEOUT_S = 120

MANIFEST = """
version: 1
remote: {url: "${LAYERNEXT_URL}", api_key: "${LAYERNEXT_API_KEY}", secret: "${LAYERNEXT_SECRET}"}
collections:
  - {name: birds, type: image, prune: true, folders: [{path: images}]}
"""

GH = r"""#!/bin/bash
set -e
case "$1 $2" in
"api repos/$GITHUB_REPOSITORY/commits/$GITHUB_SHA/pulls")
    jq -r "$4" "$HUB/pulls.json" ;;
"run list")
    while [ "$1" != --commit ]; do shift; done
    head=$2
    while [ "$1" != --jq ]; do shift; done
    jq -r --arg head "$head" "[.[] | select(.head == \$head)] | reverse | $2" "$HUB/runs.json" ;;
"run download")
    [ "$4 $6" = "--name --dir" ]
    cp -r "$HUB/artifacts/$3/$5" "$7" ;;
"api --paginate") ;;
"api --silent")
    [ "$4 $7" = "POST body=@comment.md" ]
    cp comment.md "$HUB/comment.md" ;;
*) exit 9 ;;
esac
"""


@dataclass
class Repository:
    """A bare repository, a clone in which a person works, and what jobs need for the lake and the state."""

    folder: Path
    variables: Mapping[str, str]
    secrets: Mapping[str, str]
    runner: Mapping[str, str]
    """Variables of every runner, which no pipeline sets."""
    clones: int = 0

    @property
    def origin(self) -> Path:
        return self.folder / "origin.git"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def begin(self) -> None:
        """Create the repository, with a commit on its default branch."""
        self.folder.mkdir()
        self.git("init", "-q", "--bare", "-b", "main", str(self.origin), cwd=self.folder)
        self.git("clone", "-q", str(self.origin), str(self.work), cwd=self.folder)
        self.git("checkout", "-q", "-B", "main")
        (self.work / "manifest.yaml").write_text(MANIFEST)
        (self.work / ".gitignore").write_text(".metalake-sync/\n")
        self.commit()

    def git(self, *args: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *args], cwd=cwd or self.work, env=self.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (args, done.stderr)
        return done.stdout.strip()

    def environment(self) -> dict[str, str]:
        """What a runner has before a pipeline sets anything."""
        who = {f"GIT_{role}_{what}": "mia" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        path = f"{self.folder / 'bin'}{os.pathsep}{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
        known = {"PATH": path, "HOME": str(self.folder), "NO_PROXY": "*", "GIT_CONFIG_GLOBAL": os.devnull}
        return {**known, **who, **self.runner}

    def commit(self) -> str:
        """Commit and push what the working clone has, and return the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "Change the images")
        self.git("push", "-q", "origin", "HEAD")
        return self.git("rev-parse", "HEAD")

    def propose(self, branch: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> str:
        """Commit a change on a new branch of the default branch."""
        self.git("checkout", "-q", "-b", branch, "main")
        return self.change(add=add, remove=remove)

    def change(self, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> str:
        (self.work / "images").mkdir(exist_ok=True)
        for name in add:
            (self.work / "images" / name).write_bytes(png(salt=name.encode()))
        for name in remove:
            (self.work / "images" / name).unlink()
        return self.commit()

    def merge(self, branch: str, message: str) -> str:
        self.git("checkout", "-q", "main")
        self.git("merge", "-q", "--no-ff", "-m", message, branch)
        self.git("push", "-q", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def new_folder(self) -> Path:
        self.clones += 1
        folder = self.folder / f"runner-{self.clones}"
        folder.mkdir()
        return folder

    def clone(self, commit: str, folder: Path) -> None:
        self.git("clone", "-q", str(self.origin), str(folder), cwd=self.folder)
        self.git("checkout", "-q", commit, cwd=folder)


def repository(
    folder: Path, lake_url: str, state: str, runner: Mapping[str, str], secrets: Mapping[str, str]
) -> Repository:
    """Return a new repository with the manifest. `runner`, `secrets`: what the bucket of the state needs."""
    variables = {"LAYERNEXT_URL": lake_url, "METALAKE_SYNC_STATE": state}
    new = Repository(folder, variables, {"LAYERNEXT_API_KEY": API_KEY, "LAYERNEXT_SECRET": SECRET, **secrets}, runner)
    new.begin()
    return new


@dataclass
class Job:
    """What a job left."""

    ok: bool = True
    log: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    environment: str = ""
    summary: str = ""


# GitHub


_TOKEN = re.compile(r"'[^']*'|[A-Za-z_][\w.-]*|&&|\|\||!=|==|!|\S")
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_PYTHON = {"&&": " and ", "||": " or ", "!": " not ", "true": "True", "false": "False"}


def evaluate(expression: str, context: Mapping[str, Any], status: Mapping[str, bool]) -> Any:
    """Evaluate an expression of GitHub Actions: names, texts, `==`, `!=`, `&&`, `||`, `!` and a few functions."""

    def look_up(name: str) -> Any:
        value: Any = context
        for part in name.split("."):
            value = value.get(part, "") if isinstance(value, Mapping) else ""
        return value

    functions: dict[str, Callable[..., Any]] = {
        "format": str.format,
        **{name: partial(status.__getitem__, name) for name in status},
    }
    parts = []
    tokens = _TOKEN.findall(expression)
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if token in _PYTHON:
            parts.append(_PYTHON[token])
        elif token[0].isalpha():
            parts.append(f"functions[{token!r}]" if following == "(" else f"look_up({token!r})")
        else:
            parts.append(token)
    return eval("".join(parts), {"functions": functions, "look_up": look_up})


@dataclass
class GitHub:
    """The workflow of examples/gitops, and what GitHub keeps of its runs."""

    repository: Repository
    runs: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.workflow = yaml.safe_load((GITOPS / "github-actions.yaml").read_text())
        self.hub.mkdir()
        program = self.repository.folder / "bin" / "gh"
        program.parent.mkdir()
        program.write_text(GH)
        program.chmod(0o755)

    @property
    def hub(self) -> Path:
        return self.repository.folder / "hub"

    def artifact(self, name: str, run: int = -1) -> Path:
        """The folder of an artifact of a run, by default of the last one."""
        number = self.runs[run]["databaseId"]
        return self.hub / "artifacts" / str(number) / name

    def pull_request(self, branch: str) -> dict[str, Job]:
        """A push to a branch that has a pull request."""
        head = self.repository.git("rev-parse", branch)
        event = {"pull_request": {"number": 7, "head": {"repo": {"full_name": "acme/birds"}}}}
        return self._run("pull_request", head, event=event)

    def merge(self, branch: str) -> dict[str, Job]:
        """Merge the pull request of a branch."""
        head = self.repository.git("rev-parse", branch)
        commit = self.repository.merge(branch, f"Merge pull request #7 from acme/{branch}")
        pull = {"number": 7, "merged_at": "2026-01-31", "merge_commit_sha": commit}
        self.pulls.append({**pull, "head": {"sha": head, "repo": {"full_name": "acme/birds"}}})
        return self.push()

    def push(self, *jobs: str) -> dict[str, Job]:
        """A push to the default branch. `jobs`: run these only."""
        return self._run("push", self.repository.git("rev-parse", "main"), jobs=jobs)

    def by_hand(self, *, approve: bool) -> dict[str, Job]:
        return self._run("workflow_dispatch", self.repository.git("rev-parse", "main"), inputs={"approve": approve})

    def _run(self, name: str, commit: str, **context: Any) -> dict[str, Job]:
        self.runs.append({"databaseId": len(self.runs) + 1, "head": commit})
        (self.hub / "runs.json").write_text(json.dumps(self.runs))
        merges = [pull for pull in self.pulls if pull["merge_commit_sha"] == commit]
        (self.hub / "pulls.json").write_text(json.dumps(merges))
        github = {"event_name": name, "event": context.get("event", {}), "token": "t", "repository": "acme/birds"}
        common = {
            "github": {**github, "ref": "refs/heads/main"},
            "vars": self.repository.variables,
            "secrets": self.repository.secrets,
            "inputs": context.get("inputs", {}),
        }
        jobs: dict[str, Job] = {}
        for title, job in self.workflow["jobs"].items():
            if context.get("jobs") and title not in context["jobs"]:
                continue
            needs = [job["needs"]] if "needs" in job else []
            if any(need not in jobs or not jobs[need].ok for need in needs):
                continue
            known = {**common, "needs": {need: {"outputs": jobs[need].outputs} for need in needs}}
            if "if" in job and not evaluate(job["if"], known, {}):
                continue
            jobs[title] = self._job(job, commit, known)
        return jobs

    def _job(self, job: dict[str, Any], commit: str, common: dict[str, Any]) -> Job:
        folder, temporary = self.repository.new_folder(), self.repository.new_folder()
        steps: dict[str, Any] = {}
        context = {**common, "runner": {"temp": str(temporary)}, "steps": steps}
        left = Job()
        files = {name: temporary / f"file-{name}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        fixed = {
            "HUB": str(self.hub),
            "RUNNER_TEMP": str(temporary),
            "GITHUB_REPOSITORY": "acme/birds",
            "GITHUB_SHA": commit,
            "GITHUB_EVENT_NAME": common["github"]["event_name"],
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_WORKFLOW": self.workflow["name"],
            **{name: str(path) for name, path in files.items()},
        }

        def filled(text: Any) -> str:
            def value(match: re.Match[str]) -> str:
                found = evaluate(match[1], context, status)
                return str(found).lower() if isinstance(found, bool) else "" if found is None else str(found)

            return _EXPRESSION.sub(value, str(text))

        status = {"success": True, "failure": False, "cancelled": False, "always": True}
        left.environment = filled(job.get("environment", "")).strip()
        for step in job["steps"]:
            status.update(success=left.ok, failure=not left.ok)
            condition = str(step.get("if", "success()")).removeprefix("${{").removesuffix("}}")
            if not re.search(r"(success|failure|always|cancelled)\(\)", condition):
                condition = f"success() && ({condition})"
            if step.get("name") == "Install" or not evaluate(condition, context, status):
                continue
            layers = (self.workflow["env"], job.get("env", {}), step.get("env", {}))
            variables = {name: filled(value) for layer in layers for name, value in layer.items()}
            outputs: dict[str, str] = {}
            good = True
            if "run" in step:
                files["GITHUB_OUTPUT"].write_text("")
                files["GITHUB_STEP_SUMMARY"].touch()
                environment = {**self.repository.environment(), **fixed, **variables}
                script = temporary / "script.sh"
                assert "${{" not in step["run"], "no text of others becomes a part of a script"
                script.write_text(step["run"])
                done = run_shell(["bash", "-e", str(script)], folder, environment)
                left.log += done.stdout
                good = done.returncode == 0
                if not good:
                    left.log += f"Process completed with exit code {done.returncode}.\n"
                outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
            else:
                self._action(
                    step["uses"], {key: filled(value) for key, value in step.get("with", {}).items()}, commit, folder
                )
            left.ok &= good or step.get("continue-on-error", False)
            if "id" in step:
                steps[step["id"]] = {"outputs": outputs, "outcome": "success" if good else "failure"}
        left.outputs = {name: filled(value) for name, value in job.get("outputs", {}).items()}
        summary = files["GITHUB_STEP_SUMMARY"]
        left.summary = summary.read_text() if summary.exists() else ""
        return left

    def _action(self, uses: str, given: dict[str, str], commit: str, folder: Path) -> None:
        action = uses.partition("@")[0].removeprefix("actions/")
        if action == "checkout":
            self.repository.clone(commit, folder)
        elif action == "upload-artifact":
            found = [Path(line) for line in given["path"].split() if Path(line).exists()]
            assert found or given.get("if-no-files-found") == "ignore"
            target = self.artifact(given["name"])
            target.mkdir(parents=True, exist_ok=True)
            for path in found:
                shutil.copy(path, target)
        elif action == "download-artifact":
            shutil.copytree(self.artifact(given["name"]), given["path"], dirs_exist_ok=True)
        else:
            assert action == "setup-python"


# GitLab


@dataclass
class GitLab:
    """The pipeline of examples/gitops, and what GitLab keeps of its jobs."""

    repository: Repository
    api: str = ""
    artifacts: dict[str, Path] = field(default_factory=dict)
    """The artifacts of the last run of each job."""
    variables: dict[str, str] = field(default_factory=dict)
    """What the report of the last `find plan` contains."""

    def __post_init__(self) -> None:
        self.jobs = yaml.safe_load((GITOPS / "gitlab-ci.yaml").read_text())

    @contextmanager
    def served(self) -> Iterator[GitLab]:
        """Serve the artifacts of the job `plan`, as for the merge request 7."""
        gitlab = self

        class Artifacts(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                file = re.fullmatch(
                    r"/projects/12/jobs/artifacts/refs%2Fmerge-requests%2F7%2Fhead/raw/([\w.-]+)\?job=plan", self.path
                )
                allowed = self.headers["JOB-TOKEN"] == "job-token"
                path = gitlab.artifacts.get("plan", Path("missing")) / file[1] if file else None
                known = allowed and path is not None and path.exists()
                body = path.read_bytes() if known and path is not None else b""
                self.send_response(200 if known else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Artifacts)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            self.api = f"http://127.0.0.1:{server.server_port}"
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def merge_request(self, branch: str) -> Job:
        """A push to the branch of the merge request 7."""
        head = self.repository.git("rev-parse", branch)
        self.repository.git("update-ref", "refs/merge-requests/7/head", head, cwd=self.repository.origin)
        self.artifacts.clear()
        return self.run("plan", head)

    def merge(self, branch: str) -> Job:
        """Merge the merge request 7. Runs the automatic jobs, and returns the last one."""
        self.repository.merge(branch, f"Merge branch '{branch}' into 'main'\n\nSee merge request acme/birds!7")
        return self.push()

    def push(self) -> Job:
        found = self.run("find plan")
        assert found.ok, found.log
        return self.run("apply")

    def run(self, name: str, commit: str = "main") -> Job:
        """Run a job in a new clone."""
        job = self.jobs[name]
        while "extends" in job:
            job = {**self.jobs[job["extends"]], **{key: value for key, value in job.items() if key != "extends"}}
        folder = self.repository.new_folder()
        commit = self.repository.git("rev-parse", commit)
        self.repository.clone(commit, folder)
        for need in job.get("needs", ()):
            shutil.copytree(self.artifacts[need["job"]], folder, dirs_exist_ok=True)
        environment = {
            **self.repository.environment(),
            **self.repository.variables,
            **self.repository.secrets,
            **self.jobs["variables"],
            **(self.variables if "needs" in job else {}),
            "METALAKE_SYNC_ORIGIN": self.repository.variables["LAYERNEXT_URL"],
            "CI_API_V4_URL": self.api,
            "CI_PROJECT_ID": "12",
            "CI_JOB_TOKEN": "job-token",
            "CI_REPOSITORY_URL": str(self.repository.origin),
            "CI_COMMIT_SHA": commit,
            "CI_COMMIT_MESSAGE": self.repository.git("log", "-1", "--format=%B", commit),
        }
        done = run_shell(["bash", "-eo", "pipefail", "-c", "\n".join(job["script"])], folder, environment)
        left = Job(ok=done.returncode == 0, log=done.stdout)
        if "after_script" in job:
            environment["CI_JOB_STATUS"] = "success" if left.ok else "failed"
            left.log += run_shell(
                ["bash", "-eo", "pipefail", "-c", "\n".join(job["after_script"])], folder, environment
            ).stdout
        if not left.ok:
            left.log += f"exit code {done.returncode}\n"
        kept = self.repository.new_folder()
        for path in job.get("artifacts", {}).get("paths", ()):
            if (folder / path).exists():
                shutil.copy(folder / path, kept)
        self.artifacts[name] = kept
        report = job.get("artifacts", {}).get("reports", {}).get("dotenv")
        if report is not None:
            self.variables = dict(line.split("=", 1) for line in (folder / report).read_text().splitlines())
        return left


def run_shell(command: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script. Standard error is a part of the output, as in a job's log."""
    return subprocess.run(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
