"""The names of scanned files: two files that would have one name, and recorded names that no local file claimed.

Owns: the names and paths of the files that change detection compared, and which records count as gone. Must not: decide
what becomes of them (`core.diff`).

The state has each name once, so files that match their records cannot collide with each other. Only the names of other
files are kept here, and compared with the records at the end. Where sources overlap, all names are kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set

from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.errors import ManifestError
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.file_sources import FileSource, FolderSource
from metalake_sync.planning.run_options import Scope
from metalake_sync.planning.source_guards import RecordedRows, SourceGuards
from metalake_sync.sources.base import ScannedFile, equal_but_for_ctime
from metalake_sync.sources.names import folded
from metalake_sync.state.names import join_path, split_path


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


class VanishedFiles:
    """Finds the vanished files of one collection, within the scope if there is one."""

    def __init__(
        self, desired: DesiredCollection, rows: RecordedRows, guards: SourceGuards, scope: Scope | None
    ) -> None:
        self._desired = desired
        self._rows = rows
        self._guards = guards
        self._scope = scope
        self.gone: dict[str, None] = {}
        """Names, in order."""
        self.named_now: dict[str, str | None] = {}
        """Files of `gone` that are on disk and have another name now, as after a change of 'naming': old name → new
        name, or None if the bytes seem to have changed."""

    def collect(self, held: set[str], renamed_on_disk: Mapping[str, tuple[str, ScannedFile]]) -> None:
        """Fill `gone` and `named_now`. A file that is left alone under another path is not gone.

        `held`: names to leave alone. `renamed_on_disk`: local files whose record has another name, by path, with their
        present name.
        """
        if self._rows.handle is None:
            return
        for folder in self._folders():
            if self._guards.hides(folder):
                continue
            for name, row in self._rows.in_folder(folder).items():
                path = join_path(folder, row.filename)
                name_now, file = renamed_on_disk.get(path, (None, None))
                if self._guards.hides_file(path) or not held.isdisjoint((name, name_now)):
                    continue
                self.gone[name] = None
                if file is not None:
                    # The record of a very recent file has no ctime.
                    untouched = equal_but_for_ctime(file.version(), row.version)
                    self.named_now[name] = name_now if untouched else None

    def find_moves_into_scope(self, new_files: Iterable[tuple[str, str]]) -> list[ManifestError]:
        """Treat the record of a file that moved into the scope as gone, so that it is matched with the new file.

        Returns an error for each name whose old file is still on disk. `new_files`: name and path of files without a
        record.
        """
        if self._scope is None or self._rows.handle is None:
            return []
        moved = {name: path for name, path in new_files if name not in self.gone}
        errors: list[ManifestError] = []
        for name, path in self._rows.files.paths(self._rows.handle, moved):
            if path != moved[name] and os.path.lexists(self._absolute(path)):
                errors.append(same_name(self._desired.declared_at, name, path, moved[name]))
            else:
                self.gone[name] = None
        return errors

    def _folders(self) -> list[str]:
        """The recorded folders to look through: those that were scanned, and those that no source has any more."""
        if self._scope is None:
            return list(self._rows.folders | self._rows.recovered)
        in_sources = [folder for source in self._desired.folders for folder in self._guards.recorded_in_scope(source)]
        return in_sources + [
            folder for folder in self._rows.unclaimed if self._scope.holds_file(self._absolute(join_path(folder, "x")))
        ]

    def _absolute(self, path: str) -> str:
        assert self._scope is not None
        return os.path.abspath(os.path.join(self._scope.base_dir, path))
