"""Pydantic's validation errors as errors of the manifest: place, problem, and the nearest valid value.

Owns: their sentences. Every error of the models becomes one sentence; the errors of the members of a union are merged
into one. Must not: repeat a credential.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from metalake_sync.errors import ManifestError
from metalake_sync.manifest.models import Manifest
from metalake_sync.manifest.yaml_tree import KeyPath, Tree

_EXPECTED = {
    "string_too_long": "one character",
    "string_type": "text",
    "string_sub_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}

_TO_ADD = {"version": "Add 'version: 1'.", "remote": "Add 'remote: {url: …}'; embedded:.metalake is an embedded lake."}


def model_errors(error: ValidationError, tree: Tree) -> Iterator[ManifestError]:
    """Yield one error for each place, except places that the tree has marked as broken."""
    by_path: dict[KeyPath, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_path.setdefault(_path_in_yaml(detail, tree), []).append(detail)
    for path, details in by_path.items():
        if path not in tree.broken:
            yield _model_error(path, details, tree)


def _path_in_yaml(detail: ErrorDetails, tree: Tree) -> KeyPath:
    """Return the path of an error without the tags of union members, which pydantic adds and the file does not have."""
    path: list[str | int] = []
    value: Any = tree.value
    for step in detail["loc"]:
        if isinstance(value, Mapping) and step in value:
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        elif not (detail["type"] == "missing" and step == detail["loc"][-1]):
            continue
        path.append(step)
    return tuple(path)


def _model_error(path: KeyPath, details: Sequence[ErrorDetails], tree: Tree) -> ManifestError:
    detail = details[0]
    subject, where = _subject(path), tree.place(path)
    value = None if path[:1] == ("remote",) else detail["input"]
    shown = _shown(detail["input"], secret=path[:1] == ("remote",))
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(path, tree)
        case "missing":
            remedy = _TO_ADD.get(str(path[-1]), f"Add '{path[-1]}'.") if len(path) == 1 else f"Add '{path[-1]}'."
            return ManifestError(f"'{path[-1]}' is missing", where=tree.place(path[:-1]), remedy=remedy)
        case "manifest":
            remedy = str(detail.get("ctx", {}).get("remedy", ""))
            return ManifestError(f"{subject} {detail['msg']}", where=where, remedy=remedy)
        case kind if kind == "literal_error" or len(details) > 1:
            return ManifestError(f"{subject} is {shown}", where=where, remedy=_take(_choices(details), value))
        case kind:
            expected = _EXPECTED.get(kind)
            if expected is None:
                return ManifestError(f"{subject}: {detail['msg']}", where=where, remedy="See docs/manifest.md.")
            remedy = f"Write {expected}{_hint(expected, detail['input'])}."
            return ManifestError(f"{subject} is {shown}", where=where, remedy=remedy)


def _subject(path: KeyPath) -> str:
    """Name the key, or the entry of a key."""
    key = next((step for step in reversed(path) if isinstance(step, str)), None)
    if key is None:
        return "the manifest"
    last = path[-1]
    return f"entry {last + 1} of '{key}'" if isinstance(last, int) else f"'{key}'"


def _unknown_key(path: KeyPath, tree: Tree) -> ManifestError:
    key, known = str(path[-1]), known_keys(path[:-1], tree.value)
    near = _nearest(key, known)
    remedy = f"Did you mean '{near}'?" if near else f"Valid keys are {_listed(known, 'and')}."
    return ManifestError(f"unknown key '{key}'", where=tree.keys[path], remedy=remedy)


def known_keys(path: Sequence[str | int], value: Any = None) -> list[str]:
    """Return the keys that the mapping at a path may have. `value` is the whole manifest, which decides between the
    members of a union."""
    model: type[BaseModel] = Manifest
    below: list[type[BaseModel]] = []
    for step in path:
        if isinstance(value, list) and isinstance(step, int):
            value = value[step]
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
        if isinstance(step, str):
            field = next(field for name, field in model.model_fields.items() if (field.alias or name) == step)
            below = list(_models_in(field.annotation))
        assert below, "only a model refuses keys"
        said = set(value) if isinstance(value, Mapping) else set()
        model = max(below, key=lambda one: len(said & set(_keys(one))))
    return _keys(model)


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _choices(details: Sequence[ErrorDetails]) -> list[str]:
    """Return the valid values of a key. Pydantic lists them as "'a', 'b' or 'c'"."""
    words: list[str] = []
    for detail in details:
        if detail["type"] == "literal_error":
            expected = str(detail.get("ctx", {}).get("expected", ""))
            words += [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
        elif detail["type"] in ("bool_type", "bool_parsing"):
            words += ["true", "false"]
    return words


def _take(choices: Sequence[str], value: Any) -> str:
    near = _nearest(value, choices) if isinstance(value, str) else None
    return f"Write {_listed(choices, 'or')}" + (f"; did you mean {near}?" if near else ".")


def _nearest(word: str, known: Sequence[str]) -> str | None:
    # Imported here, because most manifests have no error.
    import difflib

    return next(iter(difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)), None)


def _listed(words: Sequence[str], last: str) -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)


def _hint(expected: str, value: Any) -> str:
    if expected == "text" and isinstance(value, bool | int | float):
        return ": put it in quotes"
    if expected == "a list" and isinstance(value, str):
        return ": put it in [ ]"
    return ""


def _shown(value: Any, *, secret: bool) -> str:
    match value:
        case None:
            return "empty"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str() if secret:
            return "a text"
        case str():
            return f"'{value[:60]}…'" if len(value) > 60 else f"'{value}'"
        case bool() if not secret:
            return _plain(value)
        case _:
            return "a number" if secret else f"the number {_plain(value)}"


def _plain(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
