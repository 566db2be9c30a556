"""Reads metadata fields back from the lake before other values are sent in their place.

Owns: which fields are read, and of how many files. Must not: decide what becomes of a field (`core.diff_metadata`).

A call returns the fields of one file. So only fields are read that the plan changes. A file of which only Tags change
is not read: `apply` merges them with those of other clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from metalake_sync.core.metadata import TAGS, MetadataSet, MetadataValues, is_computed, update_to_send
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.snapshots import CollectionKey, RemoteFile
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.remote.client import LakeClient

FILES_LIMIT = 1_000
"""The number of files of a collection up to which fields are read back."""


@dataclass(frozen=True, slots=True)
class ChangedMetadata:
    """A file whose metadata the plan changes."""

    remote: RemoteFile
    before: MetadataValues
    """What was written last."""
    wanted: MetadataSet


def changed_fields(before: MetadataValues, wanted: MetadataValues) -> list[str]:
    """Return the fields that an update changes and another client may have changed too. Tags are among them only if
    another field is."""
    fields = [name for name in update_to_send(before, wanted) if not is_computed(name)]
    return fields if fields != [TAGS] else []


def lake_values(before: MetadataValues, fields: Iterable[str], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lake's metadata: what was read of `fields`, and for all other fields what was there `before`."""
    read = set(fields)
    others = {name: value for name, value in before.items() if name not in read}
    return others | {name: found[name] for name in read if name in found}


def read_changed_metadata(
    client: LakeClient, key: CollectionKey, files: Iterable[ChangedMetadata], threads: int
) -> tuple[dict[str, dict[str, Any]], list[Note]]:
    """Return the lake's metadata by file name, for files with changed fields, and a note if they are too many."""
    from metalake_sync.remote.item_details import remote_details

    wanted = [(file, fields) for file in files if (fields := changed_fields(file.before, file.wanted.values))]
    if len(wanted) > FILES_LIMIT:
        message = (
            f"changed metadata of {counted(len(wanted), 'file', 'files')} was not compared with the lake, because more"
            f" than {FILES_LIMIT:,} calls would be needed"
        )
        return {}, [Note(NoteCode.METADATA_UNVERIFIED, message, str(key))]
    details = remote_details(client, [(file.remote.unique_name, fields) for file, fields in wanted], threads)
    read: dict[str, dict[str, Any]] = {}
    for file, fields in wanted:
        found = details.get(file.remote.unique_name)
        if found is not None:
            before = file.before if file.remote.metadata is None else file.remote.metadata
            read[file.remote.name] = lake_values(before, fields, found.metadata)
    return read, []
