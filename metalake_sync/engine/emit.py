"""A starter manifest from what a lake has: its collections, each with a folder to put its files into.

Must not: guess what the protocol does not tell: metadata fields can't be listed, only asked for by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from metalake_sync.core.facts import MediaType
from metalake_sync.core.metadata import TAGS
from metalake_sync.protocol.items import ListItems
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT, ObjectKind
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.observe import count_remote

COLLECTION_KINDS = {
    MediaType.IMAGE: ObjectKind.IMAGE_COLLECTION,
    MediaType.VIDEO: ObjectKind.VIDEO_COLLECTION,
    MediaType.OTHER: ObjectKind.OTHER_COLLECTION,
}


def collection_blocks(client: LakeClient, known: frozenset[tuple[str, str]]) -> Iterator[str]:
    """A YAML block for each collection of the lake, but for those that are `known` (type and name)."""
    for media_type, kind in COLLECTION_KINDS.items():
        for page in client.list_items(ListItems(content_type=kind, page_size=PAGE_SIZE_LIMIT)):
            for item in page:
                if (media_type.value, item.name) not in known:
                    yield _block(client, media_type, item.id, item.name)


def _block(client: LakeClient, media_type: MediaType, lake_id: str, name: str) -> str:
    tags = client.collection_details(lake_id, {TAGS: True}).get(TAGS)
    block: dict[str, Any] = {"name": name, "type": media_type.value}
    if isinstance(tags, list) and tags:
        block["metadata"] = {TAGS: [str(tag) for tag in tags]}
    block["folders"] = [{"path": re.sub(r"[^\w.-]+", "_", name) or "files"}]
    text = yaml.safe_dump([block], sort_keys=False, allow_unicode=True)
    files = count_remote(client, lake_id, media_type)
    return f"  # {files} files in the lake\n" + "".join(f"  {line}\n" for line in text.splitlines())
