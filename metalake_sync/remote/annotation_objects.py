"""Canonical records as the wire's annotation objects, in pages.

Plain dictionaries, because one is built for each shape; the tests hold them to the protocol's models.
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
"""A page is cut when its JSON passes this size, whatever the number of images."""

SHAPE_NAMESPACE = uuid.UUID("6f1c7a52-6a1e-5d2f-9a53-0a7b1f2f9d11")
"""Shape ids are made from what they belong to, so that sending a set twice sends the same set."""

LabelTree = Mapping[str, Mapping[str, Iterable[Any]]]


def merge_label_trees(trees: Iterable[LabelTree]) -> dict[str, dict[str, list[Any]]]:
    """The union of label → attribute → values."""
    merged: dict[str, dict[str, dict[Any, None]]] = {}
    for tree in trees:
        for label, attributes in tree.items():
            into = merged.setdefault(label, {})
            for name, values in attributes.items():
                into.setdefault(name, {}).update(dict.fromkeys(values))
    return {label: {name: list(values) for name, values in tree.items()} for label, tree in merged.items()}


@dataclass(frozen=True, slots=True)
class ImageAddress:
    """How the wire names an image: by unique name, by storage path and bucket (None is the default one), or by job and
    file name; the others are None."""

    unique_name: str | None = None
    storage_path: str | None = None
    bucket: str | None = None
    job_id: str | None = None
    file_name: str | None = None

    @classmethod
    def at_path(cls, path: str, bucket: str | None) -> ImageAddress:
        """By storage path. The published client writes a leading slash here, and none for metadata."""
        return cls(storage_path=f"/{path.lstrip('/')}", bucket=bucket or None)

    @property
    def key(self) -> str:
        """What shape ids are made from."""
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
    """One entry of `metaUpdatesArray`: the whole set of an image. A record without shapes clears it. `image`: its
    unique name, or another address. A bucket that the source names is sent with every address, as the vendor's client
    does."""
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
    """Attributes by their references. A person is sure; a machine that gives no confidence has none."""
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
    """Cut sets into pages of at most so many images and, but for single large ones, bytes of JSON; in order."""
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
