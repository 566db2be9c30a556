"""Notes on entries that match no file, files that match no entry, and shapes that were left out.

Where the manifest says `strict`, unmatched entries and files are errors instead.
"""

from __future__ import annotations

from collections.abc import Iterator

from metalake_sync.core.notes import Note, NoteCode, counted, some_of
from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.planning.desired import DesiredCollection


def unmatched_entry_notes(desired: DesiredCollection) -> Iterator[Note]:
    """The notes on one collection. Call it after the scan. Raises ManifestErrors for a `strict` source."""
    strict: list[ManifestError] = []
    for operation, entries in desired.entries_without_file():
        index = desired.annotations[operation]
        clause = f"{counted(len(entries), 'entry has', 'entries have')} no file in the collection"
        if index.strict:
            strict.append(_strict(f"{clause}: {some_of(entries)}", index.declared_at))
        yield Note.naming(NoteCode.ANNOTATION_WITHOUT_FILE, clause, entries, operation)
    for operation, files in desired.files_without_entry():
        index = desired.annotations[operation]
        have = counted(len(files), "file of the collection has", "files of the collection have")
        clause = f"{have} no entry in the source"
        if index.strict:
            strict.append(_strict(f"{clause}: {some_of(files)}", index.declared_at))
        yield Note.naming(NoteCode.FILE_WITHOUT_ANNOTATION, clause, files, operation)
    if strict:
        raise ManifestErrors(strict)
    for error in desired.metadata_rules.broken_without_file():
        yield Note(NoteCode.METADATA_INVALID, f"the entry is left out: {error.message}", str(error.where))
    missing = desired.metadata_rules.entries_without_file()
    if missing:
        clause = f"{counted(len(missing), 'metadata entry has', 'metadata entries have')} no file in the collection"
        yield Note.naming(NoteCode.METADATA_WITHOUT_FILE, clause, missing, desired.key.name)
    for index in desired.annotations.values():
        yield from index.notes()


def _strict(message: str, where: str) -> ManifestError:
    return ManifestError(message, where=where, remedy="Correct the source, or set 'strict: false'.")
