"""Two files of one collection must not have one name: the errors and notes about names.

Owns: the names and paths of the files that the scan join compared. Must not: read the disk.

The state has each name once, so files that match their records cannot collide with each other. Only the names of other
files are kept here, and compared with the records at the end. Where sources overlap, all names are kept.
"""

from __future__ import annotations

from collections.abc import Set

from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.errors import ManifestError
from metalake_sync.planning.open_sources import FileSource, FolderSource
from metalake_sync.planning.recorded_rows import RecordedRows
from metalake_sync.sources.names import folded
from metalake_sync.state.names import split_path


class NameCollisions:
    """The names in one collection. `overlapping`: one source lies inside another, so a file can be scanned twice."""

    def __init__(self, *, overlapping: bool) -> None:
        self._overlapping = overlapping
        self.path_of_name: dict[str, str] = {}
        self.new_files: dict[str, FolderSource | FileSource] = {}
        """The source of each file without a record, by name."""
        self._name_of_path: dict[str, str] = {}
        self._paths_with_two_names: list[str] = []

    def note_name(self, path: str, name: str) -> None:
        """Remember the name of a local file, and whether overlapping sources give it a second one."""
        if self._name_of_path.setdefault(path, name) != name:
            self._paths_with_two_names.append(path)

    def claim_name(self, name: str, path: str, declared_at: str) -> ManifestError | None:
        """Give a name to a local file. Returns an error if another file has it."""
        other = self.path_of_name.setdefault(name, path)
        return same_name(declared_at, name, other, path) if other is not path else None

    def with_recorded(self, rows: RecordedRows, recorded_candidates: Set[str]) -> list[ManifestError]:
        """Errors for new files whose name belongs to a file in another folder that matches its record.

        `recorded_candidates`: the names of the files that do not match their records.
        """
        if rows.handle is None or self._overlapping or not self.new_files:
            return []
        errors: list[ManifestError] = []
        for name, path in rows.files.paths(rows.handle, self.new_files):
            folder, _ = split_path(path)
            unclaimed = rows.unclaimed.get(folder)
            is_on_disk = unclaimed is not None and name not in unclaimed
            if is_on_disk and name not in recorded_candidates:
                errors.append(same_name(self.new_files[name].declared_at, name, path, self.path_of_name[name]))
        return errors

    def notes_on_similar_names(self) -> list[Note]:
        """New names that differ only in case or Unicode form: the lake, or a disk, may treat them as one."""
        notes: list[Note] = []
        seen: dict[str, str] = {}
        for name in self.new_files:
            similar = seen.setdefault(folded(name), name)
            if similar is not name:
                message = (
                    f"its name differs from the name of '{self.path_of_name[similar]}' only in case or Unicode form:"
                    " the collection gets two files, but a disk that ignores the difference can store only one"
                )
                notes.append(Note(NoteCode.TWIN_NAMES, message, self.path_of_name[name]))
        return notes

    def notes_on_two_names(self, key: CollectionKey) -> list[Note]:
        """Local files that overlapping entries of 'folders' name differently."""
        if not self._paths_with_two_names:
            return []
        count = len(self._paths_with_two_names)
        clause = (
            f"{counted(count, 'local file is', 'local files are')} in the collection under two names, because"
            " overlapping entries of 'folders' name them differently"
        )
        return [Note.naming(NoteCode.TWO_NAMES, clause, self._paths_with_two_names, key.name)]


def same_name(declared_at: str, name: str, one: str, other: str) -> ManifestError:
    """The error for two local files with one name."""
    return ManifestError(
        f"two files would be '{name}' in the collection: '{one}' and '{other}'",
        where=declared_at,
        remedy="Rename one, exclude one, or set 'naming: path'.",
    )
