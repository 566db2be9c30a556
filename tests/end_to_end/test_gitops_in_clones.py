"""The pipelines of examples/gitops from a proposal to the lake, each job in a new clone, with the state in a bucket."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded_lake.store_servers import StoreMissing, StoreServer, s3_server
from tests.end_to_end.pipelines import GitHub, GitLab, Repository, repository
from tests.end_to_end.world import World

pytestmark = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("git", "jq", "curl")), reason="git, jq and curl are not all installed"
)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    try:
        with s3_server(tmp_path_factory.mktemp("s3")) as server:
            yield server
    except StoreMissing as reason:
        pytest.skip(str(reason))


@pytest.fixture
def repo(tmp_path: Path, world: World, s3: StoreServer) -> Repository:
    runner = {"AWS_ENDPOINT_URL_S3": s3.endpoint, "AWS_DEFAULT_REGION": s3.environment["AWS_DEFAULT_REGION"]}
    secrets = {name: value for name, value in s3.environment.items() if name not in runner}
    new = repository(tmp_path / "repo", world.lake.url, str(s3.new_bucket("team/birds")), runner, secrets)
    new.variables = {**new.variables, "AWS_DEFAULT_REGION": runner["AWS_DEFAULT_REGION"]}
    return new


@pytest.fixture
def github(repo: Repository) -> GitHub:
    return GitHub(repo)


@pytest.fixture
def gitlab(repo: Repository) -> Iterator[GitLab]:
    with GitLab(repo).served() as gitlab:
        yield gitlab


def test_github_applies_what_a_pull_request_showed(github: GitHub, world: World) -> None:
    github.repository.propose("first", add=("a.png", "b.png"))
    planned = github.pull_request("first")
    assert list(planned) == ["plan"]
    assert planned["plan"].ok, planned["plan"].log
    assert "a.png" in (github.hub / "comment.md").read_text()
    assert {path.name for path in github.artifact("lake-plan").iterdir()} == {"lake.plan", "plan.html"}

    merged = github.merge("first")
    assert list(merged) == ["find", "apply"]
    assert merged["find"].outputs == {"plan": "true", "destructive": "false"}
    assert merged["apply"].ok, merged["apply"].log
    assert merged["apply"].environment == "production"
    assert "2 files uploaded" in merged["apply"].log
    assert "Nothing to do" in merged["apply"].summary
    (run,) = json.loads((github.artifact("history") / "history.json").read_text())
    assert run["command"].startswith("apply /")
    assert run["command"].endswith("/lake.plan")

    again = github.by_hand(approve=False)["apply"]
    assert again.ok, again.log
    assert "Nothing was sent" in again.log

    github.repository.propose("second", remove=("a.png",))
    assert github.pull_request("second")["plan"].ok
    merged = github.merge("second")
    assert merged["find"].outputs == {"plan": "true", "destructive": "true"}
    link = "[the plan](https://github.com/acme/birds/actions/runs/4) of #7"
    assert link in merged["find"].summary, "a reviewer finds what the run is about to do"
    assert merged["apply"].environment == "production-approval"
    assert merged["apply"].ok, merged["apply"].log
    assert world.names() == ["b.png"]


def test_github_refuses_a_stale_plan_and_says_what_to_do(github: GitHub, world: World) -> None:
    github.repository.propose("first", add=("a.png",))
    github.repository.propose("second", add=("b.png",))
    assert github.pull_request("first")["plan"].ok
    assert github.pull_request("second")["plan"].ok
    assert github.merge("first")["apply"].ok
    stale = github.merge("second")["apply"]
    assert not stale.ok
    assert "the plan is stale: another run changed the state" in stale.log
    assert "Process completed with exit code 7." in stale.log
    assert "7: Nothing was changed. The plan is stale" in stale.summary
    assert world.names() == ["a.png"]
    by_hand = github.by_hand(approve=False)
    assert by_hand["apply"].ok, by_hand["apply"].log
    assert world.names() == ["a.png", "b.png"]


def test_github_without_a_plan_adds_but_removes_only_with_approval(github: GitHub, world: World) -> None:
    github.repository.change(add=("a.png", "b.png"))
    pushed = github.push()
    assert "does not merge a pull request" in pushed["find"].log
    assert pushed["find"].outputs == {"plan": "", "destructive": ""}
    assert pushed["apply"].ok, pushed["apply"].log
    assert world.names() == ["a.png", "b.png"]
    github.repository.propose("second", remove=("a.png",))
    assert github.pull_request("second")["plan"].ok
    shutil.rmtree(github.artifact("lake-plan"))
    merged = github.merge("second")
    assert "The pull request has no saved plan, or it expired" in merged["find"].log
    assert "Process completed with exit code 7." in merged["apply"].log
    assert world.names() == ["a.png", "b.png"]
    approved = github.by_hand(approve=True)["apply"]
    assert approved.environment == "production-approval"
    assert approved.ok, approved.log
    assert world.names() == ["b.png"]


def test_github_does_not_trust_an_artifact(github: GitHub, world: World) -> None:
    """A plan that claims to remove nothing approves no removal, and a plan of another manifest is not used."""
    github.repository.change(add=("a.png", "b.png"))
    assert github.push()["apply"].ok
    github.repository.propose("second", remove=("a.png",))
    assert github.pull_request("second")["plan"].ok
    plan = github.artifact("lake-plan") / "lake.plan"
    text = plan.read_text()
    plan.write_text(text.replace('"destructive": true', '"destructive": false'))
    assert plan.read_text() != text
    merged = github.merge("second")
    assert merged["find"].outputs["destructive"] == "false"
    assert merged["apply"].environment == "production"
    assert "Process completed with exit code 7." in merged["apply"].log
    assert world.names() == ["a.png", "b.png"]
    for bad in ('"manifest": "data/other.yaml"', '"manifest": "/tmp/other.yaml"'):
        plan.write_text(text.replace('"manifest": "manifest.yaml"', bad, 1))
        assert "has no plan of manifest.yaml" in github.push("find")["find"].log


def test_gitlab_applies_what_a_merge_request_showed(gitlab: GitLab, world: World) -> None:
    gitlab.repository.propose("first", add=("a.png", "b.png"))
    planned = gitlab.merge_request("first")
    assert planned.ok, planned.log
    names = {path.name for path in gitlab.artifacts["plan"].iterdir()}
    assert names == {"lake.plan", "plan.md", "plan.html", "planned-commit"}
    applied = gitlab.merge("first")
    assert gitlab.variables == {"FOUND": "approved"}
    assert applied.ok, applied.log
    assert "2 files uploaded" in applied.log
    (run,) = json.loads((gitlab.artifacts["apply"] / "history.json").read_text())
    assert run["command"] == "apply lake.plan"

    stale = gitlab.push()
    assert "the plan is stale" in stale.log
    assert "exit code 7" in stale.log
    assert "start 'apply approved plan', or, if the plan is stale, 'apply with approval'" in stale.log

    gitlab.repository.propose("second", remove=("a.png",))
    assert gitlab.merge_request("second").ok
    held = gitlab.merge("second")
    assert gitlab.variables == {"FOUND": "destructive"}
    assert "exit code 7" in held.log
    assert 7 in gitlab.jobs["apply"]["allow_failure"]["exit_codes"]
    assert world.names() == ["a.png", "b.png"]
    approved = gitlab.run("apply approved plan")
    assert approved.ok, approved.log
    assert world.names() == ["b.png"]


def test_gitlab_without_a_plan_adds_but_removes_only_with_approval(gitlab: GitLab, world: World) -> None:
    gitlab.repository.change(add=("a.png", "b.png"))
    pushed = gitlab.push()
    assert gitlab.variables == {"FOUND": "none"}
    assert pushed.ok, pushed.log
    gitlab.repository.propose("second", add=("c.png",))
    assert gitlab.merge_request("second").ok
    # The last commit has no plan: its job was skipped or failed.
    head = gitlab.repository.change(remove=("a.png",))
    gitlab.repository.git("update-ref", "refs/merge-requests/7/head", head, cwd=gitlab.repository.origin)
    held = gitlab.merge("second")
    assert gitlab.variables == {"FOUND": "none"}
    assert "exit code 7" in held.log
    assert "There is no saved plan" in gitlab.run("apply approved plan").log
    approved = gitlab.run("apply with approval")
    assert approved.ok, approved.log
    assert world.names() == ["b.png", "c.png"]


def test_gitlab_does_not_use_a_plan_of_another_manifest(gitlab: GitLab) -> None:
    gitlab.repository.propose("first", add=("a.png",))
    assert gitlab.merge_request("first").ok
    gitlab.repository.merge("first", "Merge branch 'first' into 'main'\n\nSee merge request acme/birds!7")
    assert gitlab.run("find plan").ok
    assert gitlab.variables == {"FOUND": "approved"}
    plan = gitlab.artifacts["plan"] / "lake.plan"
    text = plan.read_text()
    for good, bad in (
        ('"manifest": "manifest.yaml"', '"manifest": "data/other.yaml"'),
        ('"manifest_from_plan": "manifest.yaml"', '"manifest_from_plan": "/tmp/other.yaml"'),
        ('"revert": null', '"revert": "20260131T101500-1f2e3d4c"'),
        (text, "not a plan"),
    ):
        assert good in text
        plan.write_text(text.replace(good, bad, 1))
        found = gitlab.run("find plan")
        assert found.ok
        assert "has no plan of manifest.yaml" in found.log
        assert gitlab.variables == {"FOUND": "none"}
        assert not (gitlab.artifacts["find plan"] / "lake.plan").exists()
