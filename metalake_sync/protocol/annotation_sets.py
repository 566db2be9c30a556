"""Messages about labels and annotation sets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

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
    """A label that the lake knows. `label_text`: what people read. `label`: its reference, None where there is none."""

    label_text: str
    label: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _any_form(cls, value: Any) -> Any:
        """Nobody outside the lake knows the form of a row. Text: `labelText`, `name`, `label`. Reference: `key`,
        `label` beside another text, `id`."""
        if isinstance(value, str):
            return {"labelText": value}
        if not isinstance(value, dict):
            return value
        text = next((value[key] for key in ("labelText", "name", "label") if _is_text(value.get(key))), None)
        beside = [value.get("key"), None if value.get("label") == text else value.get("label"), value.get("id")]
        reference = next((str(one) for one in beside if isinstance(one, str | int) and not isinstance(one, bool)), None)
        return {"labelText": text, "label": reference}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


class LabelList(WireRoot[list[Any]]):
    """The labels that the lake knows. `unreadable`: rows that say no label's text."""

    def labels(self) -> list[ListedLabel]:
        found = (_readable(row) for row in self.root)
        return [label for label in found if label is not None]

    @property
    def unreadable(self) -> int:
        return len(self.root) - len(self.labels())


def _readable(row: object) -> ListedLabel | None:
    try:
        return ListedLabel.model_validate(row)
    except ValidationError:
        return None


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

    image: str = ""
    annotations: list[dict[str, Any]] = Field(default_factory=list)


class DownloadedImage(WireModel):
    file_name: str
    file_download_folder_location: str = ""
    file_url: str = Field(default="", repr=False)
    is_media_file: bool = True
    raw_annotations: DownloadedAnnotations | None = None


class DownloadPage(WireModel):
    """`next_page`: whether there is another page; None where the lake does not say."""

    identifier: str = ""
    group_unique_name: str = ""
    format: str = "RAW"
    raw_file_name: str = ""
    creatable_directories: list[str] = Field(default_factory=list)
    next_page: bool | None = None
    resource_array: list[DownloadedImage] = Field(default_factory=list)

    def is_last(self, page_size: int) -> bool:
        """Whether no page follows. Where the lake does not say, a page that is not full is the last one."""
        return not self.next_page if self.next_page is not None else len(self.resource_array) < page_size


class DownloadAnswer(WireModel):
    data: DownloadPage
