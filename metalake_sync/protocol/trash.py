"""Messages that select items and move them to the trash."""

from __future__ import annotations

from pydantic import Field, field_validator

from metalake_sync.protocol.items import FilterData
from metalake_sync.protocol.wire import ObjectKind, WireModel


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
