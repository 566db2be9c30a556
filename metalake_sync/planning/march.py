"""The march through one collection: folder by folder, what is on disk beside what was recorded and what the lake has.

Owns: the join of the three snapshots, as a stream; memory grows with what differs, not with what is there. Must not:
decide (`core.diff`), and write nothing but the hash cache.

A folder that is in every way as it was recorded is one query and one comparison of two lists. In any other, a file that
is as it was recorded, and whose metadata and annotation digests are the same, costs a dictionary lookup and a tuple
comparison. Everything else becomes a candidate that is looked at closely once the scan is through, because a file that
is missing in one folder may stand in another one under the same name.

The key of a file is its name in the collection. Two files must not have one name; one file may have several, in the
records where `naming` has changed, and on disk where folders overlap. Records have each name once, so files that are as
recorded can't collide with each other: only the names of candidates are kept, and compared with the records in the end.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from metalake_sync.core.metadata import MetadataSet
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.shapes import EMPTY_SET_DIGEST
from metalake_sync.core.snapshots import DesiredSet, Fingerprint, RecordedFile
from metalake_sync.errors import GuardStopped, ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.open_sources import FileSource, FolderSource, ScannedFolder, scan_source
from metalake_sync.planning.scope import Scope
from metalake_sync.sources.naming import lake_name
from metalake_sync.sources.safe_names import folded
from metalake_sync.sources.scan import ScannedFile, ScanProblem
from metalake_sync.state.files import FolderRow
from metalake_sync.state.handles import CollectionHandle
from metalake_sync.state.names import join_path, split_path
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.remote.listings import RemoteListing


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file on disk that is not plainly as it was recorded."""

    name: str
    path: str
    fingerprint: Fingerprint
    metadata: MetadataSet
    annotations: dict[str, DesiredSet]
    recorded: bool
    """Whether its folder has a record of this name."""


@dataclass(slots=True)
class MarchResult:
    """What the march found. `gone`: names of recorded files that no source has any more, in order. `named_now`: of
    those whose local file is still wanted, under another name: name → that name, None where its bytes seem to have
    changed. `matched`: how many of the lake's files are wanted or recorded. `held`: names that are left alone for now.
    `left_out`: files and folders that could not be looked at."""

    candidates: list[Candidate] = field(default_factory=list)
    gone: dict[str, None] = field(default_factory=dict)
    named_now: dict[str, str | None] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    matched: int = 0
    unchanged: int = 0
    left_out: list[ScanProblem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


NOTHING_RECOVERED: Mapping[str, RecordedFile] = MappingProxyType({})

Verify = Callable[[str, Sequence[ScannedFile], Mapping[str, str]], set[str]]
"""Reads a folder, given by its path in the records: the names of those files whose bytes hash to what is given."""

Hold = Callable[[str, ScannedFile], bool]
"""Asked for each candidate, by its path on disk: True leaves it alone for now, as neither changed nor gone."""


class CollectionMarch:
    """Joins one collection. `handle`: of the recorded collection, None if it was never recorded. `listing`: what
    the lake has, None to trust the records. `verify`: reads the files whose fingerprint is as recorded; None trusts it.
    `scope`: rows outside it are neither compared nor gone. `hold`: candidates to leave alone. `recovered`: records that
    the state does not have yet, by name."""

    def __init__(
        self,
        desired: DesiredCollection,
        state: StateStore,
        handle: CollectionHandle | None,
        listing: RemoteListing | None,
        *,
        scanned: Callable[[int], None],
        verify: Verify | None = None,
        scope: Scope | None = None,
        hold: Hold | None = None,
        recovered: Mapping[str, RecordedFile] = NOTHING_RECOVERED,
    ) -> None:
        self._desired = desired
        self._state = state
        self._handle = handle
        self._listing = listing
        self._verify = verify
        self._verified: set[str] = set()
        self._scanned = scanned
        self._scope = scope
        self._hold = hold
        self._recovered_names = recovered.keys()
        self._recovered_rows = _rows_of(recovered)
        self._annotated = bool(desired.annotations) or (handle is not None and state.annotation_sets.exist_in(handle))
        self._sources: list[FolderSource | FileSource] = [*desired.folders, *desired.files]
        self._overlapping = _overlap([source.path for source in self._sources])
        self._path_of_name: dict[str, str] = {}
        self._name_of_path: dict[str, str] = {}
        self._two_names: list[str] = []
        self._leftovers_on_disk: dict[str, tuple[str, ScannedFile]] = {}
        self._newcomers: dict[str, FolderSource | FileSource] = {}
        self._left_out: set[str] = set()
        self._rows_left: dict[str, dict[str, FolderRow]] = {}
        self._unknown_folders: set[str] = set()
        self._found = MarchResult()

    def run(self) -> MarchResult:
        """Walk every source.

        Raises ManifestErrors for sources that are not there and for two files of one name, and GuardStopped where
        everything that was recorded under a source is out of sight.
        """
        errors: list[ManifestError] = []
        scanned = 0
        for source in self._sources:
            before = scanned
            for folder in scan_source(source, self._scope):
                errors += self._judge_problems(source, folder)
                self._read(source, folder)
                if not self._take_whole(source, folder):
                    errors += self._join_folder(source, folder)
                scanned += len(folder.files)
                self._scanned(scanned)
            if scanned == before and isinstance(source, FolderSource) and not self._has_files_elsewhere(source):
                self._guard_emptied(source)
        errors += self._newcomers_that_collide()
        self._note_twins()
        self._note_two_names()
        self._collect_gone()
        errors += self._look_outside_the_scope()
        if errors:
            raise ManifestErrors(errors)
        return self._found

    # One folder.

    def _take_whole(self, source: FolderSource | FileSource, folder: ScannedFolder) -> bool:
        """Take a folder that is as it was recorded, down to the last file. False where a closer look is needed."""
        metadata, files = source.metadata.shared, folder.files
        if (
            self._handle is None
            or metadata is None
            or self._annotated
            or self._overlapping
            or self._scope is not None
            or (self._verify is not None and len(self._verified) < len(files))
            or folder.path in self._rows_left
            or self._recovered_rows
            or self._recorded_folders.get(folder.path) != len(files)
        ):
            return False
        prefix = lake_name(join_path(folder.relative_dir, ""), source.naming)
        rows = self._state.files.plain_folder_rows(self._handle, folder.path, metadata.digest, prefix)
        if [row[:5] for row in rows] != files:
            return False
        if self._listing is not None:
            id_of = self._listing.id_of
            if any(id_of(prefix + row[0]) != row[5] for row in rows):
                return False
            self._found.matched += len(files)
        self._found.unchanged += len(files)
        self._rows_left[folder.path] = {}
        return True

    def _read(self, source: FolderSource | FileSource, folder: ScannedFolder) -> None:
        """Learn which of the folder's files hold what was recorded, if fingerprints are not trusted. A file that looks
        otherwise than recorded is read later, with the candidates."""
        if self._verify is None or self._handle is None:
            return
        contents = self._state.files.contents(self._handle, folder.path)
        recorded = {file.filename: contents.get(_name_of(source, folder, file)) for file in folder.files}
        as_recorded = {name: known[1] for name, known in recorded.items() if known is not None}
        looking_so = [
            file for file in folder.files if (known := recorded[file.filename]) and known[0] == file.stat_row()
        ]
        self._verified = self._verify(folder.path, looking_so, as_recorded)

    def _join_folder(self, source: FolderSource | FileSource, folder: ScannedFolder) -> list[ManifestError]:
        """Compare a folder's files with its rows; what differs becomes a candidate."""
        rows = self._rows(folder.path)
        errors: list[ManifestError] = []
        found = self._found
        for file in folder.files:
            filename = file.filename
            path = join_path(folder.path, filename)
            relative = join_path(folder.relative_dir, filename)
            name = filename if source.naming == "name" else lake_name(relative, source.naming)
            if self._overlapping and self._path_of_name.get(name) == path:
                continue
            try:
                metadata = source.metadata.of(name, relative)
            except ManifestError as error:
                self._leave_out_broken(rows.pop(name, None), name, path, error)
                continue
            sets = self._desired.annotation_sets(name) if self._annotated else {}
            row = rows.pop(name, None)
            as_recorded = row is not None and self._as_recorded(row, name, file, metadata, sets)
            if self._overlapping and self._name_of_path.setdefault(path, name) != name:
                self._two_names.append(path)
            if self._overlapping or not as_recorded:
                other = self._path_of_name.setdefault(name, path)
                if other is not path:
                    errors.append(self._same_name(source.declared_at, name, other, path))
                    continue
            if as_recorded:
                found.unchanged += 1
                found.matched += self._listing is not None
                continue
            if self._hold is not None and self._hold(_on_disk(source, relative), file):
                found.held.add(name)
                continue
            self._desired.check_not_stale(name, filename)
            if row is None:
                self._newcomers[name] = source
            found.candidates.append(Candidate(name, path, file.fingerprint(), metadata, sets, row is not None))
        if rows:
            self._note_names_now(source, folder, {row.filename for row in rows.values()})
        return errors

    def _note_names_now(self, source: FolderSource | FileSource, folder: ScannedFolder, filenames: set[str]) -> None:
        """Keep what local files are called that have rows under other names: from before 'naming' changed."""
        for file in folder.files:
            if file.filename in filenames:
                path = join_path(folder.path, file.filename)
                self._leftovers_on_disk[path] = _name_of(source, folder, file), file

    def _leave_out_broken(self, row: FolderRow | None, name: str, path: str, error: ManifestError) -> None:
        """Leave a file as it is, because nothing is known of the metadata that it should have."""
        self._left_out.add(path)
        self._found.held.add(name)
        self._found.notes.append(Note(NoteCode.METADATA_INVALID, f"is left out: {error}", path))
        if row is not None and self._listing is not None and self._listing.id_of(name) == row.lake_id:
            self._found.matched += 1

    def _rows(self, folder: str) -> dict[str, FolderRow]:
        """The folder's rows that no file has claimed yet, by their name in the collection."""
        if self._handle is None:
            return {}
        if folder not in self._rows_left:
            rows = self._state.files.folder_rows(self._handle, folder, with_sets=self._annotated)
            if self._recovered_rows:
                rows = {name: row for name, row in rows.items() if name not in self._recovered_names}
                rows |= self._recovered_rows.get(folder, {})
            self._rows_left[folder] = rows
        return self._rows_left[folder]

    def _as_recorded(
        self, row: FolderRow, name: str, file: ScannedFile, metadata: MetadataSet, sets: dict[str, DesiredSet]
    ) -> bool:
        return (
            row.fingerprint == file.stat_row()
            and row.metadata_digest == metadata.digest
            and (self._listing is None or self._listing.id_of(name) == row.lake_id)
            and (not self._annotated or self._same_sets(row, sets))
            and (self._verify is None or file.filename in self._verified)
        )

    def _same_sets(self, row: FolderRow, sets: dict[str, DesiredSet]) -> bool:
        recorded = row.set_digests
        sent = all(recorded.get(operation, EMPTY_SET_DIGEST) == wanted.digest for operation, wanted in sets.items())
        return sent and all(
            operation in sets or digest == EMPTY_SET_DIGEST or operation in self._desired.left_alone
            for operation, digest in recorded.items()
        )

    def _newcomers_that_collide(self) -> list[ManifestError]:
        """Names of new files that a file elsewhere has, one that is as it was recorded."""
        if self._handle is None or self._overlapping or not self._newcomers:
            return []
        looked_at = {candidate.name for candidate in self._found.candidates if candidate.recorded}
        errors: list[ManifestError] = []
        for name, place in self._state.files.paths(self._handle, self._newcomers):
            folder, _ = split_path(place)
            unclaimed = self._rows_left.get(folder)
            stands = unclaimed is not None and name not in unclaimed
            if stands and name not in looked_at:
                errors.append(self._same_name(self._newcomers[name].declared_at, name, place, self._path_of_name[name]))
        return errors

    def _note_twins(self) -> None:
        """New names that only case or Unicode form tells apart: the lake may take them for one, a disk may do so."""
        seen: dict[str, str] = {}
        for name in self._newcomers:
            twin = seen.setdefault(folded(name), name)
            if twin is not name:
                message = (
                    f"'{self._path_of_name[twin]}' has the same name but for case or Unicode form: they are two in the"
                    " collection, and one on a disk that does not tell them apart"
                )
                self._found.notes.append(Note(NoteCode.TWIN_NAMES, message, self._path_of_name[name]))

    def _note_two_names(self) -> None:
        """Local files that overlapping entries of 'folders' name differently."""
        if self._two_names:
            count = len(self._two_names)
            clause = (
                f"{counted(count, 'local file is', 'local files are')} in the collection under two names, because"
                " overlapping entries of 'folders' name them differently"
            )
            self._found.notes.append(Note.naming(NoteCode.TWO_NAMES, clause, self._two_names, self._desired.key.name))

    @staticmethod
    def _same_name(declared_at: str, name: str, one: str, other: str) -> ManifestError:
        return ManifestError(
            f"two files would be '{name}' in the collection: '{one}' and '{other}'",
            where=declared_at,
            remedy="Rename one, exclude one, or set 'naming: path'.",
        )

    # What could not be looked at.

    def _judge_problems(self, source: FolderSource | FileSource, folder: ScannedFolder) -> list[ManifestError]:
        """Whatever can't be looked at is unknown, not absent: nothing beneath it is taken for gone."""
        errors: list[ManifestError] = []
        for problem in folder.problems:
            path = join_path(source.path, problem.path) if problem.path else source.path
            if problem.hides_files:
                recorded = self._recorded_under(path)
                if recorded:
                    raise GuardStopped(
                        f"'{path or '.'}' {problem.message}, and the state knows {recorded} files under it",
                        where=source.declared_at,
                        remedy="Mount it, or make it readable. If it is meant to be gone, take it out of the manifest.",
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
                self._left_out.add(path)
            self._found.left_out.append(problem)
            self._found.notes.append(Note(NoteCode.FILE_LEFT_OUT, problem.message, path))
        return errors

    def _recorded_under(self, path: str) -> int:
        if self._handle is None:
            return 0
        beneath = path + "/" if path else ""
        folders = self._recorded_folders.items()
        whole = sum(count for folder, count in folders if folder == path or folder.startswith(beneath))
        return whole or self._state.files.has_path(self._handle, path)

    def _guard_emptied(self, source: FolderSource) -> None:
        recorded = self._recorded_under(source.path)
        if recorded:
            raise GuardStopped(
                f"no file in '{source.path or '.'}' matches any more, and the state knows {recorded} files under it",
                where=source.declared_at,
                remedy="Check that the folder is mounted and the patterns are right."
                " If it is meant to be empty, take the folder out of the manifest.",
            )

    @cached_property
    def _recorded_folders(self) -> dict[str, int]:
        """Every recorded folder with its number of files; it is counted only where somebody asks."""
        return self._state.files.folders(self._handle) if self._handle is not None else {}

    def _has_files_elsewhere(self, source: FolderSource) -> bool:
        """Where the scope is empty of files: whether the source has any outside of it. The first one found is enough;
        a source without any may be unmounted, and then nothing in the scope is gone."""
        if self._scope is None or not self._scope.parts_of(source.root) or not self._recorded_in_scope(source):
            return self._scope is not None
        for folder in scan_source(source):
            self._judge_problems(source, folder)
            if folder.files:
                return True
        return False

    # What is gone.

    def _recorded_in_scope(self, source: FolderSource) -> list[str]:
        """The recorded folders of a source that lie in the scope."""
        if self._scope is None or self._handle is None:
            return []
        folders: list[str] = []
        for part in self._scope.parts_of(source.root):
            path = join_path(source.path, part.relative_dir) if part.relative_dir else source.path
            if part.deep:
                folders += self._state.files.folders_below(self._handle, path)
            if self._rows(path):
                folders.append(path)
        return folders

    def _folders_to_collect(self) -> list[str]:
        if self._scope is None:
            return list(self._recorded_folders | self._recovered_rows)
        return [folder for source in self._desired.folders for folder in self._recorded_in_scope(source)] + [
            folder for folder in self._rows_left if self._scope.holds_file(self._absolute(join_path(folder, "x")))
        ]

    def _absolute(self, path: str) -> str:
        assert self._scope is not None
        return os.path.abspath(os.path.join(self._scope.base_dir, path))

    def _look_outside_the_scope(self) -> list[ManifestError]:
        """A new file may be a recorded one that moved here from outside the scope: found by its name. Where the other
        one still stands, there are two of one name."""
        if self._scope is None or self._handle is None:
            return []
        moved = {
            candidate.name: candidate.path
            for candidate in self._found.candidates
            if not candidate.recorded and candidate.name not in self._found.gone
        }
        errors: list[ManifestError] = []
        for name, path in self._state.files.paths(self._handle, moved):
            if path != moved[name] and os.path.lexists(self._absolute(path)):
                errors.append(self._same_name(self._desired.declared_at, name, path, moved[name]))
            else:
                self._found.gone[name] = None
        return errors

    def _collect_gone(self) -> None:
        """Rows that no file claimed, of the folders that were walked and of those that no source has any more. A file
        that is held under another path is not gone."""
        if self._handle is None:
            return
        for folder in self._folders_to_collect():
            if any(folder == unknown or folder.startswith(unknown + "/") for unknown in self._unknown_folders):
                continue
            for name, row in self._rows(folder).items():
                path = join_path(folder, row.filename)
                name_now, file = self._leftovers_on_disk.get(path, (None, None))
                if path in self._left_out or not self._found.held.isdisjoint((name, name_now)):
                    continue
                self._found.gone[name] = None
                if file is not None:
                    # A young file is recorded without its ctime.
                    untouched = file.stat_row()[:3] == row.fingerprint[:3]
                    self._found.named_now[name] = name_now if untouched else None


def _rows_of(recovered: Mapping[str, RecordedFile]) -> dict[str, dict[str, FolderRow]]:
    """Recovered records as rows: folder → name → row."""
    rows: dict[str, dict[str, FolderRow]] = {}
    for known in recovered.values():
        folder, filename = split_path(known.path)
        found = known.fingerprint
        stat_row = found.size_bytes, found.mtime_ns, found.inode, found.ctime_ns
        row = FolderRow(stat_row, known.metadata_digest, filename, known.lake_id)
        rows.setdefault(folder, {})[known.name] = row
    return rows


def _name_of(source: FolderSource | FileSource, folder: ScannedFolder, file: ScannedFile) -> str:
    return lake_name(join_path(folder.relative_dir, file.filename), source.naming)


def _on_disk(source: FolderSource | FileSource, relative: str) -> str:
    return source.root if isinstance(source, FileSource) else os.path.join(source.root, relative)


def _overlap(paths: list[str]) -> bool:
    """Whether a file could be met twice: a source is, or stands inside, another one."""
    ordered = sorted(path + "/" if path else "" for path in paths)
    return any(later.startswith(earlier) for earlier, later in itertools.pairwise(ordered))
