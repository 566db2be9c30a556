"""What a plan or a run adds up to: the number of actions by name.

Owns: the counts. The fields are the keys of the summary in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, get_args

from metalake_sync.core.actions import Action
from metalake_sync.core.base_action import ActionName
from metalake_sync.lazy_dataclass import dataclass

ACTION_NAMES: tuple[ActionName, ...] = get_args(ActionName)


@dataclass(slots=True)
class Summary:
    """Counts of actions. `annotate` and `remove_annotations` count pairs of image and operation; `update_metadata`
    counts files that were in the lake before, and collection heads."""

    create_collection: int
    upload: int
    replace: int
    adopt: int
    trash: int
    update_metadata: int
    annotate: int
    remove_annotations: int
    download: int
    unchanged: int
    unmanaged: int
    bytes_to_send: int
    attach_model_run: int = 0
    remove_downloaded: int = 0
    """Local files that downloads wrote and no longer select."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}

    @classmethod
    def empty(cls) -> Summary:
        """Return a summary without any action."""
        return cls(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

    def count(self, action: Action) -> None:
        """Add one action."""
        name = action.action_name
        setattr(self, name, getattr(self, name) + action.items_counted)
        self.bytes_to_send += action.bytes_to_send

    @property
    def changes(self) -> int:
        """The number of actions, without files that are left as they are."""
        return sum(getattr(self, name) for name in ACTION_NAMES)
