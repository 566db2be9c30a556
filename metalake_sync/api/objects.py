"""Annotations and metadata as Python objects: lists of dictionaries in the vendor's form, or pandas DataFrames.

Owns: how an object becomes the JSON file that the readers of files take, so that both are checked in one way. Must not:
import pandas; a DataFrame is known by its methods.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

from metalake_sync.api.connected import local_path
from metalake_sync.api.results import FailedItem
from metalake_sync.errors import Location, ManifestError, ManifestErrors, UsageError
from metalake_sync.sources.scratch import scratch_folder

PathLike: TypeAlias = str | os.PathLike[str]

AnnotationObjects: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | Any
"""`[{"image": "a.jpg", "annotations": [{"type": "rectangle", "bbox": [x, y, width, height], "label": "bird"}]}]`, the
same under the key `images`, or a DataFrame with a row for each rectangle: `image`, `label`, `x`, `y`, `width`, `height`
in pixels, and optionally `confidence`. Other columns become attributes."""

MetadataObjects: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | Any
"""`{"a.jpg": {"Weather": "rain"}}`, `[{"file": "a.jpg", "metadata": {"Weather": "rain"}}]`, the same under the key
`files`, or a DataFrame with a row for each file: `file`, and a column for each field. Missing values are left out."""

AnnotationsLike: TypeAlias = PathLike | AnnotationObjects
"""The path of a file, a folder or a glob, or annotations as objects."""

MetadataLike: TypeAlias = PathLike | MetadataObjects
"""The path of a JSON file, or metadata as objects."""

_BOX = ("x", "y", "width", "height")


@contextlib.contextmanager
def annotations_file(source: AnnotationsLike) -> Iterator[str]:
    """Yield the path of a source of annotations. Objects are written to a temporary file; errors do not name it.

    Raises UsageError for an object of another form.
    """
    with _file(source, "annotations", _images) as path:
        yield path


@contextlib.contextmanager
def metadata_file(source: MetadataLike) -> Iterator[str]:
    """Yield the path of a source of metadata. Objects are written to a temporary file; errors do not name it.

    Raises UsageError for an object of another form.
    """
    with _file(source, "metadata", _files) as path:
        yield path


def with_files(document: Mapping[str, Any], folder: Callable[[], Path]) -> dict[str, Any]:
    """Return a manifest whose sources are paths: those that are objects are written to files.

    `folder`: returns the folder for these files. It is called only if there are any.
    """

    def located(blocks: Any, place: str, to_document: Callable[[Any], dict[str, Any]]) -> Any:
        if not _is_list(blocks):
            return blocks
        return [
            {**block, "source": write(block["source"], f"{place}.{number}", to_document)}
            if isinstance(block, Mapping) and _is_object(block.get("source"))
            else block
            for number, block in enumerate(blocks)
        ]

    def write(source: Any, place: str, to_document: Callable[[Any], dict[str, Any]]) -> str:
        path = folder() / f"{place}.json"
        _write(path, to_document(source), place)
        return str(path)

    def with_sources(part: Mapping[str, Any], place: str, metadata_key: str) -> dict[str, Any]:
        keys = {"annotations": _images, metadata_key: _files}
        found = {
            key: located(part[key], f"{place}{key}", to_document) for key, to_document in keys.items() if key in part
        }
        return {**part, **found}

    collections = document.get("collections")
    if _is_list(collections):
        collections = [
            with_sources(one, f"collections.{number}.", "file_metadata") if isinstance(one, Mapping) else one
            for number, one in enumerate(collections)
        ]
        document = {**document, "collections": collections}
    return with_sources(document, "", "metadata")


def without_file(items: Iterable[FailedItem], path: str, shown: str) -> list[FailedItem]:
    """Return failures that name a source as the caller does, and not its temporary file. `shown`: of `shown_source`."""
    return [replace(item, name=item.name.replace(path, shown), error=item.error.replace(path, shown)) for item in items]


def shown_source(source: AnnotationsLike | MetadataLike, what: str) -> str:
    """Return how messages name a source. `what`: the name of objects."""
    return os.fspath(source) if _is_path(source) else what


@contextlib.contextmanager
def _file(source: Any, what: str, to_document: Callable[[Any], dict[str, Any]]) -> Iterator[str]:
    if _is_path(source):
        yield local_path(source)
        return
    with scratch_folder() as folder:
        path = folder / f"{what}.json"
        _write(path, to_document(source), what)
        try:
            yield str(path)
        except ManifestErrors as errors:
            raise ManifestErrors([_without_path(error, path, what) for error in errors.errors]) from None
        except ManifestError as error:
            raise _without_path(error, path, what) from None


def _write(path: Path, document: dict[str, Any], what: str) -> None:
    text = json.dumps(_plain(document, what), ensure_ascii=False)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _without_path(error: ManifestError, path: Path, what: str) -> ManifestError:
    """Return an error that names the argument instead of the temporary file, whose lines the caller does not see."""
    where = error.where
    if isinstance(where, Location):
        where = Location(what) if where.file.endswith(path.name) else where
    elif where is not None:
        where = where.replace(str(path), what)
    return ManifestError(error.message.replace(str(path), what), where=where, remedy=error.remedy)


def _is_path(source: Any) -> TypeGuard[PathLike]:
    return isinstance(source, str | os.PathLike)


def _is_object(source: Any) -> bool:
    """Return whether a source consists of values and not of one or several paths."""
    if source is None or _is_path(source):
        return False
    return not (_is_list(source) and source and all(map(_is_path, source)))


def _is_frame(source: Any) -> bool:
    return hasattr(source, "columns") and callable(getattr(source, "to_dict", None))


def _images(source: Any) -> dict[str, Any]:
    if _is_frame(source):
        return {"images": _images_of_rows(_rows(source, ("image", "label", *_BOX)))}
    images = source.get("images") if isinstance(source, Mapping) else source
    if not _is_list(images) or not all(isinstance(image, Mapping) for image in images):
        raise UsageError(
            f"{_kind(source)} is not a set of annotations",
            remedy='Pass a path, a list such as [{"image": "a.jpg", "annotations": […]}], or a DataFrame.',
        )
    document = dict(source) if isinstance(source, Mapping) else {}
    return {**document, "images": list(images)}


def _images_of_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    images: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        shape: dict[str, Any] = {"type": "rectangle", "bbox": [row[key] for key in _BOX], "label": row["label"]}
        if "confidence" in row:
            shape["confidence"] = row["confidence"]
        attributes = {
            key: [{"value": value}] for key, value in row.items() if key not in ("image", "label", "confidence", *_BOX)
        }
        if attributes:
            shape["attributes"] = attributes
        images.setdefault(str(row["image"]), []).append(shape)
    return [{"image": image, "annotations": shapes} for image, shapes in images.items()]


def _files(source: Any) -> dict[str, Any]:
    if _is_frame(source):
        rows = _rows(source, ("file",))
        return {
            "files": [
                {"file": str(row["file"]), "metadata": {key: value for key, value in row.items() if key != "file"}}
                for row in rows
            ]
        }
    if isinstance(source, Mapping) and set(source) == {"files"} and _is_list(source["files"]):
        source = source["files"]
    if _is_list(source) and all(isinstance(entry, Mapping) for entry in source):
        return {"files": list(source)}
    if isinstance(source, Mapping) and all(isinstance(values, Mapping) for values in source.values()):
        return {"files": [{"file": name, "metadata": values} for name, values in source.items()]}
    raise UsageError(
        f"{_kind(source)} is not metadata of files",
        remedy='Pass a path, a dictionary such as {"a.jpg": {"Weather": "rain"}}, a list, or a DataFrame.',
    )


def _rows(frame: Any, needed: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a DataFrame without missing values. Raises UsageError for a missing column or value."""
    columns = list(frame.columns)
    twice = [str(name) for name in dict.fromkeys(columns) if columns.count(name) > 1]
    if twice:
        raise UsageError(
            f"the DataFrame has several columns {', '.join(map(repr, twice))}", remedy="Rename or drop all but one."
        )
    missing = [name for name in needed if name not in columns]
    if missing:
        raise UsageError(
            f"the DataFrame has no column {', '.join(map(repr, missing))}",
            remedy=f"It needs the columns {', '.join(needed)}.",
        )
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(frame.to_dict("records")):
        given = {str(key): value for key, value in row.items() if not _is_missing(value)}
        absent = [name for name in needed if name not in given]
        if absent:
            raise UsageError(f"row {number} of the DataFrame has no value in column '{absent[0]}'", remedy="Add one.")
        rows.append(given)
    return rows


def _is_missing(value: Any) -> bool:
    """Return whether pandas marks a value as missing: None, NaN, NaT or NA."""
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and math.isnan(value))
    )


def _plain(value: Any, where: str) -> Any:
    """Return a value as JSON has it. Raises UsageError for one that JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if _is_list(value):
        return [_plain(item, f"{where}[{number}]") for number, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if hasattr(value, "tolist"):
        # A number or an array of numpy.
        return _plain(value.tolist(), where)
    raise UsageError(
        f"{where} is {_kind(value)}, which JSON does not have", remedy="Pass a number, a text, a list or a dictionary."
    )


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
