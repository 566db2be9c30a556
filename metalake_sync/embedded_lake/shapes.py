"""Annotation objects as they come over the wire: checked, turned from fractions into pixels, and turned back into the
form in which people upload them. Numbers stay as they were sent, to the last digit.

Must not: know where shapes are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from metalake_sync.embedded_lake.names import is_finite
from metalake_sync.embedded_lake.rejections import not_acceptable
from metalake_sync.protocol.annotation_sets import ImageAnnotations
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT

Shape = dict[str, Any]

_PAGE = TypeAdapter(list[ImageAnnotations])
_BOX = "boxBoundariesAndDimensions"


def read_page(text: str) -> list[tuple[ImageAnnotations, list[Shape]]]:
    """The entries of `metaUpdatesArray`, each with its shapes as they were sent. Raises the refusal of a wrong page."""
    try:
        images = _PAGE.validate_json(text, strict=True)
        page = from_json(text, allow_inf_nan=False)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        raise not_acceptable(f"metaUpdatesArray.{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    except ValueError as error:
        raise not_acceptable(f"metaUpdatesArray is no JSON: {error}") from None
    if len(images) > PAGE_SIZE_LIMIT:
        raise not_acceptable(f"At most {PAGE_SIZE_LIMIT} images at a time")
    entries = [(image, entry["data"].get("annotationObjects", [])) for image, entry in zip(images, page, strict=True)]
    for place, (_, shapes) in enumerate(entries):
        for shape in shapes:
            _check(shape, f"metaUpdatesArray.{place}")
    return entries


def to_pixels(shape: Shape, size: tuple[int, int]) -> Shape:
    """A shape given in fractions of its picture's width and height."""
    width, height = size
    scaled = {**shape, "points": [[x * width, y * height] for x, y in shape.get("points") or []]}
    box = shape.get(_BOX)
    if box:
        x, y, w, h = box["x"] * width, box["y"] * height, box["w"] * width, box["h"] * height
        scaled[_BOX] = {"x": x, "y": y, "w": w, "h": h}
    return scaled


def uploaded_form(shape: Shape, texts: Mapping[str, str]) -> dict[str, Any]:
    """A shape as people upload it. `texts`: what references stand for; one that is unknown stays as it is."""
    kind, label = shape["type"], shape["label"]
    form: dict[str, Any] = {"type": kind, "label": label["labelText"], "metadata": shape.get("metadata") or {}}
    if kind == "rectangle":
        box = shape[_BOX]
        form["bbox"] = [box["x"], box["y"], box["w"], box["h"]]
    else:
        form[kind] = shape["points"]
    if shape.get("confidence") is not None:
        form["confidence"] = shape["confidence"]
    form["attributes"] = {
        texts.get(ref, ref): [
            {"metadata": {}, **value, "value": texts.get(value["value"], value["value"])} for value in values
        ]
        for ref, values in (label.get("attributeValues") or {}).items()
    }
    return form


def _check(shape: Shape, place: str) -> None:
    """What the message's types don't say."""
    if shape["type"] == "rectangle":
        if not shape.get(_BOX):
            raise not_acceptable(f"{place}: a rectangle needs {_BOX}")
    elif not shape.get("points"):
        raise not_acceptable(f"{place}: a {shape['type']} needs points")
    if any(len(point) != 2 for point in shape.get("points") or []):
        raise not_acceptable(f"{place}: a point is a pair of numbers")
    if not is_finite(shape):
        raise not_acceptable(f"{place}: a number is not finite")
