"""Metadata in sidecar files: a.jpg.json, a.jpg.yaml, a.json or a.yaml beside a.jpg.

Owns: their names, format and order. Must not: write one. A sidecar is a mapping of fields, or {"metadata": {…}}. If a
file has several, one with the whole file name is narrower than one with the stem, and JSON is wider than YAML.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from metalake_sync.errors import Location, ManifestError
from metalake_sync.sources.metadata_entries import as_object, check_values
from metalake_sync.sources.metadata_layers import MetadataLayer
from metalake_sync.sources.readings import Reading, ReadingCache, read_cached
from metalake_sync.sources.text_files import parse_json, read_text

ENDINGS = (".json", ".yaml", ".yml")
SIZE_LIMIT_BYTES = 4 << 20
READER = "sidecar 1"


class Sidecars:
    """Reads sidecars. Errors and origins name files relative to `base_dir`."""

    def __init__(self, base_dir: Path, cache: ReadingCache) -> None:
        self._base_dir = str(base_dir)
        self._cache = cache
        self._folder = ""
        self._names: frozenset[str] = frozenset()

    def layers_of(self, path: str) -> Iterator[MetadataLayer]:
        folder, filename = os.path.split(path)
        beside = self._sidecars_in(folder)
        if not beside:
            return
        stem = os.path.splitext(filename)[0]
        for name in [base + ending for base in dict.fromkeys((stem, filename)) for ending in ENDINGS]:
            if name in beside and name != filename:
                sidecar = os.path.join(folder, name)
                if os.path.islink(sidecar):
                    continue
                values = read_cached(self._cache, READER, sidecar, self._read)
                if values is None:
                    # The metadata of the file is unknown.
                    raise ManifestError(
                        "it is not a regular file", where=self._shown(sidecar), remedy="Remove it, or rename it."
                    )
                if values:
                    yield MetadataLayer(self._shown(sidecar), values)

    def _sidecars_in(self, folder: str) -> frozenset[str]:
        """Return the sidecars of one folder. It is listed once, because files come folder by folder."""
        if folder != self._folder:
            try:
                self._names = frozenset(name for name in os.listdir(folder or ".") if name.endswith(ENDINGS))
            except OSError:
                self._names = frozenset()
            self._folder = folder
        return self._names

    def _read(self, path: str) -> Reading:
        shown_as = self._shown(path)
        if os.path.getsize(path) > SIZE_LIMIT_BYTES:
            raise ManifestError(
                f"it is larger than {SIZE_LIMIT_BYTES >> 20} MB",
                where=shown_as,
                remedy="Move it: it is too large for a sidecar.",
            )
        text = read_text(Path(path), shown_as)
        document = parse_json(text, shown_as) if path.endswith(".json") else _parse_yaml(text, shown_as)
        if document is None:
            return {}
        if not isinstance(document, dict):
            raise ManifestError("it is not a mapping of fields", where=shown_as, remedy="Write 'Weather: rain'.")
        inner = document.get("metadata")
        if document.keys() == {"metadata"} and isinstance(inner, dict):
            document = inner
        values = as_object(document, shown_as)
        check_values(values, shown_as)
        return values

    def _shown(self, path: str) -> str:
        return os.path.relpath(path, self._base_dir)


class _Loader(yaml.SafeLoader):
    """YAML with the types of JSON: `no` and dates are text, and aliases are refused."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML has it

    def compose_node(self, parent: Any, index: Any) -> Any:
        # A few lines of aliases can expand to gigabytes.
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not supported here", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found: dict[Any, Any] = super().construct_mapping(node, deep=True)
        if len(found) < len(node.value):
            seen: set[Any] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} occurs twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return found


for _kind, _pattern, _first in (
    ("null", r"~|null|", "~n"),
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,18})", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), [*_first, ""] if _kind == "null" else [*_first]
    )


def _parse_yaml(text: str, shown_as: str) -> Any:
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = Location(shown_as, mark.line + 1, mark.column + 1) if mark else shown_as
        raise ManifestError(f"broken YAML ({error.problem})", where=place, remedy="Fix it there.") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise ManifestError("broken YAML", where=shown_as, remedy="Fix the file.") from None
    except RecursionError:
        raise ManifestError("it is nested too deeply", where=shown_as, remedy="Make it flatter.") from None
    _must_be_json(document, shown_as)
    return document


def _must_be_json(value: Any, shown_as: str) -> None:
    """Raise ManifestError for values that JSON does not have: keys that are not text, and tagged values "
    "(`!!binary`)."""
    match value:
        case dict():
            for key, inner in value.items():
                if not isinstance(key, str):
                    raise ManifestError(f"the key {key!r} is not text", where=shown_as, remedy="Put it in quotes.")
                _must_be_json(inner, shown_as)
        case list():
            for inner in value:
                _must_be_json(inner, shown_as)
        case None | bool() | int() | str() | float():
            pass
        case _:
            raise ManifestError(f"{value!r} is not a value of JSON", where=shown_as, remedy="Write it as text.")
