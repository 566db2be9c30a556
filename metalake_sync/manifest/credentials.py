"""Reading the credentials of the lake from the manifest's variables, a file or a command.

Owns: the three ways. Must not: put a credential, or the output of a command, into a repr or an error.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import field
from typing import Literal

from metalake_sync.errors import Location, ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.loading import LoadedManifest
from metalake_sync.manifest.secrecy import REMEDY, holding

COMMAND_TIMEOUT_S = 30.0
SIZE_LIMIT_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Credentials:
    """API key and secret of the lake. The repr shows neither."""

    api_key: str = field(repr=False)
    secret: str = field(repr=False)


def resolve_credentials(loaded: LoadedManifest) -> Credentials | None:
    """Read the credentials. Returns None for an embedded lake without credentials.

    Call it for each run, because a file or a command may return others later. Raises ManifestError, which names the key
    and never a value.
    """
    api_key = _resolve(loaded, "api_key")
    secret = _resolve(loaded, "secret")
    if api_key and secret:
        place = holding(loaded.document, (api_key, secret))
        if place is not None:
            raise ManifestError(
                "the value contains the API key or the secret", where=loaded.where(*place), remedy=REMEDY
            )
        return Credentials(api_key, secret)
    assert loaded.model.remote.embedded, "loading demands credentials for every other lake"
    return None


def credential_sources(loaded: LoadedManifest) -> str:
    """Describe where the credentials come from, without them: `'api_key_command' and 'secret_file' (keys/secret)`."""
    remote = loaded.model.remote
    api_key = _source("api_key", remote.api_key_file, remote.api_key_command)
    return f"{api_key} and {_source('secret', remote.secret_file, remote.secret_command)}"


def _source(key: str, file: str | None, command: list[str] | None) -> str:
    if file is not None:
        return f"'{key}_file' ({file})"
    return f"'{key}_command'" if command is not None else f"'{key}' (or the variable in it)"


def _resolve(loaded: LoadedManifest, what: Literal["api_key", "secret"]) -> str | None:
    remote = loaded.model.remote
    if what == "api_key":
        literal, file, command = remote.api_key, remote.api_key_file, remote.api_key_command
    else:
        literal, file, command = remote.secret, remote.secret_file, remote.secret_command
    if file is not None:
        key, data = f"{what}_file", _read(loaded, f"{what}_file", file)
    elif command is not None:
        key, data = f"{what}_command", _run(loaded, f"{what}_command", command)
    elif literal is not None and literal.get_secret_value():
        key, data = what, literal.get_secret_value().encode("utf-8", "surrogatepass")
    else:
        return None
    return _credential(data, key, loaded.where("remote", key))


def _credential(data: bytes, key: str, where: Location) -> str:
    """Return one line of text. A line break would end the header that the credential is sent in."""
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ManifestError(
            f"'{key}' is not UTF-8 text", where=where, remedy="Provide exactly one line of text."
        ) from None
    if not text:
        raise ManifestError(f"'{key}' is empty", where=where, remedy="Provide exactly one line of text.")
    if not text.isprintable():
        raise ManifestError(f"'{key}' has more than one line", where=where, remedy="Provide exactly one line of text.")
    return text


def _read(loaded: LoadedManifest, key: str, file: str) -> bytes:
    where = loaded.where("remote", key)
    try:
        with open(loaded.base_dir / file, "rb") as opened:
            data = opened.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ManifestError(
            f"'{key}' names the file '{file}', which cannot be read ({error.strerror})",
            where=where,
            remedy="Create the file, or fix the path.",
        ) from None
    if len(data) > SIZE_LIMIT_BYTES:
        raise ManifestError(
            f"'{key}' names the file '{file}', which is too large for a credential",
            where=where,
            remedy="Correct the path.",
        )
    return data


NO_PLUGINS = ("PYDANTIC_DISABLE_PLUGINS", "__all__")
"""A variable that the command line sets for itself. Commands do not inherit it: they may be Python with plugins."""


def _run(loaded: LoadedManifest, key: str, arguments: list[str]) -> bytes:
    """Run a command without a shell in the manifest's folder. Raises ManifestError if it fails or takes too long."""
    where = loaded.where("remote", key)
    try:
        process = subprocess.Popen(
            arguments,
            cwd=loaded.base_dir,
            env={name: value for name, value in os.environ.items() if (name, value) != NO_PLUGINS},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # Error messages of the command may contain the credential.
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
    except OSError as error:
        raise ManifestError(
            f"'{key}' cannot be run ({error.strerror})", where=where, remedy="Fix the command, or install it."
        ) from None
    try:
        with process:
            try:
                output, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
            except BaseException:
                # Kill its children too, because one of them may keep the pipe open.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    except subprocess.TimeoutExpired:
        raise ManifestError(
            f"'{key}' took longer than {COMMAND_TIMEOUT_S:.0f} s",
            where=where,
            remedy="Run the command by hand to see why.",
        ) from None
    if process.returncode != 0:
        raise ManifestError(
            f"'{key}' failed with exit code {process.returncode}",
            where=where,
            remedy="Run the command by hand to see why.",
        )
    return output
