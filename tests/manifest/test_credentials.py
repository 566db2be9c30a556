"""Credentials come from where the manifest says, and are never shown."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from metalake_sync.errors import ManifestError
from metalake_sync.manifest import Credentials, LoadedManifest, credentials, resolve_credentials
from tests.manifest.conftest import HEAD, Desk


def remote(desk: Desk, api_key: str, url: str = "https://lake.example") -> LoadedManifest:
    return desk.load(f"version: 1\nremote:\n  url: {url}\n  {api_key}\n  secret: s3cret\n")


def python(code: str) -> str:
    return f"api_key_command: ['{sys.executable}', '-c', '{code}']"


def refusal(loaded: LoadedManifest) -> str:
    with pytest.raises(ManifestError) as caught:
        resolve_credentials(loaded)
    told = str(caught.value)
    assert told.startswith("birds.yaml:4:")
    assert "s3cret" not in told
    return told


def test_credentials_show_nothing() -> None:
    assert repr(Credentials("k3y", "s3cret")) == "Credentials()"


def test_credentials_from_the_manifests_variables(desk: Desk) -> None:
    assert resolve_credentials(remote(desk, "api_key: k3y")) == Credentials("k3y", "s3cret")


def test_a_file_is_read_from_the_manifests_folder_and_stripped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.folder / "key.txt").write_text("  k3y\n\n")
    loaded = remote(desk, "api_key_file: key.txt")
    monkeypatch.chdir("/")
    assert resolve_credentials(loaded) == Credentials("k3y", "s3cret")


def test_a_command_runs_in_the_manifests_folder_without_a_shell(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.folder / "key.txt").write_text("k3y $HOME; x\n")
    loaded = remote(desk, "api_key_command: cat key.txt")
    literal = remote(desk, "api_key_command: echo $HOME")
    monkeypatch.chdir("/")
    assert resolve_credentials(loaded) == Credentials("k3y $HOME; x", "s3cret")
    assert resolve_credentials(literal) == Credentials("$HOME", "s3cret")


def test_a_command_has_the_environment_without_what_we_set_for_ourselves(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOR_THE_HELPER", "k3y")
    monkeypatch.setenv("PYDANTIC_DISABLE_PLUGINS", "__all__")
    code = 'import os; print(os.environ["FOR_THE_HELPER"], "PYDANTIC_DISABLE_PLUGINS" in os.environ)'
    assert resolve_credentials(remote(desk, python(code))) == Credentials("k3y False", "s3cret")


def test_credentials_are_read_anew_each_time(desk: Desk) -> None:
    loaded = remote(desk, "api_key_file: key.txt")
    for key in ("old", "new"):
        (desk.folder / "key.txt").write_text(key)
        assert resolve_credentials(loaded) == Credentials(key, "s3cret")


def test_an_embedded_lake_needs_none_and_takes_some(desk: Desk) -> None:
    assert resolve_credentials(desk.load(HEAD)) is None
    assert resolve_credentials(remote(desk, "api_key: ${UNSET}", url="embedded:x")) is None
    assert resolve_credentials(remote(desk, "api_key: k", url="embedded:x")) == Credentials("k", "s3cret")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "'api_key_file' is empty"),
        (b" \n", "'api_key_file' is empty"),
        (b"hunter2\nhunter3", "'api_key_file' has more than one line"),
        (b"hunter2\xff", "'api_key_file' is not UTF-8 text"),
        (b"hunter2" * 10_000, "'api_key_file' names the file 'key.txt', which is too large"),
    ],
)
def test_a_file_holds_one_line(desk: Desk, content: bytes, told: str) -> None:
    (desk.folder / "key.txt").write_bytes(content)
    answer = refusal(remote(desk, "api_key_file: key.txt"))
    assert told in answer
    assert "hunter" not in answer


def test_a_missing_file_is_told_at_its_key(desk: Desk) -> None:
    assert refusal(remote(desk, "api_key_file: key.txt")) == (
        "birds.yaml:4:17: 'api_key_file' names the file 'key.txt', which cannot be read (No such file or directory)."
        " Create the file, or fix the path."
    )


def test_a_command_that_fails_is_told_without_what_it_said(desk: Desk) -> None:
    code = 'import sys; print("hunter2"); print("hunter3", file=sys.stderr); sys.exit(3)'
    answer = refusal(remote(desk, python(code)))
    assert "'api_key_command' failed with exit code 3. Run the command by hand to see why." in answer
    assert "hunter" not in answer


def test_a_command_that_is_not_there_is_told(desk: Desk) -> None:
    assert "'api_key_command' cannot be run (No such file or directory)" in refusal(
        remote(desk, "api_key_command: no-such-command-here")
    )


def test_a_command_that_takes_too_long_is_ended_with_its_children(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "COMMAND_TIMEOUT_S", 0.5)
    (desk.folder / "slow.sh").write_text("sleep 60 & echo $! > child; wait\n")
    began = time.monotonic()
    assert "'api_key_command' took longer than" in refusal(remote(desk, "api_key_command: sh slow.sh"))
    assert time.monotonic() - began < 20
    child = Path("/proc") / (desk.folder / "child").read_text().strip() / "cmdline"
    for _ in range(100):
        if not child.exists() or b"sleep" not in child.read_bytes():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child is still there")
