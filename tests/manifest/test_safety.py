"""`--safe`: what a proposed manifest must not do."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from metalake_sync.errors import ManifestErrors, SyncError, UsageError
from metalake_sync.manifest import LoadedManifest, load_manifest
from metalake_sync.manifest.models import Manifest
from metalake_sync.manifest.safety import check_safe, check_source, is_path_field, safe_environment

ORIGIN = "https://lake.example"
REMOTE = {"url": "https://lake.example/api", "api_key": "k", "secret": "s"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a manifest's folder in it, and a secret file beside it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "stolen.json").write_text("{}")
    folder = tmp_path / "repository"
    (folder / ".git").mkdir(parents=True)
    (folder / "lake" / "images").mkdir(parents=True)
    return folder


def loaded(repository: Path, remote: object = None, **top: object) -> LoadedManifest:
    document = {"version": 1, "remote": remote or REMOTE, **top}
    (repository / "lake" / "m.yaml").write_text(yaml.safe_dump(document))
    return load_manifest(str(repository / "lake" / "m.yaml"), environment={})


def images(**more: object) -> dict[str, object]:
    return {"name": "birds", "type": "image", "folders": [{"path": "images"}], **more}


def test_a_manifest_with_paths_in_its_repository_is_accepted(repository: Path) -> None:
    (repository / "labels").mkdir()
    (repository / "lake" / "link").symlink_to("../labels")
    annotation = {"operation": "op", "kind": "human", "source": ["../labels/*.json", "link"]}
    manifest = loaded(
        repository, collections=[images(annotations=[annotation])], downloads=[{"lake": "image", "to": "o"}]
    )
    assert check_safe(manifest, ORIGIN) == repository


@pytest.mark.parametrize(
    "collection",
    [
        {"folders": [{"path": "../../outside"}]},
        {"folders": [{"path": "/etc"}]},
        {"folders": [{"path": "images/../../../outside"}]},
        {"files": ["../../outside/a.png"]},
        {"file_metadata": ["../../outside/stolen.json"]},
        {"file_metadata": [{"source": "/proc/self/environ", "format": "csv"}]},
        {"file_metadata": ["../.git/config"]},
        {"annotations": [{"operation": "op", "kind": "human", "source": "../../outside/*.json"}]},
        {"annotations": [{"operation": "op", "kind": "human", "source": ["images", "*/../../../outside/x.json"]}]},
    ],
    ids=str,
)
def test_a_path_outside_the_repository_is_an_error(repository: Path, collection: dict[str, object]) -> None:
    manifest = loaded(repository, collections=[images(**collection)])
    with pytest.raises(ManifestErrors, match=r"m.yaml:\d+:\d+: .*(outside the repository|inside .git)"):
        check_safe(manifest, ORIGIN)


@pytest.mark.parametrize(
    "top",
    [
        {"downloads": [{"lake": "image", "to": "/tmp/out"}]},
        {"metadata": [{"source": "../../outside/stolen.json", "by": "unique_name"}]},
        {"annotations": [{"operation": "op", "kind": "human", "source": "/x.json", "by": "unique_name"}]},
        {"remote": {"url": ORIGIN, "api_key_file": "/run/secrets/key", "secret": "s"}},
        {"remote": {**REMOTE, "ca_file": "/etc/ssl/ca.pem"}},
        {"notify": {"url": "https://hooks.example", "secret_file": "/run/secrets/hook"}},
    ],
    ids=str,
)
def test_a_top_level_path_outside_the_repository_is_an_error(repository: Path, top: dict[str, object]) -> None:
    with pytest.raises(ManifestErrors, match="outside the repository"):
        check_safe(loaded(repository, **top), ORIGIN)


def test_a_link_out_of_the_repository_is_an_error_anywhere(repository: Path) -> None:
    (repository / "elsewhere").mkdir()
    (repository / "elsewhere" / "a.json").symlink_to("../../outside/stolen.json")
    with pytest.raises(SyncError, match=r"elsewhere/a.json: the link leads out"):
        check_safe(loaded(repository, collections=[images()]), ORIGIN)


def test_a_manifest_that_is_a_link_out_of_its_repository_is_not_read(repository: Path) -> None:
    loaded(repository)
    check_source(str(repository / "lake"))
    check_source(str(repository / "lake" / "m.yaml"))
    (repository / "lake" / "inner.yaml").symlink_to("m.yaml")
    check_source(str(repository / "lake"))
    (repository / ".git" / "config.yaml").write_text("")
    for number, target in enumerate(("../../outside/stolen.json", "../.git/config.yaml")):
        link = repository / "lake" / f"{number}.yaml"
        link.symlink_to(target)
        for source in (link, repository / "lake"):
            with pytest.raises(UsageError, match=rf"{number}.yaml: the manifest is a link to a file outside"):
                check_source(str(source))
        link.unlink()


def test_a_link_into_git_is_an_error(repository: Path) -> None:
    (repository / "lake" / "config.json").symlink_to("../.git/config")
    with pytest.raises(SyncError, match="the link leads out"):
        check_safe(loaded(repository, collections=[images()]), ORIGIN)


@pytest.mark.parametrize("key", ["api_key", "secret"])
def test_commands_are_not_allowed(repository: Path, key: str) -> None:
    remote = {**{name: value for name, value in REMOTE.items() if name != key}, f"{key}_command": "touch ran"}
    with pytest.raises(ManifestErrors, match=f"'{key}_command' is not allowed with --safe"):
        check_safe(loaded(repository, remote), ORIGIN)


@pytest.mark.parametrize("workers", ["package.module:factory", "tls://scheduler.example:8786"])
def test_workers_that_name_code_or_a_machine_are_not_allowed(repository: Path, workers: str) -> None:
    with pytest.raises(ManifestErrors, match="'workers' names code to run or another machine, which is not allowed"):
        check_safe(loaded(repository, run={"workers": workers}), ORIGIN)
    check_safe(loaded(repository, run={"workers": 4}), ORIGIN)


@pytest.mark.parametrize(
    ("url", "origin", "taken"),
    [
        ("https://lake.example", "https://lake.example/", True),
        ("https://LAKE.example:443/api", "https://lake.example", True),
        ("https://lake.example:8443", "https://lake.example", False),
        ("https://lake.example.evil.example", "https://lake.example", False),
        ("http://127.0.0.1:9", "https://127.0.0.1:9", False),
        ("embedded:.metalake", "https://lake.example", False),
        ("embedded:.metalake", "embedded:.metalake", True),
        ("embedded:.metalake", None, True),
    ],
)
def test_credentials_are_sent_only_to_the_named_lake(
    repository: Path, url: str, origin: str | None, taken: bool
) -> None:
    manifest = loaded(repository, {**REMOTE, "url": url})
    if taken:
        check_safe(manifest, origin)
        return
    with pytest.raises(ManifestErrors, match="is not the lake that METALAKE_SYNC_ORIGIN names"):
        check_safe(manifest, origin)


def test_the_lake_must_be_named(repository: Path) -> None:
    with pytest.raises(UsageError, match="--safe needs METALAKE_SYNC_ORIGIN"):
        check_safe(loaded(repository), None)
    with pytest.raises(UsageError, match="METALAKE_SYNC_ORIGIN is not an address"):
        check_safe(loaded(repository), "lake.example")


def test_an_embedded_lake_outside_the_repository_is_an_error(repository: Path) -> None:
    with pytest.raises(ManifestErrors, match="outside the repository"):
        check_safe(loaded(repository, {"url": "embedded:../../lake"}), None)


def test_only_layernext_variables_are_read_from_the_environment() -> None:
    assert safe_environment({"LAYERNEXT_URL": "u", "AWS_SESSION": "a", "PATH": "p"}) == {"LAYERNEXT_URL": "u"}


def test_every_key_with_the_name_of_a_path_is_marked_as_a_path() -> None:
    """A new key of the manifest that names a file must be a `PathText`."""
    found: set[str] = set()
    seen: set[type[BaseModel]] = set()

    def look(model: type[BaseModel]) -> None:
        if model in seen:
            return
        seen.add(model)
        for name, field in model.model_fields.items():
            for below in _models(field.annotation):
                look(below)
            key = field.alias or name
            if key in ("path", "source", "to", "files") or key.endswith("_file"):
                assert is_path_field(field), f"{model.__name__}.{key}"
                found.add(key)

    look(Manifest)
    assert {"path", "source", "to", "files", "ca_file", "api_key_file"} <= found


def _models(annotation: object) -> list[type[BaseModel]]:
    own = [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
    return own + [model for part in get_args(annotation) for model in _models(part)]
