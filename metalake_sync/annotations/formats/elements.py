"""Entries whose shapes are made of elements, such as rows of a table or objects of JSON.

Each element has a number in its file. Owns: parsing the elements of an entry when it is matched, and the report of each
that can't be read: it is left out, and the others count. Must not: know a format.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from metalake_sync.annotations.entries import Entry, ImageSize, ParsedShapes, RawShapes, ReadNotes
from metalake_sync.annotations.formats.values import raw_bytes, raw_value, shortened
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Shape
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """What a parser of an element knows besides the element."""

    where: str
    """The element's place in its file, such as line 3."""
    size: ImageSize
    """Of the image."""
    notes: ReadNotes

    def tell(self, what: str, times: int = 1) -> None:
        """Count something that is left out of this element. `what`: a clause."""
        self.notes.count(what, times, at=self.where)


Parser = Callable[[Any, Place], Iterable[Shape]]
"""Yields the shapes of an element. Raises ManifestError for an element that can't be read."""


class Elements:
    """Makes the entries of one file."""

    def __init__(self, what: str, form: str, parse: Parser, depends_on: Any, *, whole: bool = False) -> None:
        """`what`: the elements in the plural, such as rows. `form`: how the place of one is written, such as line {}.
        `depends_on`: what else the shapes depend on, as JSON values. `whole`: whether an entry can't be used if one of
        its elements can't be read."""
        self._what = what
        self._form = form
        self._parse_one = parse
        self._depends_on = depends_on
        self._whole = whole

    def entry(
        self,
        image: str,
        elements: Sequence[tuple[int, Any]],
        *,
        place: str = "",
        stem: str | None = None,
        size: ImageSize = None,
        normalized: bool = False,
        form: str | None = None,
    ) -> Entry:
        """Return the entry of an image. `elements`: number and JSON value of each. `form`: how their places are
        written in this entry."""
        form = form or self._form
        raw = None
        if elements:
            numbers = [number for number, _ in elements]
            data = raw_bytes([element for _, element in elements])
            parse = functools.partial(self._parse, data, numbers, form)
            raw = RawShapes(data, self._depends_on, parse, self._parse_again)
        record = ImageRecord(image, (), normalized)
        return Entry(record, place, stem=stem, size=size, shape_form=form, raw=raw)

    def _parse(self, raw: bytes, numbers: Sequence[int], form: str, notes: ReadNotes, size: ImageSize) -> ParsedShapes:
        shapes: list[Shape] = []
        numbered: list[int] = []
        for number, element in zip(numbers, raw_value(raw), strict=True):
            where = form.format(number)
            try:
                found = list(self._parse_one(element, Place(where, size, notes)))
            except ManifestError as error:
                if self._whole:
                    raise ManifestError(error.message, where=error.where or where, remedy=error.remedy) from None
                at = str(error.where) if error.where else where
                notes.leave_out(f"{self._what} can't be read: {error.message}", at)
                continue
            shapes += found
            numbered += [number] * len(found)
        return tuple(shapes), tuple(numbered)

    def _parse_again(self, raw: bytes, size: ImageSize) -> tuple[Shape, ...]:
        shapes, _ = self._parse(raw, range(len(raw_value(raw))), self._form, ReadNotes(), size)
        return shapes


def _not(value: Any, what: str, wanted: str, remedy: str) -> ManifestError:
    """Return the error for a value that is missing or null, or not what is wanted."""
    problem = "is missing" if value is None else f"is {shortened(value)}, not {wanted}"
    return ManifestError(f"{what} {problem}", remedy=remedy)


def a_dict(value: Any, what: str) -> dict[str, Any]:
    """Return a value that must be a JSON object. Raises ManifestError."""
    if not isinstance(value, dict):
        raise _not(value, what, "an object", "Write {…}.")
    return value


def a_list(value: Any, what: str) -> list[Any]:
    """Return a value that must be a list. Raises ManifestError."""
    if not isinstance(value, list):
        raise _not(value, what, "a list", "Write […].")
    return value


def a_name(value: Any, what: str) -> str:
    """Return a value that must be a text that is not empty. Raises ManifestError."""
    if value == "":
        raise ManifestError(f"{what} is empty", remedy="Write a name.")
    if not isinstance(value, str):
        raise _not(value, what, "a name", "Write a name.")
    return value


def a_text(value: Any, what: str) -> str:
    """Return a value that must be a text, or nothing. Raises ManifestError."""
    if value is not None and not isinstance(value, str):
        raise _not(value, what, "a text", "Write a text.")
    return value or ""


def answers_of(answers: dict[str, Any]) -> tuple[dict[str, Any], dict[str, tuple[AttributeValue, ...]]]:
    """Return metadata and attributes of what was answered for a shape: words are attributes of the label, flags and
    numbers are metadata. An object of flags is a choice of several words."""
    metadata: dict[str, Any] = {}
    attributes: dict[str, tuple[AttributeValue, ...]] = {}
    for name, value in answers.items():
        if isinstance(value, dict) and value and all(isinstance(one, bool) for one in value.values()):
            value = [option for option, chosen in value.items() if chosen]
        words = [value] if isinstance(value, str) else value
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            if given := [word.strip() for word in words if word.strip()]:
                attributes[name] = tuple(map(AttributeValue, given))
        elif value not in (None, [], {}):
            metadata[name] = value
    return metadata, attributes


def size_of(width: Any, height: Any) -> tuple[int, int] | None:
    """Return the size of an image as JSON states it, or None if it is not two whole numbers above 0."""
    if type(width) is not int or type(height) is not int or not (0 < width < 1 << 31 and 0 < height < 1 << 31):
        return None
    return width, height
