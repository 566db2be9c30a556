"""The local sources of a collection: folders and single files, scanned in the same way.

Owns: the translation between paths of the manifest and paths of the scan. Must not: compare anything.

Paths are written as in the state: relative to the manifest's folder, with `/`, and '' for the manifest's folder itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.run_options import Scope
from metalake_sync.sources.base import FolderListing, ScannedFile, ScanProblem, Source, Trouble, unsendable
from metalake_sync.sources.local_folder import LocalFolder
from metalake_sync.sources.metadata_layers import FolderMetadata
from metalake_sync.sources.names import lake_name
from metalake_sync.sources.rules import ScanRules
from metalake_sync.state.names import join_path, split_path


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder to scan."""

    path: str
    root: str
    """The path that opens it."""
    rules: ScanRules
    naming: Literal["name", "path"]
    metadata: FolderMetadata
    declared_at: str
    """The manifest's file:line:column."""

    @property
    def tree(self) -> Source:
        """Lists and reads the folder."""
        return LocalFolder(self.root)

    @property
    def folder(self) -> str:
        """The folder that paths in the source are relative to, as a path that opens it."""
        return self.root

    def relative(self, path: str) -> str | None:
        """Make a path from the manifest's folder relative to the source. None if it lies outside."""
        inside = not self.path or path.startswith(self.path + "/")
        return path.removeprefix(self.path).lstrip("/") if inside else None


@dataclass(frozen=True, slots=True)
class FileSource:
    """A single file that the manifest names. `path` and `root` are those of the file."""

    path: str
    root: str
    metadata: FolderMetadata
    declared_at: str

    @property
    def tree(self) -> Source:
        """Lists and reads the folder that the file is in."""
        return LocalFolder(self.folder)

    @property
    def naming(self) -> Literal["name", "path"]:
        return "name"

    @property
    def folder(self) -> str:
        return os.path.dirname(self.root)

    def relative(self, path: str) -> str | None:
        return os.path.basename(path) if path == self.path else None


@dataclass(frozen=True, slots=True)
class ScannedFolder:
    """The files of one folder."""

    path: str
    """The folder as the state writes it."""
    relative_dir: str
    """The folder relative to the source."""
    files: Sequence[ScannedFile]
    problems: Sequence[ScanProblem] = ()


def normal_path(path: str) -> str:
    """Normalize 'images/', './images' and 'images' to the same path."""
    normal = os.path.normpath(path)
    return "" if normal == "." else normal


def scan_source(source: FolderSource | FileSource, scope: Scope | None = None) -> Iterator[ScannedFolder]:
    """Scan a source folder by folder. A single file is scanned as a folder with one file. `scope`: limits the scan."""
    if isinstance(source, FileSource):
        if scope is not None and not scope.holds_file(source.root):
            return
        folder, _ = split_path(source.path)
        found = source.tree.stat(os.path.basename(source.root))
        if isinstance(found, ScanProblem):
            yield ScannedFolder(folder, "", (), (found,))
        else:
            yield ScannedFolder(folder, "", (found,))
        return
    for listing in _listings(source, scope):
        path = join_path(source.path, listing.relative_dir) if listing.relative_dir else source.path
        if source.naming == "path" and unsendable(listing.relative_dir) is not None:
            # Folders are part of the names here, and the lake would reject a whole batch for one bad name.
            files = (join_path(listing.relative_dir, file.filename) for file in listing.files)
            unnameable = [ScanProblem(file, Trouble.FOLDER_NAME, is_folder=False) for file in files]
            yield ScannedFolder(path, listing.relative_dir, (), (*listing.problems, *unnameable))
            continue
        yield ScannedFolder(path, listing.relative_dir, listing.files, listing.problems)


def walk_files(sources: Iterable[FolderSource | FileSource]) -> Iterator[tuple[str, str, str]]:
    """Every file of some sources: its name in the collection, its path relative to the source, and the path that
    opens it."""
    for source in sources:
        for folder in scan_source(source):
            for file in folder.files:
                relative = join_path(folder.relative_dir, file.filename)
                yield lake_name(relative, source.naming), relative, os.path.join(source.folder, relative)


def _listings(source: FolderSource, scope: Scope | None) -> Iterator[FolderListing]:
    if scope is None:
        yield from source.tree.list(source.rules)
        return
    for part in scope.parts_of(source.root):
        yield from source.tree.list(source.rules, part.relative_dir, deep=part.deep)
