"""Reading the files of a manifest (a file, a folder of files, or standard input) and variable files.

Owns: opening, size limits, the encoding, the name and base folder that follow from the source, and the syntax of
variable files. Must not: parse the text of a manifest.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import yaml

from metalake_sync.errors import Location, ManifestError
from metalake_sync.lazy_dataclass import dataclass

SIZE_LIMIT_BYTES = 32 << 20
STANDARD_INPUT = "-"
SUFFIXES = (".yaml", ".yml")

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_YAML_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of a manifest."""

    shown: str
    """Its name in errors."""
    text: str


@dataclass(frozen=True, slots=True)
class ManifestSource:
    """All files of a manifest, in order."""

    files: tuple[ManifestFile, ...]
    base_dir: Path
    name: str | None
    """The name that follows from the path. None if the manifest must set 'name'."""
    errors: tuple[ManifestError, ...] = ()
    """Errors of files that could not be read."""
    stream: bool = False
    """Whether it was standard input or a pipe, which cannot be read again."""


def is_stream(source: str) -> bool:
    """Return whether a source can be read only once: standard input, a pipe (process substitution) or a device."""
    path = os.path.abspath(source)
    # A descriptor is read once, even if it is a regular file, such as a here-document. /dev/shm has ordinary files.
    if source == STANDARD_INPUT or (path.startswith(("/dev/", "/proc/")) and not path.startswith("/dev/shm/")):  # noqa: S108 - only compared
        return True
    try:
        mode = os.stat(source).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def read_source(source: str, stdin: TextIO | None, content: bytes | None = None) -> ManifestSource:
    """Read all files of a manifest. `content` is the content of `source` if it was read before.

    Raises ManifestError if there is nothing to read.
    """
    if content is not None:
        return ManifestSource((_decoded(content, source),), Path.cwd(), None, stream=True)
    if source == STANDARD_INPUT:
        return ManifestSource((_read_stdin(stdin),), Path.cwd(), None, stream=True)
    if is_stream(source):
        return ManifestSource((_read_file(source),), Path.cwd(), None, stream=True)
    # Do not resolve links: a manifest that is a link (a mounted ConfigMap) keeps its state beside the link.
    path = Path(os.path.abspath(source))
    if not os.path.isdir(source):
        return ManifestSource((_read_file(source),), path.parent, path.stem)
    files: list[ManifestFile] = []
    errors: list[ManifestError] = []
    for file in _files_in(source):
        try:
            _refuse_special(file)
            files.append(_read_file(file))
        except ManifestError as error:
            errors.append(error)
    return ManifestSource(tuple(files), path, path.name or None, tuple(errors))


def _files_in(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            # As in a shell, '*.yaml' does not match hidden files, such as those that editors create.
            names = sorted(
                entry.name
                for entry in entries
                if entry.name.endswith(SUFFIXES) and not entry.name.startswith(".") and not entry.is_dir()
            )
    except OSError as error:
        raise ManifestError(
            f"the folder cannot be read ({error.strerror})", where=Location(folder), remedy="Fix its permissions."
        ) from None
    if not names:
        raise ManifestError(
            "the folder has no *.yaml file", where=Location(folder), remedy="Give the folder or file of a manifest."
        )
    for name in names:
        yield os.path.join(folder, name)


def _refuse_special(file: str) -> None:
    """Refuse a pipe or a device in a folder, because reading it could block. `_read_file` reports a missing file."""
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise ManifestError(
                "the manifest is not a regular file", where=Location(file), remedy="Remove it from the folder."
            )


def _read_file(file: str) -> ManifestFile:
    try:
        with open(file, "rb") as opened:
            data = opened.read(SIZE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid file name"
        raise ManifestError(
            f"the manifest cannot be read ({reason})",
            where=Location(file),
            remedy="Fix the path. 'metalake-sync init' writes an example.",
        ) from None
    return _decoded(data, file)


def _read_stdin(stdin: TextIO | None) -> ManifestFile:
    shown = "<stdin>"
    if stdin is None:
        raise ManifestError(
            "there is no standard input", where=Location(shown), remedy="Give the file of the manifest."
        )
    # Read bytes if possible: the encoding of the terminal is not that of the manifest.
    buffer = getattr(stdin, "buffer", None)
    try:
        data = buffer.read(SIZE_LIMIT_BYTES + 1) if buffer else stdin.read(SIZE_LIMIT_BYTES + 1).encode()
    except UnicodeError:
        raise _not_utf8(Location(shown)) from None
    except OSError as error:
        raise ManifestError(
            f"standard input cannot be read ({error.strerror})", where=Location(shown), remedy="Give a file instead."
        ) from None
    return _decoded(data, shown)


def _decoded(data: bytes, shown: str) -> ManifestFile:
    if len(data) > SIZE_LIMIT_BYTES:
        raise ManifestError(
            f"the manifest is larger than {SIZE_LIMIT_BYTES >> 20} MB",
            where=Location(shown),
            remedy="Use folders and patterns instead of single files.",
        )
    try:
        return ManifestFile(shown, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        whole = error.object[: error.start]
        column = len(whole[whole.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        raise _not_utf8(Location(shown, whole.count(b"\n") + 1, column)) from None


def _not_utf8(where: Location) -> ManifestError:
    return ManifestError("the manifest is not UTF-8", where=where, remedy="Save it as UTF-8.")


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
        return _variables_of_mapping(path, text)
    return _variables_of_lines(path, text)


def _variables_of_mapping(path: Path, text: str) -> dict[str, str]:
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
        if not isinstance(name, str) or not _VARIABLE_NAME.fullmatch(name):
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


def _variables_of_lines(path: Path, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.removeprefix("export ").partition("=")
        if not equals or not _VARIABLE_NAME.fullmatch(name.strip()):
            # The line may contain a secret, so it is not repeated.
            raise ManifestError(
                "the line is not NAME=VALUE", where=Location(str(path), number), remedy="Write NAME=VALUE."
            )
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.strip()] = value
    return found
