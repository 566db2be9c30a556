"""Plans what is sent to unmanaged files: the top-level `annotations` and `metadata` of the manifest.

Owns: the comparison of sources with what was sent before, and the notes. Must not: decide what becomes of an entry
(`core.unmanaged_files`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from metalake_sync.core.diff_unmanaged import compare_metadata, compare_set, entry_left
from metalake_sync.core.metadata import MetadataSet, MetadataValues
from metalake_sync.core.notes import Note, NoteCode, counted, some_of
from metalake_sync.core.snapshots import DesiredSet, MediaType
from metalake_sync.core.unmanaged_files import Address, AddressedPlan, By, Found, SeenSet, SentMetadata
from metalake_sync.errors import GuardStopped, ManifestError
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.duplicate_targets import Claims, OperationEntries, claim_images, sets_of_collections
from metalake_sync.planning.unmanaged_lookup import UnmanagedLookup
from metalake_sync.planning.unmanaged_sources import UnmanagedSources, merged_metadata
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.sources.metadata_entries import EntrySource


class UnmanagedPlanner:
    """Plans all unmanaged files of one manifest.

    `client`: None does not ask the lake. `lake`: the identity of the lake in the state. `collections`: those of the
    manifest, which may annotate the same images. `full`: also compare metadata and sets with the lake.
    """

    def __init__(
        self,
        sources: UnmanagedSources,
        state: StateStore,
        lake: str,
        client: LakeClient | None,
        threads: int,
        collections: Iterable[DesiredCollection] = (),
        *,
        full: bool = False,
    ) -> None:
        self._sources = sources
        self._collections = list(collections)
        self._state = state
        self._lake = lake
        self._lookup = UnmanagedLookup(sources, state, lake, client, threads, full=full)
        self._missing_names = False
        self.notes = self._lookup.notes

    def plan(self) -> list[AddressedPlan]:
        """Compare each source with what was sent before. Sources that the manifest no longer has come last."""
        plans = list(self._plans())
        named = [plan for plan in plans if plan.address.by is By.UNIQUE_NAME]
        unchanged = not any(plan.actions or plan.settled or plan.forgotten for plan in named)
        if named and unchanged and not self._missing_names:
            self._lookup.record_marker()
        return plans

    def _plans(self) -> Iterator[AddressedPlan]:
        all_entries = [self._entries_of(*where, index) for where, index in self._sources.annotations.items()]
        for key, operation in self._state.addressed.operations(self._lake):
            if (Address.from_key(key), operation) not in self._sources.annotations:
                all_entries.append(self._entries_of(Address.from_key(key), operation, None))
        handles = {key: handle for key, (handle, _) in self._state.collections.of_lake(self._lake).items()}
        operations = {entries_of.operation for entries_of in all_entries}
        claims = claim_images(
            all_entries, sets_of_collections(self._collections, handles, self._state.files, operations)
        )
        for entries_of in all_entries:
            yield self._plan_sets(entries_of, claims)
        for address, sources in self._sources.metadata.items():
            yield self._plan_metadata(address, sources)
        for key in self._state.addressed.described(self._lake):
            if Address.from_key(key) not in self._sources.metadata:
                yield self._plan_removed_metadata(Address.from_key(key))

    def _entries_of(self, address: Address, operation: str, index: AnnotationIndex | None) -> OperationEntries:
        sent = self._state.addressed.sets(self._lake, address.key, operation)
        wanted: dict[str, DesiredSet] = {}
        if index is not None:
            self.notes += index.notes()
            wanted = {
                entry: DesiredSet(operation, index.kind, image.digest, image.shape_count)
                for entry, image in index.images().items()
            }
            if index.mode == "replace" and not any(one.shape_count for one in wanted.values()):
                shapes = sum(bool(one.annotations.shape_count) for one in sent.values())
                _guard_emptied(shapes, f"the source of '{operation}'", "an entry with a shape", index.declared_at)
        entries_of = OperationEntries(address, operation, index, sent, wanted, None)
        entries = [*(wanted if self._lookup.looks_up_all(address) else entries_of.changed), *entries_of.left]
        return replace(entries_of, found=self._lookup.find(address, entries, MediaType.IMAGE))

    def _plan_sets(self, entries_of: OperationEntries, claims: Claims) -> AddressedPlan:
        address, operation, found, wanted = (
            entries_of.address,
            entries_of.operation,
            entries_of.found,
            entries_of.wanted,
        )
        plan = AddressedPlan(address, operation)
        asked = wanted if self._lookup.looks_up_all(address) else entries_of.changed
        lost = [] if found is None else [entry for entry in asked if entry not in found]
        self._note_missing(address, operation, lost, entries_of.index)
        missing = set(lost)
        seen: Mapping[str, SeenSet] = {}
        if entries_of.index is not None and (reader := self._lookup.reader()) is not None:
            seen = reader.differing_sets(address, entries_of.index, wanted)
        for entry, desired in wanted.items():
            if entry in missing:
                continue
            sent = None if (address, operation, entry) in claims.resent else entries_of.sent.get(entry)
            here = found.get(entry) if found else None
            action = compare_set(address, entry, desired, sent, here, seen.get(entry))
            if action is None:
                plan.unchanged += 1
            else:
                plan.actions.append(action)
        mode = entries_of.index.mode if entries_of.index is not None else None
        for entry in entries_of.left:
            if (found is not None and entry not in found) or (address, operation, entry) in claims.released:
                plan.forgotten.append(entry)
                continue
            gone = entry_left(address, entry, entries_of.sent[entry], found.get(entry) if found else None, mode)
            if gone is not None:
                plan.actions.append(gone)
            elif mode != "append":
                plan.forgotten.append(entry)
        self._note_unasked(address, operation, len(plan.actions), found)
        return plan

    def _plan_metadata(self, address: Address, sources: Sequence[EntrySource]) -> AddressedPlan:
        plan = AddressedPlan(address)
        sent = self._state.addressed.metadata(self._lake, address.key)
        wanted = merged_metadata(sources, self._state.spelling(self._lake))
        broken = {entry: error for source in sources for entry, error in source.broken.items()}
        for error in broken.values():
            message = f"the entry is left out: {error.message}"
            self.notes.append(Note(NoteCode.METADATA_INVALID, message, str(error.where)))
        if sources and not wanted and not broken:
            _guard_emptied(len(sent), "the source", "an entry", self._sources.declared_at[address])
        changed = [entry for entry, one in wanted.items() if _metadata_digest(sent.get(entry)) != one.digest]
        # A broken entry is unknown: neither changed nor removed.
        left = [entry for entry in sent if entry not in wanted and entry not in broken]
        asked = list(wanted) if self._lookup.looks_up_all(address) else changed
        found = self._lookup.find(address, [*asked, *left], None)
        there: Mapping[str, tuple[Found, MetadataValues]] = {}
        if (reader := self._lookup.reader()) is not None:
            written_fields = {entry: self._fields(one, sent.get(entry)) for entry, one in wanted.items()}
            there = reader.metadata(address, written_fields, found)
        lost = [] if found is None else [entry for entry in asked if entry not in found]
        self._note_missing(address, "metadata", lost, None)
        missing = set(lost)
        written = self._state.metadata_sets.values
        for entry in [*wanted, *left]:
            here = found.get(entry) if found else None
            lake: MetadataValues | None = None
            if entry in there:
                here, lake = there[entry]
            if entry in missing:
                continue
            if found is not None and entry in sent and entry not in wanted and here is None:
                plan.forgotten.append(entry)
                continue
            self.notes += compare_metadata(plan, entry, wanted.get(entry), sent.get(entry), here, written, lake)
        self._note_unasked(address, "metadata", len(plan.actions), found)
        return plan

    def _plan_removed_metadata(self, address: Address) -> AddressedPlan:
        """The manifest no longer has the block: forget its entries. As with a collection, what was sent stays."""
        entries = list(self._state.addressed.metadata(self._lake, address.key))
        message = f"is no longer in the manifest; {counted(len(entries), 'file keeps', 'files keep')} what was sent"
        self.notes.append(Note(NoteCode.FIELD_LEFT, message, f"metadata by {address}"))
        return AddressedPlan(address, forgotten=entries)

    def _fields(self, wanted: MetadataSet, sent: SentMetadata | None) -> list[str]:
        """The fields of an entry that are compared with the lake."""
        written = self._state.metadata_sets.values(sent.digest) if sent is not None else None
        return list(dict.fromkeys((*wanted.values, *(written or ()))))

    def _note_missing(self, address: Address, what: str, lost: Sequence[str], index: AnnotationIndex | None) -> None:
        if not lost:
            return
        self._missing_names |= address.by is By.UNIQUE_NAME
        clause = f"{counted(len(lost), 'entry does', 'entries do')} not match a file in the lake (by {address})"
        if index is not None and index.strict:
            raise ManifestError(
                f"{clause}: {some_of(lost)}",
                where=index.declared_at,
                remedy="Correct the source, or set 'strict: false'.",
            )
        code = NoteCode.METADATA_WITHOUT_FILE if index is None else NoteCode.ANNOTATION_WITHOUT_FILE
        self.notes.append(Note.naming(code, clause, lost, what))

    def _note_unasked(self, address: Address, what: str, actions: int, found: Mapping[str, Found] | None) -> None:
        """Note that missing files stay unnoticed: the lake confirms a page whether or not it has the files in it."""
        if actions and found is None and self._lookup.asks_lake:
            message = (
                f"the lake does not report which {address} it has, and ignores entries for those that it does not have"
            )
            self.notes.append(Note(NoteCode.ADDRESS_UNKNOWN, message, what))


def _guard_emptied(sent: int, what: str, lost: str, where: str) -> None:
    """Stop if a source lost all its entries or shapes: that is more often an error than intended."""
    if sent:
        raise GuardStopped(
            f"{what} does not have {lost} any more, but the state has records of {sent} that were sent",
            where=where,
            remedy="Check the source and 'labels'. To remove everything, remove the block from the manifest.",
        )


def _metadata_digest(sent: SentMetadata | None) -> str | None:
    return sent.digest if sent else None
