"""Hints about changes of the paths that a manifest names, and the box that passes them from the triggers to the loop.

Owns: the closed union of hints, which change causes which hint, and passing hints from the triggers' threads to the
loop's. Must not: watch anything, or decide when a run handles a hint.
"""

from __future__ import annotations

import contextlib
import glob
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TypeAlias

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import LoadedManifest, MetadataSourceFile
from metalake_sync.manifest.source_models import Annotation
from metalake_sync.sources.junk import JUNK
from metalake_sync.sources.rules import IGNORE_FILE

YAML = (".yaml", ".yml")

SWAPPED = "..data"
"""Kubernetes swaps all files of a ConfigMap or Secret at once, with a new link of this name beside them."""


@dataclass(frozen=True, slots=True)
class FolderTouched:
    """Something in this folder changed."""

    path: str
    removal: bool = False
    """Only removals are known."""


@dataclass(frozen=True, slots=True)
class TreeTouched:
    """A folder appeared, or anything at any depth below it may have changed."""

    path: str
    removal: bool = False


@dataclass(frozen=True, slots=True)
class SourceTouched:
    """An annotation or metadata source changed, which may affect any file."""

    path: str


@dataclass(frozen=True, slots=True)
class ManifestTouched:
    """The manifest, a file of variables or a credentials file changed."""


@dataclass(frozen=True, slots=True)
class EventsLost:
    """Notifications were lost, so anything may have changed."""

    why: str
    """The reason, for the log."""


Hint: TypeAlias = FolderTouched | TreeTouched | SourceTouched | ManifestTouched | EventsLost


class HintBox:
    """Receives hints from any thread and wakes the loop. Equal hints are kept once. Above `limit` hints, one EventsLost
    replaces all of them, so that a burst cannot fill the memory."""

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._hints: dict[Hint, None] = {}
        self._lost: EventsLost | None = None
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def put(self, hint: Hint) -> None:
        with self._lock:
            if isinstance(hint, EventsLost):
                self._lost = hint
            elif len(self._hints) < self._limit:
                self._hints[hint] = None
            else:
                manifest = ManifestTouched()
                self._hints = {manifest: None} if manifest in self._hints or hint == manifest else {}
                self._lost = EventsLost(f"more than {self._limit} folders changed at once")
        self.wake()

    def wake(self) -> None:
        """End the loop's wait. Safe in a signal handler, because it takes no lock."""
        try:
            os.write(self._write_end, b"!")
        except BlockingIOError:
            return  # the pipe is full of unread wake-ups, and one is enough

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the box has a hint."""
        return self._read_end

    def take(self) -> Sequence[Hint]:
        """Return all hints and empty the box."""
        try:
            while os.read(self._read_end, 4096):
                pass
        except BlockingIOError:
            pass
        with self._lock:
            hints: list[Hint] = list(self._hints)
            if self._lost is not None:
                hints.append(self._lost)
            self._hints, self._lost = {}, None
        return hints

    def close(self) -> None:
        os.close(self._read_end)
        os.close(self._write_end)


@dataclass(frozen=True, slots=True)
class Change:
    """A notification, independent of the library."""

    path: str
    """The absolute path."""
    is_folder: bool = False
    gone: bool = False
    """Whether the path does not exist any more."""


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of a manifest. All of them are absolute."""

    roots: frozenset[str]
    """Data folders, with everything below them."""
    files: frozenset[str]
    """Single data files."""
    sources: frozenset[str]
    """Files, folders and globs of annotation and metadata sources."""
    manifest: frozenset[str]
    """The manifest's own files, or their folder, and the credentials files."""
    globs: Mapping[str, str] = field(default_factory=dict)
    """For each source that is a glob, the folder above its first pattern."""

    def folders(self) -> dict[str, bool]:
        """Return the folders to watch → whether with their subfolders.

        A file is watched through its folder. Most programs replace a file instead of writing into it, and a watch on
        the file would stay with the old one.
        """
        folders = dict.fromkeys(self.roots, True)
        for path in (*self.files, *self.manifest, *self.sources):
            top = self.globs.get(path, path)
            deep = path in self.globs
            if not deep and not os.path.isdir(path):
                top = os.path.dirname(path)
            folders[top] = folders.get(top, False) or deep
        covered = [root for root, deep in folders.items() if deep]
        return {
            path: deep
            for path, deep in folders.items()
            if not any(path != root and path.startswith(root + "/") for root in covered)
        }

    def stamp(self) -> Sequence[tuple[str, int, int, int]]:
        """Return path, size, time and inode of each of the manifest's own files. If this differs, one of them changed,
        even if its notification was lost."""
        found = []
        for path in sorted(self.manifest):
            inner = [path]
            with contextlib.suppress(OSError):
                inner = sorted(os.path.join(path, name) for name in os.listdir(path) if name.endswith(YAML))
            for file in inner:
                with contextlib.suppress(OSError):
                    seen = os.stat(file)
                    found.append((file, seen.st_size, seen.st_mtime_ns, seen.st_ino))
        return found

    def hints(self, change: Change) -> Iterator[Hint]:
        """Yield the hints for a change. Ignored names have none."""
        path, folder, name = change.path, os.path.dirname(change.path), os.path.basename(change.path)
        if path in self.manifest or (folder in self.manifest and name.endswith(YAML)):
            yield ManifestTouched()
        if name == SWAPPED:
            if any(folder == mine or folder == os.path.dirname(mine) for mine in self.manifest):
                yield ManifestTouched()
            if any(folder == os.path.dirname(source) for source in self.sources):
                yield SourceTouched(path)
        if any(self._is_source(path, source) for source in self.sources):
            yield SourceTouched(path)
        root = next((root for root in self.roots if path == root or path.startswith(root + "/")), None)
        if root is not None:
            inner = path[len(root) + 1 :].split("/")
            if any(JUNK.is_folder(part) for part in inner):
                return
            if change.is_folder:
                yield TreeTouched(path, removal=change.gone)
            elif name == IGNORE_FILE:
                yield TreeTouched(folder)
            elif not JUNK.is_file(name):
                yield FolderTouched(folder, removal=change.gone)
        elif path in self.files:
            yield FolderTouched(folder, removal=change.gone)

    def _is_source(self, path: str, source: str) -> bool:
        """Whether `path` is the source, or a file in its folder or below the fixed part of its glob."""
        if JUNK.is_file(os.path.basename(path)):
            return False
        return path == source or path.startswith(self.globs.get(source, source) + "/")


def places_of(manifest: LoadedManifest, manifest_path: Path, var_files: Sequence[Path]) -> Places:
    """Return the places of a manifest."""
    base, model = manifest.base_dir, manifest.model
    annotations: list[Annotation] = list(model.annotations)

    def absolute(path: str | Path) -> str:
        return os.path.abspath(base / path)

    roots, files, sources = set(), set(), set()
    globs: dict[str, str] = {}
    for collection in manifest.collections:
        roots |= {absolute(folder.path) for folder in collection.folders}
        files |= {absolute(path) for path in collection.files}
        for entry in collection.file_metadata:
            if isinstance(entry, str | MetadataSourceFile):
                sources.add(absolute(entry if isinstance(entry, str) else entry.source))
        annotations += collection.annotations
    sources |= {absolute(entry.source) for entry in model.metadata}
    for annotation in annotations:
        named = [annotation.source] if isinstance(annotation.source, str) else annotation.source
        sources |= {absolute(source) for source in named}
        # Only the manifest's text is a pattern, because the manifest's folder may have brackets in its name.
        globs |= {
            absolute(source): absolute(_fixed_part(source))
            for source in named
            if glob.has_magic(source) and not os.path.lexists(absolute(source))
        }
    notify = model.notify
    remote = model.remote
    secrets = (remote.api_key_file, remote.secret_file, remote.ca_file, notify.secret_file if notify else None)
    own = {os.path.abspath(path) for path in (manifest_path, *var_files)}
    own |= {absolute(path) for path in secrets if path is not None}
    return Places(frozenset(roots), frozenset(files), frozenset(sources), frozenset(own), globs)


def _fixed_part(path: str) -> str:
    """Return the folder above the first pattern of a glob."""
    while glob.has_magic(path):
        path = os.path.dirname(path)
    return path
