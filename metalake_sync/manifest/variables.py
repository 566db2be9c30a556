"""Variables of a manifest: `${NAME}` and `${NAME:-default}` in scalars; `$${` is a literal `${`.

Owns: their syntax, and variable files. Variables are replaced after the YAML was parsed, so that a value cannot add
structure. Must not: print a value.
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


def read_var_file(path: Path) -> dict[str, str]:
    """Read a variable file: YAML or JSON by its extension, else lines of NAME=VALUE.

    Raises ManifestError, which gives the line and never a value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(
            "the variable file is not UTF-8", where=Location(str(path)), remedy="Save as UTF-8."
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid file name"
        raise ManifestError(
            f"the variable file cannot be read ({reason})", where=Location(str(path)), remedy="Correct the path."
        ) from None
    if path.suffix.lower() in _YAML_SUFFIXES:
        return _from_mapping(path, text)
    return _from_lines(path, text)


def _from_mapping(path: Path, text: str) -> dict[str, str]:
    try:
        # BaseLoader creates texts only: `PORT: 0800` stays as written.
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = Location(str(path), mark.line + 1, mark.column + 1) if mark else Location(str(path))
        raise ManifestError(f"broken YAML: {error.problem}", where=where, remedy="Fix it there.") from None
    except (yaml.YAMLError, RecursionError, TypeError, ValueError):
        # PyYAML also raises TypeError for keys that are lists and ValueError for `!!int x`.
        raise ManifestError(
            "the variable file is not YAML", where=Location(str(path)), remedy="Write one NAME: value per line."
        ) from None
    if document is None or document == "":
        return {}
    if not isinstance(document, dict):
        raise ManifestError(
            "the variable file is not a mapping", where=Location(str(path)), remedy="Write one NAME: value per line."
        )
    for name, value in document.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ManifestError(
                f"{str(name)[:60]!r} is not a valid variable name",
                where=Location(str(path)),
                remedy="Use letters, digits and _.",
            )
        if not isinstance(value, str):
            raise ManifestError(
                f"the variable '{name}' is not text", where=Location(str(path)), remedy="Write one text per variable."
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
            # The line may contain a secret, so it is not repeated.
            raise ManifestError(
                "the line is not NAME=VALUE", where=Location(str(path), number), remedy="Write NAME=VALUE."
            )
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.strip()] = value
    return found
