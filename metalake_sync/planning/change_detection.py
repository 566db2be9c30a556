"""Finds what changed: compares the files on disk with the records and with the lake's listing, folder by folder.

Owns: the join of the three snapshots, as a stream. Memory grows with the number of differences, not of files.
Must not: decide what becomes of a difference (`core.diff`), or write anything but the hash cache.

A folder that matches its records completely costs one query and one comparison of two lists. In any other folder, a
file that matches its record costs a dictionary lookup and a tuple comparison. Every other file becomes a `Candidate`.
Candidates are inspected (`file_inspection`) after the scan, because a file that is missing in one folder may be in
another one under the same name.

The key of a file is its name in the collection. One local file may have several names: in the records after 'naming'
has changed, and on disk where folders overlap.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from metalake_sync.core.metadata import MetadataSet
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.shapes import EMPTY_SET_DIGEST
from metalake_sync.core.snapshots import DesiredSet, Fingerprint, RecordedFile
from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.file_sources import FileSource, FolderSource, ScannedFolder, scan_source
from metalake_sync.planning.run_options import Scope
from metalake_sync.planning.scan_names import NameCollisions, VanishedFiles
from metalake_sync.planning.source_guards import NOTHING_RECOVERED, RecordedRows, SourceGuards
from metalake_sync.sources.base import ScannedFile, ScanProblem
from metalake_sync.sources.names import lake_name
from metalake_sync.state.files import FolderRow
from metalake_sync.state.names import CollectionHandle, join_path
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.remote.listings import RemoteListing


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file on disk that does not plainly match its record, or has none."""

    name: str
    path: str
    fingerprint: Fingerprint
    metadata: MetadataSet
    annotations: dict[str, DesiredSet]
    recorded: bool
    """Whether its folder has a record of this name."""


@dataclass(slots=True)
class ScanResult:
    """What the comparison found in one collection."""

    candidates: list[Candidate] = field(default_factory=list)
    gone: dict[str, None] = field(default_factory=dict)
    """Names of recorded files that no source has any more, in order."""
    named_now: dict[str, str | None] = field(default_factory=dict)
    """Files of `gone` that are on disk under another name: old name → new name, None if the bytes seem to differ."""
    held: set[str] = field(default_factory=set)
    """Names of files that this run leaves alone."""
    matched: int = 0
    """How many of the lake's files are wanted or recorded."""
    unchanged: int = 0
    problems: list[ScanProblem] = field(default_factory=list)
    """Files and folders that could not be read."""
    notes: list[Note] = field(default_factory=list)


FindUnchanged = Callable[[str, Sequence[ScannedFile], Mapping[str, str]], set[str]]
"""Reads files of a folder (its path in the records). Returns the names of those whose bytes have the given hash."""

IsHeld = Callable[[str, ScannedFile], bool]
"""Whether this run leaves a candidate alone, as neither changed nor gone. Takes its path on disk."""


class ChangeDetector:
    """Joins one collection.

    `handle`: of the recorded collection, None if it was never recorded. `listing`: None trusts the records.
    `find_unchanged`: reads the files whose fingerprint matches; None trusts the fingerprint. `scope`: records outside
    of it are neither compared nor gone. `is_held`: candidates to leave alone. `recovered`: files without a row in the
    state yet, by name.
    """

    def __init__(
        self,
        desired: DesiredCollection,
        state: StateStore,
        handle: CollectionHandle | None,
        listing: RemoteListing | None,
        *,
        scanned: Callable[[int], None],
        find_unchanged: FindUnchanged | None = None,
        scope: Scope | None = None,
        is_held: IsHeld | None = None,
        recovered: Mapping[str, RecordedFile] = NOTHING_RECOVERED,
    ) -> None:
        self._desired = desired
        self._handle = handle
        self._listing = listing
        self._find_unchanged = find_unchanged
        self._proven_unchanged: set[str] = set()
        self._scanned = scanned
        self._scope = scope
        self._is_held = is_held
        self._annotated = bool(desired.annotations) or (handle is not None and state.annotation_sets.exist_in(handle))
        self._sources: list[FolderSource | FileSource] = [*desired.folders, *desired.files]
        self._overlapping = _overlap([source.path for source in self._sources])
        self._rows = RecordedRows(state, handle, recovered, with_sets=self._annotated)
        self._names = NameCollisions(overlapping=self._overlapping)
        self._guards = SourceGuards(self._rows, scope)
        self._renamed_on_disk: dict[str, tuple[str, ScannedFile]] = {}
        self._result = ScanResult(problems=self._guards.problems, notes=self._guards.notes)

    def run(self) -> ScanResult:
        """Scan every source.

        Raises ManifestErrors for missing sources and for two files of one name. Raises GuardStopped if everything
        recorded under a source is out of sight.
        """
        errors: list[ManifestError] = []
        scanned = 0
        for source in self._sources:
            before = scanned
            for folder in scan_source(source, self._scope):
                errors += self._guards.check_problems(source, folder)
                self._hash_matching_files(source, folder)
                if not self._matches_completely(source, folder):
                    errors += self._join_folder(source, folder)
                scanned += len(folder.files)
                self._scanned(scanned)
            if scanned == before and isinstance(source, FolderSource):
                self._guards.check_not_emptied(source)
        result = self._result
        errors += self._names.with_recorded(
            self._rows, {candidate.name for candidate in result.candidates if candidate.recorded}
        )
        vanished = VanishedFiles(self._desired, self._rows, self._guards, self._scope)
        vanished.collect(result.held, self._renamed_on_disk)
        new_files = [(one.name, one.path) for one in result.candidates if not one.recorded]
        errors += vanished.find_moves_into_scope(new_files)
        if errors:
            raise ManifestErrors(errors)
        result.gone, result.named_now = vanished.gone, vanished.named_now
        result.notes += self._names.notes_on_similar_names()
        result.notes += self._names.notes_on_two_names(self._desired.key)
        return result

    # One folder.

    def _matches_completely(self, source: FolderSource | FileSource, folder: ScannedFolder) -> bool:
        """Compare a folder as a whole with its records. False if its files have to be compared one by one."""
        metadata, files = source.metadata.shared, folder.files
        rows = self._rows
        if (
            self._handle is None
            or metadata is None
            or self._annotated
            or self._overlapping
            or self._scope is not None
            or (self._find_unchanged is not None and len(self._proven_unchanged) < len(files))
            or folder.path in rows.unclaimed
            or rows.recovered
            or rows.folders.get(folder.path) != len(files)
        ):
            return False
        prefix = lake_name(join_path(folder.relative_dir, ""), source.naming)
        plain_rows = rows.files.plain_folder_rows(self._handle, folder.path, metadata.digest, prefix)
        if [row[:5] for row in plain_rows] != files:
            return False
        if self._listing is not None:
            id_of = self._listing.id_of
            if any(id_of(prefix + row[0]) != row[5] for row in plain_rows):
                return False
            self._result.matched += len(files)
        self._result.unchanged += len(files)
        rows.unclaimed[folder.path] = {}
        return True

    def _hash_matching_files(self, source: FolderSource | FileSource, folder: ScannedFolder) -> None:
        """If fingerprints are not trusted, hash the files whose fingerprint matches their record.

        Other files are hashed later, with the candidates.
        """
        if self._find_unchanged is None or self._handle is None:
            return
        contents = self._rows.files.contents(self._handle, folder.path)
        recorded = {file.filename: contents.get(_name_of(source, folder, file)) for file in folder.files}
        hashes = {name: known[1] for name, known in recorded.items() if known is not None}
        matching = [file for file in folder.files if (known := recorded[file.filename]) and known[0] == file.version()]
        self._proven_unchanged = self._find_unchanged(folder.path, matching, hashes)

    def _join_folder(self, source: FolderSource | FileSource, folder: ScannedFolder) -> list[ManifestError]:
        """Compare the files of a folder with their records one by one. Those that differ become candidates."""
        rows = self._rows.in_folder(folder.path)
        errors: list[ManifestError] = []
        result, names, overlapping = self._result, self._names, self._overlapping
        for file in folder.files:
            filename = file.filename
            path = join_path(folder.path, filename)
            relative = join_path(folder.relative_dir, filename)
            name = filename if source.naming == "name" else lake_name(relative, source.naming)
            if overlapping and names.path_of_name.get(name) == path:
                continue
            try:
                metadata = source.metadata.of(name, relative)
            except ManifestError as error:
                self._skip_broken(rows.pop(name, None), name, path, error)
                continue
            sets = self._desired.annotation_sets(name) if self._annotated else {}
            row = rows.pop(name, None)
            matches = row is not None and self._matches(row, name, file, metadata, sets)
            if overlapping:
                names.note_name(path, name)
            if overlapping or not matches:
                collision = names.claim_name(name, path, source.declared_at)
                if collision is not None:
                    errors.append(collision)
                    continue
            if matches:
                result.unchanged += 1
                result.matched += self._listing is not None
                continue
            if self._is_held is not None and self._is_held(_on_disk(source, relative), file):
                result.held.add(name)
                continue
            self._desired.check_not_stale(name, filename)
            if row is None:
                names.new_files[name] = source
            result.candidates.append(Candidate(name, path, file.fingerprint(), metadata, sets, row is not None))
        if rows:
            self._keep_present_names(source, folder, {row.filename for row in rows.values()})
        return errors

    def _keep_present_names(
        self, source: FolderSource | FileSource, folder: ScannedFolder, filenames: set[str]
    ) -> None:
        """Keep the present names of local files whose records have other names, from before 'naming' changed."""
        for file in folder.files:
            if file.filename in filenames:
                path = join_path(folder.path, file.filename)
                self._renamed_on_disk[path] = _name_of(source, folder, file), file

    def _skip_broken(self, row: FolderRow | None, name: str, path: str, error: ManifestError) -> None:
        """Leave a file as it is, because the metadata that it should have is broken and so unknown."""
        self._guards.ignore_file(path)
        self._result.held.add(name)
        self._result.notes.append(Note(NoteCode.METADATA_INVALID, f"is left out: {error}", path))
        if row is not None and self._listing is not None and self._listing.id_of(name) == row.lake_id:
            self._result.matched += 1

    def _matches(
        self, row: FolderRow, name: str, file: ScannedFile, metadata: MetadataSet, sets: dict[str, DesiredSet]
    ) -> bool:
        return (
            row.version == file.version()
            and row.metadata_digest == metadata.digest
            and (self._listing is None or self._listing.id_of(name) == row.lake_id)
            and (not self._annotated or self._has_same_sets(row, sets))
            and (self._find_unchanged is None or file.filename in self._proven_unchanged)
        )

    def _has_same_sets(self, row: FolderRow, sets: dict[str, DesiredSet]) -> bool:
        recorded = row.set_digests
        sent = all(recorded.get(operation, EMPTY_SET_DIGEST) == wanted.digest for operation, wanted in sets.items())
        return sent and all(
            operation in sets or digest == EMPTY_SET_DIGEST or operation in self._desired.left_alone
            for operation, digest in recorded.items()
        )


def _name_of(source: FolderSource | FileSource, folder: ScannedFolder, file: ScannedFile) -> str:
    return lake_name(join_path(folder.relative_dir, file.filename), source.naming)


def _on_disk(source: FolderSource | FileSource, relative: str) -> str:
    return source.root if isinstance(source, FileSource) else os.path.join(source.root, relative)


def _overlap(paths: list[str]) -> bool:
    """Whether a file could be scanned twice, because a source equals or lies inside another one."""
    ordered = sorted(path + "/" if path else "" for path in paths)
    return any(later.startswith(earlier) for earlier, later in itertools.pairwise(ordered))
