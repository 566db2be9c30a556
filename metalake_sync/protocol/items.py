"""Messages about collections and items: find, list, count, describe, download, select, trash, and write metadata."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from metalake_sync.protocol.wire import (
    PAGE_SIZE_LIMIT,
    AnnotationKind,
    MediaKind,
    MetaObject,
    ObjectKind,
    SortField,
    WireModel,
    WireRoot,
    number_in,
)


class CollectionByName(WireModel):
    collection_name: str
    object_type: MediaKind


class CollectionIdAnswer(WireModel):
    is_success: bool = True
    collection_id: str | None = None
    """None if the lake does not give one."""


class CreateCollection(WireModel):
    """Creates a collection, or updates its metadata."""

    collection_name: str
    object_type: MediaKind
    custom_meta_object: MetaObject = Field(default_factory=dict)


class ObjectTypeAnswer(WireModel):
    object_type: ObjectKind


class CollectionDetails(WireModel):
    collection_id: str
    required_meta_obj: dict[str, bool] = Field(default_factory=dict)


class CreateVirtualCollection(WireModel):
    """Creates a virtual collection with a name from a selection, or adds a selection to an existing one."""

    selection_id: str
    v_collection_name: str | None = None
    v_collection_id: str | None = None


class ItemDetails(WireModel):
    unique_file_name: str
    required_meta_obj: dict[str, bool] = Field(default_factory=dict)

    @field_validator("required_meta_obj", mode="before")
    @classmethod
    def _null_means_default(cls, value: object) -> object:
        return {} if value is None else value


class DetailsAnswer(WireModel):
    is_success: bool = True
    item_details: dict[str, Any] = Field(default_factory=dict)
    """The requested fields that the item has, under their wire names."""


class DateRange(WireModel):
    from_date: str | None = None
    to_date: str | None = None


class FilterData(WireModel):
    annotation_types: list[AnnotationKind] = Field(default_factory=list)
    date: DateRange | None = None
    tags: list[str] = Field(default_factory=list)
    labels: list[str] = Field(default_factory=list)
    metadata: MetaObject = Field(default_factory=dict)
    keywords: list[str] = Field(default_factory=list)
    categories: list[str] = Field(default_factory=list)

    @field_validator("date", mode="before")
    @classmethod
    def _empty_range_means_none(cls, value: object) -> object:
        return None if value == {} else value


class SortBy(WireModel):
    sort_by_field: SortField | None = None
    sort_order: str = "DESC"


class CountItems(WireModel):
    query: str = ""
    filter_data: FilterData = Field(default_factory=FilterData)
    content_type: ObjectKind = ObjectKind.ANY
    sort_by: SortBy = Field(default_factory=SortBy)

    @field_validator("query", mode="before")
    @classmethod
    def _null_query(cls, value: object) -> object:
        return "" if value is None else value

    @field_validator("filter_data", "sort_by", mode="before")
    @classmethod
    def _null_means_all(cls, value: object) -> object:
        return {} if value is None or value == "" else value


class ListItems(CountItems):
    page_index: int = Field(default=0, ge=0)
    page_size: int = Field(default=20, ge=1, le=1000)


class ListedItem(WireModel):
    """One item of a list. Collections have only id and name."""

    id: str
    name: str
    unique_name: str | None = None
    url: str | None = Field(default=None, repr=False)
    """A signed URL, therefore not in the repr."""


class ItemPage(WireRoot[list[ListedItem]]):
    """One page of a list."""


class CountAnswer(WireModel):
    """A number of items. The form is not published.

    Accepted are a bare number, `{"count": n}`, and an object that contains one number, also nested or as a text of
    digits.
    """

    count: int | None
    """None if the answer contains no number or several."""

    @model_validator(mode="before")
    @classmethod
    def _any_form(cls, value: Any) -> Any:
        return {"count": _count_in(value)}


def _count_in(value: Any) -> int | None:
    if not isinstance(value, dict):
        return number_in(value)
    for key in ("count", "total", "totalCount", "objectCount"):
        if (number := number_in(value.get(key))) is not None:
            return number
    inner = [_count_in(part) for key, part in value.items() if key not in ("isSuccess", "statusCode", "status")]
    numbers = [number for number in inner if number is not None]
    return numbers[0] if len(numbers) == 1 else None


class DownloadUrlAnswer(WireModel):
    """A signed URL. The form is not published: a bare text, or an object that contains the URL, also nested."""

    url: str = Field(repr=False)

    @model_validator(mode="before")
    @classmethod
    def _any_form(cls, value: Any) -> Any:
        found = _url_in(value)
        return value if found is None else {"url": found}


def _url_in(value: Any) -> str | None:
    if isinstance(value, str):
        return value if value.lower().startswith(("http://", "https://")) else None
    if not isinstance(value, dict):
        return None
    named = (_url_in(value.get(key)) for key in ("url", "downloadUrl", "signedUrl", "fileUrl"))
    found = next(filter(None, named), None)
    others = list(filter(None, map(_url_in, value.values())))
    return found or (others[0] if len(others) == 1 else None)


class SelectItems(WireModel):
    """Selects items by id or by query."""

    is_all_selected: bool
    """False selects `object_id_list`. True selects all matching items, within `collection_id` if that is set."""
    content_type: ObjectKind = ObjectKind.ANY
    object_id_list: list[str] = Field(default_factory=list)
    filter_data: FilterData = Field(default_factory=FilterData)
    query: str = ""
    collection_id: str = ""

    @field_validator("query", "collection_id", mode="before")
    @classmethod
    def _null_means_empty(cls, value: object) -> object:
        return "" if value is None else value


class SelectionAnswer(WireModel):
    """A rejection has status 200, `is_success: false` and a `warning_msg`."""

    is_success: bool = True
    warning_msg: str | None = None
    selection_tag: str = ""
    object_count: int | None = None


class TrashItems(WireModel):
    selection_id: str
    user_id: str = "metalake-sync"


class TrashAnswer(WireModel):
    is_success: bool = True
    message: str = ""
    """"N objects successfully trashed, M objects failed to trash"."""


class ValidateTags(WireModel):
    tags: list[Any]


class ValidateFields(WireModel):
    fields: list[Any]


class ValidateAnswer(WireRoot[object]):
    """The lake's opinion on tags or fields: `{isSuccess, message}` (generation 2) or a list of renames (generation 3).

    A rename is `{newTag, oldTag}` or `{newField, oldField}`. The list is empty if all spellings are accepted.
    """

    def renames(self) -> dict[str, str]:
        """Return requested spelling → the lake's spelling, for those that differ."""
        found: dict[str, str] = {}
        for entry in self.root if isinstance(self.root, list) else ():
            if not isinstance(entry, dict):
                continue
            asked = entry.get("newTag", entry.get("newField"))
            known = entry.get("oldTag", entry.get("oldField"))
            if isinstance(asked, str) and isinstance(known, str) and known and asked != known:
                found[asked] = known
        return found


class FileMetadata(WireModel):
    file: str
    metadata: MetaObject = Field(default_factory=dict)


class UploadMetadataByJson(WireModel):
    """A page of file metadata.

    At most one address field is set. It determines what `file` is: the name in a collection (`collection_id`), the name
    in an upload (`job_id`), the storage path (`bucket_name`), or the unique name (no address field).
    """

    metadata: list[FileMetadata] = Field(max_length=PAGE_SIZE_LIMIT)
    bucket_name: str | None = None
    job_id: str | None = None
    collection_id: str | None = None


class UploadMetadataByObject(WireModel):
    """Writes the metadata of a collection and, with `is_apply_to_all_files`, of every file in it."""

    collection_name: str
    object_type: MediaKind
    metadata: MetaObject = Field(default_factory=dict)
    is_apply_to_all_files: bool = False
