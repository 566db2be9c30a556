"""The files that `annotations accept` writes: where each is, and its entries.

Owns: the name and place of the file of a block, and replacing single entries of it. Must not: decide which sets are
accepted.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.formats.metalake import annotation_document
from metalake_sync.annotations.image_matching import LocalImages, Match
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.errors import ManifestError, UsageError

NAME = "accepted"


def paths_of(blocks: Mapping[CollectionKey, Sequence[AnnotationSpec]]) -> dict[str, Path]:
    """The file of each block, by `declared_at`: a file of its own, beside the first source of the block."""
    every = [(key, number, block) for key, own in blocks.items() for number, block in enumerate(own, start=1)]
    only_one = len({block.operation for _, _, block in every}) == 1

    def names(key: CollectionKey, number: int, block: AnnotationSpec) -> list[str]:
        longer = (block.operation, f"{key.name}-{block.operation}", f"{key.name}-{block.operation}-{number}")
        return [f"{NAME}.json"] * only_one + [f"{NAME}-{_part_of_name(part)}.json" for part in longer]

    by_length = zip(*(names(*one) for one in every), strict=True)
    for chosen in by_length:
        paths = {
            block.declared_at: _beside_source(block, name, [one for _, _, one in every])
            for (_, _, block), name in zip(every, chosen, strict=True)
        }
        if len(set(map(os.path.abspath, paths.values()))) == len(every):
            return paths
    return paths if every else {}


def _part_of_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "_"


def _beside_source(block: AnnotationSpec, name: str, every: Sequence[AnnotationSpec]) -> Path:
    """The path of a file beside the first source of a block. It is hidden where a folder or a glob would read it."""
    for source in reversed(block.sources):
        if os.path.basename(source) in (name, f".{name}"):
            return block.base_dir / source
    first = os.path.normpath(block.base_dir / block.sources[0])
    folder = Path(_fixed_folder(first)) if glob.has_magic(block.sources[0]) and not os.path.exists(first) else None
    if folder is None:
        folder = Path(first).parent
    elif os.path.abspath(folder) != os.path.abspath(block.base_dir):
        folder = folder.parent
    if _is_inside(first, block.base_dir) and not _is_inside(folder, block.base_dir):
        folder = block.base_dir
    is_read = any(_may_read(one.base_dir / source, folder) for one in every for source in one.sources)
    return folder / (f".{name}" if is_read else name)


def _fixed_folder(pattern: str) -> str:
    """The folder of a glob, up to its first part with a wildcard."""
    folder = os.path.dirname(pattern)
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder or "."


def _may_read(source: Path, folder: Path) -> bool:
    """Whether a source is a folder or a glob that includes files of a folder."""
    if os.path.isdir(source):
        top = source
    elif os.path.exists(source) or not glob.has_magic(str(source)):
        return False
    else:
        top = Path(_fixed_folder(str(source)))
    return _is_inside(folder, top)


def _is_inside(path: str | Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def shown_path(path: Path) -> str:
    """Return a path for messages: relative to the current folder, if it is inside it."""
    return os.path.relpath(path) if _is_inside(path, Path()) else str(path)


# Entries.


def put_entries(document: dict[str, Any], sets: Mapping[str, ImageRecord], images: LocalImages) -> set[str]:
    """Put the sets of images into a document. Returns the names of the other images that it has."""
    left = dict(sets)
    others: set[str] = set()
    entries: list[Any] = []
    for entry in document["images"]:
        name = _image_of(entry, images)
        if name in left:
            entries.append(_entry(left.pop(name)))
        elif name not in sets:
            entries.append(entry)
            others.add(name)
    document["images"] = [*entries, *map(_entry, left.values())]
    return others


def write_checked(document: Mapping[str, Any], path: Path, check: Callable[[Path], None]) -> None:
    """Write a file as a whole. `check` gets a draft of it, and raises an error to leave the old file in place.

    Raises UsageError if the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.json")
    try:
        try:
            draft.write_text(_text(document), "utf-8")
            check(draft)
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write '{shown_path(path)}' ({error.strerror})", remedy="Make the folder writable, or use --output."
        ) from None


def _entry(record: ImageRecord) -> dict[str, Any]:
    return {"image": record.image, "annotations": [annotation_document(shape) for shape in record.shapes]}


def _image_of(entry: Mapping[str, Any], images: LocalImages) -> str:
    """The name in the collection of the image that an entry names, or the entry's own spelling."""
    name: str = entry["image"]
    with contextlib.suppress(ManifestError):
        match = images.match(name, None)
        if isinstance(match, Match) and not match.dropped:
            return match.image.name
    return name


def read_document(path: Path) -> dict[str, Any]:
    """An existing file of accepted sets, or a new document. Raises UsageError for a file of another form."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {"images": []}
    except (OSError, ValueError):
        document = None
    images = document.get("images") if isinstance(document, dict) else None
    if isinstance(images, list) and all(map(_is_entry, images)):
        return dict(document)
    raise UsageError(
        f"'{shown_path(path)}' exists and is not MetaLake annotation JSON",
        remedy="Move it away, or use --output with another name.",
    )


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict) and isinstance(entry.get("image"), str) and isinstance(entry.get("annotations"), list)
    )


def _text(document: Mapping[str, Any]) -> str:
    """A document with one line for each shape, so that a review shows single shapes."""
    others = "".join(f"{_json(key)}: {_json(value)}, " for key, value in document.items() if key != "images")
    entries = ",\n".join(map(_entry_text, document["images"]))
    return f'{{{others}"images": [\n{entries}\n]}}\n'


def _entry_text(entry: Mapping[str, Any]) -> str:
    head = _json({key: value for key, value in entry.items() if key != "annotations"})[:-1]
    shapes = ",".join(f"\n  {_json(shape)}" for shape in entry["annotations"])
    end = "\n" if shapes else ""
    return f'{head}, "annotations": [{shapes}{end}]}}'


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text
