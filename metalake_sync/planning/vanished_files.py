"""Recorded files that no local file claimed after all sources were scanned.

Owns: which records count as gone. Must not: decide what becomes of them (`core.diff`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from metalake_sync.errors import ManifestError
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.name_collisions import same_name
from metalake_sync.planning.recorded_rows import RecordedRows
from metalake_sync.planning.scope import Scope
from metalake_sync.planning.source_guards import SourceGuards
from metalake_sync.sources.base import ScannedFile, equal_but_for_ctime
from metalake_sync.state.names import join_path


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
