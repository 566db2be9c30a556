"""The vendor's own client as a driver of the suite."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from metalake_sync.protocol.routes import Generation
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
from tests.conformance.vendor import VendorClient, VendorRaised

PAGE_SIZE = 2
"""Small, so that every list has several pages."""

_NO_MORE = "No content found"
"""What version 2.3.4 returns for the 204 after the last page. Its manual calls it "No more pages to download"."""
_ANNOTATIONS = {
    "collection": "upload_annotations_for_collection",
    "unique_name": "upload_annotations_by_unique_name",
    "storage_path": "upload_annotations_by_storage_path",
    "job": "upload_annotations_by_job_id",
}


class VendorDriver:
    unites_tags: ClassVar[bool] = False

    def __init__(self, client: VendorClient) -> None:
        self._client = client
        self._generation = client.process.release.generation
        self._folders = 0

    @property
    def sorts_by_video_index(self) -> bool:
        """layernext-beta 3.28.14 stores the field's name as a tuple, which is not equal to any text."""
        return self._generation is Generation.TWO

    @property
    def shows_refusals(self) -> bool:
        """layernext-beta 3.28.14 reads every answer to a validate call as a list, and fails on the message of a 406."""
        return self._generation is Generation.TWO

    def upload(self, path: Path, collection: str, kind: Kind, options: UploadOptions) -> Uploaded:
        drawn = options.annotations
        answer = self._call(
            "upload_files_to_collection",
            str(path),
            kind,
            collection,
            dict(options.metadata),
            options.override,
            str(options.file_metadata) if options.file_metadata else None,
            options.storage_prefix,
            {
                "json_data_file_path": str(drawn.path) if drawn else None,
                "operation_unique_id": drawn.operation if drawn else None,
                "is_normalized": bool(drawn and drawn.normalized),
                "is_model_run": bool(drawn and drawn.machine),
            },
        )
        if not answer["is_success"] or not self._call("wait_for_job_complete", answer["job_id"])["is_success"]:
            raise DriverRefused(str(answer))
        return Uploaded(answer["collection_id"], answer["job_id"], answer.get("unique_name"))

    def annotate(self, address: Address, source: AnnotationSource) -> None:
        before = [address.value] if address.way in ("collection", "job") else []
        after = [address.value] if address.way == "storage_path" else []
        how = [source.operation, str(source.path), source.normalized, source.machine]
        self._call(_ANNOTATIONS[address.way], *before, *how, *after)

    def download_collection(
        self, collection_id: str, *, kind: Literal["all", "human", "machine"], operations: Sequence[str], media: bool
    ) -> Downloaded:
        target = self._new_folder()
        self._call("download_collection", collection_id, kind, list(operations), str(target), media)
        (folder,) = target.iterdir()
        (document,) = folder.glob("*.json")
        images = json.loads(document.read_text())["images"]
        return Downloaded(_contents(folder / "data"), {image["image"]: image["annotations"] for image in images})

    def download_url(self, unique_name: str) -> str:
        answer = self._call("get_downloadable_url", unique_name)
        if "url" not in answer:
            raise DriverRefused(str(answer))
        return str(answer["url"])

    def trash(self, selection: Selection) -> int:
        if selection.collection_id:
            answer = self._call(
                "trash_objects_from_collection", selection.collection_id, selection.query, _filter(selection)
            )
        else:
            answer = self._call("trash_objects_from_datalake", selection.query, _filter(selection), selection.kind)
        if answer.get("message") == "No objects match the selection":
            return 0
        match = re.match(r"(\d+) objects successfully trashed, 0 objects failed", answer.get("message", ""))
        if match is None:
            raise DriverRefused(str(answer))
        return int(match[1])

    def write_collection_metadata(
        self, collection: str, kind: Kind, metadata: Mapping[str, Any], *, to_files: bool
    ) -> None:
        self._call("upload_metadata_for_collection", collection, kind, dict(metadata), to_files)

    def write_metadata(self, address: Address, source: Path) -> None:
        match address.way:
            case "collection":
                self._call("upload_metadata_for_files", address.value, "image", str(source))
            case "unique_name":
                self._call("upload_metadata_by_unique_name", str(source))
            case "storage_path":
                self._call("upload_metadata_by_storage_path", str(source), address.value)
            case "job":
                self._call("upload_metadata_by_job_id", address.value, str(source))

    def download_files(self, selection: Selection, sort: Sort) -> Mapping[str, bytes]:
        of_collection = selection.collection_id is not None
        method = "download_files_from_collection" if of_collection else "download_files_from_metalake"
        place, target, page = selection.collection_id or selection.kind, self._new_folder(), 0
        while True:
            answer = self._call(
                method, place, str(target), page, PAGE_SIZE, selection.query, _filter(selection), _sort(sort)
            )
            if not answer["is_success"]:
                assert answer["message"] == _NO_MORE, answer
                return _contents(target)
            page += 1

    def list_names(self, selection: Selection, sort: Sort) -> list[str]:
        return [item["name"] for page in self._pages(selection, sort) for item in page]

    def count(self, selection: Selection) -> int:
        of_collection = selection.collection_id is not None
        method = "get_item_count_from_collection" if of_collection else "get_item_count_from_metalake"
        place = selection.collection_id or selection.kind
        return int(self._call(method, place, selection.query, _filter(selection))["count"])

    def item_details(self, unique_name: str, fields: Sequence[str]) -> Mapping[str, Any]:
        # Generation 3 requires the id of a conversation, which may be empty.
        chat = [""] if self._generation is Generation.THREE else []
        details: dict[str, Any] = self._call("get_file_details", unique_name, *chat, dict.fromkeys(fields, True))
        return details

    def collection_details(self, collection_id: str, fields: Sequence[str]) -> Mapping[str, Any]:
        details: dict[str, Any] = self._call("get_collection_details", collection_id, dict.fromkeys(fields, True))
        return details

    def create_collection(self, name: str, kind: Kind, metadata: Mapping[str, Any]) -> str:
        return str(self._call("create_or_update_collection", name, kind, dict(metadata))["collectionId"])

    def find_collection(self, name: str, kind: Kind) -> str | None:
        try:
            return str(self._call("get_collection_id_by_name", name, kind))
        except DriverRefused:
            return None

    def remove_annotations(self, collection_id: str, operation: str) -> None:
        self._call("remove_annotations", collection_id, operation)

    def labels(self) -> list[str]:
        return [label["labelText"] for label in self._call("get_all_labels")]

    def system_counts(self) -> Mapping[Kind, int]:
        stats = self._call("get_system_stat_count")
        kinds: tuple[Kind, ...] = ("image", "video", "other")
        return {kind: stats[f"{kind}s"]["count"] for kind in kinds}

    def _pages(self, selection: Selection, sort: Sort) -> Iterator[list[dict[str, Any]]]:
        of_collection = selection.collection_id is not None
        method = "get_item_list_from_collection" if of_collection else "get_item_list_from_datalake"
        place, page = selection.collection_id or selection.kind, 0
        while True:
            answer = self._call(method, place, selection.query, _filter(selection), page, PAGE_SIZE, _sort(sort))
            if isinstance(answer, dict):
                assert answer["isSuccess"] is False, answer
                return
            yield answer
            page += 1

    def _call(self, method: str, *args: Any) -> Any:
        try:
            return self._client(method, *args)
        except VendorRaised as raised:
            raise DriverRefused(str(raised)) from raised

    def _new_folder(self) -> Path:
        self._folders += 1
        folder = self._client.folder / f"download{self._folders}"
        folder.mkdir()
        return folder


def _filter(selection: Selection) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if selection.annotation_types:
        wanted["annotation_types"] = list(selection.annotation_types)
    if selection.from_date:
        wanted["from_date"] = selection.from_date
    if selection.to_date:
        wanted["to_date"] = selection.to_date
    return wanted


def _sort(sort: Sort) -> dict[str, str]:
    return {"sort_by_field": sort.by, "sort_order": "DESC" if sort.descending else "ASC"}


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
