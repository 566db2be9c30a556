"""Finds two places of the manifest that annotate the same image in the same operation, and would overwrite each other.

Owns: recognizing that two entries refer to one image, whatever kind of address they use, as far as the lake tells.
Must not: ask the lake, or decide what is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from metalake_sync.core.addresses import DEFAULT_BUCKET, Address, By, FileAt
from metalake_sync.core.shapes import EMPTY_SET_DIGEST
from metalake_sync.core.snapshots import CollectionKey, DesiredSet, RecordedSet
from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex
    from metalake_sync.planning.desired import DesiredCollection
    from metalake_sync.state.files import Files
    from metalake_sync.state.names import CollectionHandle

ERRORS_SHOWN = 20

Identity = tuple[str, str]
"""A kind of name, and the name."""


@dataclass(frozen=True, slots=True)
class OperationEntries:
    """The entries of one operation at one address, with what was sent before and what the lake has."""

    address: Address
    operation: str
    index: AnnotationIndex | None
    """None if the manifest no longer has the operation."""
    sent: Mapping[str, RecordedSet]
    wanted: Mapping[str, DesiredSet]
    found: Mapping[str, FileAt] | None
    """The lake's files by entry. None if the lake cannot tell."""

    @property
    def changed(self) -> list[str]:
        return [entry for entry, one in self.wanted.items() if _differs(self.sent.get(entry), one)]

    @property
    def left(self) -> list[str]:
        return [entry for entry in self.sent if entry not in self.wanted]

    def identities(self, entry: str) -> Iterator[Identity]:
        """The names by which the image of an entry is recognized."""
        found = self.found.get(entry) if self.found is not None else None
        sent = self.sent.get(entry)
        if found is not None and found.unique_name is not None:
            yield "unique name", found.unique_name
        lake_id = found.lake_id if found is not None else sent.lake_id if sent is not None else None
        if lake_id is not None:
            yield "id", lake_id
        if self.address.by is By.UNIQUE_NAME:
            yield "unique name", entry
        elif self.address.by is By.STORAGE_PATH:
            bucket = "" if self.address.within == DEFAULT_BUCKET else self.address.within
            yield f"path in {bucket}", entry.lstrip("/")


@dataclass(frozen=True, slots=True)
class CollectionSet:
    """A set that a collection of the manifest has for a managed image. `place`: of its entry in the source."""

    operation: str
    unique_name: str
    lake_id: str
    place: str


@dataclass(slots=True)
class Claims:
    """Entries that stop annotating an image which another place still annotates. Each: address, operation and entry."""

    released: set[tuple[Address, str, str]] = field(default_factory=set)
    """Removed entries whose set must not be cleared."""
    resent: set[tuple[Address, str, str]] = field(default_factory=set)
    """The other places. Their sets must be sent, whatever the state has recorded."""


def claim_images(all_entries: Sequence[OperationEntries], in_collections: Iterable[CollectionSet]) -> Claims:
    """Find removed entries whose image another place still annotates.

    Raises ManifestErrors if two places annotate one image. `in_collections`: the sets of managed images.
    """
    claims = Claims()
    places: dict[tuple[str, Identity], tuple[OperationEntries | None, str, str]] = {}
    errors: dict[str, ManifestError] = {}
    for collection_set in in_collections:
        for identity in (("unique name", collection_set.unique_name), ("id", collection_set.lake_id)):
            places[collection_set.operation, identity] = (None, collection_set.unique_name, collection_set.place)
    of_collections = {operation for operation, _ in places}
    shared = of_collections | {
        one for one, times in Counter(entries.operation for entries in all_entries).items() if times > 1
    }
    all_entries = [
        entries for entries in all_entries if entries.operation in shared or entries.address.by is By.STORAGE_PATH
    ]
    for entries in all_entries:
        for entry in entries.wanted:
            for identity in set(entries.identities(entry)):
                mine = (entries, entry, _place(entries, entry))
                other = places.setdefault((entries.operation, identity), mine)
                if other[:2] != mine[:2]:
                    errors.setdefault(mine[2], _twice(entries, entry, other[2], mine[2]))
                    break
    if errors:
        raise ManifestErrors(list(errors.values())[:ERRORS_SHOWN])
    for entries in all_entries:
        for entry in entries.left:
            for identity in entries.identities(entry):
                owner = places.get((entries.operation, identity))
                if owner is not None:
                    claims.released.add((entries.address, entries.operation, entry))
                    if owner[0] is not None:
                        claims.resent.add((owner[0].address, entries.operation, owner[1]))
    return claims


def sets_of_collections(
    collections: Iterable[DesiredCollection],
    handles: Mapping[CollectionKey, CollectionHandle],
    files: Files,
    operations: Collection[str],
) -> Iterator[CollectionSet]:
    """The sets of managed images with records. `handles`: of the collections. `operations`: the ones to return."""
    for collection in collections:
        handle = handles.get(collection.key)
        shared = [operation for operation in collection.annotations if operation in operations]
        if handle is None or not shared:
            continue
        for file in files.all(handle):
            for operation in shared:
                image = collection.annotations[operation].images().get(file.name)
                if image is not None:
                    place = f"{image.place} (in collection '{collection.key.name}')"
                    yield CollectionSet(operation, file.unique_name, file.lake_id, place)


def _place(entries: OperationEntries, entry: str) -> str:
    assert entries.index is not None
    return f"{entries.index.images()[entry].place} (by {entries.address})"


def _twice(entries: OperationEntries, entry: str, one: str, other: str) -> ManifestError:
    assert entries.index is not None
    return ManifestError(
        f"'{entry}' has two entries for '{entries.operation}' that refer to the same image: {one} and {other}",
        where=entries.index.declared_at,
        remedy="Merge them, or give one of them a different 'operation'.",
    )


def _differs(sent: RecordedSet | None, wanted: DesiredSet) -> bool:
    return (sent.digest if sent else EMPTY_SET_DIGEST) != wanted.digest
