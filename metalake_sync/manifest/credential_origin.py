"""Where the credentials of the lake come from, for processes that have to read them for themselves.

Owns: the description of the place, which holds no credential and can be sent to another process, and reading them
there. Must not: keep a credential.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metalake_sync.errors import Location, ManifestError, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.credentials import (
    Credentials,
    credential_text,
    read_credential_file,
    run_credential_command,
)
from metalake_sync.manifest.loading import LoadedManifest, parse_manifest
from metalake_sync.manifest.scalars import Variables


@dataclass(frozen=True, slots=True)
class CredentialOrigin:
    """Where the API key and the secret come from."""

    manifest: str
    """The absolute path of the manifest, whose text has those credentials that no file or command has."""
    base_dir: str
    files: tuple[str | None, str | None]
    """The files of the API key and of the secret."""
    commands: tuple[tuple[str, ...] | None, tuple[str, ...] | None]
    """The commands that print the API key and the secret."""


_KEYS = ("api_key", "secret")


def credential_origin(loaded: LoadedManifest) -> CredentialOrigin:
    """Return where other processes find the credentials. Raises UsageError if only this process has them."""
    remote = loaded.model.remote
    files = (remote.api_key_file, remote.secret_file)
    commands = tuple(None if one is None else tuple(one) for one in (remote.api_key_command, remote.secret_command))
    readable = not loaded.stream and os.path.exists(loaded.source)
    for key, file, command in zip(_KEYS, files, commands, strict=True):
        if file is not None or command is not None:
            continue
        if readable and not loaded.given_variables & loaded.references("remote", key):
            continue
        comes_from = "--var or --var-file" if readable else "a manifest that can be read only once"
        raise UsageError(
            f"workers cannot read '{key}', because it comes from {comes_from}",
            where=str(loaded.where("remote", key)),
            remedy=f"Use '{key}_file' or '{key}_command', or a variable of the environment in a manifest file.",
        )
    return CredentialOrigin(os.path.abspath(loaded.source), str(loaded.base_dir), files, (commands[0], commands[1]))


def read_credentials(origin: CredentialOrigin, environment: Mapping[str, str]) -> Credentials:
    """Read the credentials where they come from. Raises ManifestError, which never shows them."""
    texts: Mapping[str, Any] = {}
    if any(file is None and command is None for file, command in zip(origin.files, origin.commands, strict=True)):
        remote = parse_manifest(origin.manifest, Variables({}, environment)).get("remote")
        texts = remote if isinstance(remote, Mapping) else {}
    found = []
    base_dir = Path(origin.base_dir)
    where = Location(origin.manifest)
    for key, file, command in zip(_KEYS, origin.files, origin.commands, strict=True):
        if file is not None:
            data = read_credential_file(base_dir, where, f"{key}_file", file)
        elif command is not None:
            data = run_credential_command(base_dir, where, f"{key}_command", list(command))
        else:
            text = texts.get(key)
            if not isinstance(text, str) or not text:
                raise ManifestError(
                    f"the worker has no '{key}'",
                    where=where,
                    remedy="Set the variables of the manifest in the environment of the workers too.",
                )
            data = text.encode("utf-8", "surrogatepass")
        found.append(credential_text(data, key, where))
    return Credentials(found[0], found[1])
