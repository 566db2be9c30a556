"""Variables of a manifest: `${NAME}` and `${NAME:-default}` in scalars; `$${` is a literal `${`.

They are filled in after the YAML was parsed, so that a value can't add structure. Must not: print a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

import yaml

from metalake_sync.errors import Location, ManifestError
from metalake_sync.lazy_dataclass import dataclass

_TOKEN = re.compile(r"\$\$\{|\$\{(?P<body>[^}]*)(?P<closed>\}?)")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<has_default>:-(?P<default>.*))?", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_YAML_SUFFIXES = (".yaml", ".yml", ".json")


class MissingVariables(Exception):
    """Variables that nothing gives a value. `names`: each once, in the order of the text."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(*names)
        self.names = names


class MalformedReference(Exception):
    """A `${` that begins no reference. `text`: what stands there. `remedy`: a sentence."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.text = text
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Variables:
    """`given`: from the command line and variable files; it beats the environment."""

    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def value(self, name: str) -> str:
        """What a variable holds; '' where it has no value."""
        return self.given.get(name, self.environment.get(name)) or ""

    def fill_in(self, text: str) -> str:
        """Replace every reference. Raises MissingVariables, MalformedReference."""
        missing: dict[str, None] = {}

        def value(match: re.Match[str]) -> str:
            if match["body"] is None:
                return "${"
            name, default = _parts(match)
            found = self.given.get(name, self.environment.get(name))
            # As in a shell, ':-' also stands in for a value that is empty.
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
    """The variables that a well-formed text refers to."""
    return tuple(_parts(match)[0] for match in _TOKEN.finditer(text) if match["body"] is not None)


def has_reference(text: str) -> bool:
    """Whether a text has anything to fill in, well formed or not."""
    return "${" in text


def literal_part(text: str) -> str:
    """What of a well-formed text stands in the manifest itself: everything but the references, and their defaults."""

    def kept(match: re.Match[str]) -> str:
        return "${" if match["body"] is None else _parts(match)[1] or ""

    return _TOKEN.sub(kept, text)


def _parts(match: re.Match[str]) -> tuple[str, str | None]:
    """Name and default of a reference."""
    if not match["closed"]:
        raise MalformedReference(match[0], "Close it with }, or write $${ for a literal ${.")
    body = _BODY.fullmatch(match["body"])
    if body is None:
        raise MalformedReference(match[0], "Write ${NAME} or ${NAME:-default}, or $${ for a literal ${.")
    if "${" in (body["default"] or ""):
        raise MalformedReference(match[0], "A default is a plain text; give the variable inside a value of its own.")
    return body["name"], body["default"] if body["has_default"] else None


def read_var_file(path: Path) -> dict[str, str]:
    """Read variables: a YAML or JSON mapping by its ending, lines of NAME=VALUE otherwise.

    Raises ManifestError, which names the line and never a value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError("the variables are no UTF-8", where=Location(str(path)), remedy="Save as UTF-8.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name can't be a file's"
        raise ManifestError(
            f"the variables can't be read ({reason})", where=Location(str(path)), remedy="Correct the path."
        ) from None
    if path.suffix.lower() in _YAML_SUFFIXES:
        return _from_mapping(path, text)
    return _from_lines(path, text)


def _from_mapping(path: Path, text: str) -> dict[str, str]:
    try:
        # BaseLoader makes texts and nothing else: `PORT: 0800` stays as it is written.
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = Location(str(path), mark.line + 1, mark.column + 1) if mark else Location(str(path))
        raise ManifestError(f"broken YAML: {error.problem}", where=where, remedy="Correct it there.") from None
    except (yaml.YAMLError, RecursionError, TypeError, ValueError):
        # Besides its own errors PyYAML lets slip a TypeError for keys that are lists and a ValueError for `!!int x`.
        raise ManifestError(
            "the variables are no YAML", where=Location(str(path)), remedy="Write NAME: value, a line for each."
        ) from None
    if document is None or document == "":
        return {}
    if not isinstance(document, dict):
        raise ManifestError(
            "the variables are no mapping", where=Location(str(path)), remedy="Write NAME: value, a line for each."
        )
    for name, value in document.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ManifestError(
                f"{str(name)[:60]!r} can't be a variable's name",
                where=Location(str(path)),
                remedy="Take letters and _.",
            )
        if not isinstance(value, str):
            raise ManifestError(
                f"the variable '{name}' is no text", where=Location(str(path)), remedy="A variable holds one text."
            )
    return document


def _from_lines(path: Path, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.removeprefix("export ").partition("=")
        if not equals or not _NAME.fullmatch(name.strip()):
            # The line may hold a secret: it is not repeated.
            raise ManifestError(
                "the line is no NAME=VALUE", where=Location(str(path), number), remedy="Write NAME=VALUE."
            )
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.strip()] = value
    return found
