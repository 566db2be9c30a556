"""Messages about labels and annotation sets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from metalake_sync.protocol.wire import OPERATION_TYPE_ANNOTATION, OperationMode, WireModel, WireRoot


class LabelReferences(WireModel):
    """Asks for the references of labels, their attributes and values; the lake creates what is missing."""

    user_name: str = "metalake-sync"
    labels: dict[str, dict[str, list[Any]]]


class AttributeReference(WireModel):
    ref: str
    texts: dict[str, str] = Field(default_factory=dict)


class LabelReference(WireModel):
    ref: str
    color: str = ""
    texts: dict[str, AttributeReference] = Field(default_factory=dict)


class LabelReferencesAnswer(WireRoot[dict[str, LabelReference]]):
    """Label → its reference."""


class ListedLabel(WireModel):
    label_text: str
    label: str


class LabelList(WireRoot[list[ListedLabel]]):
    """The labels that the lake knows."""


class Box(WireModel):
    x: float
    y: float
    w: float
    h: float


class AttributeValue(WireModel):
    value: str
    confidence: float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class ShapeLabel(WireModel):
    """`label` and `key` both hold the label's reference; `attribute_values` is keyed by the attributes' references."""

    label: str
    key: str
    label_text: str
    color: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    attribute_values: dict[str, list[AttributeValue]] = Field(default_factory=dict)


class AnnotationObject(WireModel):
    """One shape. `points`: a rectangle's four corners, clockwise from the top left, or the shape's own points."""

    id: str
    shape_id: int
    type: Literal["rectangle", "polygon", "line", "points"]
    box_boundaries_and_dimensions: Box | None = None
    points: list[list[float]] = Field(default_factory=list)
    confidence: float | None = None
    created_at: dict[str, str] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    label: ShapeLabel


class AnnotationData(WireModel):
    annotation_objects: list[AnnotationObject] = Field(default_factory=list)
    is_user_annotated: bool = False


class ImageAnnotations(WireModel):
    """The set of one image, addressed by `object_key` (unique name), by `storage_path` with `bucket_name`, or by
    `job_id` with `file_name`; the others are null."""

    object_key: str | None = None
    storage_path: str | None = None
    bucket_name: str | None = None
    job_id: str | None = None
    file_name: str | None = None
    data: AnnotationData


class UpdateAnnotations(WireModel):
    """`meta_updates_array` is a JSON *string* of a list of `ImageAnnotations`, at most 1,000 of them."""

    meta_updates_array: str
    session_id: str
    total_image_count: int = 0
    uploaded_image_count: int = 0
    operation_mode: OperationMode
    operation_type: int = OPERATION_TYPE_ANNOTATION


class DownloadedAnnotations(WireModel):
    """`annotations` stands in the upload format: bbox, polygon, line or points, label, metadata, attributes."""

    image: str
    annotations: list[dict[str, Any]] = Field(default_factory=list)


class DownloadedImage(WireModel):
    file_name: str
    file_download_folder_location: str = ""
    file_url: str = Field(default="", repr=False)
    is_media_file: bool = True
    raw_annotations: DownloadedAnnotations | None = None


class DownloadPage(WireModel):
    identifier: str
    group_unique_name: str
    format: str = "RAW"
    raw_file_name: str
    creatable_directories: list[str] = Field(default_factory=list)
    next_page: bool
    resource_array: list[DownloadedImage] = Field(default_factory=list)


class DownloadAnswer(WireModel):
    data: DownloadPage
