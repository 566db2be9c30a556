"""Credentials stand where they belong: anywhere else the manifest is refused, and no error shows one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from metalake_sync.errors import ManifestErrors
from metalake_sync.manifest import compose_manifest, load_manifest, resolve_credentials

KEY, SECRET, HOOK = "key-4711-4712-4713", "secret-0815-0816", "hook-secret-2342"

HEAD = """version: 1
remote: {url: https://lake.example, api_key: "${KEY}", secret: "${LAYERNEXT_SECRET}"}
notify: {url: "https://hooks.example/${HOOK}", secret: "${HOOK}"}
"""
ENVIRONMENT = {"KEY": KEY, "LAYERNEXT_SECRET": SECRET, "HOOK": HOOK, "GITHUB_TOKEN": "ghs_1234567890", "CITY": "Rome"}


def refusal(
    folder: Path, text: str, variables: Mapping[str, str] | None = None, environment: Mapping[str, str] = ENVIRONMENT
) -> str:
    (folder / "m.yaml").write_text(HEAD + text)
    with pytest.raises(ManifestErrors) as caught:
        load_manifest(str(folder / "m.yaml"), variables=variables, environment=environment)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "defaults: {metadata: {Note: '${LAYERNEXT_SECRET}'}}",
            "4:29: the variable LAYERNEXT_SECRET holds",
        ),
        ("defaults: {metadata: {Note: 'x${KEY}y'}}", "the variable KEY holds a credential"),
        ("defaults: {metadata: {Tags: ['${HOOK}']}}", "the variable HOOK holds a credential"),
        ("defaults: {metadata: {Note: {deep: ['${LAYERNEXT_API_KEY:-none}']}}}", "the variable LAYERNEXT_API_KEY"),
        ("name: '${KEY}'", "4:7: the variable KEY"),
        ("collections: [{name: x, type: '${KEY}'}]", "the variable KEY"),
        ("collections: [{name: '${GITHUB_TOKEN}', type: image}]", "the variable GITHUB_TOKEN holds a credential"),
        (f"defaults: {{metadata: {{Note: 'it is {SECRET}'}}}}", "4:29: the value contains the API key or the secret"),
    ],
)
def test_a_credential_outside_its_place_is_refused_and_not_shown(tmp_path: Path, text: str, words: str) -> None:
    told = refusal(tmp_path, text)
    assert words in told
    assert not any(value in told for value in (KEY, SECRET, HOOK, "ghs_"))


def test_another_variable_of_the_same_value_is_found_by_the_value(tmp_path: Path) -> None:
    told = refusal(tmp_path, "defaults: {metadata: {Note: '${CITY}'}}", {"CITY": f"<{KEY}>"})
    assert "the value contains the API key or the secret" in told
    assert KEY not in told


def test_what_only_sounds_like_a_credential_is_taken(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        HEAD + "defaults: {metadata: {A: '${TOKEN_NAME}', B: '${MY_TOKEN}', C: '${TOKENIZER}', D: '${CITY}', E: s}}"
    )
    loaded = load_manifest(
        str(tmp_path / "m.yaml"),
        variables={"MY_TOKEN": "given by hand"},
        environment={**ENVIRONMENT, "TOKEN_NAME": "n", "TOKENIZER": "t", "LAYERNEXT_SECRET": "s"},
    )
    assert loaded.model.defaults.metadata == {"A": "n", "B": "given by hand", "C": "t", "D": "Rome", "E": "s"}


def test_a_credential_of_a_file_is_compared_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "m.yaml").write_text(
        "version: 1\nremote: {url: https://lake.example, api_key_file: key, secret: '${S}'}\n"
        "defaults: {metadata: {Note: '${CITY}'}}"
    )
    loaded = load_manifest(str(tmp_path / "m.yaml"), environment={"S": SECRET, "CITY": KEY})
    with pytest.raises(Exception, match=r"m.yaml:3:29: the value contains the API key or the secret"):
        resolve_credentials(loaded)


def test_a_manifest_of_a_program_is_held_to_it_too(tmp_path: Path) -> None:
    remote = {"url": "https://lake.example", "api_key": KEY, "secret": SECRET}
    document = {"version": 1, "remote": remote, "defaults": {"metadata": {"Note": SECRET}}}
    with pytest.raises(ManifestErrors, match="the value contains the API key or the secret"):
        compose_manifest(document, name="call", base_dir=tmp_path, source="call")


def test_the_files_of_a_folder_are_looked_at_together(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "a.yaml").write_text(HEAD)
    (tmp_path / "lake" / "b.yaml").write_text("collections: [{name: x, type: image, metadata: {Note: '${KEY}'}}]")
    with pytest.raises(ManifestErrors, match=r"b.yaml:1:\d+: the variable KEY holds a credential"):
        load_manifest(str(tmp_path / "lake"), environment=ENVIRONMENT)
