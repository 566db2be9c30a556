"""The notes of a plan: information, warnings, and the blocking notes, which stop apply before its first action.

Owns: the closed list of codes and how a note is worded. Must not: decide when a note is due.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence

from metalake_sync.lazy_dataclass import dataclass


class NoteCode(enum.StrEnum):
    """The codes of notes, which scripts may rely on. `BLOCKING` notes stop apply; `GUARDS` are those of them that
    protect data."""

    NOT_PRUNED = "not_pruned"
    NOT_ADOPTED = "not_adopted"
    METADATA_DIFFERS = "metadata_differs"
    CHANGE_KEPT = "change_kept"
    CHANGE_REFUSED = "change_refused"
    DESTROY_PREVENTED = "destroy_prevented"
    TOO_MANY_DELETES = "too_many_deletes"
    SETS_LOST = "sets_lost"
    SETS_UNVERIFIED = "sets_unverified"
    METADATA_UNVERIFIED = "metadata_unverified"
    LOST_IN_TRASH = "lost_in_trash"
    EMPTIED = "emptied"
    NAMES_REFUSED = "names_refused"
    SYNCED_AND_TRASHED = "synced_and_trashed"
    FILTERED_OUT = "filtered_out"
    FIELD_LEFT = "field_left"
    COLLECTION_LEFT = "collection_left"
    FILE_LEFT_OUT = "file_left_out"
    TWIN_NAMES = "twin_names"
    TWO_NAMES = "two_names"
    UPLOAD_ABANDONED = "upload_abandoned"
    REPLACES_OTHERS = "replaces_others"
    SHAPE_SKIPPED = "shape_skipped"
    SHAPE_FIXED = "shape_fixed"
    ANNOTATION_WITHOUT_FILE = "annotation_without_file"
    FILE_WITHOUT_ANNOTATION = "file_without_annotation"
    METADATA_INVALID = "metadata_invalid"
    ANNOTATIONS_INVALID = "annotations_invalid"
    METADATA_WITHOUT_FILE = "metadata_without_file"
    SOURCE_NOTE = "source_note"
    LITERAL_SECRET = "literal_secret"  # noqa: S105
    DUPLICATE_IN_LAKE = "duplicate_in_lake"
    NOTHING_MATCHES = "nothing_matches"
    NO_SUCH_ANNOTATIONS = "no_such_annotations"
    ANNOTATIONS_NOT_HELD = "annotations_not_held"
    LABELS_NOT_FOUND_BY_TRAINERS = "labels_not_found_by_trainers"
    STALE_DOWNLOADS = "stale_downloads"
    FILES_WITHOUT_SPLIT = "files_without_split"
    FILES_IN_TWO_SPLITS = "files_in_two_splits"
    METADATA_FIELDS_UNKNOWN = "metadata_fields_unknown"
    CLASS_IDS_CHANGED = "class_ids_changed"
    LABELS_NOT_IN_CLASSES = "labels_not_in_classes"
    DOWNLOAD_WITHOUT_COLLECTION = "download_without_collection"
    COLLECTION_UNKNOWN = "collection_unknown"
    LABEL_UNKNOWN = "label_unknown"
    TRASH_WITHOUT_COLLECTION = "trash_without_collection"
    METADATA_REFUSED = "metadata_refused"
    LAKES_SPELLING = "lakes_spelling"
    COMPUTED_FIELD = "computed_field"
    COMPATIBILITY = "compatibility"
    LAKE_NOT_ASKED = "lake_not_asked"
    LABELS_UNREAD = "labels_unread"
    NEW_LABEL = "new_label"
    ADDRESS_UNKNOWN = "address_unknown"
    MANIFEST = "manifest"
    NOT_REVERTED = "not_reverted"
    FILES_NOT_REVERTED = "files_not_reverted"
    ANOTHER_MANIFEST = "another_manifest"
    WRITTEN_TWICE = "written_twice"
    CHECK_FAILED = "check_failed"
    CHECK_WARNED = "check_warned"


UNUSABLE = frozenset(
    {
        NoteCode.METADATA_INVALID,
        NoteCode.ANNOTATIONS_INVALID,
        NoteCode.LABELS_NOT_IN_CLASSES,
        NoteCode.COLLECTION_UNKNOWN,
        NoteCode.LABEL_UNKNOWN,
    }
)
"""Notes about entries of a source, or downloads, that are invalid. Apply skips them and reports an incomplete run."""

WARNINGS_OF_MANIFESTS = frozenset({"literal_secret", "unsigned_webhook", "secret_readable"})
"""The codes of warnings about the manifest itself. In JSON, their notes have the code `manifest`."""

GUARDS = frozenset({NoteCode.DESTROY_PREVENTED, NoteCode.TOO_MANY_DELETES, NoteCode.CHECK_FAILED})
BLOCKING = GUARDS | {NoteCode.CHANGE_REFUSED}

ACKNOWLEDGEABLE = frozenset(code.value for code in NoteCode) - BLOCKING - UNUSABLE | WARNINGS_OF_MANIFESTS
"""The codes that a manifest may list in `notes.ignore`: all but those that stop a run or make it incomplete."""

NAMES_SHOWN = 5


def some_of(names: Sequence[str]) -> str:
    """Return the first few names as a list in a sentence."""
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{shown}, …" if len(names) > NAMES_SHOWN else shown


def counted(number: int, one: str, many: str) -> str:
    """Return a number with its singular or plural words: '1 entry has', '2 entries have'."""
    return f"{number} {one if number == 1 else many}"


@dataclass(frozen=True, slots=True)
class Note:
    """One note of a plan or a run."""

    code: NoteCode
    message: str
    """A clause whose subject is `where`."""
    where: str = ""
    """The file, the source or the manifest line that the note concerns."""
    names: tuple[str, ...] = ()
    """All names that the note counts. The message shows the first few."""

    @classmethod
    def naming(cls, code: NoteCode, clause: str, names: Sequence[str], where: str = "") -> Note:
        """Return a note about many items of one kind."""
        return cls(code, f"{clause}: {some_of(names)}", where, tuple(names))

    @property
    def in_full(self) -> str:
        """The message with every name."""
        return self.message.removesuffix(some_of(self.names)) + ", ".join(self.names) if self.names else self.message

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


KEEPS = "keeps "
"""The beginning of the note on the fields that one item keeps."""

GROUP_FROM = 3
"""So many items with the same note are one note."""

_GROUPED = {
    NoteCode.FIELD_LEFT: ((KEEPS, "items keep "),),
    NoteCode.METADATA_DIFFERS: (("has ", "files have "),),
    NoteCode.NOT_ADOPTED: (("is ", "files are "),),
}
"""The codes of notes that are grouped, with the beginnings of a message about one item and about many."""


def grouped_notes(notes: Iterable[Note]) -> Iterator[Note]:
    """Yield notes. Several items with the same note of a code in `_GROUPED` are one note, in the place of the first
    one."""
    listed = list(notes)
    items: dict[tuple[NoteCode, str], list[str]] = {}
    for note in listed:
        if note.code in _GROUPED and not note.names:
            items.setdefault((note.code, note.message), []).append(note.where)
    for note in listed:
        names = items.get((note.code, note.message), [])
        clause = _about_many(note) if len(names) >= GROUP_FROM and not note.names else None
        if clause is None:
            yield note
        elif note.where == names[0]:
            yield Note.naming(note.code, f"{len(names)} {clause}", names)


def _about_many(note: Note) -> str | None:
    """Return the message of a note about several items, without their number. None: the code is not grouped."""
    for one, many in _GROUPED.get(note.code, ()):
        if note.message.startswith(one):
            return many + note.message.removeprefix(one)
    return None
