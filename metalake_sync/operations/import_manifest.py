"""`import`: writes a starter manifest with the collections of a lake, each with a folder for its files.

Must not: guess what the protocol does not tell. Metadata fields, for example, cannot be listed, only read by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from metalake_sync.core.metadata import TAGS
from metalake_sync.core.snapshots import MediaType
from metalake_sync.protocol.items import ListItems
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.listings import count_remote
from metalake_sync.remote.selections import collection_kind, media_kind


def collection_blocks(client: LakeClient, known: frozenset[tuple[str, str]]) -> Iterator[str]:
    """A YAML block for each collection of the lake that is not `known` (type and name)."""
    for media_type in MediaType:
        ids: dict[str, list[str]] = {}
        for page in client.list_items(ListItems(content_type=collection_kind(media_type), page_size=PAGE_SIZE_LIMIT)):
            for item in page:
                ids.setdefault(item.name, []).append(item.id)
        for name, same in ids.items():
            if (media_type.value, name) in known:
                continue
            chosen = same[0]
            if len(same) > 1:
                # Video collections may share a name. A manifest refers to the one that the lake returns for the name.
                chosen = client.find_collection(name, media_kind(media_type)) or chosen
            yield _block(client, media_type, chosen, name) + _others(client, media_type, chosen, same)


def _others(client: LakeClient, media_type: MediaType, chosen: str, same: Sequence[str]) -> str:
    """A comment for each other collection of the same name."""
    lines = []
    for lake_id in same:
        if lake_id != chosen:
            files = count_remote(client, lake_id, media_type)
            # An id is text from the lake: repr() keeps it from ending the comment.
            lines.append(f"  # left out: another collection of this name, {lake_id!r}, with {files} files\n")
    return "".join(lines)


def _block(client: LakeClient, media_type: MediaType, lake_id: str, name: str) -> str:
    tags = client.collection_details(lake_id, {TAGS: True}).get(TAGS)
    block: dict[str, Any] = {"name": name, "type": media_type.value}
    if isinstance(tags, list) and tags:
        block["metadata"] = {TAGS: [str(tag) for tag in tags]}
    block["folders"] = [{"path": re.sub(r"[^\w.-]+", "_", name) or "files"}]
    text = yaml.safe_dump([block], sort_keys=False, allow_unicode=True)
    files = count_remote(client, lake_id, media_type)
    return f"  # {files} files in the lake\n" + "".join(f"  {line}\n" for line in text.splitlines())
