"""The values of plain scalars: YAML 1.2's core schema, with errors for ambiguous values.

Owns: the distinction of texts, numbers, booleans and nulls. `no` and `on` are texts, `12:30` is not a number of base
60, and ambiguous values (`007`, `2024-01-31`) must be quoted. Must not: know places, keys or variables.
"""

from __future__ import annotations

import math
import re
from typing import Any

from yaml import ScalarNode

from metalake_sync.core.metadata import INTEGER_BITS

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

NODE_LIMIT = 200_000

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
