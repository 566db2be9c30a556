"""Checks annotation objects of the protocol, and converts them to pixels and to the upload format.

Numbers keep all digits that were sent. Must not: know where shapes are stored.
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
    """Return the entries of `metaUpdatesArray` with their unchanged shapes. Rejects an invalid page."""
    try:
        images = _PAGE.validate_json(text, strict=True)
        page = from_json(text, allow_inf_nan=False)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        raise not_acceptable(f"metaUpdatesArray.{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    except ValueError as error:
        raise not_acceptable(f"metaUpdatesArray is not JSON: {error}") from None
    if len(images) > PAGE_SIZE_LIMIT:
        raise not_acceptable(f"A page has at most {PAGE_SIZE_LIMIT} images")
    entries = [(image, entry["data"].get("annotationObjects", [])) for image, entry in zip(images, page, strict=True)]
    for position, (_, shapes) in enumerate(entries):
        for shape in shapes:
            _check(shape, f"metaUpdatesArray.{position}")
    return entries


def to_pixels(shape: Shape, size: tuple[int, int]) -> Shape:
    """Convert a shape from fractions of the image's width and height to pixels."""
    width, height = size
    scaled = {**shape, "points": [[x * width, y * height] for x, y in shape.get("points") or []]}
    box = shape.get(_BOX)
    if box:
        x, y, w, h = box["x"] * width, box["y"] * height, box["w"] * width, box["h"] * height
        scaled[_BOX] = {"x": x, "y": y, "w": w, "h": h}
    return scaled


def uploaded_form(shape: Shape, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return a shape in the upload format. `texts`: reference → text. Unknown references are kept."""
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
    """Reject a shape that the message's types allow and the lake does not."""
    if shape["type"] == "rectangle":
        if not shape.get(_BOX):
            raise not_acceptable(f"{place}: a rectangle needs {_BOX}")
    elif not shape.get("points"):
        raise not_acceptable(f"{place}: a {shape['type']} needs points")
    if any(len(point) != 2 for point in shape.get("points") or []):
        raise not_acceptable(f"{place}: a point is a pair of numbers")
    if not is_finite(shape):
        raise not_acceptable(f"{place}: a number is not finite")
