"""Our own client as a driver of the suite: the Python API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from metalake_sync import AnnotationSource as Drawn
from metalake_sync import ItemFilter, ItemSort, MetaLake
from metalake_sync.api import ItemInfo, WriteResult
from metalake_sync.errors import SyncError
from tests.conformance.driver import (
    Address,
    AnnotationSource,
    Downloaded,
    DriverRefused,
    Kind,
    Selection,
    Sort,
    Uploaded,
    UploadOptions,
)


@dataclass(frozen=True)
class OurClient:
    """A connection to a lake. `folder`: where it reads and writes files."""

    lake: MetaLake
    folder: Path


class OurDriver:
    unites_tags: ClassVar[bool] = True
    sorts_by_video_index = True
    shows_refusals = True

    def __init__(self, client: OurClient) -> None:
        self._lake, self._folder = client.lake, client.folder
        self._downloads = 0

    def upload(self, path: Path, collection: str, kind: Kind, options: UploadOptions) -> Uploaded:
        drawn = options.annotations
        with _refusals():
            done = self._lake.upload_files_to_collection(
                path,
                kind,
                collection,
                metadata=options.metadata,
                metadata_override=options.override,
                file_metadata=options.file_metadata,
                storage_prefix=options.storage_prefix,
                annotations=[Drawn(drawn.path, drawn.operation, _drawn_by(drawn), drawn.normalized)] if drawn else [],
            )
        job_id = next(iter(done.job_ids), "")
        return Uploaded(done.collection_id, job_id, None if path.is_dir() else done.unique_name)

    def annotate(self, address: Address, source: AnnotationSource) -> None:
        how: dict[str, Any] = {"kind": _drawn_by(source), "normalized": source.normalized}
        with _refusals():
            result = self._annotate(address, source, how)
        assert result.written

    def _annotate(self, address: Address, source: AnnotationSource, how: Mapping[str, Any]) -> WriteResult:
        lake, operation, path = self._lake, source.operation, source.path
        match address.way:
            case "collection":
                return lake.upload_annotations_for_collection(_given(address), operation, path, **how)
            case "unique_name":
                return lake.upload_annotations_by_unique_name(operation, path, **how)
            case "storage_path":
                return lake.upload_annotations_by_storage_path(operation, path, bucket_name=address.value, **how)
            case "job":
                return lake.upload_annotations_by_job_id(_given(address), operation, path, **how)

    def download_collection(
        self, collection_id: str, *, kind: Literal["all", "human", "machine"], operations: Sequence[str], media: bool
    ) -> Downloaded:
        with _refusals():
            done = self._lake.download_collection(
                collection_id, self._new_folder(), annotation_type=kind, operations=operations, media=media
            )
            items = self._lake.get_item_list_from_collection(collection_id)
            names = {item.unique_name: item.name for item in items}
        (document,) = done.annotations
        images = json.loads(document.read_text())["images"]
        annotations = {names[image["image"]]: image["annotations"] for image in images}
        return Downloaded(_contents(done.fetched), annotations)

    def download_url(self, unique_name: str) -> str:
        with _refusals():
            return self._lake.get_downloadable_url(unique_name)

    def trash(self, selection: Selection) -> int:
        query, wanted = selection.query, _filter(selection)
        with _refusals():
            if selection.collection_id:
                done = self._lake.trash_objects_from_collection(selection.collection_id, query=query, filter=wanted)
            else:
                done = self._lake.trash_objects_from_datalake(query=query, filter=wanted, content_type=selection.kind)
        assert not done.failed, done
        return done.trashed

    def write_collection_metadata(
        self, collection: str, kind: Kind, metadata: Mapping[str, Any], *, to_files: bool
    ) -> None:
        with _refusals():
            self._lake.upload_metadata_for_collection(collection, kind, metadata, apply_to_all_files=to_files)

    def write_metadata(self, address: Address, source: Path) -> None:
        with _refusals():
            match address.way:
                case "collection":
                    self._lake.upload_metadata_for_files(_given(address), "image", source)
                case "unique_name":
                    self._lake.upload_metadata_by_unique_name(source)
                case "storage_path":
                    self._lake.upload_metadata_by_storage_path(source, address.value)
                case "job":
                    self._lake.upload_metadata_by_job_id(_given(address), source)

    def download_files(self, selection: Selection, sort: Sort) -> Mapping[str, bytes]:
        to = self._new_folder()
        query, wanted, order = selection.query, _filter(selection), _sort(sort)
        with _refusals():
            if selection.collection_id:
                done = self._lake.download_files_from_collection(
                    selection.collection_id, to, query=query, filter=wanted, sort=order
                )
            else:
                done = self._lake.download_files_from_metalake(
                    selection.kind, to, query=query, filter=wanted, sort=order
                )
        return _contents(done.fetched)

    def list_names(self, selection: Selection, sort: Sort) -> list[str]:
        query, wanted, order = selection.query, _filter(selection), _sort(sort)
        items: Iterator[ItemInfo]
        with _refusals():
            if selection.collection_id:
                items = self._lake.get_item_list_from_collection(
                    selection.collection_id, query=query, filter=wanted, sort=order
                )
            else:
                items = self._lake.get_item_list_from_datalake(selection.kind, query=query, filter=wanted, sort=order)
            return [item.name for item in items]

    def count(self, selection: Selection) -> int:
        query, wanted = selection.query, _filter(selection)
        with _refusals():
            if selection.collection_id:
                return self._lake.get_item_count_from_collection(selection.collection_id, query=query, filter=wanted)
            return self._lake.get_item_count_from_metalake(selection.kind, query=query, filter=wanted)

    def item_details(self, unique_name: str, fields: Sequence[str]) -> Mapping[str, Any]:
        with _refusals():
            return self._lake.get_file_details(unique_name, fields)

    def collection_details(self, collection_id: str, fields: Sequence[str]) -> Mapping[str, Any]:
        with _refusals():
            return self._lake.get_collection_details(collection_id, fields).details

    def create_collection(self, name: str, kind: Kind, metadata: Mapping[str, Any]) -> str:
        with _refusals():
            return self._lake.create_or_update_collection(name, kind, metadata).id

    def find_collection(self, name: str, kind: Kind) -> str | None:
        return next((found.id for found in self._lake.list_collections(kind) if found.name == name), None)

    def remove_annotations(self, collection_id: str, operation: str) -> None:
        with _refusals():
            self._lake.remove_annotations(collection_id, operation)

    def labels(self) -> list[str]:
        with _refusals():
            return [label.text for label in self._lake.get_all_labels()]

    def system_counts(self) -> Mapping[Kind, int]:
        with _refusals():
            stats = self._lake.get_system_stat_count()
        assert stats.images is not None
        assert stats.videos is not None
        assert stats.others is not None
        return {"image": stats.images, "video": stats.videos, "other": stats.others}

    def _new_folder(self) -> Path:
        self._downloads += 1
        return self._folder / f"download{self._downloads}"


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except SyncError as error:
        raise DriverRefused(str(error)) from error


def _given(address: Address) -> str:
    assert address.value is not None, address
    return address.value


def _drawn_by(source: AnnotationSource) -> Literal["human", "machine"]:
    return "machine" if source.machine else "human"


def _filter(selection: Selection) -> ItemFilter:
    return ItemFilter(tuple(selection.annotation_types), selection.from_date, selection.to_date)


def _sort(sort: Sort) -> ItemSort:
    return ItemSort(sort.by, "desc" if sort.descending else "asc")


def _contents(paths: Mapping[str, Path]) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths.values()}
