"""Converts canonical annotation records into annotation objects of the protocol, in pages.

Owns: the form of a set in a call, the ids of shapes, and the limits of a page. Must not: send a page, or request the
references of labels; callers pass them.

The objects are plain dictionaries, because models would be slow for one object per shape. Tests compare them with the
protocol's models.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT

if TYPE_CHECKING:
    from metalake_sync.protocol.annotation_sets import LabelReference

PAGE_BYTES = 8 << 20
"""The largest JSON of a page with several images."""

SHAPE_NAMESPACE = uuid.UUID("6f1c7a52-6a1e-5d2f-9a53-0a7b1f2f9d11")
"""Shape ids are derived from image, operation and number, so that a set sent twice is the same set."""

LabelTree = Mapping[str, Mapping[str, Iterable[Any]]]


def merge_label_trees(trees: Iterable[LabelTree]) -> dict[str, dict[str, list[Any]]]:
    """Return the union of mappings label → attribute → values."""
    merged: dict[str, dict[str, dict[Any, None]]] = {}
    for tree in trees:
        for label, attributes in tree.items():
            into = merged.setdefault(label, {})
            for name, values in attributes.items():
                into.setdefault(name, {}).update(dict.fromkeys(values))
    return {label: {name: list(values) for name, values in tree.items()} for label, tree in merged.items()}


@dataclass(frozen=True, slots=True)
class ImageAddress:
    """The address of an image: a unique name, a storage path with a bucket, or a job with a file name."""

    unique_name: str | None = None
    storage_path: str | None = None
    bucket: str | None = None
    """None is the default bucket."""
    job_id: str | None = None
    file_name: str | None = None

    @classmethod
    def at_path(cls, path: str, bucket: str | None) -> ImageAddress:
        """Address an image by storage path, with a leading slash as in the published client."""
        return cls(storage_path=f"/{path.lstrip('/')}", bucket=bucket or None)

    @property
    def key(self) -> str:
        """The part of shape ids that identifies the image."""
        if self.unique_name is not None:
            return self.unique_name
        return json.dumps([self.storage_path, self.bucket, self.job_id, self.file_name])


def set_for_image(
    image: str | ImageAddress,
    operation: str,
    record: ImageRecord,
    references: Mapping[str, LabelReference],
    *,
    kind: AnnotationKind,
    created_at: datetime,
) -> dict[str, Any]:
    """Return one entry of `metaUpdatesArray`: the whole annotation set of an image.

    A record without shapes clears the set. `image`: a unique name, or another address. Like the vendor's client, this
    sends the source's bucket with every kind of address.
    """
    address = ImageAddress(unique_name=image) if isinstance(image, str) else image
    stamp = {"$date": created_at.isoformat()}
    return {
        "objectKey": address.unique_name,
        "storagePath": address.storage_path,
        "bucketName": address.bucket or record.bucket,
        "jobId": address.job_id,
        "fileName": address.file_name,
        "data": {
            "annotationObjects": [
                {
                    "id": _shape_id(address.key, operation, number),
                    "shapeId": number,
                    "createdAt": stamp,
                    **_shape(shape, references[shape.label], kind),
                }
                for number, shape in enumerate(record.shapes, start=1)
            ],
            "isUserAnnotated": False,
        },
    }


def _shape_id(unique_name: str, operation: str, number: int) -> str:
    return f"shape_{uuid.uuid5(SHAPE_NAMESPACE, json.dumps([unique_name, operation, number]))}"


def _shape(shape: Shape, reference: LabelReference, kind: AnnotationKind) -> dict[str, Any]:
    wire: dict[str, Any] = {"type": shape.type.value, "metadata": dict(shape.metadata)}
    if shape.type is ShapeType.RECTANGLE:
        (x, y), (w, h) = shape.points
        wire["boxBoundariesAndDimensions"] = {"x": x, "y": y, "w": w, "h": h}
        wire["points"] = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
    else:
        wire["points"] = [list(point) for point in shape.points]
    if shape.confidence is not None:
        wire["confidence"] = shape.confidence
    wire["label"] = {
        "label": reference.ref,
        "key": reference.ref,
        "labelText": shape.label,
        "color": reference.color,
        "metadata": {},
        "attributeValues": _attribute_values(shape, reference, kind),
    }
    return wire


def _attribute_values(shape: Shape, reference: LabelReference, kind: AnnotationKind) -> dict[str, list[dict[str, Any]]]:
    """Return attributes by reference. Human values have confidence 1, model values without one have 0."""
    values: dict[str, list[dict[str, Any]]] = {}
    for name, given in shape.attributes.items():
        attribute = reference.texts[name]
        values[attribute.ref] = [
            {
                "value": attribute.texts[str(value.value)],
                "confidence": 1 if kind is AnnotationKind.HUMAN else value.confidence or 0,
                "metadata": dict(value.metadata),
            }
            for value in given
        ]
    return values


def pages(
    sets: Iterable[dict[str, Any]], max_images: int = PAGE_SIZE_LIMIT, max_bytes: int = PAGE_BYTES
) -> Iterator[list[dict[str, Any]]]:
    """Yield sets in pages of at most `max_images` and `max_bytes` of JSON. A larger set has a page of its own."""
    page: list[dict[str, Any]] = []
    size = 0
    for entry in sets:
        size_bytes = len(json.dumps(entry))
        if page and (len(page) == max_images or size + size_bytes > max_bytes):
            yield page
            page, size = [], 0
        page.append(entry)
        size += size_bytes
    if page:
        yield page
