"""One collection as the manifest wants it: its sources, metadata and annotations, ready to be compared.

Owns: questions about these inputs, the notes on entries and files that do not match, and the cache that keeps
annotation indexes between the runs of a daemon. Must not: open sources (`open_sources`), or compare them with the
state or the lake.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from dataclasses import field
from typing import TYPE_CHECKING

from metalake_sync.core.diff import CollectionRules
from metalake_sync.core.diff_sets import (
    Decisions,
    OperationPolicy,
    SetKey,
    decided_merge,
    decisions_of,
)
from metalake_sync.core.metadata import MetadataSet
from metalake_sync.core.notes import Note, NoteCode, counted, some_of
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.core.snapshots import (
    CollectionKey,
    CollectionPolicy,
    DesiredFile,
    DesiredSet,
    MediaType,
    RecordedFile,
)
from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import ResolvedCollection
from metalake_sync.planning.file_sources import FileSource, FolderSource
from metalake_sync.sources.metadata_layers import MetadataLayer, MetadataRules
from metalake_sync.sources.names import lake_name
from metalake_sync.sources.rules import explain_scan
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex


class StaleAnnotations(Exception):
    """An entry that was read before may match an image that is new or changed since."""


@dataclass(slots=True)
class AnnotationCache:
    _kept: dict[CollectionKey, dict[str, AnnotationIndex]] = field(default_factory=dict)

    def of(self, key: CollectionKey) -> dict[str, AnnotationIndex] | None:
        """A collection's indexes by operation. None if the cache does not have them all."""
        kept = self._kept.get(key)
        return dict(kept) if kept is not None else None

    def keep(self, key: CollectionKey, indexes: Mapping[str, AnnotationIndex]) -> None:
        self.forget(key)
        self._kept[key] = dict(indexes)

    def release(self, key: CollectionKey) -> None:
        """Remove a collection's indexes without closing them. The caller closes them."""
        self._kept.pop(key, None)

    def forget(self, key: CollectionKey) -> None:
        """Remove a collection's indexes and close them."""
        for index in self._kept.pop(key, {}).values():
            index.close()

    def close(self) -> None:
        """Close and remove all indexes. The cache can be filled again."""
        for key in list(self._kept):
            self.forget(key)


@dataclass(slots=True)
class DesiredCollection:
    """One collection as the manifest wants it. Close it: annotation indexes live in temporary files."""

    key: CollectionKey
    policy: CollectionPolicy
    storage_prefix: str | None
    head: MetadataSet
    common_metadata: MetadataSet
    folders: tuple[FolderSource, ...]
    files: tuple[FileSource, ...]
    metadata_rules: MetadataRules
    annotations: dict[str, AnnotationIndex] = field(default_factory=dict)
    """Annotation indexes by operation."""
    declared_at: str = ""
    left_alone: dict[str, OperationPolicy] = field(default_factory=dict)
    """Operations whose source is broken, so that their sets in the lake stay as they are."""
    decisions: Decisions = field(default_factory=dict)
    """The conflicts that a user decided, of all collections."""
    annotation_cache: AnnotationCache | None = None
    """Keeps the annotation indexes open when this is closed."""
    read_before: bool = False
    """Whether the annotation indexes come from an earlier run."""
    _unmatched_files: dict[str, list[str]] = field(default_factory=dict)

    def annotation_sets(self, name: str) -> dict[str, DesiredSet]:
        """The sets that the sources have for a file, by operation. `name`: its name in the collection."""
        found: dict[str, DesiredSet] = {}
        for operation, index in self.annotations.items():
            image = index.images().get(name)
            if image is None:
                self._unmatched_files.setdefault(operation, []).append(name)
                continue
            found[operation] = DesiredSet(operation, index.kind, image.digest, image.shape_count)
        return found

    def may_merge(self, operation: str, name: str) -> bool:
        """Return whether a set in conflict may be merged with the lake's."""
        key = SetKey(self.key.name, name, operation)
        return self.annotations[operation].on_drift == "merge" or decided_merge(self.decisions, key)

    def operation_policy(self, operation: str) -> OperationPolicy:
        """Return the policy of an operation whose source could be read."""
        index = self.annotations[operation]
        decided = decisions_of(self.decisions, self.key.name, operation)
        return OperationPolicy(index.kind, index.mode, on_drift=index.on_drift, decided=decided)

    def record(self, operation: str, name: str) -> ImageRecord:
        """Read the shapes of a file from the annotation index. None of its entries may match the file."""
        return self.annotations[operation].record(name)

    def shapes_of(self, name: str, operation: str) -> ImageRecord | None:
        """The shapes that a source has for a file, or None without a source or an entry."""
        index = self.annotations.get(operation)
        return index.record(name) if index is not None and name in index.images() else None

    def leave_alone(self, operation: str) -> None:
        """Drop the source of an operation, so that its sets stay as they are. Call it before anything is planned."""
        index = self.annotations.pop(operation)
        self.left_alone[operation] = OperationPolicy(index.kind, index.mode, known=False)
        if self.annotation_cache is not None:
            self.annotation_cache.release(self.key)
            self.annotation_cache = None
        index.close()

    def check_not_stale(self, name: str, filename: str) -> None:
        """Raise StaleAnnotations if an entry that an earlier run read may match a new or changed image."""
        if self.read_before and any(index.may_match(name, filename) for index in self.annotations.values()):
            raise StaleAnnotations(name)

    def covers(self, path: str) -> bool:
        """Whether a path from the manifest's folder lies in one of the sources, regardless of their patterns."""
        folders = [source.path for source in self.folders]
        inside = any(not folder or path.startswith(folder + "/") for folder in folders)
        return inside or any(source.path == path for source in self.files)

    def takes(self, path: str) -> bool:
        """Whether one of the sources includes an existing file. `path`: from the manifest's folder.

        Evaluates the patterns for this path alone, so call it for a few paths, not for all.
        """
        named = any(source.path == path and os.path.lexists(source.root) for source in self.files)
        return named or any(
            os.path.lexists(os.path.join(source.root, relative))
            and explain_scan(source.root, source.rules, relative)[0]
            for source in self.folders
            if (relative := source.relative(path))
        )

    def recorded_shapes(self, operation: str, name: str, digest: str) -> ImageRecord | None:
        """The shapes behind a recorded digest, if the source still has them."""
        index = self.annotations.get(operation)
        image = index.images().get(name) if index is not None else None
        return index.record(name) if index is not None and image is not None and image.digest == digest else None

    def metadata_layers(self, path: str) -> list[MetadataLayer] | None:
        """The layers of a file's metadata, from general to specific (see `explain_layers`).

        `path`: from the manifest's folder. Returns None if no source of the collection has the file.
        """
        sources: list[FolderSource | FileSource] = [*self.folders, *self.files]
        for source in sources:
            relative = source.relative(path)
            if relative and os.path.lexists(os.path.join(source.folder, relative)):
                return source.metadata.layers_of(lake_name(relative, source.naming), relative)
        return None

    def entries_without_file(self) -> Iterator[tuple[str, list[str]]]:
        """Each operation with the entries that match no file."""
        for operation, index in self.annotations.items():
            if index.without_file:
                yield operation, index.without_file

    def files_without_entry(self) -> Iterator[tuple[str, list[str]]]:
        """Each operation with the files that match no entry. Call it after the scan."""
        yield from self._unmatched_files.items()

    def close(self) -> None:
        if self.annotation_cache is None:
            for index in self.annotations.values():
                index.close()


def key_of(collection: ResolvedCollection) -> CollectionKey:
    """The type and name of a collection of the manifest."""
    return CollectionKey(MediaType(collection.type), collection.name)


def desired_as_recorded(rules: CollectionRules, recorded: RecordedFile) -> DesiredFile:
    """Return the file as it was last applied, as if the manifest wanted exactly that.

    A set whose source is unreadable is left out, because apply could not write it again.
    """
    return DesiredFile(
        recorded.name,
        recorded.path,
        recorded.fingerprint,
        MetadataSet(rules.written(recorded.metadata_digest) or {}, recorded.metadata_digest),
        recorded.content_hash,
        {
            operation: DesiredSet(operation, known.kind, known.digest, known.shape_count)
            for operation, known in recorded.annotations.items()
            if operation not in rules.operations or rules.operations[operation].known
        },
    )


def collection_rules(desired: DesiredCollection, state: StateStore, handle: CollectionHandle | None) -> CollectionRules:
    """The rules by which `core.diff` compares the files of a collection. `handle`: None if it was never recorded."""
    unfinished: Set[str] = frozenset()
    if handle is not None and desired.policy.on_trashed != "restore":
        unfinished = {lost.name for lost in state.pending_replacements.lost(handle)}
    return CollectionRules(
        desired.key,
        desired.policy,
        state.metadata_sets.values,
        {operation: desired.operation_policy(operation) for operation in desired.annotations} | desired.left_alone,
        unfinished,
        records_fingerprints=not state.is_shared,
    )


def unmatched_entry_notes(desired: DesiredCollection) -> Iterator[Note]:
    """The notes on one collection. Call it after the scan. Raises ManifestErrors for a `strict` source."""
    strict: list[ManifestError] = []
    for operation, entries in desired.entries_without_file():
        index = desired.annotations[operation]
        clause = f"{counted(len(entries), 'entry has', 'entries have')} no file in the collection"
        if index.strict:
            strict.append(_strict(f"{clause}: {some_of(entries)}", index.declared_at))
        yield Note.naming(NoteCode.ANNOTATION_WITHOUT_FILE, clause, entries, operation)
    for operation, files in desired.files_without_entry():
        index = desired.annotations[operation]
        have = counted(len(files), "file of the collection has", "files of the collection have")
        clause = f"{have} no entry in the source"
        if index.strict:
            strict.append(_strict(f"{clause}: {some_of(files)}", index.declared_at))
        yield Note.naming(NoteCode.FILE_WITHOUT_ANNOTATION, clause, files, operation)
    if strict:
        raise ManifestErrors(strict)
    for error in desired.metadata_rules.broken_without_file():
        yield Note(NoteCode.METADATA_INVALID, f"the entry is left out: {error.message}", str(error.where))
    missing = desired.metadata_rules.entries_without_file()
    if missing:
        clause = f"{counted(len(missing), 'metadata entry has', 'metadata entries have')} no file in the collection"
        yield Note.naming(NoteCode.METADATA_WITHOUT_FILE, clause, missing, desired.key.name)
    for index in desired.annotations.values():
        yield from index.notes()


def _strict(message: str, where: str) -> ManifestError:
    return ManifestError(message, where=where, remedy="Correct the source, or set 'strict: false'.")
