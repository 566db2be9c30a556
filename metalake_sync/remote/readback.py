"""Reads annotation sets of a collection from the lake, several pages at once.

Owns: paging. The lake merges the sets of all requested operations, so callers request one at a time to separate them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from metalake_sync.protocol import routes
from metalake_sync.protocol.annotation_sets import DownloadPage
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.listings import pages_in_parallel
from metalake_sync.remote.repeated_pages import RepeatGuard

PAGE_SIZE = 250
"""The page size of the published client."""


def annotations_of(
    client: LakeClient, collection_id: str, *, file_count: int, operations: Sequence[str] = ()
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the unique name of each image that has shapes, with its shapes in the upload format.

    `file_count`: the expected number of files in the collection. No `operations` means all operations.
    """

    def page(index: int) -> DownloadPage | None:
        return client.download_annotations(collection_id, page=index, page_size=PAGE_SIZE, operations=operations)

    repeats = RepeatGuard(routes.DOWNLOAD_ANNOTATIONS.path)
    for found in pages_in_parallel(page, -(-file_count // PAGE_SIZE)):
        if found is None:
            return
        if found.resource_array:
            repeats.check(image.file_name for image in found.resource_array)
        for image in found.resource_array:
            if image.raw_annotations is not None and image.raw_annotations.annotations:
                yield image.file_name, image.raw_annotations.annotations
        if found.is_last(PAGE_SIZE):
            return
