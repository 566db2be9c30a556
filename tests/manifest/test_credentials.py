"""Credentials come from the place that the manifest names, and are never shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.manifest import (
    Credentials,
    LoadedManifest,
    compose_manifest,
    credentials,
    load_manifest,
    resolve_credentials,
)
from tests.manifest.conftest import HEAD, ManifestFolder


def remote(manifests: ManifestFolder, api_key: str, url: str = "https://lake.example") -> LoadedManifest:
    return manifests.load(f"version: 1\nremote:\n  url: {url}\n  {api_key}\n  secret: s3cret\n")


def python(code: str) -> str:
    return f"api_key_command: ['{sys.executable}', '-c', '{code}']"


def error_text(loaded: LoadedManifest) -> str:
    with pytest.raises(ManifestError) as caught:
        resolve_credentials(loaded)
    message = str(caught.value)
    assert message.startswith("birds.yaml:4:")
    assert "s3cret" not in message
    return message


def test_the_repr_of_credentials_shows_neither() -> None:
    assert repr(Credentials("k3y", "s3cret")) == "Credentials()"


def test_credentials_come_from_variables_of_the_manifest(manifests: ManifestFolder) -> None:
    assert resolve_credentials(remote(manifests, "api_key: k3y")) == Credentials("k3y", "s3cret")


def test_a_credential_file_is_relative_to_the_manifest_and_is_stripped(
    manifests: ManifestFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (manifests.folder / "key.txt").write_text("  k3y\n\n")
    loaded = remote(manifests, "api_key_file: key.txt")
    monkeypatch.chdir("/")
    assert resolve_credentials(loaded) == Credentials("k3y", "s3cret")


def test_a_command_runs_in_the_manifests_folder_without_a_shell(
    manifests: ManifestFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (manifests.folder / "key.txt").write_text("k3y $HOME; x\n")
    loaded = remote(manifests, "api_key_command: cat key.txt")
    literal = remote(manifests, "api_key_command: echo $HOME")
    monkeypatch.chdir("/")
    assert resolve_credentials(loaded) == Credentials("k3y $HOME; x", "s3cret")
    assert resolve_credentials(literal) == Credentials("$HOME", "s3cret")


def test_a_command_does_not_inherit_variables_of_metalake_sync(
    manifests: ManifestFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOR_THE_HELPER", "k3y")
    monkeypatch.setenv("PYDANTIC_DISABLE_PLUGINS", "__all__")
    code = 'import os; print(os.environ["FOR_THE_HELPER"], "PYDANTIC_DISABLE_PLUGINS" in os.environ)'
    assert resolve_credentials(remote(manifests, python(code))) == Credentials("k3y False", "s3cret")


def test_credentials_are_read_again_for_each_run(manifests: ManifestFolder) -> None:
    loaded = remote(manifests, "api_key_file: key.txt")
    for key in ("old", "new"):
        (manifests.folder / "key.txt").write_text(key)
        assert resolve_credentials(loaded) == Credentials(key, "s3cret")


def test_credentials_of_an_embedded_lake_are_optional(manifests: ManifestFolder) -> None:
    assert resolve_credentials(manifests.load(HEAD)) is None
    assert resolve_credentials(remote(manifests, "api_key: ${UNSET}", url="embedded:x")) is None
    assert resolve_credentials(remote(manifests, "api_key: k", url="embedded:x")) == Credentials("k", "s3cret")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "'api_key_file' is empty"),
        (b" \n", "'api_key_file' is empty"),
        (b"hunter2\nhunter3", "'api_key_file' has more than one line"),
        (b"hunter2\xff", "'api_key_file' is not UTF-8 text"),
        (b"hunter2" * 10_000, "'api_key_file' names the file 'key.txt', which is too large"),
    ],
)
def test_a_credential_file_must_hold_one_line(manifests: ManifestFolder, content: bytes, message: str) -> None:
    (manifests.folder / "key.txt").write_bytes(content)
    answer = error_text(remote(manifests, "api_key_file: key.txt"))
    assert message in answer
    assert "hunter" not in answer


def test_a_missing_credential_file_is_an_error_at_its_key(manifests: ManifestFolder) -> None:
    assert error_text(remote(manifests, "api_key_file: key.txt")) == (
        "birds.yaml:4:17: 'api_key_file' names the file 'key.txt', which cannot be read (No such file or directory)."
        " Create the file, or fix the path."
    )


def test_the_error_of_a_failed_command_shows_its_standard_error_without_what_it_printed(
    manifests: ManifestFolder,
) -> None:
    code = 'import sys; print("hunter2"); print("vault: hunter2 is sealed", file=sys.stderr); sys.exit(3)'
    answer = error_text(remote(manifests, python(code)))
    assert "'api_key_command' failed with exit code 3: vault: … is sealed. Correct the command." in answer
    assert "hunter" not in answer


def test_the_error_of_a_failed_command_that_says_nothing_says_what_to_do(manifests: ManifestFolder) -> None:
    answer = error_text(remote(manifests, python('import sys; print("hunter2"); sys.exit(3)')))
    assert answer.endswith("'api_key_command' failed with exit code 3. Run the command by hand to see why.")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("permission denied: /etc/keys/metalake-2026.txt", "permission denied: /etc/keys/metalake-2026.txt"),
        ("the token hvs9CAESIJ3kq7mPVb2Zr8nT4wYxQ is expired", "the token … is expired"),
        ("VAULT_TOKEN=abc login failed", "VAULT_TOKEN=… login failed"),
        ("get https://vault.acme.dev/v1/key?sig=abc: 403", "get https://vault.acme.dev/v1/key?… 403"),
        ("from the environment: swordfish-of-mia", "from the environment: …"),
        ("get postgres://ada:hunter2@vault.acme/x: refused", "get postgres://…@vault.acme/x: refused"),
        ("tried vault login --password hunter2flag --tls", "tried vault login --password … --tls"),
        ("pass: hunter2 is wrong", "pass: … is wrong"),
        ("signed with wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "signed with …"),
        ("-----BEGIN RSA PRIVATE KEY-----MIIEabc-----END RSA PRIVATE KEY----- is broken", "… is broken"),
    ],
)
def test_what_may_be_a_credential_is_removed_from_standard_error(
    manifests: ManifestFolder, monkeypatch: pytest.MonkeyPatch, said: str, shown: str
) -> None:
    monkeypatch.setenv("OTHER_PASSWORD", "swordfish-of-mia")
    answer = error_text(remote(manifests, python(f'import sys; sys.exit("{said}")')))
    assert f"'api_key_command' failed with exit code 1: {shown}. Correct" in answer


def test_a_long_standard_error_is_cut_at_its_start(manifests: ManifestFolder) -> None:
    answer = error_text(remote(manifests, python('import sys; sys.exit("pad " * 5000 + "the end")')))
    assert "the end. Correct the command." in answer
    assert len(answer) < 1000


def test_a_missing_command_is_an_error(manifests: ManifestFolder) -> None:
    assert "'api_key_command' cannot be run (No such file or directory)" in error_text(
        remote(manifests, "api_key_command: no-such-command-here")
    )


def test_a_command_that_takes_too_long_is_killed_with_its_children(
    manifests: ManifestFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "COMMAND_TIMEOUT_S", 3)
    (manifests.folder / "slow.sh").write_text("sleep 3600 & echo $! > child; wait\n")
    assert "'api_key_command' took longer than" in error_text(remote(manifests, "api_key_command: sh slow.sh"))
    child = Path("/proc") / (manifests.folder / "child").read_text().strip() / "cmdline"
    for _ in range(100):
        if not child.exists() or b"sleep" not in child.read_bytes():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child is still there")


KEY, SECRET, HOOK = "key-4711-4712-4713", "secret-0815-0816", "hook-secret-2342"

LAKE_AND_HOOK = """version: 1
remote: {url: https://lake.example, api_key: "${KEY}", secret: "${LAYERNEXT_SECRET}"}
notify: {url: "https://hooks.example/${HOOK}", secret: "${HOOK}"}
"""
ENVIRONMENT = {"KEY": KEY, "LAYERNEXT_SECRET": SECRET, "HOOK": HOOK, "GITHUB_TOKEN": "ghs_1234567890", "CITY": "Rome"}


def leak_error(
    folder: Path, text: str, variables: Mapping[str, str] | None = None, environment: Mapping[str, str] = ENVIRONMENT
) -> str:
    (folder / "m.yaml").write_text(LAKE_AND_HOOK + text)
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
def test_a_credential_in_another_key_is_an_error_that_does_not_show_it(tmp_path: Path, text: str, words: str) -> None:
    message = leak_error(tmp_path, text)
    assert words in message
    assert not any(value in message for value in (KEY, SECRET, HOOK, "ghs_"))


def test_another_variable_with_the_value_of_a_credential_is_an_error(tmp_path: Path) -> None:
    message = leak_error(tmp_path, "defaults: {metadata: {Note: '${CITY}'}}", {"CITY": f"<{KEY}>"})
    assert "the value contains the API key or the secret" in message
    assert KEY not in message


def test_variables_that_only_sound_like_credentials_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        LAKE_AND_HOOK
        + "defaults: {metadata: {A: '${TOKEN_NAME}', B: '${MY_TOKEN}', C: '${TOKENIZER}', D: '${CITY}', E: s}}"
    )
    loaded = load_manifest(
        str(tmp_path / "m.yaml"),
        variables={"MY_TOKEN": "given by hand"},
        environment={**ENVIRONMENT, "TOKEN_NAME": "n", "TOKENIZER": "t", "LAYERNEXT_SECRET": "s"},
    )
    assert loaded.model.defaults.metadata == {"A": "n", "B": "given by hand", "C": "t", "D": "Rome", "E": "s"}


def test_the_value_of_a_credential_file_is_searched_for_in_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "m.yaml").write_text(
        "version: 1\nremote: {url: https://lake.example, api_key_file: key, secret: '${S}'}\n"
        "defaults: {metadata: {Note: '${CITY}'}}"
    )
    loaded = load_manifest(str(tmp_path / "m.yaml"), environment={"S": SECRET, "CITY": KEY})
    with pytest.raises(Exception, match=r"m.yaml:3:29: the value contains the API key or the secret"):
        resolve_credentials(loaded)


def test_a_composed_manifest_is_searched_for_credentials_too(tmp_path: Path) -> None:
    remote = {"url": "https://lake.example", "api_key": KEY, "secret": SECRET}
    document = {"version": 1, "remote": remote, "defaults": {"metadata": {"Note": SECRET}}}
    with pytest.raises(ManifestErrors, match="the value contains the API key or the secret"):
        compose_manifest(document, name="call", base_dir=tmp_path, source="call")


def test_credentials_are_searched_for_in_all_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "a.yaml").write_text(LAKE_AND_HOOK)
    (tmp_path / "lake" / "b.yaml").write_text("collections: [{name: x, type: image, metadata: {Note: '${KEY}'}}]")
    with pytest.raises(ManifestErrors, match=r"b.yaml:1:\d+: the variable KEY holds a credential"):
        load_manifest(str(tmp_path / "lake"), environment=ENVIRONMENT)
