"""Warns of files that get different values of one metadata field from two places of the manifest.

Each place would overwrite the value of the other, and a full refresh would report the other as another client. The
places are recognized by the records, so the warning begins after the first apply. Several top-level blocks with one
kind of address are one place: their warning needs no records. Two places that annotate one image
in one operation are an error instead (`unmanaged_sources`).

Must not: ask the lake, or stop a run.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from metalake_sync.core.addresses import Address, Place
from metalake_sync.core.metadata import TAGS
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.sources.metadata_entries import EntrySource


def notes_on_conflicts(
    state: StateStore, lake: str, collections: Container[CollectionKey], addresses: Container[Address], where: str
) -> Iterator[Note]:
    """Yield a note for each pair of places. `collections`, `addresses`: those of the manifest `where`."""
    found: dict[tuple[Place, Place], dict[str, set[str]]] = {}
    for writers in state.addresses.metadata_of_several(lake):
        current = [
            one for one in writers if one.place in (addresses if isinstance(one.place, Address) else collections)
        ]
        for first, second in itertools.combinations(current, 2):
            fields = _differing(state.metadata_sets.values(first.digest), state.metadata_sets.values(second.digest))
            if fields:
                found.setdefault((first.place, second.place), {}).setdefault(first.name, set()).update(fields)
    for (one, other), names in found.items():
        differing = sorted({field for of_name in names.values() for field in of_name})
        clause = (
            f"{counted(len(names), 'file gets', 'files get')} different values of {', '.join(map(repr, differing))}"
            f" from {_shown(one)} and {_shown(other)}, which overwrite each other"
        )
        yield Note.naming(NoteCode.WRITTEN_TWICE, clause, sorted(names), where)


def notes_on_blocks(sources: Mapping[Address, Sequence[EntrySource]], where: str) -> Iterator[Note]:
    """Yield a note for each address whose entries differ between several blocks. The last block counts.

    `sources`: of each address, in the order of the manifest `where`. Needs no records.
    """
    for address, blocks in sources.items():
        names: dict[str, set[str]] = {}
        seen: dict[str, dict[str, object]] = {}
        for block in blocks if len(blocks) > 1 else ():
            for entry, written in block.entries.items():
                values = dict(written)
                before = seen.setdefault(entry, {})
                fields = _differing(before, values)
                if fields:
                    names.setdefault(entry, set()).update(fields)
                before.update(values)
        if names:
            differing = sorted({field for of_name in names.values() for field in of_name})
            clause = (
                f"{counted(len(names), 'file gets', 'files get')} different values of {', '.join(map(repr, differing))}"
                f" from several blocks of 'metadata' by {address}, and the last one counts"
            )
            yield Note.naming(NoteCode.WRITTEN_TWICE, clause, sorted(names), where)


def _differing(one: Mapping[str, object] | None, other: Mapping[str, object] | None) -> set[str]:
    """The fields that both have with different values. Tags of both are united, so they do not conflict."""
    if one is None or other is None:
        return set()
    return {field for field in one.keys() & other.keys() if field != TAGS and one[field] != other[field]}


def _shown(place: Place) -> str:
    return f"'metadata' by {place}" if isinstance(place, Address) else f"collection '{place.name}'"
