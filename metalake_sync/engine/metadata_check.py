"""Asking the lake, once a run, whether it takes the tags and fields that are about to be written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from metalake_sync.core.actions import CreateCollection, ReplaceFile, UpdateFileMetadata, UpdateHead, UploadFile
from metalake_sync.core.addressed import DescribeEntry
from metalake_sync.core.metadata import TAGS, MetadataSet
from metalake_sync.core.plan import Plan
from metalake_sync.errors import ManifestError

if TYPE_CHECKING:
    from metalake_sync.remote.client import LakeClient


def ask_lake_about_metadata(client: LakeClient, plan: Plan) -> None:
    """Raise ManifestError with the lake's own words if it does not take a tag or a field of the plan.

    Costs at most two calls, whatever the number of files.
    """
    tags: dict[str, None] = {}
    fields: dict[str, None] = {}
    seen: set[str] = set()
    for metadata in _about_to_be_written(plan):
        if metadata.digest in seen:
            continue
        seen.add(metadata.digest)
        values: dict[str, Any] = dict(metadata.values)
        tags.update(dict.fromkeys(values.pop(TAGS, ())))
        fields.update(dict.fromkeys(values))
    objection = client.validate_tags(list(tags)) if tags else None
    if objection is None and fields:
        objection = client.validate_fields(list(fields))
    if objection is not None:
        raise ManifestError(
            f"the lake does not take the metadata: {objection}",
            where=plan.manifest,
            remedy="Nothing was sent. Correct the metadata in the manifest or its sources.",
        )


def _about_to_be_written(plan: Plan) -> Iterator[MetadataSet]:
    for action in plan.actions():
        match action:
            case CreateCollection() | UpdateHead():
                yield action.head
            case UploadFile() | ReplaceFile() | UpdateFileMetadata():
                yield action.file.metadata
            case DescribeEntry():
                yield action.metadata
            case _:
                pass
