"""Uploads and downloads files, with a `Project` for each call.

Owns: the manifest of one block that the arguments of a call become, and the result of a call. Must not: plan or send
anything; the engine does. Longer than 300 lines, because each function states its arguments and errors for users.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from metalake_sync.api.arguments import (
    EVERYTHING,
    PYTHON,
    FilterLike,
    SortLike,
    filter_of,
    one_of,
    several,
    sort_of,
    translated_remedies,
    type_of,
)
from metalake_sync.api.connected import (
    Connected,
    ContentType,
    EngineRun,
    ProgressCallback,
    local_path,
    only,
)
from metalake_sync.api.items import Items
from metalake_sync.api.objects import (
    AnnotationsLike,
    MetadataLike,
    annotations_file,
    metadata_file,
    shown_source,
    without_file,
)
from metalake_sync.api.results import DownloadResult, SomeFailed, UploadResult
from metalake_sync.core.actions import DownloadAnnotations, DownloadFile, ReplaceFile, UpdateHead
from metalake_sync.core.diff import HOW_TO_TAKE_OVER
from metalake_sync.core.notes import NoteCode
from metalake_sync.core.plan import Plan
from metalake_sync.core.shapes import FormatName, ShapeTypeName
from metalake_sync.core.snapshots import CollectionKey, Origin
from metalake_sync.core.summary import Summary
from metalake_sync.errors import UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.rules import has_ending_of
from metalake_sync.state.store import StateStore


@dataclass(frozen=True, slots=True)
class AnnotationSource:
    """Annotations that are sent with files. The fields are those of `Annotations`."""

    source: AnnotationsLike
    operation: str
    kind: Literal["human", "machine"]
    normalized: bool = False
    format: FormatName | None = None
    old_form: bool | None = None
    shape_type: ShapeTypeName | None = None
    destination_project_id: str | None = None

    def __post_init__(self) -> None:
        one_of("kind", self.kind, ("human", "machine"))

    def block(self, file: str) -> dict[str, Any]:
        """Return the annotations as a block of a manifest. `file`: the path of the source."""
        return {
            "source": file,
            "operation": self.operation,
            "kind": self.kind,
            "normalized": self.normalized,
            "mode": "append",
            "old_form": self.old_form,
            "shape_type": self.shape_type,
            "destination_project_id": self.destination_project_id,
            **({"format": self.format} if self.format else {}),
        }


class Files(Items, Connected):
    """Methods that transfer files."""

    def upload_files_to_collection(
        self,
        path: str | os.PathLike[str],
        content_type: ContentType,
        collection_name: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        metadata_override: bool = False,
        file_metadata: MetadataLike | None = None,
        storage_prefix: str | None = None,
        annotations: AnnotationSource | Sequence[AnnotationSource] = (),
        existing: Literal["keep", "replace"] = "keep",
        recursive: bool = False,
        state: str | os.PathLike[str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> UploadResult:
        """Upload a file or the files of a folder into a collection, and wait until the lake shows them. The collection
        is created if it does not exist. Vendor's page: 2.1, and 2.18 (`existing="replace"` is its `override` for
        files).

        `metadata`: of every file. `metadata_override`: also write it to files that the lake has already.
        `file_metadata`: metadata of single files, as a JSON file or as objects (`api.objects`). `existing`: how to
        treat a file whose name the lake has already. "keep" leaves a file of the same size and reports others.
        "replace" leaves a file only if the store proves that its bytes are the same, and trashes and replaces others.
        `recursive`: include subfolders. `state`: a file that records the upload, so that the same call resumes it after
        an interruption. `progress`: receives the number of files and bytes a few times a second.

        Raises SomeFailed with the result for the other files, ManifestErrors for unusable sources, and errors of the
        lake.
        """
        key = CollectionKey(type_of(content_type), collection_name)
        one_of("existing", existing, ("keep", "replace"))
        target = local_path(path)
        if not os.path.exists(target):
            raise UsageError(f"'{os.fspath(path)}' does not exist", remedy="Correct the path.")
        _check_type(target, content_type)
        sources = [annotations] if isinstance(annotations, AnnotationSource) else list(annotations)
        block: dict[str, Any] = {
            "name": collection_name,
            "type": content_type,
            "metadata": dict(metadata or {}),
            "metadata_override": metadata_override,
            "adopt": "take_over" if existing == "replace" else "match",
        }
        if os.path.isdir(target):
            block["folders"] = [{"path": target, "recursive": recursive}]
        else:
            block["files"] = [target]
        if storage_prefix is not None:
            block["storage_prefix"] = storage_prefix
        run = EngineRun(progress, _has_files)
        remembered = Path(local_path(state)) if state is not None else None
        with contextlib.ExitStack() as stack:
            stack.enter_context(translated_remedies(PYTHON))
            files = [stack.enter_context(annotations_file(source.source)) for source in sources]
            block["annotations"] = [source.block(file) for source, file in zip(sources, files, strict=True)]
            if file_metadata is not None:
                block["file_metadata"] = [stack.enter_context(metadata_file(file_metadata))]
            engine = stack.enter_context(
                self._engine({"collections": [block]}, run, source=f"upload to '{collection_name}'", state=remembered)
            )
            # The caller asks for the collection's metadata, and with "replace" for replacements.
            approve = only(UpdateHead, ReplaceFile) if existing == "replace" else only(UpdateHead)
            applied = engine.apply(approve, command="upload")
            with StateStore(engine.state_backend) as records:
                result = self._uploaded(key, records, run, applied.finished.done, applied.finished.bytes_sent)
        failed = list(run.failed)
        for source, file in zip(sources, files, strict=True):
            shown = shown_source(source.source, f"annotations of {source.operation}")
            failed = without_file(failed, file, shown)
            result = replace(result, notes=tuple(note.replace(file, shown) for note in result.notes))
        if failed:
            raise SomeFailed(tuple(failed), result)
        return result

    def _uploaded(
        self, key: CollectionKey, state: StateStore, run: EngineRun, done: Summary, bytes_sent: int
    ) -> UploadResult:
        recorded = state.collections.of_lake(self._reached.identity).get(key)
        names: dict[Origin, dict[str, str]] = {Origin.UPLOADED: {}, Origin.ADOPTED: {}}
        if recorded is None:  # there was no file, and the collection was there before
            lake_id = self.find_collection(key.name, key.type.value).id
        else:
            handle, lake_id = recorded[0], recorded[1].lake_id
            for file in state.files.all(handle):
                names[file.origin][file.name] = file.unique_name
        notes = tuple(str(note).replace(HOW_TO_TAKE_OVER, "") for note in run.notes)
        kept = [note for note in run.notes if note.code in (NoteCode.NOT_ADOPTED, NoteCode.CHANGE_KEPT)]
        left = [where for note in kept for where in note.names or (note.where,)]
        return UploadResult(
            lake_id,
            tuple(run.job_ids),
            names[Origin.UPLOADED],
            names[Origin.ADOPTED],
            done.annotate,
            bytes_sent,
            notes,
            tuple(where.removeprefix(f"{key}/") for where in left),
        )

    def download_collection(
        self,
        collection_id: str,
        to: str | os.PathLike[str],
        *,
        annotation_type: Literal["human", "machine", "all"] = "all",
        operations: Sequence[str] = (),
        media: bool = True,
        query: str = "",
        filter: FilterLike = EVERYTHING,
        sort: SortLike | None = None,
        naming: Literal["unique_name", "name"] = "unique_name",
        annotation_format: FormatName = "metalake",
        progress: ProgressCallback | None = None,
    ) -> DownloadResult:
        """Download a collection's files and its annotations. Vendor's page: 2.7, and 2.8.

        `operations`: only these; without any, every one of `annotation_type`, which counts only then. `media`: the
        files themselves. `query`, `filter`: only the items that match, and their annotations. `naming`: what files are
        called, and what the annotations call them. Without `media`, the format yolo reads the size of each image from
        the lake. Unchanged files are not downloaded again.

        Raises SomeFailed, and errors of the lake or the folder.
        """
        block = {
            "media": media,
            "annotations": {
                "kind": annotation_type,
                "operations": several("operations", operations),
                "format": annotation_format,
            },
            "naming": naming,
            **_wanted(query, filter, sort),
        }
        return self._download(to, {**self._collection_of(collection_id), **block}, progress)

    def download_files_from_collection(
        self,
        collection_id: str,
        to: str | os.PathLike[str],
        *,
        query: str = "",
        filter: FilterLike = EVERYTHING,
        sort: SortLike | None = None,
        naming: Literal["unique_name", "name"] = "unique_name",
        progress: ProgressCallback | None = None,
    ) -> DownloadResult:
        """Download the files of a collection that match, all of them, not a page. Vendor's page:
        2.20. Raises SomeFailed, and errors of the lake or the folder."""
        return self._download(
            to,
            {**self._collection_of(collection_id), **_wanted(query, filter, sort), "naming": naming},
            progress,
        )

    def download_files_from_metalake(
        self,
        content_type: ContentType,
        to: str | os.PathLike[str],
        *,
        query: str = "",
        filter: FilterLike = EVERYTHING,
        sort: SortLike | None = None,
        naming: Literal["unique_name", "name"] = "unique_name",
        progress: ProgressCallback | None = None,
    ) -> DownloadResult:
        """Download the files of the whole lake that match, all of them. Vendor's page: 2.19.

        Raises SomeFailed, and errors of the lake or the folder.
        """
        block = {"lake": type_of(content_type).value, **_wanted(query, filter, sort), "naming": naming}
        return self._download(to, block, progress)

    def _collection_of(self, collection_id: str) -> dict[str, str]:
        found = self.get_collection_details(collection_id)
        return {"collection": found.name, "type": found.type.value}

    def _download(
        self, to: str | os.PathLike[str], block: Mapping[str, Any], progress: ProgressCallback | None
    ) -> DownloadResult:
        folder = Path(local_path(to))
        run = EngineRun(progress)
        with self._engine({"downloads": [{**block, "to": str(folder)}]}, run, source=f"download to '{to}'") as engine:
            engine.pull(command="download")
        fetched: dict[str, Path] = {}
        annotations: list[Path] = []
        for event in run.events:
            match event.action:
                case DownloadFile():
                    fetched[event.action.file.unique_name] = Path(event.action.path)
                case DownloadAnnotations():
                    annotations.append(Path(event.action.path))
                case _:
                    pass
        reported = (NoteCode.ANNOTATIONS_NOT_HELD, NoteCode.NO_SUCH_ANNOTATIONS)
        notes = tuple(note.message for note in run.notes if note.code in reported)
        result = DownloadResult(folder, fetched, run.unchanged, tuple(annotations), run.bytes_moved, notes)
        if run.failed:
            raise SomeFailed(run.failed, result)
        return result


def _has_files(plan: Plan) -> None:
    """Raise UsageError for a plan without a file. `create_or_update_collection` creates an empty collection."""
    for collection in plan.collections:
        files = (*collection.adopts, *collection.uploads, *collection.trash)
        if not (files or collection.unchanged or collection.unmanaged or collection.recorded or plan.blocking_notes):
            raise UsageError(
                f"there is nothing to upload: no file of type '{collection.key.type.value}' matches",
                remedy="Check the folder and the type. Pass 'recursive' to include subfolders.",
            )


def _check_type(path: str, content_type: ContentType) -> None:
    """Raise UsageError for a single file that does not fit the type of the collection."""
    if not os.path.isdir(path) and not has_ending_of(type_of(content_type), os.path.basename(path)):
        raise UsageError(
            f"'{os.path.basename(path)}' does not have the extension of a file of type '{content_type}'",
            remedy="Pass the type that fits; 'other' accepts every file.",
        )


def _wanted(query: str, filter: FilterLike, sort: SortLike | None) -> dict[str, Any]:
    """Return a selection as a block of a manifest."""
    wanted = filter_of(filter)
    block: dict[str, Any] = {"query": query, "filter": {"annotation_types": list(wanted.annotation_types)}}
    block["filter"] |= {"from_date": wanted.from_date, "to_date": wanted.to_date}
    if sort is not None:
        order = sort_of(sort)
        block["sort"] = {"by": order.by, "order": order.order}
    return block
