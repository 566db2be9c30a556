"""Annotation sets as few bytes: what the state keeps of each set that the lake confirmed.

Owns: the encoding, which is exact: the decoded set is equal to the encoded one and has the same canonical bytes. Must
not: know where the bytes are kept.

A set is stored by columns. Numbers that have few digits after the point are stored as integers and a scale, others as
floats. What shapes have in common (type, label, metadata and attributes) is stored once for each set. Texts that
return in many sets are stored once for all sets, see `SharedTexts`.

Longer than 300 lines, because the writer and the reader have to agree on every byte.
"""

from __future__ import annotations

import json
import operator
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from metalake_sync.core.shapes import AttributeValue, ImageRecord, Point, Shape, ShapeType

VERSION = 1
"""The first byte. Another version is unreadable, and the set counts as unknown."""

DEFLATED, NORMALIZED = 1, 2
"""Bits of the second byte."""

SCALES = tuple(10.0**digits for digits in range(7))
CORRECTED = 64
"""A bit of the scale: a correction follows for each number. Numbers that were computed from others, such as pixels from
fractions, often differ from a number with few digits by a few units in the last place of a float."""

CORRECTION_LIMIT = 100

FLOATS, SHORT_FLOATS = 255, 254
"""Instead of a scale: the numbers are floats of 64 bits, or of 32 bits, which most models compute with."""

FLOAT_CODES = {FLOATS: "d", SHORT_FLOATS: "f"}

EXACT_INTEGERS = 2**53
DEFLATE_FROM_BYTES = 48

TYPES = (ShapeType.RECTANGLE, ShapeType.POLYGON, ShapeType.LINE, ShapeType.POINTS)
"""By code. New types are added at the end."""

_Scaled = tuple[int, list[int], list[int]]
"""Digits after the point, the numbers as integers, and what to add to the last place of each float."""

INTEGER_CODES = "BHIQ"
"""Integers of 1, 2, 4 and 8 bytes."""

NO_CONFIDENCE, ONE_CONFIDENCE, CONFIDENCES, CONFIDENCES_AS_JSON = range(4)


class UnreadableSet(ValueError):
    """The bytes are of another version, or incomplete."""


class SharedTexts(Protocol):
    """Texts that many sets contain, by number."""

    def number(self, text: str, *, likely: bool) -> int | None:
        """Return the number of a text, or None if it is not shared. `likely`: other sets are likely to contain it, so
        it may be added."""

    def text(self, number: int) -> str:
        """Return the text of a number. Raises KeyError."""


class NoSharedTexts:
    """Every set contains its texts itself."""

    def number(self, text: str, *, likely: bool) -> int | None:
        return None

    def text(self, number: int) -> str:
        raise KeyError(number)


def encode_shapes(record: ImageRecord, texts: SharedTexts) -> bytes:
    """Return the shapes of a record as bytes, without the image's name and bucket."""
    shapes = record.shapes
    kinds: dict[tuple[ShapeType, str, str], int] = {}
    kind_of_shape = [kinds.setdefault((shape.type, shape.label, _extras_text(shape)), len(kinds)) for shape in shapes]
    uses = Counter(kind_of_shape)
    places: list[float] = []
    sizes: list[float] = []
    steps: list[Sequence[Point]] = []
    lengths: list[int] = []
    for shape in shapes:
        points = shape.points
        if shape.type is ShapeType.RECTANGLE:
            places += points[0]
            sizes += points[1]
        else:
            lengths.append(len(points))
            for point in points[:1]:
                places += point
            steps.append(points)
    out = bytearray()
    _put_integer(out, len(shapes))
    _put_integer(out, len(kinds))
    for (shape_type, label, extras), number in kinds.items():
        out.append(TYPES.index(shape_type))
        _put_text(out, label, texts, likely=True)
        _put_text(out, extras, texts, likely=uses[number] > 1)
    if len(kinds) > 1:
        _put_integers(out, kind_of_shape)
    if lengths:
        _put_integers(out, lengths)
    _put_numbers(out, places)
    _put_numbers(out, sizes)
    if lengths:
        _put_steps(out, steps)
    _put_confidences(out, [shape.confidence for shape in shapes])
    flags = NORMALIZED if record.normalized else 0
    body = bytes(out)
    if len(body) >= DEFLATE_FROM_BYTES:
        deflated = zlib.compress(body, 6, wbits=-15)
        if len(deflated) < len(body):
            body, flags = deflated, flags | DEFLATED
    return bytes((VERSION, flags)) + body


def decode_shapes(data: bytes, image: str, texts: SharedTexts) -> ImageRecord:
    """Return the record that was encoded, under the name of its image. Raises UnreadableSet."""
    if len(data) < 2 or data[0] != VERSION:
        raise UnreadableSet("the set was written by another version")
    try:
        body = zlib.decompress(data[2:], wbits=-15) if data[1] & DEFLATED else data[2:]
        shapes = tuple(_shapes(_Reader(body, texts)))
    except (zlib.error, struct.error, IndexError, KeyError, StopIteration, ValueError, RuntimeError) as error:
        raise UnreadableSet("the set is incomplete") from error
    return ImageRecord(image, shapes, bool(data[1] & NORMALIZED))


# Writing.

_EXTRAS = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _extras_text(shape: Shape) -> str:
    """Metadata and attributes as JSON, or an empty text."""
    if not shape.metadata and not shape.attributes:
        return ""
    attributes = {
        name: [[value.value, value.confidence, value.metadata] for value in values]
        for name, values in shape.attributes.items()
    }
    return _EXTRAS.encode([shape.metadata, attributes])


def _put_integer(out: bytearray, number: int) -> None:
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _put_text(out: bytearray, text: str, texts: SharedTexts, *, likely: bool) -> None:
    """Write the number of a shared text and 1, or 0 and the text itself."""
    number = texts.number(text, likely=likely) if text else None
    if number is not None:
        _put_integer(out, number + 1)
    else:
        data = text.encode("utf-8", "surrogatepass")
        _put_integer(out, 0)
        _put_integer(out, len(data))
        out += data


def _put_integers(out: bytearray, numbers: Sequence[int]) -> None:
    """Write integers as their differences from the smallest one, with the fewest bytes that hold the largest one."""
    least = min(numbers, default=0)
    most = max(numbers, default=0) - least
    code = next(code for code in INTEGER_CODES if most < 1 << 8 * struct.calcsize(f"<{code}"))
    _put_integer(out, least << 1 if least >= 0 else (-least << 1) - 1)
    out += code.encode()
    shifted = numbers if least == 0 else [number - least for number in numbers]
    out += struct.pack(f"<{len(numbers)}{code}", *shifted)


def _scaled(numbers: Sequence[float]) -> _Scaled | None:
    """Return the numbers as integers with as few digits after the point as possible. None: as floats only."""
    try:
        for digits, scale in enumerate(SCALES):
            if all(abs(round(number * scale) / scale - number) <= abs(number) * 1e-14 for number in numbers):
                integers = [round(number * scale) for number in numbers]
                if max(map(abs, integers), default=0) >= EXACT_INTEGERS:
                    return None
                shortened = [integer / scale for integer in integers]
                corrections = [*map(operator.sub, _bits(numbers), _bits(shortened))]
                if max(map(abs, corrections), default=0) <= CORRECTION_LIMIT:
                    return digits, integers, corrections
    except (OverflowError, ValueError):
        pass
    return None


def _bits(numbers: Sequence[float]) -> tuple[int, ...]:
    """Return floats as integers, whose differences count the floats between them."""
    return struct.unpack(f"<{len(numbers)}q", struct.pack(f"<{len(numbers)}d", *numbers))


def _put_scaled(out: bytearray, digits: int, integers: Sequence[int], corrections: Sequence[int]) -> None:
    are_corrected = any(corrections)
    out.append(digits | CORRECTED if are_corrected else digits)
    _put_integers(out, integers)
    if are_corrected:
        _put_integers(out, corrections)


def _put_floats(out: bytearray, numbers: Sequence[float]) -> None:
    """Write floats that are not integers with a scale."""
    try:
        packed = struct.pack(f"<{len(numbers)}f", *numbers)
        is_exact = all(map(operator.eq, struct.unpack(f"<{len(numbers)}f", packed), numbers))
    except OverflowError:
        is_exact = False
    if is_exact:
        out.append(SHORT_FLOATS)
        out += packed
    else:
        out.append(FLOATS)
        out += struct.pack(f"<{len(numbers)}d", *numbers)


def _put_numbers(out: bytearray, numbers: Sequence[float]) -> None:
    scaled = _scaled(numbers)
    if scaled is None:
        _put_floats(out, numbers)
    else:
        _put_scaled(out, *scaled)


def _put_steps(out: bytearray, lines: Sequence[Sequence[Point]]) -> None:
    """Write all points of each line but the first one, as differences from the point before where that is exact."""
    scaled = _scaled([number for points in lines for point in points for number in point])
    if scaled is None:
        _put_floats(out, [number for points in lines for point in points[1:] for number in point])
        return
    digits, integers, corrections = scaled
    followers: list[int] = []
    start = 0
    for points in lines:
        end = start + 2 * len(points)
        followers += range(start + 2, end)
        start = end
    steps = [integers[at] - integers[at - 2] for at in followers]
    _put_scaled(out, digits, steps, [corrections[at] for at in followers])


def _put_confidences(out: bytearray, confidences: Sequence[float | None]) -> None:
    first = confidences[0] if confidences else None
    if all(one is None for one in confidences):
        out.append(NO_CONFIDENCE)
    elif not all(isinstance(one, float) for one in confidences):
        out.append(CONFIDENCES_AS_JSON)
        out += json.dumps(list(confidences), separators=(",", ":")).encode()
    elif all(one == first for one in confidences):
        out.append(ONE_CONFIDENCE)
        _put_numbers(out, [first or 0.0])
    else:
        out.append(CONFIDENCES)
        _put_numbers(out, [one or 0.0 for one in confidences])


# Reading.


class _Reader:
    def __init__(self, data: bytes, texts: SharedTexts) -> None:
        self._data = data
        self._texts = texts
        self._at = 0

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def integer(self) -> int:
        number = shift = 0
        while (byte := self.byte()) & 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
        return number | byte << shift

    def piece(self, length: int) -> bytes:
        piece = self._data[self._at : self._at + length]
        if len(piece) < length:
            raise IndexError(length)
        self._at += length
        return piece

    def rest(self) -> bytes:
        return self.piece(len(self._data) - self._at)

    def text(self) -> str:
        number = self.integer()
        return self._texts.text(number - 1) if number else self.piece(self.integer()).decode("utf-8", "surrogatepass")

    def unpacked(self, code: str, count: int) -> tuple[Any, ...]:
        form = f"<{count}{code}"
        return struct.unpack(form, self.piece(struct.calcsize(form)))

    def integers(self, count: int) -> Sequence[int]:
        least = self.integer()
        least = least >> 1 if not least & 1 else -(least + 1 >> 1)
        code = chr(self.byte())
        if code not in INTEGER_CODES:
            raise ValueError(code)
        numbers = self.unpacked(code, count)
        return [number + least for number in numbers] if least else numbers

    def numbers(self, count: int) -> Sequence[float]:
        digits = self.byte()
        if digits in FLOAT_CODES:
            return self.unpacked(FLOAT_CODES[digits], count)
        scale = SCALES[digits & ~CORRECTED]
        numbers = [number / scale for number in self.integers(count)]
        return self.corrected(numbers) if digits & CORRECTED else numbers

    def corrected(self, numbers: Sequence[float]) -> Sequence[float]:
        count = len(numbers)
        bits = map(operator.add, _bits(numbers), self.integers(count))
        return struct.unpack(f"<{count}d", struct.pack(f"<{count}q", *bits))

    def lines(self, lengths: Sequence[int], starts: Iterable[Point]) -> Iterator[list[Point]]:
        """Yield the points of each line. `starts`: the first point of each line that has one."""
        firsts = iter(starts)
        own_starts = [next(firsts) if length else (0.0, 0.0) for length in lengths]
        numbers = iter(self._points_after(lengths, own_starts))
        for length, start in zip(lengths, own_starts, strict=True):
            yield [start, *((next(numbers), next(numbers)) for _ in range(length - 1))] if length else []

    def _points_after(self, lengths: Sequence[int], starts: Sequence[Point]) -> Sequence[float]:
        digits = self.byte()
        count = sum(2 * (length - 1) for length in lengths if length)
        if digits in FLOAT_CODES:
            return self.unpacked(FLOAT_CODES[digits], count)
        scale = SCALES[digits & ~CORRECTED]
        steps = iter(self.integers(count))
        numbers: list[float] = []
        for length, start in zip(lengths, starts, strict=True):
            x, y = (round(number * scale) for number in start)
            for _ in range(length - 1):
                x, y = x + next(steps), y + next(steps)
                numbers += (x / scale, y / scale)
        return self.corrected(numbers) if digits & CORRECTED else numbers

    def confidences(self, count: int) -> Sequence[float | None]:
        match self.byte():
            case 0:
                return [None] * count
            case 1:
                return [*self.numbers(1)] * count
            case 2:
                return self.numbers(count)
            case 3:
                found: Sequence[float | None] = json.loads(self.rest())
                return found
            case other:
                raise ValueError(other)


def _shapes(reader: _Reader) -> Iterator[Shape]:
    count = reader.integer()
    kinds = [_kind(reader) for _ in range(reader.integer())]
    kind_of_shape = [kinds[number] for number in reader.integers(count)] if len(kinds) > 1 else kinds * count
    lines_count = sum(kind[0] is not ShapeType.RECTANGLE for kind in kind_of_shape)
    lengths = reader.integers(lines_count) if lines_count else ()
    length = iter(lengths)
    has_place = [kind[0] is ShapeType.RECTANGLE or next(length) > 0 for kind in kind_of_shape]
    places = iter(_pairs(reader.numbers(2 * sum(has_place))))
    sizes = iter(_pairs(reader.numbers(2 * (count - lines_count))))
    place_of_shape = [next(places) if has else None for has in has_place]
    starts = [
        place
        for place, kind in zip(place_of_shape, kind_of_shape, strict=True)
        if place is not None and kind[0] is not ShapeType.RECTANGLE
    ]
    lines = iter([*reader.lines(lengths, starts)] if lines_count else ())
    confidences = reader.confidences(count)
    for place, confidence, (shape_type, label, metadata, attributes) in zip(
        place_of_shape, confidences, kind_of_shape, strict=True
    ):
        points = (place, next(sizes)) if shape_type is ShapeType.RECTANGLE and place else tuple(next(lines))
        yield Shape(shape_type, points, label, confidence, metadata, attributes)


def _pairs(numbers: Sequence[float]) -> Iterator[Point]:
    each = iter(numbers)
    return zip(each, each, strict=True)


def _kind(reader: _Reader) -> tuple[ShapeType, str, dict[str, Any], dict[str, tuple[AttributeValue, ...]]]:
    shape_type, label, extras = TYPES[reader.byte()], reader.text(), reader.text()
    if not extras:
        return shape_type, label, {}, {}
    metadata, attributes = json.loads(extras)
    return (
        shape_type,
        label,
        metadata,
        {name: tuple(AttributeValue(*value) for value in values) for name, values in attributes.items()},
    )
