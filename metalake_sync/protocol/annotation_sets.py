"""Messages about labels, annotation sets and model runs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from metalake_sync.protocol.wire import OPERATION_TYPE_ANNOTATION, OperationMode, WireModel, WireRoot


class LabelReferences(WireModel):
    """Requests references of labels, attributes and values. The lake creates the missing ones."""

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
    """A label of the lake."""

    label_text: str
    """The label as people read it."""
    label: str | None = None
    """The label's reference, if the lake gives one."""

    @model_validator(mode="before")
    @classmethod
    def _any_form(cls, value: Any) -> Any:
        """Accept every plausible form, because the form of a row is not published.

        The text is in `labelText`, `name` or `label`; the reference in `key`, in `label` if the text is elsewhere, or
        in `id`.
        """
        if isinstance(value, str):
            return {"labelText": value}
        if not isinstance(value, dict):
            return value
        text = next((value[key] for key in ("labelText", "name", "label") if _is_text(value.get(key))), None)
        refs = [value.get("key"), None if value.get("label") == text else value.get("label"), value.get("id")]
        reference = next((str(one) for one in refs if isinstance(one, str | int) and not isinstance(one, bool)), None)
        return {"labelText": text, "label": reference}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


class LabelList(WireRoot[list[Any]]):
    """The labels of the lake, one per row."""

    def labels(self) -> list[ListedLabel]:
        found = (_readable(row) for row in self.root)
        return [label for label in found if label is not None]

    @property
    def unreadable(self) -> int:
        """The number of rows without the text of a label."""
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
    """The label of a shape."""

    label: str
    """The label's reference."""
    key: str
    """The label's reference, too."""
    label_text: str
    color: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    attribute_values: dict[str, list[AttributeValue]] = Field(default_factory=dict)
    """By the attribute's reference."""


class AnnotationObject(WireModel):
    """One shape."""

    id: str
    shape_id: int
    type: Literal["rectangle", "polygon", "line", "points"]
    box_boundaries_and_dimensions: Box | None = None
    points: list[list[float]] = Field(default_factory=list)
    """The four corners of a rectangle, clockwise from the top left, or the points of any other shape."""
    confidence: float | None = None
    created_at: dict[str, str] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    label: ShapeLabel


class AnnotationData(WireModel):
    annotation_objects: list[AnnotationObject] = Field(default_factory=list)
    is_user_annotated: bool = False


class ImageAnnotations(WireModel):
    """The annotation set of one image.

    The image is addressed by `object_key`, by `storage_path` with `bucket_name`, or by `job_id` with `file_name`. The
    other fields are null.
    """

    object_key: str | None = None
    """The unique name."""
    storage_path: str | None = None
    bucket_name: str | None = None
    job_id: str | None = None
    file_name: str | None = None
    data: AnnotationData


class UpdateAnnotations(WireModel):
    """Replaces the annotation sets of a page of images."""

    meta_updates_array: str
    """A JSON *string* with a list of at most 1,000 `ImageAnnotations`."""
    session_id: str
    total_image_count: int = 0
    uploaded_image_count: int = 0
    operation_mode: OperationMode
    operation_type: int = OPERATION_TYPE_ANNOTATION


class DownloadedAnnotations(WireModel):
    """The annotations of a downloaded image."""

    image: str = ""
    annotations: list[dict[str, Any]] = Field(default_factory=list)
    """In the upload format: bbox, polygon, line or points, label, metadata, attributes."""


class DownloadedImage(WireModel):
    file_name: str
    file_download_folder_location: str = ""
    file_url: str = Field(default="", repr=False)
    is_media_file: bool = True
    raw_annotations: DownloadedAnnotations | None = None


class DownloadPage(WireModel):
    """A page of a collection's files with their annotations."""

    identifier: str = ""
    group_unique_name: str = ""
    format: str = "RAW"
    raw_file_name: str = ""
    creatable_directories: list[str] = Field(default_factory=list)
    next_page: bool | None = None
    """Whether another page follows. None if the lake does not say."""
    resource_array: list[DownloadedImage] = Field(default_factory=list)

    def is_last(self, page_size: int) -> bool:
        """Return whether this is the last page. If the lake does not say, a page that is not full is the last."""
        return not self.next_page if self.next_page is not None else len(self.resource_array) < page_size


class DownloadAnswer(WireModel):
    data: DownloadPage


class AttachModelRuns(WireModel):
    """Attaches the machine annotations of operations to a project of the annotation studio, a service beside the lake.

    Source: `layernext` 2.3.4, `studiointerface`.
    """

    project_id: str
    operation_id_array: list[str]
