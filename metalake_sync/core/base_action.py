"""What every action of a plan declares, and the document that describes an action to people and machines.

Owns: the declarations that plans, terminals, JSON, saved plans, history and approval read. A new action is a subclass
of `BaseAction` in `actions` and the code of its stage in `apply`; `tests/core/test_actions.py` lists what is missing.
Must not: name a particular action.
"""

from __future__ import annotations

import enum
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

from metalake_sync.core.changes import Change, Reason
from metalake_sync.core.metadata import MetadataSet
from metalake_sync.core.set_changes import RenamedFile, SetChanges
from metalake_sync.core.snapshots import CollectionKey, DesiredFile
from metalake_sync.lazy_dataclass import dataclass

ActionName: TypeAlias = Literal[
    "create_collection",
    "upload",
    "replace",
    "adopt",
    "trash",
    "update_metadata",
    "annotate",
    "remove_annotations",
    "download",
    "attach_model_run",
    "remove_downloaded",
]
"""The name of an action in JSON and in the history, and its key in the summary. Several actions may share one."""

Sign: TypeAlias = Literal["+", "~", "-", "-/+", "=", "<="]
"""The sign of an action in a plan, as in Terraform: add, update, trash, replace, adopt, download."""

Facts: TypeAlias = Mapping[str, Any]
"""Facts by name, as JSON values."""

CONTENT, VERSION = "content", "version"
"""The names of two facts of a file that is sent: its content hash (BLAKE3, hex), or None if the file was not read, and
its version on this disk. On another disk the version differs, and the content hash shows whether the bytes do."""


class Stage(enum.StrEnum):
    """The stage of apply that carries out an action, by the name of the attribute that holds the actions.

    The first seven belong to a `CollectionPlan`, the others to a `Plan`. An `AddressedPlan` holds the metadata and
    annotations of unmanaged files.
    """

    CREATE = "create"
    UPDATE_HEAD = "update_head"
    ADOPT = "adopts"
    UPLOAD = "uploads"
    METADATA = "metadata"
    ANNOTATIONS = "annotations"
    TRASH = "trash"
    DOWNLOADS = "downloads"
    TRASH_RULES = "trash_rules"
    ATTACHMENTS = "attachments"


class ActionKey(NamedTuple):
    """What an action does, and to what. Two actions of one plan have different keys."""

    action: str
    type: str
    collection: str
    """The collection's name, or the address of files that the manifest does not upload."""
    file: str | None
    operation: str | None
    """What tells apart several actions on one file: the operation of a set, or the path of a download."""

    def __str__(self) -> str:
        where = f"{self.collection}/{self.file}" if self.file is not None else self.collection
        of = f" of {self.operation}" if self.operation is not None else ""
        return f"{self.action} {where}{of}"


@dataclass(frozen=True, slots=True)
class ActionDocument:
    """One action, as terminals and `--json` show it. A field that does not apply is None, and absent in JSON."""

    action: ActionName
    collection: str
    """The collection's name; `*` is the whole lake."""
    type: Literal["image", "video", "other"]
    reason: Reason
    file: str | None = None
    """The name in the collection; absent for the collection's own head and for the annotation file of a download."""
    path: str | None = None
    """The local path, relative to the manifest's folder."""
    bytes: int | None = None
    """The number of bytes to send."""
    sent_before: int | None = None
    """The number of bytes of the file that an interrupted run sent already. The run finishes that upload."""
    operation: str | None = None
    """The operation of an annotation set."""
    shapes: int | None = None
    """The number of shapes of an annotation set."""
    changes: tuple[Change, ...] | None = None
    """The values behind the reason."""
    shape_changes: SetChanges | None = None
    """What changes in an annotation set that the lake has. Absent for sets of new files, and where another client
    changed the set and the plan did not read it."""
    renamed_from: str | None = None
    """A name under which the lake has the same bytes."""
    moves: RenamedFile | None = None
    """What a renamed file keeps of its old name."""
    lake_id: str | None = None
    """The id of what is replaced, adopted, trashed or downloaded."""
    address: str | None = None
    """How the lake finds a file that the manifest does not upload."""
    overwrites: bool | None = None
    """True if the action overwrites what another client wrote, as far as the plan read it from the lake."""
    merges: bool | None = None
    """True if the set that is sent combines the source's with another client's."""
    project: str | None = None
    """The project to which a model run is attached."""
    items: int | None = None
    """The number of items in a collection that is trashed as a whole."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


class BaseAction:
    """The declarations of one action."""

    __slots__ = ()

    action_name: ClassVar[ActionName]
    sign: ClassVar[Sign]
    stage: ClassVar[Stage]
    destroys: ClassVar[bool] = False
    """Whether the action always trashes, replaces or removes something, and so always needs approval."""

    if TYPE_CHECKING:
        # Fields of the subclasses. A property at run time would become the default value of the field.

        @property
        def collection(self) -> CollectionKey: ...

        @property
        def reason(self) -> Reason: ...

    @property
    def needs_approval(self) -> bool:
        """Whether apply carries out the action only in an approved plan."""
        return self.destroys

    @property
    def file_name(self) -> str | None:
        """The file that the action concerns, or None for the collection itself."""
        return None

    @property
    def key(self) -> ActionKey:
        """The identity of the action in its plan."""
        return self._key()

    def _key(self, operation: str | None = None, *, place: str | None = None) -> ActionKey:
        collection = self.collection
        where = collection.name if place is None else place
        return ActionKey(self.action_name, collection.type.value, where, self.file_name, operation)

    @abstractmethod
    def facts(self) -> Facts:
        """Return the facts that must still hold when an approved plan is carried out."""

    @abstractmethod
    def history(self) -> tuple[str | None, str | None]:
        """Return the digest, content hash or lake id before and after, as the history records them."""

    @abstractmethod
    def document(self) -> ActionDocument:
        """Return the action as plain values, for terminals and JSON."""

    def _document(self, **details: Any) -> ActionDocument:
        collection = self.collection
        return ActionDocument(
            action=self.action_name,
            collection=collection.name,
            type=collection.type.value,
            reason=self.reason,
            file=self.file_name,
            **details,
        )

    @property
    def local_file(self) -> DesiredFile | None:
        """The local file that the action concerns, or None."""
        return None

    @property
    def bytes_to_send(self) -> int:
        """The number of bytes of the file that is uploaded, or 0."""
        return 0

    @property
    def items_counted(self) -> int:
        """By how much the action raises its count in a summary."""
        return 1

    @property
    def metadata_written(self) -> MetadataSet | None:
        """The metadata that the action writes to a file or a head, or None if it writes none."""
        return None
