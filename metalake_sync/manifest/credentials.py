"""The credentials of the lake: reading them, and finding them outside the keys that are made for them.

Owns: the three ways to give them (a variable, a file, a command), and the search for leaks. A variable with a
credential could be used in metadata, too. The value would then be shown in plans, posted as a comment of a pull
request, and stored in the lake and in the state.
Must not: put a credential, or the output of a command, into a repr or an error.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from metalake_sync import NO_PLUGINS
from metalake_sync.errors import Location, ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.remote_models import Remote
from metalake_sync.manifest.scalars import Variables
from metalake_sync.manifest.yaml_tree import KeyPath, Tree
from metalake_sync.redaction import redact_output

if TYPE_CHECKING:
    from metalake_sync.manifest.loading import LoadedManifest

COMMAND_TIMEOUT_S = 30.0
SIZE_LIMIT_BYTES = 64 << 10

ERROR_OUTPUT_CHARS = 500
"""How much of the standard error of a command is shown."""

SHORTEST_WORD = 4
"""Shorter words of a command's output are not looked for in its standard error."""


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
        place = find_credential(loaded.document, (api_key, secret))
        if place is not None:
            raise ManifestError(
                "the value contains the API key or the secret", where=loaded.where(*place), remedy=LEAK_REMEDY
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
        key = f"{what}_file"
        data = read_credential_file(loaded.base_dir, loaded.where("remote", key), key, file)
    elif command is not None:
        key = f"{what}_command"
        data = run_credential_command(loaded.base_dir, loaded.where("remote", key), key, command)
    elif literal is not None and literal.get_secret_value():
        key, data = what, literal.get_secret_value().encode("utf-8", "surrogatepass")
    else:
        return None
    return credential_text(data, key, loaded.where("remote", key))


def credential_text(data: bytes, key: str, where: Location) -> str:
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


def read_credential_file(base_dir: Path, where: Location, key: str, file: str) -> bytes:
    """Return the content of a file. Raises ManifestError, which names `key` and `where`."""
    try:
        with open(base_dir / file, "rb") as opened:
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


def readable_by_everyone(path: Path) -> bool:
    """Return whether every user of this machine can read a file. False if it cannot be looked at."""
    try:
        mode = path.stat().st_mode
        above = [folder.stat().st_mode for folder in path.resolve().parents]
    except OSError:
        return False  # Reading the credential reports it.
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH) and all(one & stat.S_IXOTH for one in above)


def run_credential_command(base_dir: Path, where: Location, key: str, arguments: list[str]) -> bytes:
    """Run a command without a shell in the manifest's folder. Raises ManifestError if it fails or takes too long."""
    try:
        process = subprocess.Popen(
            arguments,
            cwd=base_dir,
            # The command may be a Python program with plugins.
            env={name: value for name, value in os.environ.items() if (name, value) != NO_PLUGINS},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
    except OSError as error:
        raise ManifestError(
            f"'{key}' cannot be run ({error.strerror})", where=where, remedy="Fix the command, or install it."
        ) from None
    try:
        with process:
            try:
                output, said = process.communicate(timeout=COMMAND_TIMEOUT_S)
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
            f"'{key}' failed with exit code {process.returncode}{_said(said, output)}",
            where=where,
            remedy="Run the command by hand to see why." if not said.strip() else "Correct the command.",
        )
    return output


def _said(error_output: bytes, output: bytes) -> str:
    """Return the last lines that a command wrote to standard error, without what may be a credential."""
    printed = output.decode(errors="replace").split()
    secrets = {word for word in printed if len(word) >= SHORTEST_WORD}
    secrets |= {value for name, value in os.environ.items() if len(value) >= SHORTEST_SECRET and _names_secret(name)}
    lines = redact_output(error_output.decode(errors="replace"), secrets).split("\n")
    shown = " / ".join(line.strip() for line in lines if line.strip()).strip()
    if len(shown) > ERROR_OUTPUT_CHARS:
        shown = f"… {shown[-ERROR_OUTPUT_CHARS:]}"
    return f": {shown.removesuffix('.')}" if shown else ""


TAKES_CREDENTIALS = frozenset({("remote", "api_key"), ("remote", "secret"), ("notify", "secret"), ("notify", "url")})

CREDENTIAL_VARIABLES = frozenset({"LAYERNEXT_API_KEY", "LAYERNEXT_SECRET"})

_SECRET_WORDS = frozenset(
    {"SECRET", "SECRETS", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "CREDENTIALS", "APIKEY"}
)
_NO_VALUES = frozenset({"FILE", "PATH", "DIR", "NAME", "ID", "TYPE"})
"""Last words of the names of variables that are about a secret but do not contain it."""

_SECRET_PAIRS = re.compile(r"(?:^|_)(?:API|ACCESS|PRIVATE|SIGNING|ENCRYPTION|ACCOUNT)_KEY(?:_|$)")

SHORTEST_SECRET = 8
"""Shorter values may be part of other texts by chance."""

LEAK_REMEDY = (
    "Remove it. Credentials belong in 'api_key' and 'secret' of 'remote', and in 'secret' and 'url' of 'notify'."
)


def remove_leaks(tree: Tree, variables: Variables) -> Iterator[ManifestError]:
    """Yield an error for each value with a credential outside the keys for credentials.

    Removes the value from the tree, so that no other error shows it.
    """
    named = CREDENTIAL_VARIABLES | {
        name for path, names in tree.references.items() if path[:2] in TAKES_CREDENTIALS for name in names
    }
    values = {text for path in TAKES_CREDENTIALS if (text := _at(tree.value, path)) and path != ("notify", "url")}
    values |= {text for name in CREDENTIAL_VARIABLES if (text := variables.value(name))}
    long = [value for value in values if len(value) >= SHORTEST_SECRET]
    for path, text in list(texts(tree.value, ())):
        if path[:2] in TAKES_CREDENTIALS:
            continue
        references = tree.references.get(path, ())
        guilty = next((name for name in references if name in named or _is_secret(name, variables)), None)
        if guilty is not None:
            message = f"the variable {guilty} holds a credential and must not be used here"
        elif any(value in text for value in long):
            message = "the value contains the API key or the secret"
        else:
            continue
        _blank(tree.value, path)
        if path[0] == "remote" and len(path) == 2 and path[1] not in Remote.model_fields:
            # A misspelled key, such as 'apikey'. The error for unknown keys names the right one.
            continue
        tree.broken.add(path)
        yield ManifestError(message, where=tree.place(path), remedy=LEAK_REMEDY)


def find_credential(document: Mapping[str, Any], credentials: Iterable[str]) -> KeyPath | None:
    """Return the first place with a credential outside the keys for credentials, or None."""
    long = [value for value in credentials if len(value) >= SHORTEST_SECRET]
    for path, text in texts(document, ()):
        if path[:2] not in TAKES_CREDENTIALS and any(value in text for value in long):
            return path
    return None


def texts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield every text of a document with its key path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from texts(below, (*path, key))
    elif isinstance(value, list | tuple):
        for index, below in enumerate(value):
            yield from texts(below, (*path, index))


def _is_secret(name: str, variables: Variables) -> bool:
    """Return whether the name of a variable suggests a secret. Variables given by the user are never suspected."""
    return name not in variables.given and _names_secret(name)


def _names_secret(name: str) -> bool:
    """Return whether the name of a variable suggests that it holds a secret."""
    upper = name.upper()
    if upper.split("_")[-1] in _NO_VALUES:
        return False
    return not _SECRET_WORDS.isdisjoint(upper.split("_")) or _SECRET_PAIRS.search(upper) is not None


def _at(value: Any, path: KeyPath) -> str:
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else ""


def _blank(value: Any, path: KeyPath) -> None:
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = ""
