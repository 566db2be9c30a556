"""Opens the collections of a manifest: sources, rules, metadata and annotations become `DesiredCollection`s.

Owns: the translation of the manifest into what `sources` and `annotations` read. Must not: ask the lake, or compare
anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import field
from typing import TYPE_CHECKING, assert_never

from metalake_sync.core.diff_sets import OperationPolicy
from metalake_sync.core.metadata import AS_WRITTEN, Spelling, merge_layers, metadata_set
from metalake_sync.core.snapshots import CollectionKey, CollectionPolicy, MediaType
from metalake_sync.errors import Location, ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import (
    Folder,
    FromFiles,
    LoadedManifest,
    MetadataSourceFile,
    PatternMetadata,
    ResolvedCollection,
)
from metalake_sync.planning.desired import AnnotationCache, DesiredCollection, key_of
from metalake_sync.planning.file_sources import FileSource, FolderSource, normal_path, walk_files
from metalake_sync.planning.run_options import OnSkipped, RunOptions, SkippedPart
from metalake_sync.sources.image_headers import ImageFacts
from metalake_sync.sources.metadata_layers import MetadataLayer, MetadataRules, MetadataSource, PatternSource
from metalake_sync.sources.metadata_readers import TableFormat, read_metadata_file
from metalake_sync.sources.readings import NoCache, ReadingCache
from metalake_sync.sources.rules import PatternList, ScanRules, has_ending_of
from metalake_sync.sources.sidecars import Sidecars
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex
    from metalake_sync.annotations.parse_cache import SetMemo


def open_sources(
    manifest: LoadedManifest,
    options: RunOptions | None = None,
    state: StateStore | None = None,
    spelling: Spelling = AS_WRITTEN,
) -> Iterator[DesiredCollection]:
    """Open every collection of a manifest, before any is planned. Raises the errors of all of them together.

    With `on_skipped` in the options, broken collections are passed to it, and the others are opened. `state`: caches
    what is read.
    """
    options = options or RunOptions()
    on_skipped, cache, scoped = options.on_skipped, options.annotation_cache, options.scope is not None
    readings, memo = (state.readings, state.set_memo) if state is not None else (None, None)
    opened: list[DesiredCollection] = []
    errors: list[ManifestError] = []
    for collection in manifest.collections:
        try:
            one = open_collection(
                manifest, collection, readings, on_skipped, cache, memo, scoped=scoped, spelling=spelling
            )
            one.decisions = options.decisions
            opened.append(one)
        except ManifestError as error:
            if on_skipped is not None:
                on_skipped(SkippedPart(key_of(collection), None, error))
            else:
                errors += error.errors if isinstance(error, ManifestErrors) else [error]
    if errors:
        for collection_opened in opened:
            collection_opened.close()
        raise ManifestErrors(errors)
    yield from opened


def open_collection(
    manifest: LoadedManifest,
    collection: ResolvedCollection,
    readings: ReadingCache | None = None,
    on_skipped: OnSkipped | None = None,
    annotation_cache: AnnotationCache | None = None,
    memo: SetMemo | None = None,
    *,
    scoped: bool = False,
    spelling: Spelling = AS_WRITTEN,
) -> DesiredCollection:
    """Open the sources of a collection. Raises ManifestErrors with every error in any of them.

    `readings`: caches what is read from single files. `on_skipped`: receives a broken annotation source, which is then
    left out. `annotation_cache`: keeps annotation indexes; a `scoped` run uses those that are in it. `memo`: caches the
    results for single entries. `spelling`: how the lake spells fields and tags.
    """
    opening = _Opening(manifest, collection, readings or NoCache(), on_skipped, memo)
    head = metadata_set(merge_layers(collection.metadata_layers, spelling))
    base_layers = opening.base_layers() if collection.metadata_scope == "files" else ()
    rules = MetadataRules(base_layers, opening.metadata_sources(), spelling=spelling)
    folders = tuple(opening.folder(number, folder, rules) for number, folder in enumerate(collection.folders))
    files = tuple(opening.file(number, path, rules) for number, path in enumerate(collection.files))
    before = annotation_cache.of(opening.key) if annotation_cache is not None and scoped else None
    annotations = before if before is not None else opening.annotations(folders, files)
    if opening.errors:
        opening.check_folders_exist(folders)
        for index in annotations.values() if before is None else ():
            index.close()
        raise ManifestErrors(opening.errors)
    whole = annotation_cache if annotations and not opening.left_alone else None
    if whole is not None and before is None:
        whole.keep(opening.key, annotations)
    return DesiredCollection(
        key=opening.key,
        policy=collection_policy(collection),
        storage_prefix=collection.storage_prefix,
        head=head,
        common_metadata=metadata_set(merge_layers((layer.values for layer in base_layers), spelling)),
        folders=folders,
        files=files,
        metadata_rules=rules,
        annotations=annotations,
        declared_at=str(opening.where("name")),
        left_alone=opening.left_alone,
        annotation_cache=whole,
        read_before=before is not None,
    )


def collection_policy(collection: ResolvedCollection) -> CollectionPolicy:
    """Return what the manifest allows in a collection."""
    return CollectionPolicy(
        on_change=collection.on_change,
        adopt=collection.adopt,
        tags=collection.tags,
        prune=collection.prune,
        prevent_destroy=collection.prevent_destroy,
        on_trashed=collection.on_trashed,
        metadata_override=collection.metadata_override,
    )


@dataclass(slots=True)
class _Opening:
    """Translates one collection of the manifest, and collects the errors in it."""

    manifest: LoadedManifest
    collection: ResolvedCollection
    readings: ReadingCache
    on_skipped: OnSkipped | None = None
    memo: SetMemo | None = None
    errors: list[ManifestError] = field(default_factory=list)
    left_alone: dict[str, OperationPolicy] = field(default_factory=dict)

    @property
    def key(self) -> CollectionKey:
        return key_of(self.collection)

    def where(self, *path: str | int) -> Location:
        return self.manifest.where("collections", self.collection.index, *path)

    def base_layers(self) -> tuple[MetadataLayer, ...]:
        wide, narrow = self.collection.metadata_layers
        return (
            MetadataLayer(f"defaults at {self.manifest.where('defaults', 'metadata')}", wide),
            MetadataLayer(f"collection at {self.where('metadata')}", narrow),
        )

    def folder(self, number: int, folder: Folder, rules: MetadataRules) -> FolderSource:
        where = self.where("folders", number)
        scan_rules = ScanRules(
            MediaType(self.collection.type),
            tuple(folder.include),
            tuple(folder.exclude),
            folder.recursive,
            folder.follow_symlinks,
        )
        for key in ("include", "exclude"):
            try:
                PatternList(getattr(folder, key))
            except ManifestError as error:
                self._add_error(error, self.where("folders", number, key))
        root = os.path.join(self.manifest.base_dir, folder.path)
        layer = MetadataLayer(f"folder at {self.where('folders', number, 'metadata')}", folder.metadata)
        return FolderSource(
            path=normal_path(folder.path),
            root=root,
            rules=scan_rules,
            naming=folder.naming,
            metadata=rules.for_folder(layer, root),
            declared_at=str(self.where("folders", number, "path") or where),
        )

    def file(self, number: int, path: str, rules: MetadataRules) -> FileSource:
        if not has_ending_of(MediaType(self.collection.type), os.path.basename(path)):
            message = f"'{path}' does not have the extension of a file of type '{self.collection.type}'"
            remedy = "Remove it, or move it to a collection of the right type. Type 'other' accepts every file."
            self._add_error(ManifestError(message, remedy=remedy), self.where("files", number))
        root = os.path.join(self.manifest.base_dir, path)
        return FileSource(
            path=normal_path(path),
            root=root,
            metadata=rules.for_folder(MetadataLayer("", {}), os.path.dirname(root)),
            declared_at=str(self.where("files", number)),
        )

    def metadata_sources(self) -> list[MetadataSource]:
        sources: list[MetadataSource] = []
        for number, entry in enumerate(self.collection.file_metadata):
            where = self.where("file_metadata", number)
            try:
                sources.append(self._metadata_source(entry, where))
            except ManifestErrors as errors:
                for one in errors.errors:
                    self._add_error(one, where)
            except ManifestError as error:
                self._add_error(error, where)
        return sources

    def _metadata_source(
        self, entry: str | PatternMetadata | MetadataSourceFile | FromFiles, where: Location
    ) -> MetadataSource:
        base_dir = self.manifest.base_dir
        match entry:
            case str():
                return read_metadata_file(base_dir / entry, entry)
            case PatternMetadata():
                return PatternSource(PatternList([entry.match]), entry.metadata, f"pattern '{entry.match}' at {where}")
            case MetadataSourceFile():
                return read_metadata_file(base_dir / entry.source, entry.source, entry.format, table_format(entry))
            case FromFiles():
                if entry.from_ == "sidecar":
                    return Sidecars(base_dir, self.readings)
                fields = None if entry.fields is None else {str(fact): name for fact, name in entry.fields.items()}
                return ImageFacts(base_dir, self.readings, fields)
            case _:
                assert_never(entry)

    def annotations(
        self, folders: tuple[FolderSource, ...], files: tuple[FileSource, ...]
    ) -> dict[str, AnnotationIndex]:
        if not self.collection.annotations:
            return {}
        # Imported here, because most collections have no annotations: saves start-up time.
        from metalake_sync.annotations.entries import AnnotationSpec
        from metalake_sync.annotations.image_matching import LocalImages
        from metalake_sync.annotations.index_builder import open_index
        from metalake_sync.annotations.parse_cache import NO_MEMO
        from metalake_sync.planning.annotation_specs import annotation_spec

        by_operation: dict[str, list[AnnotationSpec]] = {}
        for number, annotation in enumerate(self.collection.annotations):
            declared_at = str(self.where("annotations", number, "source"))
            spec = annotation_spec(annotation, self.manifest.base_dir, declared_at)
            by_operation.setdefault(annotation.operation, []).append(spec)
        images = LocalImages(walk_files([*folders, *files]), self.readings)
        indexes: dict[str, AnnotationIndex] = {}
        for operation, specs in by_operation.items():
            try:
                indexes[operation] = open_index(specs, images, self.memo or NO_MEMO)
            except ManifestErrors as errors:
                if self.on_skipped is None:
                    self.errors += errors.errors
                    continue
                self.left_alone[operation] = OperationPolicy(specs[0].kind, specs[0].mode, known=False)
                self.on_skipped(SkippedPart(self.key, operation, errors))
        return indexes

    def check_folders_exist(self, folders: tuple[FolderSource, ...]) -> None:
        """Add missing folders to the errors, so that they are reported together with the others."""
        for source in folders:
            if not os.path.lexists(source.root):
                remedy = "Create it, make it readable, or correct the path."
                self.errors.append(
                    ManifestError(f"'{source.path or '.'}' does not exist", where=source.declared_at, remedy=remedy)
                )

    def _add_error(self, error: ManifestError, where: Location) -> None:
        """Add an error in a source, with the line of the manifest that names the source."""
        inner = f"{error.where}: " if error.where is not None else ""
        self.errors.append(ManifestError(f"{inner}{error.message}", where=where, remedy=error.remedy))


def table_format(entry: MetadataSourceFile) -> TableFormat:
    """The table format that the manifest declares."""
    return TableFormat(entry.file_column, entry.types, entry.delimiter, entry.tags_separator)
