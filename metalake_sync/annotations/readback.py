"""Compares the annotation set that the lake returns with the set that was sent.

Owns: the comparison. The lake returns fractions as pixels, may round the last digits of numbers, and returns 1 as the
confidence of human annotations. Must not: decide what to do about a difference, or combine sets
(`planning.set_merge`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from metalake_sync.annotations.formats.metalake.reading import read_shapes
from metalake_sync.annotations.frames import to_pixels
from metalake_sync.core.metadata import digest_of_json
from metalake_sync.core.shape_values import TOLERANCE_PX
from metalake_sync.core.shapes import AttributeValue, ImageRecord, Shape, digest_of_shapes, encode_record
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestError
from metalake_sync.sources.image_headers import image_size

_NO_IMAGE = "-"
"""The name of the image of a set that was read back. The lake's answer does not tell which one the source uses."""


def read_back(annotations: Sequence[Any]) -> tuple[str, ImageRecord | None]:
    """Return the digest of a set in the lake's upload form, and the set itself, or None if its form is unknown."""
    try:
        record = ImageRecord(_NO_IMAGE, read_shapes(annotations, "the lake"))
    except ManifestError:
        return digest_of_json(list(annotations)), None
    return digest_of_shapes(encode_record(record)), record


def digest_as_read_back(record: ImageRecord) -> str:
    """Return the digest that `read_back` returns of a set in the form of `as_stored`."""
    return digest_of_shapes(encode_record(replace(record, image=_NO_IMAGE)))


def is_as_sent(sent: ImageRecord, kind: AnnotationKind, back: ImageRecord | None, image: str) -> bool:
    """Whether the lake has the set that was sent. `image`: the path of the image, whose size converts fractions to
    pixels.

    Sets that can't be compared count as equal: one of an unknown form, or of an image whose size can't be read.
    """
    if sent.normalized:
        size = image_size(image)
        if size is None:
            return True
        sent = to_pixels(sent, size)
    if back is None:
        return True
    if len(sent.shapes) != len(back.shapes):
        return False
    wanted = [_as_stored(shape, kind) for shape in sent.shapes]
    found = list(back.shapes)
    return _all_alike(wanted, found) or is_same_in_any_order(replace(sent, shapes=tuple(wanted)), back)


def as_stored(record: ImageRecord, kind: AnnotationKind, size: tuple[int, int] | None) -> ImageRecord:
    """Return a set as the lake stores it: in pixels, if the `size` of the image is known, with attributes as texts."""
    if record.normalized and size is not None:
        record = to_pixels(record, size)
    return replace(record, shapes=tuple(_as_stored(shape, kind) for shape in record.shapes))


def is_same_in_any_order(one: ImageRecord, other: ImageRecord) -> bool:
    """Whether two sets of equally many shapes, both as the lake stores them, have the same shapes."""
    return _all_alike(sorted(one.shapes, key=_order), sorted(other.shapes, key=_order))


def _all_alike(wanted: Iterable[Shape], found: Iterable[Shape]) -> bool:
    return all(_alike(one, other) for one, other in zip(wanted, found, strict=True))


def _alike(one: Shape, other: Shape) -> bool:
    if _rest(one) != _rest(other) or len(one.points) != len(other.points):
        return False
    pairs = zip(one.points, other.points, strict=True)
    return all(abs(a[0] - b[0]) <= TOLERANCE_PX and abs(a[1] - b[1]) <= TOLERANCE_PX for a, b in pairs)


def _order(shape: Shape) -> tuple[str, str, tuple[tuple[float, float], ...]]:
    return shape.type, shape.label, tuple((round(x), round(y)) for x, y in shape.points)


def _rest(shape: Shape) -> str:
    """Return everything except the coordinates, as text."""
    record = ImageRecord("", (replace(shape, points=(), confidence=_rounded(shape.confidence)),))
    return encode_record(record).decode("utf-8", "surrogatepass")


def _as_stored(shape: Shape, kind: AnnotationKind) -> Shape:
    """Return a shape as the lake stores it: attribute values are texts, with a confidence."""
    attributes = {
        name: tuple(_stored_value(value, kind) for value in values) for name, values in shape.attributes.items()
    }
    return replace(shape, attributes=attributes)


def _stored_value(value: AttributeValue, kind: AnnotationKind) -> AttributeValue:
    confidence = 1.0 if kind is AnnotationKind.HUMAN else float(value.confidence or 0)
    return AttributeValue(str(value.value), confidence, value.metadata)


def _rounded(confidence: float | None) -> float | None:
    return None if confidence is None else round(confidence, 6)
