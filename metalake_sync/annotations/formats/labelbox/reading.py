"""Reads Labelbox's export v2 row by row.

A data row has labels of several persons in several projects: the first label of the first project counts. Answers for
an object are attributes of its label, nested ones too. Masks are at an address of Labelbox, and are left out. Must not:
check shapes, or load anything from a network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.elements import Elements, Place, a_dict, a_list
from metalake_sync.annotations.formats.image_names import image_names
from metalake_sync.annotations.formats.values import image_size, number, shortened
from metalake_sync.annotations.json_stream import TOP_LEVEL, members
from metalake_sync.core.shapes import AttributeValue, Point, Shape, ShapeType
from metalake_sync.errors import ManifestError
from metalake_sync.sources.text_files import open_text, parse_json, read_lines

_DEEPEST = 20
"""Answers that are nested more deeply are left out."""


class LabelboxReader(FormatReader):
    """Reads files row by row."""

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of each data row. Raises ManifestError."""
        elements = Elements("objects", "", _shapes, ["labelbox"])
        rows = 0
        for where, row in _rows(file):
            if not isinstance(row, dict) or not isinstance(row.get("data_row"), dict):
                kind = ManifestError if rows else NotAnnotations
                raise kind(
                    "the row has no 'data_row'",
                    where=f"{file.shown_as}: {where}",
                    remedy="Export the project from Labelbox with export v2.",
                )
            rows += 1
            entry = _entry(row, where, elements, file, notes)
            if entry is not None:
                yield entry
        if not rows:
            raise NotAnnotations(
                "the file has no data rows", where=file.shown_as, remedy="Export the project from Labelbox."
            )


def _rows(file: SourceFile) -> Iterator[tuple[str, Any]]:
    """Yield the place of each row and the row. A file may also be one JSON list."""
    try:
        with open_text(file.path, file.shown_as) as opened:
            is_list = opened.read(256).lstrip().startswith("[")
    except (OSError, UnicodeDecodeError):
        is_list = False  # reading its lines reports the problem
    if is_list:
        for _, position, value in members(file.path, file.shown_as, {TOP_LEVEL}):
            if position is not None:
                yield f"rows[{position}]", value
        return
    for line, text in enumerate(read_lines(file.path, file.shown_as), start=1):
        if text.strip():
            yield f"line {line}", parse_json(text, file.shown_as, line)


def _entry(row: dict[str, Any], where: str, elements: Elements, file: SourceFile, notes: ReadNotes) -> Entry | None:
    """Return the entry of a row, or None if it has no label to read."""
    about = row["data_row"]
    addresses = [about.get(key) for key in ("external_id", "global_key", "row_data")]
    found = [image_names(address) for address in addresses if isinstance(address, str) and address]
    if not found:
        raise ManifestError(
            "the data row has no 'external_id', 'global_key' or 'row_data'",
            where=f"{file.shown_as}: {where}",
            remedy="Export it with its attributes.",
        )
    labels = list(_labels(row))
    usable = [one for one in labels if not _is_skipped(one)]
    if len(usable) < len(labels):
        notes.count("labels were skipped by their annotators", len(labels) - len(usable), at=where)
    if not usable:
        notes.count("data rows have no label to read", at=where)
        return None
    if len(usable) > 1:
        what = "labels are of another annotator or project: an image has one set, of the first label"
        notes.count(what, len(usable) - 1, at=where)
    annotations = usable[0].get("annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    for key, what in (
        ("classifications", "answers are for whole images, and are not read as shapes"),
        ("relationships", "relationships between objects are not read"),
    ):
        others = annotations.get(key)
        if isinstance(others, list) and others:
            notes.count(what, len(others), at=where)
    if "frames" in annotations:
        notes.count("data rows are of videos, and are not read", at=where)
        return None
    objects = annotations.get("objects")
    if objects is not None and not isinstance(objects, list):
        notes.leave_out("labels have 'objects' that are not a list", where)
    media = row.get("media_attributes")
    media = media if isinstance(media, dict) else {}
    entry = elements.entry(
        found[0].plain,
        list(enumerate(objects)) if isinstance(objects, list) else [],
        place=where,
        size=image_size(media.get("width"), media.get("height")),
        form=f"{where}, objects[{{}}]",
    )
    return replace(entry, names=tuple(dict.fromkeys(name for names in found for name in names.all)))


def _labels(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the labels of all projects."""
    projects = row.get("projects")
    for project in projects.values() if isinstance(projects, dict) else ():
        labels = project.get("labels") if isinstance(project, dict) else None
        yield from (one for one in labels or () if isinstance(one, dict)) if isinstance(labels, list) else ()


def _is_skipped(label: dict[str, Any]) -> bool:
    details = label.get("performance_details")
    return isinstance(details, dict) and details.get("skipped") is True


def _shapes(found: Any, place: Place) -> Iterator[Shape]:
    """Yield the shape of an object. Raises ManifestError."""
    found = a_dict(found, "the object")
    if "mask" in found or "composite_mask" in found:
        place.tell("masks are at an address of Labelbox, and are not read")
        return
    drawn = _drawn(found)
    if drawn is None:
        place.tell(f"objects are of the kind {shortened(found.get('annotation_kind'))}, which is not read")
        return
    shape_type, points = drawn
    label = found.get("name", found.get("value"))
    score = found.get("confidence")
    answers: dict[str, list[str]] = {}
    _add_answers(answers, found.get("classifications"), place, 0)
    yield Shape(
        shape_type,
        points,
        label if isinstance(label, str) else "",
        None if score is None else number(score, ""),
        {},
        {name: tuple(map(AttributeValue, dict.fromkeys(values))) for name, values in answers.items() if values},
    )


def _drawn(found: dict[str, Any]) -> tuple[ShapeType, tuple[Point, ...]] | None:
    if "bounding_box" in found:
        box = a_dict(found["bounding_box"], "'bounding_box'")
        left, top, width, height = (number(box.get(name), "") for name in ("left", "top", "width", "height"))
        return ShapeType.RECTANGLE, ((left, top), (width, height))
    if "polygon" in found:
        return ShapeType.POLYGON, _points(found["polygon"])
    if "line" in found:
        return ShapeType.LINE, _points(found["line"])
    if "point" in found:
        return ShapeType.POINTS, _points([found["point"]])
    return None


def _points(value: Any) -> tuple[Point, ...]:
    points = (a_dict(one, "a point") for one in a_list(value, "the points"))
    return tuple((number(one.get("x"), ""), number(one.get("y"), "")) for one in points)


def _add_answers(answers: dict[str, list[str]], classifications: Any, place: Place, depth: int) -> None:
    """Add the answers of classifications, and of those below them."""
    if not isinstance(classifications, list) or not classifications:
        return
    if depth == _DEEPEST:
        place.tell("answers are nested too deeply; they are left out")
        return
    for question in classifications:
        if not isinstance(question, dict) or not isinstance(question.get("name"), str):
            continue
        chosen = question.get("checklist_answers", question.get("checklist_answer"))
        chosen = chosen if isinstance(chosen, list) else [question.get("radio_answer")]
        for answer in chosen:
            if isinstance(answer, dict):
                text = answer.get("name", answer.get("value"))
                if isinstance(text, str) and text:
                    answers.setdefault(question["name"], []).append(text)
                _add_answers(answers, answer.get("classifications"), place, depth + 1)
        text_answer = question.get("text_answer")
        if isinstance(text_answer, dict):
            text = text_answer.get("content", text_answer.get("text"))
            if isinstance(text, str) and text:
                answers.setdefault(question["name"], []).append(text)
