"""The manifest's view of one collection, opened: what to scan, by which rules, with which metadata and annotations.

Owns: the translation of the manifest into the words of `sources` and `annotations`. Must not: compare anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import field
from typing import TYPE_CHECKING, assert_never

from metalake_sync.core.diff_sets import OperationPolicy
from metalake_sync.core.metadata import AS_WRITTEN, MetadataSet, Spelling, merge_layers, metadata_set
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.core.snapshots import CollectionKey, CollectionPolicy, DesiredSet, MediaType
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
from metalake_sync.planning.annotation_cache import KeptAnnotations, StaleAnnotations
from metalake_sync.planning.open_sources import FileSource, FolderSource, normal_path, walk_files
from metalake_sync.planning.skipped_parts import Broken, SetApart
from metalake_sync.sources.file_metadata import MetadataLayer, MetadataRules, MetadataSource, PatternSource
from metalake_sync.sources.image_facts import ImageFacts
from metalake_sync.sources.metadata_csv import TableFormat
from metalake_sync.sources.metadata_files import read_metadata_file
from metalake_sync.sources.naming import lake_name
from metalake_sync.sources.readings import NoCache, ReadingCache
from metalake_sync.sources.rule_reasons import why_taken_or_not
from metalake_sync.sources.rules import PatternList, ScanRules, has_ending_of
from metalake_sync.sources.sidecars import Sidecars

if TYPE_CHECKING:
    from metalake_sync.annotations.parse_cache import SetMemo
    from metalake_sync.annotations.source import AnnotationIndex


@dataclass(slots=True)
class DesiredCollection:
    """One collection as the manifest wants it, ready for the march. Close it: annotations live in a temporary file.

    `left_alone`: operations whose source is broken, so that their sets in the lake stay as they are. `kept`: who keeps
    the annotations when this is closed. `read_before`: they are an earlier run's."""

    key: CollectionKey
    policy: CollectionPolicy
    storage_prefix: str | None
    head: MetadataSet
    common_metadata: MetadataSet
    folders: tuple[FolderSource, ...]
    files: tuple[FileSource, ...]
    metadata_rules: MetadataRules
    annotations: dict[str, AnnotationIndex] = field(default_factory=dict)
    declared_at: str = ""
    left_alone: dict[str, OperationPolicy] = field(default_factory=dict)
    kept: KeptAnnotations | None = None
    read_before: bool = False
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

    def record(self, operation: str, name: str) -> ImageRecord:
        """Read a file's shapes back from their source. The march has met the file before."""
        return self.annotations[operation].record(name)

    def leave_alone(self, operation: str) -> None:
        """Do without the source of an operation. Call it before anything is planned."""
        index = self.annotations.pop(operation)
        self.left_alone[operation] = OperationPolicy(index.kind, index.mode, known=False)
        if self.kept is not None:
            self.kept.release(self.key)
            self.kept = None
        index.close()

    def check_not_stale(self, name: str, filename: str) -> None:
        """Raises StaleAnnotations if a picture that is new or changed may be meant by an entry that was read before."""
        if self.read_before and any(index.may_mean(name, filename) for index in self.annotations.values()):
            raise StaleAnnotations(name)

    def covers(self, path: str) -> bool:
        """Whether a path of the manifest's folder lies in one of the sources, whatever their patterns say."""
        folders = [source.path for source in self.folders]
        inside = any(not folder or path.startswith(folder + "/") for folder in folders)
        return inside or any(source.path == path for source in self.files)

    def takes(self, path: str) -> bool:
        """Whether one of the sources takes a path of the manifest's folder that is there. Rules are asked one by one:
        for a few paths, not for all."""
        named = any(source.path == path and os.path.lexists(source.root) for source in self.files)
        return named or any(
            os.path.lexists(os.path.join(source.root, relative))
            and why_taken_or_not(source.root, source.rules, relative)[0]
            for source in self.folders
            if (relative := source.relative(path))
        )

    def recorded_shapes(self, operation: str, name: str, digest: str) -> ImageRecord | None:
        """The shapes behind a recorded digest, if the source still has them."""
        index = self.annotations.get(operation)
        image = index.images().get(name) if index is not None else None
        return index.record(name) if index is not None and image is not None and image.digest == digest else None

    def metadata_layers(self, path: str) -> list[MetadataLayer] | None:
        """Where a file's metadata comes from, from wide to narrow (see `explain_layers`).
        `path`: from the manifest's folder. None where no source of the collection has such a file."""
        sources: list[FolderSource | FileSource] = [*self.folders, *self.files]
        for source in sources:
            relative = source.relative(path)
            if relative and os.path.lexists(os.path.join(source.folder, relative)):
                return source.metadata.layers_of(lake_name(relative, source.naming), relative)
        return None

    def entries_without_file(self) -> Iterator[tuple[str, list[str]]]:
        """Operation and the entries that met no file."""
        for operation, index in self.annotations.items():
            if index.without_file:
                yield operation, index.without_file

    def files_without_entry(self) -> Iterator[tuple[str, list[str]]]:
        """Operation and the files that its sources say nothing of. Call it after the march."""
        yield from self._unmatched_files.items()

    def close(self) -> None:
        if self.kept is None:
            for index in self.annotations.values():
                index.close()


def open_collection(
    manifest: LoadedManifest,
    collection: ResolvedCollection,
    readings: ReadingCache | None = None,
    set_apart: SetApart | None = None,
    kept: KeptAnnotations | None = None,
    memo: SetMemo | None = None,
    *,
    scoped: bool = False,
    spelling: Spelling = AS_WRITTEN,
) -> DesiredCollection:
    """Open a collection's sources. `readings`: keeps what was read from single files. `set_apart`: told of a broken
    source of annotations, which is left out then. `kept`: where annotation indexes stay; a `scoped` run takes
    them from there. `memo`: keeps what became of single entries. `spelling`: how the lake spells fields and tags.

    Raises ManifestErrors with every mistake in any of them.
    """
    opening = _Opening(manifest, collection, readings or NoCache(), set_apart, memo)
    head = metadata_set(merge_layers(collection.metadata_layers, spelling))
    base_layers = opening.base_layers() if collection.metadata_scope == "files" else ()
    rules = MetadataRules(base_layers, opening.metadata_sources(), spelling=spelling)
    folders = tuple(opening.folder(number, folder, rules) for number, folder in enumerate(collection.folders))
    files = tuple(opening.file(number, path, rules) for number, path in enumerate(collection.files))
    before = kept.of(opening.key) if kept is not None and scoped else None
    annotations = before if before is not None else opening.annotations(folders, files)
    if opening.errors:
        opening.look_for_folders(folders)
        for index in annotations.values() if before is None else ():
            index.close()
        raise ManifestErrors(opening.errors)
    whole = kept if annotations and not opening.left_alone else None
    if whole is not None and before is None:
        whole.keep(opening.key, annotations)
    return DesiredCollection(
        key=opening.key,
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
        common_metadata=metadata_set(merge_layers((layer.values for layer in base_layers), spelling)),
        folders=folders,
        files=files,
        metadata_rules=rules,
        annotations=annotations,
        declared_at=str(opening.where("name")),
        left_alone=opening.left_alone,
        kept=whole,
        read_before=before is not None,
    )


@dataclass(slots=True)
class _Opening:
    """Opens one collection and gathers what is wrong with it."""

    manifest: LoadedManifest
    collection: ResolvedCollection
    readings: ReadingCache
    set_apart: SetApart | None = None
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
                self._blame(error, self.where("folders", number, key))
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
            message = f"'{path}' is no {self.collection.type} file by its ending"
            remedy = "Take it out, or put it into a collection of the type that fits; 'other' takes every file."
            self._blame(ManifestError(message, remedy=remedy), self.where("files", number))
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
                    self._blame(one, where)
            except ManifestError as error:
                self._blame(error, where)
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
        # Readers of annotations are imported by who has some.
        from metalake_sync.annotations.images import LocalImages
        from metalake_sync.annotations.parse_cache import NO_MEMO
        from metalake_sync.annotations.source import open_index
        from metalake_sync.annotations.spec import AnnotationSpec
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
                if self.set_apart is None:
                    self.errors += errors.errors
                    continue
                self.left_alone[operation] = OperationPolicy(specs[0].kind, specs[0].mode, known=False)
                self.set_apart(Broken(self.key, operation, errors))
        return indexes

    def look_for_folders(self, folders: tuple[FolderSource, ...]) -> None:
        """Where there are mistakes already, a folder that is not there is told with them, not after them."""
        for source in folders:
            if not os.path.lexists(source.root):
                remedy = "Create it, make it readable, or correct the path."
                self.errors.append(
                    ManifestError(f"'{source.path or '.'}' does not exist", where=source.declared_at, remedy=remedy)
                )

    def _blame(self, error: ManifestError, where: Location) -> None:
        """Say where in the manifest a source is named, besides where in the source the mistake is."""
        inner = f"{error.where}: " if error.where is not None else ""
        self.errors.append(ManifestError(f"{inner}{error.message}", where=where, remedy=error.remedy))


def key_of(collection: ResolvedCollection) -> CollectionKey:
    """What a collection of the manifest is called."""
    return CollectionKey(MediaType(collection.type), collection.name)


def table_format(entry: MetadataSourceFile) -> TableFormat:
    """How the manifest says that a table is written."""
    return TableFormat(entry.file_column, entry.types, entry.delimiter, entry.tags_separator)
