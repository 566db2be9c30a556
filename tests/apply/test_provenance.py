"""The history knows who started a run, and keeps no credential of the command line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from metalake_sync.apply.provenance import find_commit, find_provenance, without_secrets
from metalake_sync.state.process_owner import ci_url


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("DB_PASSWORD=hunter2", "DB_PASSWORD=…"),
        ("--var=api_token=abc", "--var=…"),
        ("site=berlin", "site=berlin"),
        ("--target=birds/*.jpg", "--target=birds/*.jpg"),
        ("url=https://me:pw@host/x", "url=https://…@host/x"),
        ("https://host/x?sig=abc", "https://host/x?…"),
        ("value-of-the-lake-secret", "…"),
        ("x=value-of-the-lake-secret", "x=…"),
    ],
)
def test_a_command_line_loses_what_is_secret(word: str, kept: str) -> None:
    assert without_secrets([word], ["value-of-the-lake-secret", "a"]) == [kept]


def test_a_run_is_described(tmp_path: Path) -> None:
    found = find_provenance(tmp_path, ["metalake-sync", "apply", "a b.yaml"], (), {"CI_JOB_URL": "https://u:p@ci/1"})
    assert found.command_line == "metalake-sync apply 'a b.yaml'"
    assert found.ci_url == "https://ci/1"
    assert found.user
    assert found.host


def test_a_run_from_python_has_no_command_line(tmp_path: Path) -> None:
    assert find_provenance(tmp_path, ()).command_line is None


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        (
            {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "o/r", "GITHUB_RUN_ID": "7"},
            "https://github.com/o/r/actions/runs/7",
        ),
        ({"BUILD_URL": "https://jenkins/job/1/"}, "https://jenkins/job/1/"),
        (
            {
                "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI": "https://dev.azure.com/o/",
                "SYSTEM_TEAMPROJECT": "p",
                "BUILD_BUILDID": "9",
            },
            "https://dev.azure.com/o/p/_build/results?buildId=9",
        ),
        ({"CI_JOB_URL": "javascript:x"}, None),
        ({}, None),
    ],
)
def test_the_ci_job_has_a_page(environment: dict[str, str], url: str | None) -> None:
    assert ci_url(environment) == url


def test_the_commit_is_that_of_git(tmp_path: Path) -> None:
    def git(*words: str, folder: Path = tmp_path) -> str:
        known = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
        done = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
            cwd=folder,
            env=known,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    inner = tmp_path / "data"
    inner.mkdir()
    git("init", "-q")
    assert find_commit(inner) is None
    git("commit", "-q", "--allow-empty", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert find_commit(inner) == commit
    git("pack-refs", "--all")
    assert find_commit(inner) == commit
    git("worktree", "add", "-q", str(tmp_path / "other"), "-b", "other")
    git("commit", "-q", "--allow-empty", "-m", "second", folder=tmp_path / "other")
    assert find_commit(tmp_path / "other") == git("rev-parse", "HEAD", folder=tmp_path / "other") != commit
    git("checkout", "-q", "--detach")
    assert find_commit(inner) == commit


def test_a_broken_repository_is_no_error(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert find_commit(tmp_path) is None
    (tmp_path / ".git" / "HEAD").write_bytes(b"ref: refs/heads/\xff\x00")
    assert find_commit(tmp_path) is None
