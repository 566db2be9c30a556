"""Messages that select items and put them into the trash."""

from __future__ import annotations

from pydantic import Field, field_validator

from metalake_sync.protocol.items import FilterData
from metalake_sync.protocol.wire import ObjectKind, WireModel


class SelectItems(WireModel):
    """`is_all_selected: false` takes the ids; `true` takes all that match, inside `collection_id` if that is set."""

    is_all_selected: bool
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
    """A refusal is 200 with `is_success: false` and a `warning_msg`."""

    is_success: bool = True
    warning_msg: str | None = None
    selection_tag: str = ""
    object_count: int | None = None


class TrashItems(WireModel):
    selection_id: str
    user_id: str = "metalake-sync"


class TrashAnswer(WireModel):
    """`message` reads "N objects successfully trashed, M objects failed to trash"."""

    is_success: bool = True
    message: str = ""
