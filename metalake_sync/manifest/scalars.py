"""The values of plain scalars: YAML 1.2's core schema, with errors for ambiguous values, and variables.

Owns: the distinction of texts, numbers, booleans and nulls. `no` and `on` are texts, `12:30` is not a number of base
60, and ambiguous values (`007`, `2024-01-31`) must be quoted. Also the syntax of variables: `${NAME}` and
`${NAME:-default}`; `$${` is a literal `${`. Variables are replaced after the YAML was parsed, so that a value cannot
add structure. Must not: know places or keys, or print the value of a variable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from yaml import ScalarNode

from metalake_sync.core.metadata import INTEGER_BITS
from metalake_sync.lazy_dataclass import dataclass

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

NODE_LIMIT = 200_000

DEEPEST = 500
"""At this depth a document is not read any further. The limit for a manifest is lower: see `yaml_tree`."""

_TAG = "tag:yaml.org,2002:"
STR, NULL, BOOL, INT, FLOAT, TIMESTAMP, MERGE = (
    _TAG + kind for kind in ("str", "null", "bool", "int", "float", "timestamp", "merge")
)
MAP, SEQ = _TAG + "map", _TAG + "seq"

_PLAIN = (
    (NULL, r"~|null|Null|NULL|", "~nN"),
    (BOOL, r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (INT, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (FLOAT, r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    (FLOAT, r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    (
        TIMESTAMP,
        r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
        r"(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]*)?)?[ \t]*(?:Z|[-+][0-9]{1,2}(?::?[0-9]{2})?)?)?",
        "0123456789",
    ),
    (MERGE, r"<<", "<"),
)

_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")


class TooManyNodes(Exception):
    """The document has more than `NODE_LIMIT` values."""


class RefusedScalar(Exception):
    """A scalar that is refused. `message` is a clause, `remedy` a sentence."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class Loader(_SafeLoader):
    """libyaml's parser if it is available, with the plain scalars of YAML 1.2. It only composes nodes."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML has it
    nodes = 0
    depth = 0

    # The composer calls these two around the nodes below a node. It is recursive, and some builds of libyaml have no
    # limit of their own: there, a deep document would end the process.
    def descend_resolver(self, parent: Any, index: Any) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise RecursionError
        super().descend_resolver(parent, index)

    def ascend_resolver(self) -> None:
        self.depth -= 1
        super().ascend_resolver()

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        # The composer calls this for each node. Only here can a huge document be stopped before it fills the memory.
        self.nodes += 1
        if self.nodes > NODE_LIMIT:
            raise TooManyNodes
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


for _tag, _pattern, _first in _PLAIN:
    # An empty first character means the empty scalar.
    Loader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), [*_first, ""] if _tag == NULL else [*_first])


def scalar_value(node: ScalarNode) -> str | bool | int | float | None:
    """Return the value of a scalar. Raises RefusedScalar."""
    text = str(node.value)
    match node.tag:
        case tag if tag in (STR, MERGE):
            return text
        case tag if tag == NULL:
            return None
        case tag if tag == BOOL and text.lower() in ("true", "false"):
            return text.lower() == "true"
        case tag if tag == INT:
            return _integer(text)
        case tag if tag == FLOAT:
            return _float(text)
        case tag if tag == TIMESTAMP:
            raise RefusedScalar(f"{_short(text)} looks like a date, which JSON does not have", _quote(text))
        case tag:
            shown = str(tag).replace(_TAG, "!!")
            raise RefusedScalar(f"the tag {shown} is not supported", "Write a plain value.")


def _integer(text: str) -> int:
    if _LEADING_ZERO.fullmatch(text):
        raise RefusedScalar(f"{_short(text)} is a number to some YAML readers and text to others", _quote(text))
    try:
        value = int(text, 0)
    except ValueError:
        # Python refuses decimals of more than 4,300 digits, and `!!int` may precede any text.
        value = None
    if value is None or value.bit_length() > INTEGER_BITS:
        raise RefusedScalar(f"{_short(text)} is not a whole number of up to {INTEGER_BITS} bits", _quote(text))
    return value


def _float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan  # .inf and .nan, as YAML writes them
    if not math.isfinite(value):
        raise RefusedScalar(f"{_short(text)} is not a number in JSON", _quote(text))
    return value


def _short(text: str) -> str:
    return f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"


def _quote(text: str) -> str:
    return f'If it is text, put it in quotes: "{text}".' if len(text) <= 40 else "If it is text, put it in quotes."


_TOKEN = re.compile(r"\$\$\{|\$\{(?P<body>[^}]*)(?P<closed>\}?)")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<has_default>:-(?P<default>.*))?", re.DOTALL)


class MissingVariables(Exception):
    """Variables without a value. `names` has each once, in the order of the text."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(*names)
        self.names = names


class MalformedReference(Exception):
    """A `${` that does not begin a valid reference. `text` is what follows; `remedy` is a sentence."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.text = text
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Variables:
    """The values of variables. `given` comes from the command line and variable files and overrides the environment."""

    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def value(self, name: str) -> str:
        """Return the value of a variable, or '' if it has none."""
        return self.given.get(name, self.environment.get(name)) or ""

    def fill_in(self, text: str) -> str:
        """Replace every reference. Raises MissingVariables, MalformedReference."""
        missing: dict[str, None] = {}

        def value(match: re.Match[str]) -> str:
            if match["body"] is None:
                return "${"
            name, default = _parts(match)
            found = self.given.get(name, self.environment.get(name))
            # As in a shell, ':-' also replaces an empty value.
            if default is not None and not found:
                return default
            if found is None:
                missing[name] = None
                return ""
            return found

        filled = _TOKEN.sub(value, text)
        if missing:
            raise MissingVariables(tuple(missing))
        return filled


def names_in(text: str) -> tuple[str, ...]:
    """Return the variables that a well-formed text refers to."""
    return tuple(_parts(match)[0] for match in _TOKEN.finditer(text) if match["body"] is not None)


def has_reference(text: str) -> bool:
    """Return whether a text has a reference, well formed or not."""
    return "${" in text


def literal_part(text: str) -> str:
    """Return the parts of a well-formed text that are not references, and the defaults of the references."""

    def kept(match: re.Match[str]) -> str:
        return "${" if match["body"] is None else _parts(match)[1] or ""

    return _TOKEN.sub(kept, text)


def _parts(match: re.Match[str]) -> tuple[str, str | None]:
    """Return name and default of a reference."""
    if not match["closed"]:
        raise MalformedReference(match[0], "Close it with }, or write $${ for a literal ${.")
    body = _BODY.fullmatch(match["body"])
    if body is None:
        raise MalformedReference(match[0], "Write ${NAME} or ${NAME:-default}, or $${ for a literal ${.")
    if "${" in (body["default"] or ""):
        raise MalformedReference(match[0], "A default must be plain text. Set the inner variable to a value instead.")
    return body["name"], body["default"] if body["has_default"] else None
