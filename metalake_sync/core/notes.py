"""What a plan says besides its actions: things to know, and refusals that stop an apply before it begins."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class NoteCode(enum.StrEnum):
    """Scripts may key on these. Codes in `REFUSALS` stop an apply."""

    NOT_PRUNED = "not_pruned"
    NOT_ADOPTED = "not_adopted"
    CHANGE_KEPT = "change_kept"
    CHANGE_REFUSED = "change_refused"
    DESTROY_PREVENTED = "destroy_prevented"
    FIELD_LEFT = "field_left"
    COLLECTION_LEFT = "collection_left"
    FILE_LEFT_OUT = "file_left_out"
    SHAPE_SKIPPED = "shape_skipped"
    SHAPE_FIXED = "shape_fixed"
    ANNOTATION_WITHOUT_FILE = "annotation_without_file"
    FILE_WITHOUT_ANNOTATION = "file_without_annotation"
    METADATA_WITHOUT_FILE = "metadata_without_file"
    SOURCE_NOTE = "source_note"
    LITERAL_SECRET = "literal_secret"  # noqa: S105
    DUPLICATE_IN_LAKE = "duplicate_in_lake"
    NEW_LABEL = "new_label"
    MANIFEST = "manifest"


REFUSALS = frozenset({NoteCode.CHANGE_REFUSED, NoteCode.DESTROY_PREVENTED})


@dataclass(frozen=True, slots=True)
class Note:
    """`where` names the file, source or manifest line; `message` goes on from there as a clause."""

    code: NoteCode
    message: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message
