"""Credentials: from the manifest's variables, a file or a command.

Must not: let a credential, or what a command printed, come into a repr or an error.
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
    """What the lake knows us by. Its repr shows nothing."""

    api_key: str = field(repr=False)
    secret: str = field(repr=False)


def resolve_credentials(loaded: LoadedManifest) -> Credentials | None:
    """Read the credentials, now: a file or a command may give others tomorrow. None for an embedded lake without any.

    Raises ManifestError, which names the key and never a value.
    """
    api_key = _resolve(loaded, "api_key")
    secret = _resolve(loaded, "secret")
    if api_key and secret:
        place = holding(loaded.document, (api_key, secret))
        if place is not None:
            raise ManifestError("it holds the API key or the secret", where=loaded.where(*place), remedy=REMEDY)
        return Credentials(api_key, secret)
    assert loaded.model.remote.embedded, "loading demands credentials for every other lake"
    return None


def credential_sources(loaded: LoadedManifest) -> str:
    """What gives the credentials, in words that hold none: `'api_key_command' and 'secret_file' (keys/secret)`."""
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
    """One line of text. It goes into a header, where a line break would be the end of it."""
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ManifestError(f"'{key}' gives no UTF-8", where=where, remedy="It holds one line of text.") from None
    if not text:
        raise ManifestError(f"'{key}' gives nothing", where=where, remedy="It holds one line of text.")
    if not text.isprintable():
        raise ManifestError(f"'{key}' gives more than one line", where=where, remedy="It holds one line of text.")
    return text


def _read(loaded: LoadedManifest, key: str, file: str) -> bytes:
    where = loaded.where("remote", key)
    try:
        with open(loaded.base_dir / file, "rb") as opened:
            data = opened.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ManifestError(
            f"'{key}' names '{file}', which can't be read ({error.strerror})",
            where=where,
            remedy="Create the file, or correct the path.",
        ) from None
    if len(data) > SIZE_LIMIT_BYTES:
        raise ManifestError(f"'{key}' names '{file}', which is too large", where=where, remedy="Correct the path.")
    return data


NO_PLUGINS = ("PYDANTIC_DISABLE_PLUGINS", "__all__")
"""What the command line sets for this process: a helper that is Python, too, may have plugins."""


def _run(loaded: LoadedManifest, key: str, arguments: list[str]) -> bytes:
    """Run a command without a shell, in the manifest's folder. Raises ManifestError when it fails or takes too long."""
    where = loaded.where("remote", key)
    try:
        process = subprocess.Popen(
            arguments,
            cwd=loaded.base_dir,
            env={name: value for name, value in os.environ.items() if (name, value) != NO_PLUGINS},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # What a helper says may hold what it knows.
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
    except OSError as error:
        raise ManifestError(
            f"'{key}' can't be run ({error.strerror})", where=where, remedy="Correct the command, or install it."
        ) from None
    try:
        with process:
            try:
                output, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
            except BaseException:
                # Its children too: one of them may hold the pipe, and would be waited for.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    except subprocess.TimeoutExpired:
        raise ManifestError(
            f"'{key}' took longer than {COMMAND_TIMEOUT_S:.0f} s", where=where, remedy="Run it by hand to see why."
        ) from None
    if process.returncode != 0:
        raise ManifestError(
            f"'{key}' ended with {process.returncode}", where=where, remedy="Run it by hand to see why."
        )
    return output
