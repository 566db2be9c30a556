"""Checks that stop a plan when local files are out of sight rather than gone, and the records that they count.

Owns: the guards for missing, unreadable and empty sources, the paths whose files are unknown, and the rows that no
local file has claimed yet. Must not: decide what happens to the files that are known.

Unreadable is not absent. A folder or file that cannot be read makes everything beneath it unknown, so that none of it
counts as gone. A *recovered* file was uploaded by an interrupted run that could not record it. The state has no row for
it yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.snapshots import RecordedFile
from metalake_sync.errors import GuardStopped, ManifestError
from metalake_sync.planning.file_sources import FileSource, FolderSource, ScannedFolder, scan_source
from metalake_sync.planning.run_options import Scope
from metalake_sync.sources.base import ScanProblem
from metalake_sync.state.files import FolderRow
from metalake_sync.state.names import CollectionHandle, join_path, split_path
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex


NOTHING_RECOVERED: Mapping[str, RecordedFile] = MappingProxyType({})


class RecordedRows:
    """The rows of one collection. Without a `handle`, the collection was never recorded and has no rows."""

    def __init__(
        self,
        state: StateStore,
        handle: CollectionHandle | None,
        recovered: Mapping[str, RecordedFile],
        *,
        with_sets: bool,
    ) -> None:
        self.files = state.files
        self.handle = handle
        self.with_sets = with_sets
        """Whether rows carry the digests of their annotation sets."""
        self.unclaimed: dict[str, dict[str, FolderRow]] = {}
        """The rows of each folder that was read, without those that a local file has claimed: folder → name → row."""
        self.recovered = _rows_by_folder(recovered)
        self._recovered_names = recovered.keys()

    @cached_property
    def folders(self) -> dict[str, int]:
        """The number of recorded files in each recorded folder. Counted on first use."""
        return self.files.folders(self.handle) if self.handle is not None else {}

    def in_folder(self, folder: str) -> dict[str, FolderRow]:
        """The folder's unclaimed rows by file name in the collection. Removing one from the result claims it."""
        if self.handle is None:
            return {}
        if folder not in self.unclaimed:
            rows = self.files.folder_rows(self.handle, folder, with_sets=self.with_sets)
            if self.recovered:
                rows = {name: row for name, row in rows.items() if name not in self._recovered_names}
                rows |= self.recovered.get(folder, {})
            self.unclaimed[folder] = rows
        return self.unclaimed[folder]

    def count_under(self, path: str) -> int:
        """The number of recorded files at or below a path."""
        if self.handle is None:
            return 0
        beneath = path + "/" if path else ""
        folders = self.folders.items()
        whole = sum(count for folder, count in folders if folder == path or folder.startswith(beneath))
        return whole or int(self.files.has_path(self.handle, path))


def _rows_by_folder(recovered: Mapping[str, RecordedFile]) -> dict[str, dict[str, FolderRow]]:
    rows: dict[str, dict[str, FolderRow]] = {}
    for known in recovered.values():
        folder, filename = split_path(known.path)
        row = FolderRow(known.fingerprint.version(), known.metadata_digest, filename, known.lake_id)
        rows.setdefault(folder, {})[known.name] = row
    return rows


def guard_annotations(index: AnnotationIndex, sets: int) -> None:
    """Raise GuardStopped if an annotation source lost all its entries or shapes. `sets`: recorded ones with shapes.

    Call it for a source without shapes.
    """
    if not sets or index.mode != "replace":
        return
    what = f"the source of '{index.operation}' does not have an entry with a shape any more"
    check = "the source and 'labels'"
    if index.without_file:
        what = f"the entries of '{index.operation}' do not match any image of the collection any more"
        check = "that the folders are mounted and the patterns are right"
    remedy = f"Check {check}. To clear all sets, remove the operation from the manifest."
    raise emptied(what, counted(sets, "set", "sets"), index.declared_at, remedy)


def emptied(what: str, recorded: str, where: str, remedy: str) -> GuardStopped:
    """The error for a source that lost all its entries: that is more often an error than intended.

    `what`: the finding, as a clause. `recorded`: what the state has records of.
    """
    return GuardStopped(f"{what}, but the state has records of {recorded}", where=where, remedy=remedy)


def _nothing_matches(source: FolderSource) -> Note:
    """Return the note on a folder without files to sync, of which nothing was synced before either."""
    patterns = source.rules.include
    if patterns:
        listed = ", ".join(f"'{pattern}'" for pattern in patterns)
        message = f"no file in '{source.path or '.'}' matches 'include' ({listed}); check the patterns and the folder"
    else:
        message = f"no file in '{source.path or '.'}' has the type of the collection; check the folder and 'exclude'"
    return Note(NoteCode.NOTHING_MATCHES, message, source.declared_at)


class SourceGuards:
    """Collects what could not be read in the sources of one collection."""

    def __init__(self, rows: RecordedRows, scope: Scope | None) -> None:
        self._rows = rows
        self._scope = scope
        self._unknown_folders: set[str] = set()
        self._unknown_files: set[str] = set()
        self.problems: list[ScanProblem] = []
        self.notes: list[Note] = []

    def hides(self, folder: str) -> bool:
        """Whether a folder lies at or below one that could not be read."""
        return any(folder == unknown or folder.startswith(unknown + "/") for unknown in self._unknown_folders)

    def hides_file(self, path: str) -> bool:
        """Whether a single file could not be read, or its metadata is broken."""
        return path in self._unknown_files

    def ignore_file(self, path: str) -> None:
        """Treat a file as unknown."""
        self._unknown_files.add(path)

    def check_problems(self, source: FolderSource | FileSource, folder: ScannedFolder) -> list[ManifestError]:
        """Mark what the scan of a folder could not read as unknown.

        Returns an error if the source itself is missing. Raises GuardStopped if the state has records under a folder
        that cannot be read.
        """
        errors: list[ManifestError] = []
        for problem in folder.problems:
            path = join_path(source.path, problem.path) if problem.path else source.path
            if problem.hides_files:
                recorded = self._rows.count_under(path)
                if recorded:
                    raise GuardStopped(
                        f"'{path or '.'}' {problem.message}, but the state has records of {recorded} files under it",
                        where=source.declared_at,
                        remedy="Mount the folder or make it readable. If you removed it on purpose, remove it from"
                        " the manifest.",
                    )
                if not problem.path:
                    errors.append(
                        ManifestError(
                            f"'{path or '.'}' {problem.message}",
                            where=source.declared_at,
                            remedy="Create it, make it readable, or correct the path.",
                        )
                    )
                    continue
                self._unknown_folders.add(path)
            else:
                self._unknown_files.add(path)
            self.problems.append(problem)
            self.notes.append(Note(NoteCode.FILE_LEFT_OUT, problem.message, path))
        return errors

    def check_not_emptied(self, source: FolderSource) -> None:
        """Raise GuardStopped if the state has records under a source in which no file matches any more."""
        if self._has_files_outside_scope(source):
            return
        recorded = self._rows.count_under(source.path)
        if recorded:
            raise GuardStopped(
                f"no file in '{source.path or '.'}' matches any more, but the state has records of {recorded} files"
                " under it",
                where=source.declared_at,
                remedy="Check that the folder is mounted and that the patterns are right."
                " If it is empty on purpose, remove the folder from the manifest.",
            )
        if self._scope is None:
            self.notes.append(_nothing_matches(source))

    def recorded_in_scope(self, source: FolderSource) -> list[str]:
        """The recorded folders of a source that lie in the scope."""
        if self._scope is None or self._rows.handle is None:
            return []
        folders: list[str] = []
        for part in self._scope.parts_of(source.root):
            path = join_path(source.path, part.relative_dir) if part.relative_dir else source.path
            if part.deep:
                folders += self._rows.files.folders_below(self._rows.handle, path)
            if self._rows.in_folder(path):
                folders.append(path)
        return folders

    def _has_files_outside_scope(self, source: FolderSource) -> bool:
        """With a scope that has no files: whether the source has files elsewhere.

        Stops at the first file. A source without any file may be unmounted, and then nothing in the scope is gone.
        """
        if self._scope is None or not self._scope.parts_of(source.root) or not self.recorded_in_scope(source):
            return self._scope is not None
        for folder in scan_source(source):
            self.check_problems(source, folder)
            if folder.files:
                return True
        return False
