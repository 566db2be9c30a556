"""YAML as plain values with the place of each value.

Owns: parsing, places, duplicate keys, merge keys, limits for documents that expand, and replacing variables.
Must not: know what the keys mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Any

import yaml

from metalake_sync.errors import Location, ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.scalars import (
    MAP,
    MERGE,
    NODE_LIMIT,
    SEQ,
    TIMESTAMP,
    Loader,
    MalformedReference,
    MissingVariables,
    RefusedScalar,
    TooManyNodes,
    Variables,
    has_reference,
    literal_part,
    names_in,
    scalar_value,
)

DEPTH_LIMIT = 64

KeyPath = tuple[str | int, ...]

# The set of YAML. libyaml reports only the byte offset of such a character.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


SECTIONS_WITH_DATES = frozenset({"downloads", "trash"})
DATES = frozenset({"from_date", "to_date"})
"""Keys with dates. A metadata field may have the same name; its date must be quoted."""


COMMANDS = frozenset({("remote", "api_key_command"), ("remote", "secret_command")})
"""Keys without variables, so that the environment cannot choose which command runs."""


@dataclass(slots=True)
class Tree:
    """A parsed document."""

    value: Any = field(repr=False)
    places: dict[KeyPath, Location] = field(default_factory=dict, repr=False)
    """The place of each value."""
    keys: dict[KeyPath, Location] = field(default_factory=dict, repr=False)
    """The place of each key."""
    literal: set[KeyPath] = field(default_factory=set, repr=False)
    """Texts that are at least partly written in the document itself."""
    missing: dict[KeyPath, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """Variables without a value, by the key path that uses them."""
    references: dict[KeyPath, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """The variables that each text was filled from."""
    broken: set[KeyPath] = field(default_factory=set, repr=False)
    """Values that could not be created and mean nothing."""
    errors: list[ManifestError] = field(default_factory=list)

    def place(self, path: Sequence[str | int]) -> Location:
        """Return the place of a value, or of the nearest value around it."""
        for length in range(len(path), 0, -1):
            found = self.places.get(tuple(path[:length]))
            if found is not None:
                return found
        return self.places[()]


def parse(text: str, file: str, variables: Variables) -> Tree:
    """Parse one document. Raises ManifestError if it is not YAML. The tree collects all other errors."""
    strange = _UNPRINTABLE.search(text)
    if strange:
        line = text.count("\n", 0, strange.start())
        column = strange.start() - text.rfind("\n", 0, strange.start())
        raise ManifestError(
            f"broken YAML: the character U+{ord(strange[0]):04X} is not allowed in a text file",
            where=Location(file, line + 1, column),
            remedy="Remove it, or write it as an escape in double quotes.",
        )
    node = _compose(text, file)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
        raise ManifestError(
            "the manifest is empty", where=Location(file), remedy="'metalake-sync init' writes an example."
        )
    return _Builder(file, variables).build(node)


def _takes_date(path: KeyPath) -> bool:
    return bool(path) and path[0] in SECTIONS_WITH_DATES and path[-1] in DATES


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        loader = Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _broken(error, text, file) from None
    except TooManyNodes:
        raise ManifestError(
            "the manifest has too many values", where=Location(file), remedy=f"The limit is {NODE_LIMIT:,} values."
        ) from None
    except RecursionError:
        raise ManifestError(
            "the manifest is nested too deeply", where=Location(file), remedy=f"The limit is {DEPTH_LIMIT} levels."
        ) from None
    except yaml.YAMLError as error:
        words = str(error).partition("\n")[0]
        raise ManifestError(f"broken YAML: {words}", where=Location(file), remedy="Correct it.") from None


def _broken(error: yaml.MarkedYAMLError, text: str, file: str) -> ManifestError:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return ManifestError(f"broken YAML: {error.problem}", where=Location(file), remedy="Correct it.")
    where = Location(file, mark.line + 1, mark.column + 1)
    problem = error.problem or ""
    lines = text.split("\n")
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "another document" in problem:
        return ManifestError(
            "a second YAML document starts here",
            where=where,
            remedy="Keep one document. A manifest may consist of several files in one folder.",
        )
    if "nesting depth" in problem:
        return ManifestError(
            "the manifest is nested too deeply", where=where, remedy=f"The limit is {DEPTH_LIMIT} levels."
        )
    if line[mark.column : mark.column + 1] == "\t":
        return ManifestError("broken YAML: a tab", where=where, remedy="Indent with spaces.")
    words = ", ".join(filter(None, (problem, error.context)))
    remedy = 'Inside [ ] and { }, put "${NAME}" in quotes.' if "${" in line else "Fix it there."
    return ManifestError(f"broken YAML: {words}", where=where, remedy=remedy)


class _Builder:
    def __init__(self, file: str, variables: Variables) -> None:
        self._file = file
        self._variables = variables
        self._tree = Tree(None)
        self._nodes = 0

    def build(self, node: yaml.Node) -> Tree:
        self._tree.value = self._value(node, ())
        return self._tree

    def _location(self, node: yaml.Node) -> Location:
        return Location(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _count(self, node: yaml.Node, depth: int) -> None:
        """Count expanded nodes: aliases can make a small document endless."""
        self._nodes += 1
        if self._nodes > NODE_LIMIT:
            raise ManifestError(
                "the manifest has too many values after its aliases are expanded",
                where=self._location(node),
                remedy=f"The limit is {NODE_LIMIT:,} values.",
            )
        if depth > DEPTH_LIMIT:
            raise ManifestError(
                "the manifest is nested too deeply, or an alias contains itself",
                where=self._location(node),
                remedy=f"The limit is {DEPTH_LIMIT} levels.",
            )

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count(node, len(path))
        self._tree.places[path] = self._location(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in (MAP, SEQ):
            self._error(node, path, f"the tag {node.tag} is not supported", "Write a plain value.")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        assert isinstance(node, yaml.SequenceNode)
        return [self._value(child, (*path, index)) for index, child in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node, merged in self._pairs(node, path, 0):
            if not isinstance(key_node, yaml.ScalarNode):
                self._error(key_node, None, "a key must be text", "Write it as 'key: value'.")
                continue
            key = str(key_node.value)
            key_path = (*path, key)
            if key not in found:
                self._tree.keys[key_path] = self._location(key_node)
                found[key] = self._value(value_node, key_path)
            elif not merged:
                first = self._tree.keys[key_path]
                self._error(
                    key_node,
                    None,
                    f"the key '{key}' is set twice; the first is in line {first.line}",
                    "Keep one of them.",
                )
        return found

    def _pairs(self, node: yaml.MappingNode, path: KeyPath, depth: int) -> Iterator[tuple[yaml.Node, yaml.Node, bool]]:
        """Yield the mapping's own pairs, then those of its `<<` merges, which the own pairs override."""
        self._count(node, len(path) + depth)
        merges: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == MERGE:
                merges += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            else:
                if depth > 0:
                    self._count(key_node, len(path) + depth)
                yield key_node, value_node, depth > 0
        for merge in merges:
            if isinstance(merge, yaml.MappingNode):
                yield from self._pairs(merge, path, depth + 1)
            else:
                self._error(merge, None, "'<<' takes a mapping, or a list of mappings", "Write <<: *anchor.")

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text = str(node.value)
        try:
            if not has_reference(text):
                # The date of a key with dates is text and needs no quotes.
                value = text if node.tag == TIMESTAMP and _takes_date(path) else scalar_value(node)
                if isinstance(value, str):
                    self._tree.literal.add(path)
                return value
            if path[:2] in COMMANDS and has_reference(text.replace("$${", "")):
                raise RefusedScalar("a command cannot contain variables", "Write the command out, or use a file.")
            # The value of a variable is always text.
            filled = self._variables.fill_in(text)
            self._tree.references[path] = names_in(text)
            if literal_part(text):
                self._tree.literal.add(path)
            return filled
        except RefusedScalar as refused:
            self._error(node, path, refused.message, refused.remedy)
        except MalformedReference as reference:
            self._error(node, path, f"'{reference.text[:60]}' is not a variable reference", reference.remedy)
        except MissingVariables as missing:
            self._tree.missing[path] = missing.names
        return ""

    def _error(self, node: yaml.Node, path: KeyPath | None, message: str, remedy: str) -> None:
        """Collect an error. `path` is the key path that has no value because of it."""
        self._tree.errors.append(ManifestError(message, where=self._location(node), remedy=remedy))
        if path is not None:
            self._tree.broken.add(path)
