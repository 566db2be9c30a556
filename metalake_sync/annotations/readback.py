"""What the lake gives back of an annotation set, beside what was sent.

Owns: the comparison. Fractions come back as pixels, numbers may lose their last digits, and a person's confidence comes
back as 1. Must not: decide what follows.
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
from metalake_sync.sources.images import image_size


def read_back(annotations: Sequence[Any]) -> tuple[str, ImageRecord | None]:
    """The digest of a set in the lake's upload form, and the set itself: None where its form is not known."""
    try:
        record = ImageRecord("-", read_shapes(annotations, "the lake"))
    except ManifestError:
        return digest_of_json(list(annotations)), None
    return digest_of_shapes(encode_record(record)), record


def is_as_sent(sent: ImageRecord, kind: AnnotationKind, back: ImageRecord | None, image: str) -> bool:
    """Whether the lake has what was sent. `image`: the path of the image, whose size turns fractions to pixels.

    What can't be compared (a form that is not known, a picture whose size can't be read) counts as equal.
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
    ours = [_as_the_lake_keeps_it(shape, kind) for shape in sent.shapes]
    theirs = list(back.shapes)
    return _all_alike(ours, theirs) or _all_alike(sorted(ours, key=_order), sorted(theirs, key=_order))


def _all_alike(ours: Iterable[Shape], theirs: Iterable[Shape]) -> bool:
    return all(_alike(one, other) for one, other in zip(ours, theirs, strict=True))


def _alike(one: Shape, other: Shape) -> bool:
    if _rest(one) != _rest(other) or len(one.points) != len(other.points):
        return False
    pairs = zip(one.points, other.points, strict=True)
    return all(abs(a[0] - b[0]) <= TOLERANCE_PX and abs(a[1] - b[1]) <= TOLERANCE_PX for a, b in pairs)


def _order(shape: Shape) -> tuple[str, str, tuple[tuple[float, float], ...]]:
    return shape.type, shape.label, tuple((round(x), round(y)) for x, y in shape.points)


def _rest(shape: Shape) -> str:
    """Everything but the coordinates, as text."""
    record = ImageRecord("", (replace(shape, points=(), confidence=_rounded(shape.confidence)),))
    return encode_record(record).decode("utf-8", "surrogatepass")


def _as_the_lake_keeps_it(shape: Shape, kind: AnnotationKind) -> Shape:
    """Values of attributes are texts; a person is sure, and a machine that gave no confidence has none."""
    attributes = {
        name: tuple(_kept_value(value, kind) for value in values) for name, values in shape.attributes.items()
    }
    return replace(shape, attributes=attributes)


def _kept_value(value: AttributeValue, kind: AnnotationKind) -> AttributeValue:
    confidence = 1.0 if kind is AnnotationKind.HUMAN else float(value.confidence or 0)
    return AttributeValue(str(value.value), confidence, value.metadata)


def _rounded(confidence: float | None) -> float | None:
    return None if confidence is None else round(confidence, 6)
