"""The records of one collection, folder by folder, as the scan join compares them with the files on disk.

Owns: which rows no local file has claimed yet, and the rows of recovered files. Must not: decide what becomes of them.

A *recovered* file was uploaded by an interrupted run that could not record it. The state has no row for it yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType

from metalake_sync.core.snapshots import RecordedFile
from metalake_sync.state.files import FolderRow
from metalake_sync.state.names import CollectionHandle, split_path
from metalake_sync.state.store import StateStore

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
