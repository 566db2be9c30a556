"""What formats of annotation tools hold of metadata and attributes.

Owns: the losses that several of these formats have in common, and their counts. Must not: know a format.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metalake_sync.annotations.formats.base import WriteReport
from metalake_sync.core.shapes import AttributeValue, Shape

Attributes = dict[str, tuple[AttributeValue, ...]]

_NAMES = "attributes whose name the format can't hold"
_VALUES = "attribute values that the format can't hold"
_EXTRAS = "confidences and metadata of attribute values"
_REPEATED = "attribute values that an attribute has twice"
_FURTHER = "attribute values after the first one"
METADATA_NOT_HELD = "metadata values that the format can't hold"
_AS_ATTRIBUTES = "metadata values that are written as attributes"

SEVERAL_VALUES_LOSSES = (_NAMES, _VALUES, _EXTRAS, _REPEATED)
"""What `plain_attributes` counts with `several`."""
ONE_VALUE_LOSSES = (*SEVERAL_VALUES_LOSSES, _FURTHER)
"""What `plain_attributes` counts without `several`."""
TEXT_LOSSES = (METADATA_NOT_HELD, _AS_ATTRIBUTES)
"""What `with_text` counts."""


def plain_attributes(
    shape: Shape, image: str, report: WriteReport, *, several: bool, fits: Callable[[str], bool] = bool
) -> Attributes:
    """Return the attributes of a shape as texts, without confidences and metadata of their values.

    `several`: whether the format holds several values of an attribute. `fits`: whether it holds a text. What is lost is
    counted.
    """
    kept: Attributes = {}
    for name, values in shape.attributes.items():
        if not fits(name):
            report.lose(_NAMES, image)
            continue
        texts = [one.value for one in values if isinstance(one.value, str) and fits(one.value)]
        report.lose(_VALUES, image, len(values) - len(texts))
        extras = sum(1 for one in values if one.confidence is not None or one.metadata)
        report.lose(_EXTRAS, image, extras)
        different = list(dict.fromkeys(texts))
        report.lose(_REPEATED, image, len(texts) - len(different))
        if not several and len(different) > 1:
            report.lose(_FURTHER, image, len(different) - 1)
            del different[1:]
        if different:
            kept[name] = tuple(map(AttributeValue, different))
    return kept


def with_text(
    attributes: Attributes, name: str, value: Any, image: str, report: WriteReport, fits: Callable[[str], bool] = bool
) -> None:
    """Add a value of the metadata to the attributes, as text, where the format has no metadata for it."""
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    if name in attributes or not isinstance(value, str | int | float) or not fits(name) or not fits(text):
        report.lose(METADATA_NOT_HELD, image)
        return
    report.lose(_AS_ATTRIBUTES, image)
    attributes[name] = (AttributeValue(text),)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number, and not a flag."""
    return isinstance(value, int | float) and not isinstance(value, bool)
