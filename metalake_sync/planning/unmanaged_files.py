"""Plans what is sent to unmanaged files: the top-level `annotations` and `metadata` of the manifest.

Owns: the comparison of sources with what was sent before, and the notes. Must not: decide what becomes of an entry
(`core.diff_sets`, `core.diff_metadata`). Longer than 300 lines, because sets and metadata are looked up, compared and
noted in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING

from metalake_sync.core.actions import Annotate, RemoveAnnotations, SetAction
from metalake_sync.core.addresses import Address, By, FileAt
from metalake_sync.core.diff_metadata import compare_unmanaged_metadata
from metalake_sync.core.diff_sets import (
    NO_DECISIONS,
    Decisions,
    OperationPolicy,
    SeenSet,
    compare_unmanaged_set,
    decisions_of,
    set_left,
)
from metalake_sync.core.metadata import MetadataSet, MetadataValues
from metalake_sync.core.notes import Note, NoteCode, counted, some_of
from metalake_sync.core.plan import AddressedPlan
from metalake_sync.core.shapes import EMPTY_SET_DIGEST
from metalake_sync.core.snapshots import DesiredSet, MediaType, RecordedMetadata
from metalake_sync.errors import ManifestError
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.lake_metadata import FILES_LIMIT, changed_fields, lake_values
from metalake_sync.planning.lake_sets import PAGES_LIMIT
from metalake_sync.planning.source_guards import emptied, guard_annotations
from metalake_sync.planning.unmanaged_lookup import UnmanagedLookup
from metalake_sync.planning.unmanaged_sources import (
    Claims,
    OperationEntries,
    UnmanagedSources,
    claim_images,
    merged_metadata,
    sets_of_collections,
)
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.annotations.index import AnnotationIndex
    from metalake_sync.planning.unmanaged_refresh import UnmanagedReader
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.sources.metadata_entries import EntrySource


class UnmanagedPlanner:
    """Plans all unmanaged files of one manifest.

    `client`: None does not ask the lake. `lake`: the identity of the lake in the state. `collections`: those of the
    manifest, which may annotate the same images. `full`: compare all metadata and sets with the
    lake, not only those that are about to be sent. `decisions`: the conflicts that a user decided.
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
        decisions: Decisions = NO_DECISIONS,
    ) -> None:
        self._sources = sources
        self._decisions = decisions
        self._collections = list(collections)
        self._state = state
        self._lake = lake
        self._lookup = UnmanagedLookup(sources, state, lake, client, threads, full=full)
        self._reader: UnmanagedReader | None = None
        self._full = full
        if client is not None:
            from metalake_sync.planning.unmanaged_refresh import UnmanagedReader

            self._reader = UnmanagedReader(client, self._lookup, threads, full=full)
        self._missing_names = False
        self.notes = self._lookup.notes

    def plan(self) -> list[AddressedPlan]:
        """Compare each source with what was sent before. Sources that the manifest no longer has come last."""
        plans = list(self._plans())
        named = [plan for plan in plans if plan.address.by is By.UNIQUE_NAME]
        unchanged = not any(plan.actions or plan.only_records for plan in named)
        if named and unchanged and not self._missing_names:
            self._lookup.record_marker()
        return plans

    def _plans(self) -> Iterator[AddressedPlan]:
        all_entries = [self._entries_of(*where, index) for where, index in self._sources.annotations.items()]
        for address, operation in self._state.addresses.with_sets(self._lake):
            if (address, operation) not in self._sources.annotations:
                all_entries.append(self._entries_of(address, operation, None))
        handles = {key: handle for key, (handle, _) in self._state.collections.of_lake(self._lake).items()}
        operations = {entries_of.operation for entries_of in all_entries}
        claims = claim_images(
            all_entries, sets_of_collections(self._collections, handles, self._state.files, operations)
        )
        for entries_of in all_entries:
            yield self._plan_sets(entries_of, claims)
        for address, sources in self._sources.metadata.items():
            yield self._plan_metadata(address, sources)
        for address in self._state.addresses.with_metadata(self._lake):
            if address not in self._sources.metadata:
                yield self._plan_removed_metadata(address)

    # Annotations.

    def _entries_of(self, address: Address, operation: str, index: AnnotationIndex | None) -> OperationEntries:
        sent = self._state.of_address(self._lake, address).sets(operation)
        wanted: dict[str, DesiredSet] = {}
        if index is not None:
            self.notes += index.notes()
            wanted = {
                entry: DesiredSet(operation, index.kind, image.digest, image.shape_count)
                for entry, image in index.images().items()
            }
            if not any(one.shape_count for one in wanted.values()):
                guard_annotations(index, sum(bool(one.shape_count) for one in sent.values()))
        entries_of = OperationEntries(address, operation, index, sent, wanted, None)
        entries = [*(wanted if self._lookup.looks_up_all(address) else entries_of.changed), *entries_of.left]
        return replace(entries_of, found=self._lookup.find(address, entries, MediaType.IMAGE))

    def _plan_sets(self, entries_of: OperationEntries, claims: Claims) -> AddressedPlan:
        address, operation, index = entries_of.address, entries_of.operation, entries_of.index
        found, wanted = entries_of.found, entries_of.wanted
        plan = AddressedPlan(address, operation)
        missing = self._missing(address, operation, entries_of.changed, wanted, found, index)
        seen: Mapping[str, SeenSet] = {}
        read: Set[str] = frozenset()
        policy: OperationPolicy | None = None
        if index is not None:
            decided = decisions_of(self._decisions, str(address), operation)
            policy = OperationPolicy(index.kind, index.mode, on_drift=index.on_drift, decided=decided)
        cleared = {
            entry: DesiredSet(operation, known.kind, EMPTY_SET_DIGEST, 0)
            for entry, known in entries_of.sent.items()
            if entry not in wanted and (index is None or index.mode == "replace")
        }
        kinds = {one.kind for one in (*wanted.values(), *cleared.values())}
        if self._reader is not None and kinds:
            from metalake_sync.planning.unmanaged_refresh import ComparedSets

            records = self._state.of_address(self._lake, address)
            kind = index.kind if index is not None else kinds.pop()
            all_sets = {**cleared, **wanted}
            sending = all_sets.keys() - missing
            if not self._full:
                resent = (entry for where, of, entry in claims.resent if (where, of) == (address, operation))
                sending &= {*entries_of.changed, *entries_of.left, *resent}
                if any(of == operation for _, of, _ in claims.released):
                    # The set in the lake may be ours: another block of the manifest named the image before.
                    sending &= entries_of.sent.keys()
            due = {entry: one for entry, one in all_sets.items() if entry in sending}
            compared = ComparedSets(operation, kind, due, records, index, policy)
            seen = self._reader.differing_sets(address, compared)
            read = due.keys() - set(self._reader.not_read)
            self._note_unverified(address, operation, [one for one in self._reader.not_read if one in entries_of.sent])
        for entry, desired in wanted.items():
            if entry in missing:
                continue
            sent = None if (address, operation, entry) in claims.resent else entries_of.sent.get(entry)
            at = _file_at(address, entry, found)
            decision = compare_unmanaged_set(at, desired, sent, seen.get(entry), policy)
            self.notes += decision.notes
            if decision.action is not None:
                action: SetAction = replace(decision.action, compared=entry in read)
                if isinstance(action, Annotate) and entry in seen and seen[entry].there is None:
                    action = replace(action, was_absent=True)
                plan.actions.append(action)
                continue
            plan.unchanged += 1
            if decision.kept is not None:
                plan.kept.append((at, decision.kept))
            elif decision.settled is not None:
                plan.forgotten.append(entry)
        mode = index.mode if index is not None else None
        for entry in entries_of.left:
            if (found is not None and entry not in found) or (address, operation, entry) in claims.released:
                plan.forgotten.append(entry)
                continue
            gone = set_left(_file_at(address, entry, found), entries_of.sent[entry], mode)
            if gone is not None and entry in seen:
                at = gone.at
                decision = compare_unmanaged_set(at, cleared[entry], entries_of.sent[entry], seen[entry], policy)
                self.notes += decision.notes
                if decision.kept is not None:
                    plan.kept.append((at, decision.kept))
                    continue
                # Without an action, another client has cleared the set already.
                clearing = decision.action
                gone = replace(clearing, reason=gone.reason) if isinstance(clearing, RemoveAnnotations) else None
            if gone is not None:
                plan.actions.append(replace(gone, compared=entry in read))
            elif mode != "append":
                plan.forgotten.append(entry)
        self._note_unasked(address, operation, len(plan.actions), found)
        return plan

    # Metadata.

    def _plan_metadata(self, address: Address, sources: Sequence[EntrySource]) -> AddressedPlan:
        plan = AddressedPlan(address)
        sent = self._state.of_address(self._lake, address).metadata()
        wanted = merged_metadata(sources, self._state.spelling(self._lake))
        broken = {entry: error for source in sources for entry, error in source.broken.items()}
        for error in broken.values():
            message = f"the entry is left out: {error.message}"
            self.notes.append(Note(NoteCode.METADATA_INVALID, message, str(error.where)))
        if sent and sources and not wanted and not broken:
            raise emptied(
                "the source does not have an entry any more",
                counted(len(sent), "file", "files"),
                self._sources.declared_at[address],
                "Check the source. To stop comparing these files, remove the block from the manifest.",
            )
        changed = [entry for entry, one in wanted.items() if entry not in sent or sent[entry].digest != one.digest]
        # A broken entry is unknown: neither changed nor removed.
        left = [entry for entry in sent if entry not in wanted and entry not in broken]
        asked = list(wanted) if self._lookup.looks_up_all(address) else changed
        found = self._lookup.find(address, [*asked, *left], None)
        there: Mapping[str, tuple[FileAt, MetadataValues]] = {}
        if self._reader is not None and self._full:
            fields = {entry: self._fields(one, sent.get(entry)) for entry, one in wanted.items()}
            there = self._reader.metadata(address, fields, found)
        elif self._reader is not None:
            there = self._changed_metadata(self._reader, address, {one: wanted[one] for one in changed}, sent, found)
        missing = self._missing(address, "metadata", changed, wanted, found, None)
        written = self._state.metadata_sets.values
        for entry in [*wanted, *left]:
            if entry in missing:
                continue
            if found is not None and entry not in wanted and entry not in found:
                plan.forgotten.append(entry)
                continue
            at, lake = there.get(entry, (_file_at(address, entry, found), None))
            decision = compare_unmanaged_metadata(at, wanted.get(entry), sent.get(entry), written, lake)
            self.notes += decision.notes
            if decision.action is not None:
                plan.actions.append(decision.action)
            elif decision.record is not None:
                plan.settled.append((at, decision.record))
            else:
                plan.unchanged += 1
        self._note_unasked(address, "metadata", len(plan.actions), found)
        return plan

    def _plan_removed_metadata(self, address: Address) -> AddressedPlan:
        """The manifest no longer has the block: forget its entries. As with a collection, what was sent stays."""
        entries = list(self._state.of_address(self._lake, address).metadata())
        message = f"is no longer in the manifest; {counted(len(entries), 'file keeps', 'files keep')} what was sent"
        self.notes.append(Note(NoteCode.FIELD_LEFT, message, f"metadata by {address}"))
        return AddressedPlan(address, forgotten=entries)

    def _changed_metadata(
        self,
        reader: UnmanagedReader,
        address: Address,
        changed: Mapping[str, MetadataSet],
        sent: Mapping[str, RecordedMetadata],
        found: Mapping[str, FileAt] | None,
    ) -> dict[str, tuple[FileAt, MetadataValues]]:
        """The lake's metadata of files to which other values are about to be sent than last time, by entry."""
        written = self._state.metadata_sets.values
        before = {entry: written(sent[entry].digest) or {} for entry in changed if entry in sent}
        fields = {entry: changed_fields(values, changed[entry].values) for entry, values in before.items()}
        fields = {entry: names for entry, names in fields.items() if names}
        if not fields:
            return {}
        why = f"more than {FILES_LIMIT:,} calls would be needed"
        there: dict[str, tuple[FileAt, MetadataValues]] = {}
        if len(fields) <= FILES_LIMIT:
            why = "the lake does not report where it has the files"
            for entry, (at, values) in reader.metadata(address, fields, found).items():
                there[entry] = at, lake_values(before[entry], fields[entry], values)
        unread = len(fields) - len(there)
        if unread:
            message = f"changed metadata of {counted(unread, 'file', 'files')} was not compared with the lake, because"
            self.notes.append(Note(NoteCode.METADATA_UNVERIFIED, f"{message} {why}", f"metadata by {address}"))
        return there

    def _fields(self, wanted: MetadataSet, sent: RecordedMetadata | None) -> list[str]:
        """The fields of an entry that are compared with the lake."""
        written = self._state.metadata_sets.values(sent.digest) if sent is not None else None
        return list(dict.fromkeys((*wanted.values, *(written or ()))))

    # Notes.

    def _missing(
        self,
        address: Address,
        what: str,
        changed: Sequence[str],
        wanted: Iterable[str],
        found: Mapping[str, FileAt] | None,
        index: AnnotationIndex | None,
    ) -> set[str]:
        """The entries that match no file in the lake, with a note. Raises ManifestError for a `strict` source."""
        asked = wanted if self._lookup.looks_up_all(address) else changed
        lost = [] if found is None else [entry for entry in asked if entry not in found]
        if not lost:
            return set()
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
        return set(lost)

    def _note_unverified(self, address: Address, operation: str, entries: Sequence[str]) -> None:
        if entries:
            message = (
                f"{counted(len(entries), 'changed set', 'changed sets')} of '{operation}' were not compared with the"
                " lake, which does not report where it has the images, or would need more than"
                f" {PAGES_LIMIT} calls to return them"
            )
            self.notes.append(Note(NoteCode.SETS_UNVERIFIED, message, str(address)))

    def _note_unasked(self, address: Address, what: str, actions: int, found: Mapping[str, FileAt] | None) -> None:
        """Note that missing files stay unnoticed: the lake confirms a page whether or not it has the files in it."""
        if actions and found is None and self._lookup.client is not None:
            message = (
                f"the lake does not report which {address} it has, and ignores entries for those that it does not have"
            )
            self.notes.append(Note(NoteCode.ADDRESS_UNKNOWN, message, what))


def _file_at(address: Address, entry: str, found: Mapping[str, FileAt] | None) -> FileAt:
    """The lake's file of an entry, as far as the planner read it."""
    return found[entry] if found is not None and entry in found else FileAt(address, entry)
