"""Writes metadata of collections and of files that are in the lake, by each kind of address.

Owns: the arguments of these calls, the checks before anything is written, and the result for each file. Must not: use a
state, or compare values with the lake's: each entry is written as the source has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metalake_sync.api.arguments import type_of
from metalake_sync.api.connected import ContentType
from metalake_sync.api.items import Items
from metalake_sync.api.matching import WhatIsThere, Written
from metalake_sync.api.objects import MetadataLike, metadata_file, shown_source
from metalake_sync.api.results import FailedItem, WriteResult
from metalake_sync.apply.pages import send_in_halves
from metalake_sync.core.addresses import DEFAULT_BUCKET
from metalake_sync.core.metadata import Spelling
from metalake_sync.core.snapshots import MediaType
from metalake_sync.errors import ManifestErrors, UsageError
from metalake_sync.planning.written_names import MetadataNames, check_metadata_names, notes_on_computed
from metalake_sync.protocol.items import FileMetadata
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT
from metalake_sync.remote.selections import media_kind
from metalake_sync.sources.metadata_entries import check_values
from metalake_sync.sources.metadata_readers import read_metadata_json


class Metadata(Items):
    """Metadata is merged field by field; Tags are replaced. A `source` is the path of a JSON file such as
    {"files": [{"file": "a.jpg", "metadata": {"Weather": "rain"}}]}, or the metadata itself: a dictionary such as
    {"a.jpg": {"Weather": "rain"}}, a list, or a pandas DataFrame (`api.objects`).

    Each method raises ManifestError for an unusable source, UsageError for tags or fields that the lake rejects (then
    nothing is written), and SomeFailed.
    """

    def upload_metadata_for_collection(
        self,
        collection_name: str,
        content_type: ContentType,
        metadata: Mapping[str, Any],
        *,
        apply_to_all_files: bool = True,
    ) -> None:
        """Write the metadata of a collection and, with `apply_to_all_files`, of every file in it, including files of
        other clients. Vendor's page: 2.13. Raises ManifestError for a value that can't be sent."""
        check_values(metadata, "metadata")
        values = self._spelling_for([metadata]).of(metadata)
        self._client.metadata_by_object(collection_name, media_kind(type_of(content_type)), values, apply_to_all_files)

    def upload_metadata_by_job_id(self, job_id: str, source: MetadataLike) -> WriteResult:
        """Write metadata of files of one upload; entries are file names. Vendor's page: 2.14. Raises UsageError for a
        job that the lake does not know."""
        self.get_job_status(job_id)
        return self._write(source, None, job_id=job_id)

    def upload_metadata_by_storage_path(self, source: MetadataLike, bucket_name: str | None = None) -> WriteResult:
        """Write metadata of files by their path in the storage, without a leading slash. `bucket_name`: None for
        the default bucket. Vendor's page: 2.15."""
        return self._write(source, None, bucket_name=bucket_name or DEFAULT_BUCKET)

    def upload_metadata_by_unique_name(self, source: MetadataLike) -> WriteResult:
        """Write metadata of files by their unique names. Vendor's page: 2.16."""
        return self._write(source, lambda names: self._there(names, list(MediaType)))

    def upload_metadata_for_files(
        self, collection_name: str, content_type: ContentType, source: MetadataLike
    ) -> WriteResult:
        """Write metadata of files of a collection; entries are file names. Vendor's page: 2.17."""
        found = self.find_collection(collection_name, content_type)
        return self._write(source, lambda names: self._in_collection(found.id, names), collection_id=found.id)

    def _in_collection(self, collection_id: str, names: Sequence[str]) -> set[str]:
        wanted = set(names)
        return {item.name for item in self.get_item_list_from_collection(collection_id) if item.name in wanted}

    def _write(self, source: MetadataLike, there: WhatIsThere | None, **address: str) -> WriteResult:
        with metadata_file(source) as path:
            read = read_metadata_json(Path(path), shown_source(source, "metadata"))
            if read.broken:
                raise ManifestErrors(list(read.broken.values()))
        entries = read.entries
        spelling = self._spelling_for(list(entries.values()))
        messages = [FileMetadata(file=name, metadata=dict(spelling.of(values))) for name, values in entries.items()]

        written = Written(there)

        async def send(page: Sequence[FileMetadata]) -> None:
            updated = await asyncio.to_thread(self._client.metadata_by_json, page, **address)
            written.page([entry.file for entry in page], updated)

        async def send_all() -> list[FailedItem]:
            failed: list[FailedItem] = []
            for start in range(0, len(messages), PAGE_SIZE_LIMIT):
                for entry, refusal in await send_in_halves(messages[start : start + PAGE_SIZE_LIMIT], send):
                    failed.append(FailedItem(entry.file, str(refusal), retryable=False))
            return failed

        notes = [
            f"'{given}' is '{known}' in the lake, and was sent in that spelling" for given, known in spelling.renames()
        ]
        notes += [note.message for note in notes_on_computed(MetadataNames.of(entries.values()))]
        return written.result(asyncio.run(send_all()), notes)

    def _spelling_for(self, sets: Sequence[Mapping[str, Any]]) -> Spelling:
        """Return how the lake spells the tags and fields. Raises UsageError, before anything is written, if it does not
        accept one."""
        word = check_metadata_names(self._client, MetadataNames.of(sets))
        if word.objection is not None:
            raise UsageError(f"the lake rejects the metadata: {word.objection}", remedy="Nothing was written.")
        return word.spelling
