"""Which repository a manifest is in: its root and the address of its origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from metalake_sync.planning.repositories import origin_of, repository_of


def configured(folder: Path, text: str) -> Path:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text(text)
    return folder


def with_origin(folder: Path, url: str) -> Path:
    return configured(
        folder,
        '[core]\n\tbare = false\n[remote "upstream"]\n\turl = https://example.com/other.git\n'
        f'[remote "origin"]\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\turl = {url}\n[branch "x"]\n\turl = x\n',
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/birds",
        "https://github.com/acme/birds.git",
        "https://GitHub.com/acme/birds/",
        "https://ci-token:s3cret@github.com/acme/birds.git",
        "git@github.com:acme/birds.git",
        "ssh://git@github.com:22/acme/birds.git",
        '"https://github.com/acme/birds"',
    ],
)
def test_all_addresses_of_a_repository_give_one_text_without_credentials(tmp_path: Path, url: str) -> None:
    assert origin_of(with_origin(tmp_path, url)) == "github.com/acme/birds"


@pytest.mark.parametrize("url", ["/srv/git/birds.git", "../birds", "file:///srv/birds.git", "https://[broken/x", "C:"])
def test_an_address_that_means_nothing_elsewhere_is_unknown(tmp_path: Path, url: str) -> None:
    assert origin_of(with_origin(tmp_path, url)) is None


def test_a_repository_without_an_origin(tmp_path: Path) -> None:
    assert origin_of(tmp_path) is None
    assert origin_of(configured(tmp_path, "[core]\n\tbare = false\n")) is None


def test_a_linked_work_tree_has_the_origin_of_its_repository(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    main = with_origin(tmp_path / "main", "https://github.com/acme/birds")
    linked = main / ".git" / "worktrees" / "second"
    linked.mkdir(parents=True)
    (linked / "commondir").write_text("../..\n")
    second = tmp_path / "second" / "deep"
    second.mkdir(parents=True)
    (tmp_path / "second" / ".git").write_text(f"gitdir: {linked}\n")
    assert repository_of(second / "birds.yaml") == tmp_path / "second"
    assert origin_of(tmp_path / "second") == "github.com/acme/birds"
