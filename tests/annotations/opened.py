"""Indexes of annotations that tests open, and what the tests look at in them."""

from __future__ import annotations

from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.core.shapes import Shape

_open: list[AnnotationIndex] = []


def closed_afterwards(index: AnnotationIndex) -> AnnotationIndex:
    """Close an index at the end of the test."""
    _open.append(index)
    return index


def last_opened() -> AnnotationIndex:
    """The index that the test opened last."""
    return _open[-1]


def close_all() -> None:
    while _open:
        _open.pop().close()


def shapes(index: AnnotationIndex, image: str = "a.png") -> tuple[Shape, ...]:
    return index.record(image).shapes


def types(index: AnnotationIndex) -> list[str]:
    return [shape.type.value for shape in shapes(index)]


def notes(index: AnnotationIndex) -> str:
    return "\n".join(map(str, index.notes()))
