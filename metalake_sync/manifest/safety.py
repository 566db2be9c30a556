"""The rules of `--safe`: a proposed manifest must not run commands, choose where credentials are sent, or name files
outside the repository.

Owns: these rules, for pull requests in CI. Must not: read the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from metalake_sync.errors import ManifestError, ManifestErrors, UsageError
from metalake_sync.key_stores.addresses import is_key_store_url
from metalake_sync.manifest.loading import LoadedManifest
from metalake_sync.manifest.remote_models import EMBEDDED
from metalake_sync.manifest.types import NAMES_A_PATH
from metalake_sync.manifest.yaml_tree import KeyPath

ORIGIN_VARIABLE = "METALAKE_SYNC_ORIGIN"

_COMMANDS = frozenset({"api_key_command", "secret_command"})
_GLOB = frozenset("*?[")


def safe_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a proposed manifest may use. All others may be secrets of the CI runner."""
    return {name: value for name, value in environment.items() if name.startswith("LAYERNEXT_")}


def check_source(source: str) -> None:
    """Raise UsageError if the manifest is a link out of its repository, because errors would show the linked file.

    Call it before the manifest is read.
    """
    folder = source if os.path.isdir(source) else os.path.dirname(os.path.abspath(source))
    repository = str(_repository(Path(os.path.abspath(folder))))
    named = [os.path.join(source, name) for name in os.listdir(source)] if os.path.isdir(source) else [source]
    for file in named:
        real = os.path.realpath(file)
        if os.path.islink(file) and (os.path.commonpath([real, repository]) != repository or _is_in_git(real)):
            raise UsageError(
                "the manifest is a link to a file outside its repository, which --safe does not allow",
                where=file,
                remedy="Replace the link with the file.",
            )


def _is_in_git(path: str) -> bool:
    return ".git" in path.split(os.sep)


def check_safe(loaded: LoadedManifest, origin: str | None, *, state_given: bool = False) -> Path:
    """Check a manifest and return its repository.

    `origin` is the only address that credentials may be sent to. `state_given`: the caller says where the state is, so
    that the manifest's 'state' does not count. Raises ManifestErrors for forbidden values, UsageError
    if `origin` is missing, and ManifestError for a link that leads out of the repository.
    """
    repository = _repository(loaded.base_dir)
    errors = [*_commands(loaded), *_workers(loaded), *_address(loaded, origin), *_paths(loaded, repository)]
    if not state_given:
        errors += _state(loaded)
    if errors:
        raise ManifestErrors(errors)
    _check_links(repository)
    return repository


def _repository(folder: Path) -> Path:
    """Return the root of the git repository, or the manifest's folder if there is no repository."""
    real = Path(os.path.realpath(folder))
    return next((above for above in (real, *real.parents) if os.path.lexists(above / ".git")), real)


def _commands(loaded: LoadedManifest) -> Iterator[ManifestError]:
    for key in sorted(_COMMANDS):
        if getattr(loaded.model.remote, key) is not None:
            yield ManifestError(
                f"'{key}' is not allowed with --safe",
                where=loaded.where("remote", key),
                remedy="Set the credentials in the environment.",
            )


def _workers(loaded: LoadedManifest) -> Iterator[ManifestError]:
    """A factory of workers is code that the manifest names."""
    if ":" in (loaded.model.run.workers or ""):
        yield ManifestError(
            "'workers' names code to run or another machine, which is not allowed with --safe",
            where=loaded.where("run", "workers"),
            remedy="Write a number of processes, or use --workers.",
        )


def _address(loaded: LoadedManifest, origin: str | None) -> Iterator[ManifestError]:
    url = loaded.model.remote.url
    if not origin:
        if loaded.model.remote.embedded:
            return
        raise UsageError(
            f"--safe needs {ORIGIN_VARIABLE}", remedy="Set it to the lake's address, such as https://HOST."
        )
    if _origin(origin) is None and not origin.startswith(EMBEDDED):
        raise UsageError(f"{ORIGIN_VARIABLE} is not an address", remedy="Write https://HOST.")
    if url != origin and (_origin(url) is None or _origin(url) != _origin(origin)):
        yield ManifestError(
            f"'url' is not the lake that {ORIGIN_VARIABLE} names; credentials are not sent there",
            where=loaded.where("remote", "url"),
            remedy=f"Write {origin}, or plan without --safe.",
        )


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of a web address."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return None
        return parts.scheme, parts.hostname.lower(), parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None


def _state(loaded: LoadedManifest) -> Iterator[ManifestError]:
    """The credentials of a bucket or a database must not be sent where the author of a proposal wants them."""
    if loaded.model.state is not None and is_key_store_url(loaded.model.state):
        yield ManifestError(
            "a shared 'state' is not allowed with --safe, because credentials are sent to it",
            where=loaded.where("state"),
            remedy="Say where the state is with --state or METALAKE_SYNC_STATE.",
        )


# Paths.


def _paths(loaded: LoadedManifest, repository: Path) -> Iterator[ManifestError]:
    remote = loaded.model.remote
    named = list(paths_of(loaded.model, ()))
    if remote.embedded:
        named.append((("remote", "url"), remote.url.removeprefix(EMBEDDED)))
    if loaded.model.state is not None and not is_key_store_url(loaded.model.state):
        named.append((("state",), loaded.model.state))
    for path, text in named:
        if not _COMMANDS.isdisjoint(path):
            continue
        real = os.path.realpath(loaded.base_dir / text)
        inside = os.path.commonpath([real, repository]) == str(repository)
        if not inside or _climbs_after_a_glob(text):
            yield ManifestError(
                f"'{text}' is outside the repository, which --safe does not allow",
                where=loaded.where(*path),
                remedy=f"Use a path below {repository}.",
            )
        elif ".git" in Path(os.path.relpath(real, repository)).parts:
            yield ManifestError(
                f"'{text}' is inside .git, which may contain credentials",
                where=loaded.where(*path),
                remedy="Use a path outside .git.",
            )


def _climbs_after_a_glob(text: str) -> bool:
    """Return whether '..' follows a wildcard, which may lead out of a linked folder."""
    parts = text.split("/")
    first = next((number for number, part in enumerate(parts) if _GLOB & set(part)), len(parts))
    return ".." in parts[first:]


def paths_of(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield every local path in a model with its key path."""
    for name, field in type(value).model_fields.items():
        held = getattr(value, name)
        below: KeyPath = (*path, field.alias or name)
        is_path = is_path_field(field)
        if isinstance(held, str) and is_path:
            yield below, held
        elif isinstance(held, BaseModel):
            yield from paths_of(held, below)
        elif isinstance(held, list):
            for index, one in enumerate(held):
                if isinstance(one, BaseModel):
                    yield from paths_of(one, (*below, index))
                elif isinstance(one, str) and is_path:
                    yield (*below, index), one


def is_path_field(field: FieldInfo) -> bool:
    """Return whether a key is a local path, or a list of them."""
    return NAMES_A_PATH in field.metadata or _takes_path(field.annotation)


def _takes_path(annotation: Any) -> bool:
    if NAMES_A_PATH in getattr(annotation, "__metadata__", ()):
        return True
    return any(_takes_path(part) for part in get_args(annotation))


def _check_links(repository: Path) -> None:
    """Raise ManifestError for a link that leads out of the repository, because a source could be read through it."""
    root = str(repository)
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        real = os.path.realpath(entry.path)
                        if os.path.commonpath([real, root]) != root or f"{os.sep}.git{os.sep}" in f"{real}{os.sep}":
                            raise ManifestError(
                                "the link leads out of the repository, which --safe does not allow",
                                where=entry.path,
                                remedy="Remove the link, or plan without --safe.",
                            )
                    elif entry.name != ".git" and entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            # A folder that cannot be listed cannot be read through either.
            continue
