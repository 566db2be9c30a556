"""Reads Label Studio's exports task by task.

A task has several annotations, of persons, and predictions, of machines. The kind of the operation decides which
of them are read. One annotation becomes the set of the image: ground truth first, then what was changed last. An
entry of JSON-MIN is one annotation, so the file is read twice: first to choose among the entries of a task. Must
not: make shapes (`regions` does).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from metalake_sync.annotations.entries import (
    Entry,
    ImageSize,
    NotAnnotations,
    ParsedShapes,
    RawShapes,
    ReadNotes,
    SourceFile,
)
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.image_names import image_names, looks_like_image
from metalake_sync.annotations.formats.label_studio import is_task
from metalake_sync.annotations.formats.label_studio.regions import RegionParser
from metalake_sync.annotations.formats.values import raw_bytes, raw_value, shortened
from metalake_sync.annotations.json_stream import TOP_LEVEL, members
from metalake_sync.core.shapes import ImageRecord, Shape
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.lazy_dataclass import dataclass

_LIKELY = ("image", "img", "photo", "url")
"""Keys of a task's data that may name an image whose address has no extension."""

_OF_MIN = frozenset(
    {
        "id",
        "annotator",
        "annotation_id",
        "created_at",
        "updated_at",
        "lead_time",
        "agreement",
        "history",
        "ground_truth",
    }
)
"""Keys of a JSON-MIN entry that are neither data nor results."""

_DRAWN = ("x", "y", "width", "height", "rotation", "radiusX", "radiusY", "points", "vertices", "rle", "imageDataURL")
"""Keys of the geometry of a region."""


@dataclass(frozen=True, slots=True)
class _Picture:
    """An image of a task."""

    key: str
    """Its key in the task's data."""
    index: int | None
    """Its number, if the key has a list of images."""
    address: str


class LabelStudioReader(FormatReader):
    """Reads files task by task."""

    def __init__(self, kind: AnnotationKind) -> None:
        self._machine = kind is AnnotationKind.MACHINE

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield an entry for each image of each task. Raises ManifestError."""
        chosen: _Chosen | None = None
        for position, task in _tasks(file):
            if not isinstance(task, dict) or not is_task(task):
                raise NotAnnotations(
                    f"element {position} of the file is {shortened(task)}, not a task",
                    where=file.shown_as,
                    remedy="Export the project from Label Studio as JSON.",
                )
            place = f"tasks[{position}]"
            if "data" in task:
                yield from self._of_task(task, place, notes)
                continue
            if self._machine:
                notes.count("annotations are of a person, and are not read: the operation is a machine's", at=place)
                continue
            if chosen is None:
                chosen = _Chosen(file)
            if chosen.is_best(task, position):
                data = _data_of_min(task)
                texts = (one for value in data.values() for one in (value if isinstance(value, list) else [value]))
                others = sum(isinstance(one, str) for one in texts) - len(_pictures(data))
                if others > 0:
                    what = "values of entries are neither the image nor its regions, and are not read"
                    notes.count(what, others, at=place)
                yield from _entries(data, _results_of_min(task), None, place, notes)
            else:
                notes.count(_OTHERS, at=place)

    def _of_task(self, task: dict[str, Any], place: str, notes: ReadNotes) -> Iterator[Entry]:
        data = task["data"]
        if not isinstance(data, dict):
            notes.leave_out("tasks have a 'data' that is not an object", place)
            return
        annotations = _objects(task.get("annotations", task.get("completions")))
        # A task of an older export has the ids of its predictions only.
        predictions = _objects(task.get("predictions"))
        if self._machine:
            if annotations:
                what = "annotations are of a person, and are not read: the operation is a machine's"
                notes.count(what, len(annotations), at=place)
            usable = predictions
        else:
            if predictions:
                what = "predictions are of a machine, and are not read: the operation is a person's"
                notes.count(what, len(predictions), at=place)
            usable = [one for one in annotations if one.get("was_cancelled") is not True]
            if len(usable) < len(annotations):
                notes.count("annotations were skipped by their annotators", len(annotations) - len(usable), at=place)
        drafts = _objects(task.get("drafts"))
        if drafts:
            notes.count("drafts of annotations are not read", len(drafts), at=place)
        if not usable:
            notes.count(f"tasks have no {'prediction' if self._machine else 'annotation'} to read", at=place)
            return
        best = max(usable, key=_rank)
        if len(usable) > 1:
            notes.count(_OTHER_MODELS if self._machine else _OTHERS, len(usable) - 1, at=place)
        yield from _entries(data, best.get("result"), best.get("score") if self._machine else None, place, notes)


_OTHERS = "annotations are of another annotator: an image has one set, of ground truth or else of the last change"
_OTHER_MODELS = "predictions are of another model: an image has one set, of the last change"


class _Chosen:
    """The best entry of each task of a JSON-MIN file, found in a pass of its own."""

    def __init__(self, file: SourceFile) -> None:
        self._best: dict[Any, tuple[tuple[bool, str, str], int]] = {}
        for position, task in _tasks(file):
            if isinstance(task, dict):
                key, rank = _key_of_min(task, position), _rank(task)
                before = self._best.get(key)
                if before is None or rank >= before[0]:
                    self._best[key] = (rank, position)

    def is_best(self, task: dict[str, Any], position: int) -> bool:
        """Whether an entry is the one that counts for its task."""
        return self._best[_key_of_min(task, position)][1] == position


def _key_of_min(task: dict[str, Any], position: int) -> Any:
    found = task.get("id")
    return found if isinstance(found, int | str) else ("no id", position)


def _rank(annotation: dict[str, Any]) -> tuple[bool, str, str]:
    """Return what decides between annotations: the largest counts."""
    updated, created = annotation.get("updated_at"), annotation.get("created_at")
    created = created if isinstance(created, str) else ""
    return annotation.get("ground_truth") is True, updated if isinstance(updated, str) else created, created


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _tasks(file: SourceFile) -> Iterator[tuple[int, Any]]:
    """Yield the position of each task and the task. A file with one task may hold it without a list."""
    single: dict[str, Any] = {}
    for key, position, value in members(file.path, file.shown_as, {TOP_LEVEL}):
        if key != TOP_LEVEL:
            single[key] = value
        elif position is not None:
            yield position, value
    if single:
        yield 0, single


def _data_of_min(task: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in task.items() if key not in _OF_MIN}


def _results_of_min(task: dict[str, Any]) -> list[Any]:
    """Return the results of a JSON-MIN entry as those of a task: a key is the name of the tag, a value is a list of
    regions, or the answers for the whole image."""
    results: list[Any] = []
    for key, value in task.items():
        if isinstance(value, dict):
            value = [value]  # of one answer, the tool writes no list
        if key in _OF_MIN or not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            continue
        before: dict[str, int] = {}
        for one in value:
            # Results have no id here: those of one region have the same geometry under the names of several tags.
            drawn = repr({name: one[name] for name in _DRAWN if name in one})
            before[drawn] = before.get(drawn, 0) + 1
            size = {side: one[side] for side in ("original_width", "original_height") if side in one}
            results.append({"id": f"{before[drawn]} {drawn}", "from_name": key, "value": one, **size})
    return results


def _pictures(data: dict[str, Any]) -> list[_Picture]:
    """Return the images of a task's data: the values that name one."""
    found: list[_Picture] = []
    for key, value in data.items():
        if isinstance(value, str) and looks_like_image(value):
            found.append(_Picture(key, None, value))
        elif isinstance(value, list) and all(isinstance(one, str) and looks_like_image(one) for one in value):
            found += [_Picture(key, number, one) for number, one in enumerate(value)]
    if found:
        return found
    likely = [key for key in data if isinstance(data[key], str) and data[key] and key.lower() in _LIKELY]
    return [_Picture(key, None, data[key]) for key in likely[:1]]


def _entries(data: dict[str, Any], results: Any, score: Any, place: str, notes: ReadNotes) -> Iterator[Entry]:
    """Yield an entry for each image of a task."""
    pictures = _pictures(data)
    if not pictures:
        notes.leave_out("tasks name no image", place)
        return
    if not isinstance(results, list):
        if results is not None:
            notes.leave_out("annotations have a 'result' that is not a list", place)
        results = []
    for number, picture in enumerate(pictures):
        own = [
            [at, one] for at, one in enumerate(results) if len(pictures) == 1 or _picture_of(one, pictures) == number
        ]
        where = place if len(pictures) == 1 else f"{place}.data.{picture.key}"
        if picture.index is not None:
            where += f"[{picture.index}]"
        names = image_names(picture.address)
        raw = raw_bytes([score, own])
        yield Entry(
            ImageRecord(names.plain, ()),
            where,
            names=names.all,
            shape_form=f"{place}.result[{{}}]",
            raw=RawShapes(
                raw, ["label_studio"], functools.partial(_parse, raw, place), functools.partial(_parse_again, place)
            )
            if own
            else None,
        )


def _picture_of(result: Any, pictures: list[_Picture]) -> int:
    """Return the number of the image that a result belongs to."""
    if not isinstance(result, dict):
        return 0
    value = result.get("value")
    index = result.get("item_index", value.get("item_index") if isinstance(value, dict) else None)
    for number, picture in enumerate(pictures):
        if picture.index is not None and picture.index == index:
            return number
    for number, picture in enumerate(pictures):
        if picture.index is None and picture.key == result.get("to_name"):
            return number
    return 0


def _parse(raw: bytes, place: str, notes: ReadNotes, size: ImageSize) -> ParsedShapes:
    score, results = raw_value(raw)
    found = list(RegionParser(place, score, size, notes).shapes(results))
    return tuple(shape for _, shape in found), tuple(at for at, _ in found)


def _parse_again(place: str, raw: bytes, size: ImageSize) -> tuple[Shape, ...]:
    shapes, _ = _parse(raw, place, ReadNotes(), size)
    return shapes
