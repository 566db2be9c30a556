"""One image has one set of an operation: two places of the manifest that mean one image would overwrite it.

Owns: telling that two entries mean one image, whatever address they use, as far as the lake says. Must not: ask the
lake, or decide what is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from metalake_sync.core.shapes import EMPTY_SET_DIGEST
from metalake_sync.core.snapshots import CollectionKey, DesiredSet
from metalake_sync.core.unmanaged_files import DEFAULT_BUCKET, Address, By, Found, SentSet
from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.annotations.source import AnnotationIndex
    from metalake_sync.planning.desired import DesiredCollection
    from metalake_sync.state.files import Files
    from metalake_sync.state.handles import CollectionHandle

ERRORS_SHOWN = 20

Identity = tuple[str, str]
"""What kind of name, and the name."""


@dataclass(frozen=True, slots=True)
class AddressedLook:
    """What is known of one operation at one address. `index`: None where it left the manifest. `found`: what the lake
    has, None where it can't tell."""

    address: Address
    operation: str
    index: AnnotationIndex | None
    sent: Mapping[str, SentSet]
    wanted: Mapping[str, DesiredSet]
    found: Mapping[str, Found] | None

    @property
    def changed(self) -> list[str]:
        return [entry for entry, one in self.wanted.items() if _differs(self.sent.get(entry), one)]

    @property
    def left(self) -> list[str]:
        return [entry for entry in self.sent if entry not in self.wanted]

    def identities(self, entry: str) -> Iterator[Identity]:
        """By what an entry's image is told from others."""
        found = self.found.get(entry) if self.found is not None else None
        sent = self.sent.get(entry)
        if found is not None:
            yield "unique name", found.unique_name
            yield "id", found.lake_id
        elif sent is not None and sent.lake_id is not None:
            yield "id", sent.lake_id
        if self.address.by is By.UNIQUE_NAME:
            yield "unique name", entry
        elif self.address.by is By.STORAGE_PATH:
            bucket = "" if self.address.within == DEFAULT_BUCKET else self.address.within
            yield f"path in {bucket}", entry.lstrip("/")


@dataclass(frozen=True, slots=True)
class HomeSet:
    """A set that a collection of the manifest has for one of its own images. `place`: of its entry in the source."""

    operation: str
    unique_name: str
    lake_id: str
    place: str


@dataclass(slots=True)
class Claims:
    """Address, operation and entry. `released`: the entry left, and another place still means its image, so that the
    set must not be cleared. `resent`: that other place, whose set has to be sent whatever the state knows."""

    released: set[tuple[Address, str, str]] = field(default_factory=set)
    resent: set[tuple[Address, str, str]] = field(default_factory=set)


def claim_images(looks: Sequence[AddressedLook], at_home: Iterable[HomeSet]) -> Claims:
    """Find entries that let go of an image which another place still means. Raises ManifestErrors where two places mean
    one image."""
    claims = Claims()
    places: dict[tuple[str, Identity], tuple[AddressedLook | None, str, str]] = {}
    errors: dict[str, ManifestError] = {}
    for home in at_home:
        for identity in (("unique name", home.unique_name), ("id", home.lake_id)):
            places[home.operation, identity] = (None, home.unique_name, home.place)
    homely = {operation for operation, _ in places}
    shared = homely | {one for one, times in Counter(look.operation for look in looks).items() if times > 1}
    looks = [look for look in looks if look.operation in shared or look.address.by is By.STORAGE_PATH]
    for look in looks:
        for entry in look.wanted:
            for identity in set(look.identities(entry)):
                mine = (look, entry, _place(look, entry))
                other = places.setdefault((look.operation, identity), mine)
                if other[:2] != mine[:2]:
                    errors.setdefault(mine[2], _twice(look, entry, other[2], mine[2]))
                    break
    if errors:
        raise ManifestErrors(list(errors.values())[:ERRORS_SHOWN])
    for look in looks:
        for entry in look.left:
            for identity in look.identities(entry):
                owner = places.get((look.operation, identity))
                if owner is not None:
                    claims.released.add((look.address, look.operation, entry))
                    if owner[0] is not None:
                        claims.resent.add((owner[0].address, look.operation, owner[1]))
    return claims


def sets_at_home(
    collections: Iterable[DesiredCollection],
    handles: Mapping[CollectionKey, CollectionHandle],
    files: Files,
    operations: Collection[str],
) -> Iterator[HomeSet]:
    """The sets that collections of the manifest have for images which the state knows. `handles`: of the recorded
    collections. `operations`: only of these."""
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
                    yield HomeSet(operation, file.unique_name, file.lake_id, place)


def _place(look: AddressedLook, entry: str) -> str:
    assert look.index is not None
    return f"{look.index.images()[entry].place} (by {look.address})"


def _twice(look: AddressedLook, entry: str, one: str, other: str) -> ManifestError:
    assert look.index is not None
    return ManifestError(
        f"'{entry}' has two entries for '{look.operation}': {one} and {other}; they mean the same image",
        where=look.index.declared_at,
        remedy="Merge them into one, or give one another 'operation'.",
    )


def _differs(sent: SentSet | None, wanted: DesiredSet) -> bool:
    return (sent.annotations.digest if sent else EMPTY_SET_DIGEST) != wanted.digest
