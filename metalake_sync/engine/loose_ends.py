"""Entries of sources that met no file, files that met no entry, and shapes that were left out: as notes or, where the
manifest is strict, as errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.engine.desired import DesiredCollection
from metalake_sync.errors import ManifestError, ManifestErrors

NAMES_SHOWN = 5


def loose_ends(desired: DesiredCollection) -> Iterator[Note]:
    """What the sources say of files that are not there, and the like. Ask it after the march. Raises ManifestErrors."""
    strict: list[ManifestError] = []
    for operation, entries in desired.entries_without_file():
        index = desired.annotations[operation]
        message = f"{len(entries)} entries have no file in the collection: {some_of(entries)}"
        if index.strict:
            strict.append(ManifestError(message, where=index.declared_at, remedy="Or set 'strict: false'."))
        yield Note(NoteCode.ANNOTATION_WITHOUT_FILE, message, operation)
    for operation, count in desired.files_without_entry():
        index = desired.annotations[operation]
        message = f"{count} files of the collection have no entry in the source"
        if index.strict:
            strict.append(ManifestError(message, where=index.declared_at, remedy="Or set 'strict: false'."))
        yield Note(NoteCode.FILE_WITHOUT_ANNOTATION, message, operation)
    if strict:
        raise ManifestErrors(strict)
    if desired.metadata_rules.mistakes:
        raise ManifestErrors(desired.metadata_rules.mistakes)
    missing = desired.metadata_rules.entries_without_file()
    if missing:
        message = f"{len(missing)} metadata entries have no file in the collection: {some_of(missing)}"
        yield Note(NoteCode.METADATA_WITHOUT_FILE, message, desired.key.name)
    for index in desired.annotations.values():
        yield from index.notes()


def some_of(names: Sequence[str]) -> str:
    """The first few of many names."""
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{shown}, …" if len(names) > NAMES_SHOWN else shown
