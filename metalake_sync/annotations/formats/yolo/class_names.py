"""Reads the names of YOLO's class numbers, and the shape of keypoints.

Names are in a data file (`names`: a list, or a mapping from number to name), or line by line in classes.txt, obj.names,
labels.txt or _darknet.labels. Owns: reading these files, and choosing among those beside and above the labels. Must
not: read labels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from metalake_sync.annotations.entries import NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.values import shortened
from metalake_sync.annotations.formats.yolo import DATA_FILES, NAME_FILES
from metalake_sync.errors import Location, ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.text_files import open_text

_LEVELS_ABOVE = 3
"""labels/train/a.txt finds its classes in its own folder, in labels, and in the folder above labels."""

_SIZE_LIMIT_CHARS = 64 << 20
_CLASS_LIMIT = 1_000_000
_FOREIGN = re.compile(r"[A-Za-z]:/|/")
"""An absolute path, of this machine or another one, with `/`."""


@dataclass(frozen=True, slots=True)
class KeypointShape:
    """`kpt_shape` of a data file."""

    count: int
    numbers_each: int
    """2: x and y. 3: x, y and visibility."""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassNames:
    """The classes of one file."""

    names: Sequence[str]
    """By class number. An empty text: the class has no name."""
    shown_as: str
    """The file that the names come from."""
    keypoints: KeypointShape | None = None


class YoloClasses:
    """Finds the names of classes, once for each data file and folder."""

    def __init__(self, notes: ReadNotes) -> None:
        self._notes = notes
        self._by_folder: dict[Path, ClassNames | None] = {}
        self._by_data_file: dict[Path, ClassNames | None] = {}
        self._of_folder: dict[tuple[Path, Path | None], ClassNames] = {}

    def of(self, source: SourceFile) -> ClassNames:
        """Return the classes of a label file. Raises ManifestError where no file names them."""
        key = (source.path.parent, source.index_file)
        if key not in self._of_folder:
            self._of_folder[key] = self._find(source)
        return self._of_folder[key]

    def _find(self, source: SourceFile) -> ClassNames:
        if source.index_file is not None:
            # The data file that the source names takes precedence over all others.
            if source.index_file not in self._by_data_file:
                shown_as = _shown(source.index_file, source)
                self._by_data_file[source.index_file] = classes_of_data_file(source.index_file, shown_as, self._notes)
            named = self._by_data_file[source.index_file]
            if named is not None:
                return named
        nearest: ClassNames | None = None
        folder = source.path.parent
        for _ in range(_LEVELS_ABOVE):
            if folder not in self._by_folder:
                self._by_folder[folder] = _names_in(folder, source, self._notes)
            found = self._by_folder[folder]
            if nearest is None:
                nearest = found
            elif nearest.keypoints is None and found is not None and found.keypoints is not None:
                # classes.txt beside the labels can't declare keypoints.
                nearest = ClassNames(nearest.names, nearest.shown_as, found.keypoints)
            folder = folder.parent
        if nearest is None:
            raise ManifestError(
                "no file names the classes of the label file",
                where=source.shown_as,
                remedy="Add a classes.txt (one name a line) or a data.yaml (names: […]) beside the labels, or name the"
                " data file as the source.",
            )
        return nearest


def _names_in(folder: Path, source: SourceFile, notes: ReadNotes) -> ClassNames | None:
    """Return the classes that the files of a folder name. Raises ManifestError if two files contradict each other."""
    found: list[ClassNames] = []
    for name in (*DATA_FILES, *NAME_FILES):
        path = folder / name
        if not path.is_file():
            continue
        try:
            classes = _names_of_file(path, _shown(path, source), notes)
        except ManifestError:
            if not found:
                raise
            # Another file names the classes already.
            continue
        if classes is not None:
            found.append(classes)
    for other in found[1:]:
        for number, (one, two) in enumerate(zip(found[0].names, other.names, strict=False)):
            if one and two and one != two:
                raise ManifestError(
                    f"class {number} is {shortened(one)} in {found[0].shown_as} and {shortened(two)} in"
                    f" {other.shown_as}",
                    where=source.shown_as,
                    remedy="Delete the wrong file, or name the right data file as the source.",
                )
    return found[0] if found else None


def _names_of_file(path: Path, shown_as: str, notes: ReadNotes) -> ClassNames | None:
    if path.name in NAME_FILES:
        return ClassNames(names_of_list(path, shown_as), shown_as)
    return classes_of_data_file(path, shown_as, notes)


def _shown(path: Path, source: SourceFile) -> str:
    """Return the name of a file beside or above a source in messages."""
    beside = os.path.relpath(path, source.path.parent)
    return os.path.normpath(os.path.join(os.path.dirname(source.shown_as), beside))


def names_of_list(path: Path, shown_as: str) -> Sequence[str]:
    """Return the names of a file with one name a line. Raises ManifestError."""
    return [line.strip() for line in read_label_text(path, shown_as).rstrip("\n").split("\n")]


def read_data_file(path: Path, shown_as: str) -> dict[str, Any]:
    """Return a data file as a mapping, which is empty if the file is not a mapping. All scalars are texts as they are
    written: `no`, `12:30` and `010` are names of classes. An empty value, `~`, and `null` at the top level become None.

    Raises ManifestError for broken YAML.
    """
    text = read_label_text(path, shown_as)
    if path.suffix.lower() == ".data":
        return _darknet(path, text, shown_as)
    try:
        document = yaml.load(text, _TextLoader)  # noqa: S506 - it makes texts, lists and mappings, and nothing else
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = Location(shown_as, mark.line + 1, mark.column + 1) if mark else shown_as
        raise ManifestError("broken YAML", where=place, remedy="Correct the file at this place.") from None
    if not isinstance(document, dict):
        return {}
    return {key: None if value in ("null", "Null", "NULL") else value for key, value in document.items()}


class _TextLoader(yaml.BaseLoader):
    """YAML whose scalars are texts."""


def _text_or_none(loader: yaml.BaseLoader, node: yaml.Node) -> str | None:
    text = str(loader.construct_scalar(node))  # type: ignore[arg-type]
    return None if node.style is None and text in ("", "~") else text  # type: ignore[attr-defined]


_TextLoader.add_constructor("tag:yaml.org,2002:str", _text_or_none)


def _darknet(path: Path, text: str, shown_as: str) -> dict[str, Any]:
    """Return Darknet's data file (`train = train.txt`, `names = obj.names`) as the mapping of a data.yaml."""
    pairs = [line.partition("=")[::2] for line in text.split("\n") if "=" in line and not line.lstrip().startswith("#")]
    values = {key.strip(): value.strip() for key, value in pairs}
    document: dict[str, Any] = {"train": values.get("train"), "val": values.get("valid") or values.get("val")}
    if values.get("names"):
        for spelling in spellings_here(values["names"], keep=1):
            names = path.parent / spelling
            if names.is_file():
                document["names"] = names_of_list(names, os.path.join(os.path.dirname(shown_as), spelling))
                break
        else:
            message = f"'names' is {shortened(values['names'])}, which does not exist"
            raise ManifestError(message, where=shown_as, remedy="Create it, or correct 'names'.")
    return document


def spellings_here(path: str, *, keep: int | None = None) -> Iterator[str]:
    """Yield a path of a data file or list as it is written, then as it may be found here: with `/`, without the leading
    `../` of Roboflow, and for an absolute path with one leading folder less each time. `keep`: also shorten a relative
    path, down to this many parts."""
    seen = {path}
    yield path
    slashed = path.replace("\\", "/")
    candidates = [slashed]
    plain = slashed
    while plain.startswith(("../", "./")):
        plain = plain.partition("/")[2]
        candidates.append(plain)
    parts = [part for part in plain.split("/") if part]
    least = 1 if _FOREIGN.match(plain) else keep
    if least is not None:
        candidates += ["/".join(parts[at:]) for at in range(1, len(parts) - least + 1)]
    for candidate in candidates:
        if candidate and candidate not in seen:
            seen.add(candidate)
            yield candidate


def classes_of_data_file(path: Path, shown_as: str, notes: ReadNotes) -> ClassNames | None:
    """Return the classes of a data file, or None if it names none. Raises ManifestError."""
    document = read_data_file(path, shown_as)
    names = names_of(document, shown_as)
    if names is None:
        return None
    count = document.get("nc")
    if isinstance(count, str) and count.isascii() and count.isdigit() and count != str(len(names)):
        notes.count(f"'nc' of {shown_as} is {shortened_digits(count)}, and 'names' has {len(names)}")
    return ClassNames(names, shown_as, _keypoint_shape(document, shown_as))


def names_of(document: Mapping[str, Any], shown_as: str) -> Sequence[str] | None:
    """Return `names` of a data file by class number, or None without `names`. Raises ManifestError."""
    names = document.get("names")
    if names is None:
        return None
    if isinstance(names, dict) and all(_is_class_number(key) for key in names):
        by_number = {int(key): name for key, name in names.items()}
        names = [by_number.get(number) for number in range(max(by_number, default=-1) + 1)]
    if not isinstance(names, list):
        raise ManifestError(
            "'names' is neither a list nor a mapping from numbers to names",
            where=shown_as,
            remedy="Write names: [cat, dog].",
        )
    for number, name in enumerate(names):
        if isinstance(name, list | dict):
            raise ManifestError(f"names[{number}] is not a text", where=shown_as, remedy="Write names: [cat, dog].")
    return ["" if name is None else name.strip() for name in names]


def _is_class_number(key: Any) -> bool:
    return isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10 and int(key) < _CLASS_LIMIT


def _keypoint_shape(document: Mapping[str, Any], shown_as: str) -> KeypointShape | None:
    """Return `kpt_shape` of a data file: [count, numbers for each]. Raises ManifestError."""
    shape = document.get("kpt_shape")
    if shape is None:
        return None
    parts = shape if isinstance(shape, list) else []
    if len(parts) != 2 or not all(_is_class_number(part) for part in parts) or parts[1] not in ("2", "3"):
        raise ManifestError(
            f"'kpt_shape' is {shortened(shape)}",
            where=shown_as,
            remedy="Write kpt_shape: [count, 2] for x and y, or [count, 3] with the visibility.",
        )
    count = int(parts[0])
    names = document.get("kpt_names")
    # Newer data files have names for each class.
    if isinstance(names, dict) and names and all(one == names[next(iter(names))] for one in names.values()):
        names = names[next(iter(names))]
    valid = isinstance(names, list) and len(names) == count and all(isinstance(name, str) for name in names)
    return KeypointShape(count, int(parts[1]), tuple(names) if valid and isinstance(names, list) else ())


def shortened_digits(text: str) -> str:
    return text if len(text) <= 20 else text[:17] + "..."


def read_label_text(path: Path, shown_as: str) -> str:
    """Return the text of a label file or a file of names. Raises NotAnnotations if it is not UTF-8; ManifestError."""
    try:
        with open_text(path, shown_as) as opened:
            text = opened.read(_SIZE_LIMIT_CHARS + 1)
        if len(text) > _SIZE_LIMIT_CHARS:
            raise ManifestError(
                "the file is larger than 64 MB", where=shown_as, remedy="Write one label file for each image."
            )
        return text
    except UnicodeDecodeError:
        raise NotAnnotations("the file is not UTF-8", where=shown_as, remedy="Save it as UTF-8.") from None
    except OSError as error:
        raise ManifestError(
            f"the file can't be read ({error.strerror})", where=shown_as, remedy="Make it readable."
        ) from None
