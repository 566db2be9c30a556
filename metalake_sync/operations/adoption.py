"""`import` and `state rebuild`: adopt the manifest's files that the lake has, or write a manifest of its collections.

Owns: the order of steps of a rebuild. The old state is moved aside as a whole, so that a rebuild can be undone. Must
not: send files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from metalake_sync.core.actions import Action, AdoptFile
from metalake_sync.core.metadata import TAGS
from metalake_sync.core.snapshots import MediaType
from metalake_sync.engine import Applied, Engine
from metalake_sync.lazy_dataclass import dataclass
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


@dataclass(frozen=True, slots=True)
class Rebuilt:
    applied: Applied
    old: Path | None
    """Where the old state is now. None if there was no state."""


def adopt_only(engine: Engine, *, lock_timeout_s: float = 0.0, command: str = "import") -> Applied:
    """Adopt the files that the lake already has, and send nothing."""

    def is_adoption(action: Action) -> bool:
        return isinstance(action, AdoptFile)

    return engine.apply(lambda _plan: False, lock_timeout_s=lock_timeout_s, command=command, only=is_adoption)


def rebuild(engine: Engine, *, lock_timeout_s: float = 0.0) -> Rebuilt:
    """Move the old state aside, even if it is damaged, and make a new one from the lake.

    Annotation sets are read back, so that sets which the lake already has are not sent again.
    """
    backend = engine.state_backend
    with engine.reach():
        pass  # Before the old state is moved, the lake must answer and accept the credentials.
    with backend.lock(command="state rebuild", timeout_s=lock_timeout_s):
        old = backend.set_aside()
    in_full = replace(engine, options=replace(engine.options, refresh="full"))
    try:
        return Rebuilt(adopt_only(in_full, lock_timeout_s=lock_timeout_s, command="state rebuild"), old)
    except BaseException:
        if old is not None and backend.is_shared:
            # Other machines use the old state. On this machine alone it can be restored at any time.
            with backend.lock(command="state rebuild", timeout_s=lock_timeout_s):
                backend.replace_with(old)
        raise
