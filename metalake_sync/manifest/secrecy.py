"""Finding credentials outside the keys that are made for them.

A variable with a credential could be used in metadata, too. The value would then be shown in plans, posted as a comment
of a pull request, and stored in the lake and in the state. Owns: finding such places. Must not: put a value into an
error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from metalake_sync.errors import ManifestError
from metalake_sync.manifest.remote_models import Remote
from metalake_sync.manifest.variables import Variables
from metalake_sync.manifest.yaml_tree import KeyPath, Tree

TAKES_CREDENTIALS = frozenset({("remote", "api_key"), ("remote", "secret"), ("notify", "secret"), ("notify", "url")})

OURS = frozenset({"LAYERNEXT_API_KEY", "LAYERNEXT_SECRET"})

_SECRET_WORDS = frozenset(
    {"SECRET", "SECRETS", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "CREDENTIALS", "APIKEY"}
)
_NO_VALUES = frozenset({"FILE", "PATH", "DIR", "NAME", "ID", "TYPE"})
"""Last words of the names of variables that are about a secret but do not contain it."""

_SECRET_PAIRS = re.compile(r"(?:^|_)(?:API|ACCESS|PRIVATE|SIGNING|ENCRYPTION|ACCOUNT)_KEY(?:_|$)")

SHORTEST = 8
"""Shorter values may be part of other texts by chance."""

REMEDY = "Remove it. Credentials belong in 'api_key' and 'secret' of 'remote', and in 'secret' and 'url' of 'notify'."


def take_out_leaks(tree: Tree, variables: Variables) -> Iterator[ManifestError]:
    """Yield an error for each value with a credential outside the keys for credentials.

    Removes the value from the tree, so that no other error shows it.
    """
    named = OURS | {name for path, names in tree.references.items() if path[:2] in TAKES_CREDENTIALS for name in names}
    values = {text for path in TAKES_CREDENTIALS if (text := _at(tree.value, path)) and path != ("notify", "url")}
    values |= {text for name in OURS if (text := variables.value(name))}
    long = [value for value in values if len(value) >= SHORTEST]
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
        yield ManifestError(message, where=tree.place(path), remedy=REMEDY)


def holding(document: Mapping[str, Any], credentials: Iterable[str]) -> KeyPath | None:
    """Return the first place with a credential outside the keys for credentials, or None."""
    long = [value for value in credentials if len(value) >= SHORTEST]
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
    if name in variables.given:
        return False
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
