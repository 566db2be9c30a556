"""The manifest's view of one collection, opened: what to scan, by which rules, with which metadata and annotations.

Owns: the translation of the manifest into the words of `local` and `annotations`. Must not: compare anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from metalake_sync.annotations.pictures import LocalPictures
from metalake_sync.annotations.source import AnnotationIndex, AnnotationSpec, open_index
from metalake_sync.annotations.validation import InvalidPolicy, ShapeProblem
from metalake_sync.core.facts import AnnotationKind, CollectionKey, CollectionPolicy, DesiredSet, MediaType
from metalake_sync.core.metadata import MetadataSet, merge_layers, metadata_set
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.engine.sources import FileSource, FolderSource, normal_path, scan_source
from metalake_sync.errors import Location, ManifestError, ManifestErrors
from metalake_sync.local.file_metadata import MetadataRules, MetadataSource, PatternSource
from metalake_sync.local.metadata_json import read_metadata_json
from metalake_sync.local.naming import lake_name
from metalake_sync.local.rules import PatternList, ScanRules
from metalake_sync.manifest import LoadedManifest, ResolvedCollection
from metalake_sync.manifest.models import Folder, InvalidShapes
from metalake_sync.state.names import join_path


@dataclass(slots=True)
class DesiredCollection:
    """One collection as the manifest wants it, ready for the march. Close it: annotations live in a temporary file."""

    key: CollectionKey
    policy: CollectionPolicy
    storage_prefix: str | None
    head: MetadataSet
    common_metadata: MetadataSet
    folders: tuple[FolderSource, ...]
    files: tuple[FileSource, ...]
    metadata_rules: MetadataRules
    annotations: Mapping[str, AnnotationIndex] = field(default_factory=dict)
    declared_at: str = ""
    _unmatched_files: dict[str, int] = field(default_factory=dict)

    def annotation_sets(self, name: str) -> dict[str, DesiredSet]:
        """The sets that the sources have for a file, by operation. `name`: its name in the collection."""
        found: dict[str, DesiredSet] = {}
        for operation, index in self.annotations.items():
            image = index.images().get(name)
            if image is None:
                self._unmatched_files[operation] = self._unmatched_files.get(operation, 0) + 1
                continue
            found[operation] = DesiredSet(operation, index.kind, image.digest, image.shape_count)
        return found

    def record(self, operation: str, name: str) -> ImageRecord:
        """Read a file's shapes back from their source. The march has met the file before."""
        return self.annotations[operation].record(name)

    def entries_without_file(self) -> Iterator[tuple[str, list[str]]]:
        """Operation and the entries that met no file."""
        for operation, index in self.annotations.items():
            if index.without_file:
                yield operation, index.without_file

    def files_without_entry(self) -> Iterator[tuple[str, int]]:
        """Operation and the number of files that its sources say nothing of. Call it after the march."""
        yield from self._unmatched_files.items()

    def close(self) -> None:
        for index in self.annotations.values():
            index.close()


def open_collection(manifest: LoadedManifest, collection: ResolvedCollection) -> DesiredCollection:
    """Open a collection's sources. Raises ManifestErrors with every mistake in any of them."""
    opening = _Opening(manifest, collection)
    layers = collection.metadata_layers
    head = metadata_set(merge_layers(layers))
    base_layers = layers if collection.metadata_scope == "files" else ()
    rules = MetadataRules(base_layers, opening.metadata_sources())
    folders = tuple(opening.folder(number, folder, rules) for number, folder in enumerate(collection.folders))
    files = tuple(opening.file(number, path, rules) for number, path in enumerate(collection.files))
    annotations = opening.annotations(folders, files)
    if opening.mistakes:
        for index in annotations.values():
            index.close()
        raise ManifestErrors(opening.mistakes)
    return DesiredCollection(
        key=CollectionKey(MediaType(collection.type), collection.name),
        policy=CollectionPolicy(
            on_change=collection.on_change,
            adopt=collection.adopt,
            tags=collection.tags,
            prune=collection.prune,
            prevent_destroy=collection.prevent_destroy,
            metadata_override=collection.metadata_override,
        ),
        storage_prefix=collection.storage_prefix,
        head=head,
        common_metadata=metadata_set(merge_layers(base_layers)),
        folders=folders,
        files=files,
        metadata_rules=rules,
        annotations=annotations,
        declared_at=str(opening.where("name")),
    )


@dataclass(slots=True)
class _Opening:
    """Opens one collection and gathers what is wrong with it."""

    manifest: LoadedManifest
    collection: ResolvedCollection
    mistakes: list[ManifestError] = field(default_factory=list)

    def where(self, *path: str | int) -> Location:
        return self.manifest.where("collections", self.collection.index, *path)

    def folder(self, number: int, folder: Folder, rules: MetadataRules) -> FolderSource:
        where = self.where("folders", number)
        scan_rules = ScanRules(
            MediaType(self.collection.type), tuple(folder.include), tuple(folder.exclude), folder.recursive
        )
        for key in ("include", "exclude"):
            try:
                PatternList(getattr(folder, key))
            except ManifestError as error:
                self._blame(error, self.where("folders", number, key))
        return FolderSource(
            path=normal_path(folder.path),
            root=os.path.join(self.manifest.base_dir, folder.path),
            rules=scan_rules,
            naming=folder.naming,
            metadata=rules.for_folder(folder.metadata),
            declared_at=str(self.where("folders", number, "path") or where),
        )

    def file(self, number: int, path: str, rules: MetadataRules) -> FileSource:
        return FileSource(
            path=normal_path(path),
            root=os.path.join(self.manifest.base_dir, path),
            metadata=rules.for_folder({}),
            declared_at=str(self.where("files", number)),
        )

    def metadata_sources(self) -> list[MetadataSource]:
        sources: list[MetadataSource] = []
        for number, entry in enumerate(self.collection.file_metadata):
            where = self.where("file_metadata", number)
            try:
                if isinstance(entry, str):
                    sources.append(read_metadata_json(self.manifest.base_dir / entry, entry))
                else:
                    sources.append(PatternSource(PatternList([entry.match]), entry.metadata))
            except ManifestError as error:
                self._blame(error, where)
        return sources

    def annotations(
        self, folders: tuple[FolderSource, ...], files: tuple[FileSource, ...]
    ) -> dict[str, AnnotationIndex]:
        by_operation: dict[str, list[AnnotationSpec]] = {}
        for number, annotation in enumerate(self.collection.annotations):
            source = annotation.source
            spec = AnnotationSpec(
                operation=annotation.operation,
                kind=AnnotationKind(annotation.kind),
                sources=(source,) if isinstance(source, str) else tuple(source),
                base_dir=self.manifest.base_dir,
                declared_at=str(self.where("annotations", number, "source")),
                normalized=annotation.normalized,
                mode=annotation.mode,
                strict=annotation.strict,
                labels=annotation.labels.rename,
                allowed=frozenset(annotation.labels.allow) or None,
                format=annotation.format,
                invalid=_invalid_policy(annotation.invalid),
            )
            by_operation.setdefault(annotation.operation, []).append(spec)
        if not by_operation:
            return {}
        pictures = LocalPictures(_pictures(folders, files))
        indexes: dict[str, AnnotationIndex] = {}
        for operation, specs in by_operation.items():
            try:
                indexes[operation] = open_index(specs, pictures)
            except ManifestErrors as errors:
                self.mistakes += errors.errors
        return indexes

    def _blame(self, error: ManifestError, where: Location) -> None:
        """Say where in the manifest a source is named, besides where in the source the mistake is."""
        inner = f"{error.where}: " if error.where is not None else ""
        self.mistakes.append(ManifestError(f"{inner}{error.message}", where=where, remedy=error.remedy))


def _pictures(folders: tuple[FolderSource, ...], files: tuple[FileSource, ...]) -> Iterator[tuple[str, str, str]]:
    """Name in the collection, path from the source, and path on disk of every file."""
    for source in folders:
        for folder in scan_source(source):
            for file in folder.files:
                relative = join_path(folder.relative_dir, file.filename)
                yield lake_name(relative, source.naming), relative, os.path.join(source.root, relative)
    for single in files:
        name = os.path.basename(single.root)
        yield name, name, single.root


def _invalid_policy(invalid: InvalidShapes) -> InvalidPolicy:
    said = {problem: getattr(invalid, problem.value) for problem in ShapeProblem}
    return InvalidPolicy(invalid.default, {problem: what for problem, what in said.items() if what is not None})
