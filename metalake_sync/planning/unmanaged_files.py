"""The manifest's top-level `annotations` and `metadata`: sources for files that it does not upload.

Owns: opening these sources, asking the lake which of their files it has, and the notes. Must not: decide
(`core.unmanaged_files`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from metalake_sync.core.metadata import MetadataSet, MetadataValues, Spelling, merge_layers, metadata_set
from metalake_sync.core.notes import Note, NoteCode, counted, some_of
from metalake_sync.core.snapshots import DesiredSet, MediaType
from metalake_sync.core.unmanaged_files import (
    Address,
    AddressedPlan,
    By,
    Found,
    SeenSet,
    SentMetadata,
    compare_metadata,
    compare_set,
    entry_left,
)
from metalake_sync.errors import GuardStopped, LakeRefused, ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import AddressedAnnotation, AddressedMetadata, LoadedManifest
from metalake_sync.planning.desired import DesiredCollection, table_format
from metalake_sync.planning.duplicate_targets import AddressedLook, Claims, claim_images, sets_at_home
from metalake_sync.sources.metadata_files import read_metadata_file
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.annotations.parse_cache import SetMemo
    from metalake_sync.annotations.source import AnnotationIndex
    from metalake_sync.annotations.spec import AnnotationSpec
    from metalake_sync.planning.unmanaged_refresh import LakeReading
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.sources.metadata_entries import EntrySource

OperationAt = tuple[Address, str]


@dataclass(slots=True)
class AddressedSources:
    """The opened sources. Close them: annotation records live in temporary files. `metadata`: the sources of one
    address, later ones narrower. `declared_at`: the manifest's file:line:column of the first block of each."""

    annotations: dict[OperationAt, AnnotationIndex] = field(default_factory=dict)
    metadata: dict[Address, list[EntrySource]] = field(default_factory=dict)
    declared_at: dict[Address, str] = field(default_factory=dict)

    def close(self) -> None:
        for index in self.annotations.values():
            index.close()


def address_of(block: AddressedAnnotation | AddressedMetadata) -> Address:
    """How a block's entries name their files. Annotations are of images, whatever the block says."""
    media_type = MediaType(block.type) if block.type else None
    if isinstance(block, AddressedAnnotation) and block.by == "collection":
        media_type = MediaType.IMAGE
    return Address(By(block.by), block.bucket or block.job or block.collection or "", media_type)


def open_addressed(manifest: LoadedManifest, memo: SetMemo) -> AddressedSources:
    """Open every source. `memo`: keeps what became of their entries. Raises ManifestErrors with all their mistakes."""
    sources = AddressedSources()
    if manifest.model.annotations or manifest.model.metadata:
        _open_into(sources, manifest, memo)
    return sources


def _open_into(sources: AddressedSources, manifest: LoadedManifest, memo: SetMemo) -> None:
    # The formats are loaded by who has such sources.
    from metalake_sync.annotations.images import AnyImage
    from metalake_sync.annotations.source import open_index
    from metalake_sync.planning.annotation_specs import annotation_spec

    mistakes: list[ManifestError] = []
    specs: dict[OperationAt, list[AnnotationSpec]] = {}
    for number, block in enumerate(manifest.model.annotations):
        declared_at = str(manifest.where("annotations", number, "source"))
        spec = annotation_spec(block, manifest.base_dir, declared_at)
        specs.setdefault((address_of(block), block.operation), []).append(spec)
    for (address, operation), group in specs.items():
        by_bucket = address.by is By.STORAGE_PATH
        try:
            index = open_index(group, AnyImage(), memo, by_bucket=by_bucket)
        except ManifestErrors as errors:
            mistakes += errors.errors
            continue
        try:
            parts = index.buckets(address.within) if by_bucket else {address.within: index}
        except ManifestError as error:
            index.close()
            mistakes.append(error)
            continue
        for bucket, part in parts.items():
            at = replace(address, within=bucket), operation
            if at in sources.annotations:
                mistakes.append(_second_source(at, sources.annotations[at], part))
            sources.annotations[at] = part
    for number, described in enumerate(manifest.model.metadata):
        stands_at = manifest.where("metadata", number, "source")
        address = address_of(described)
        sources.declared_at.setdefault(address, str(stands_at))
        path = manifest.base_dir / described.source
        try:
            source = read_metadata_file(path, described.source, described.format, table_format(described))
            sources.metadata.setdefault(address, []).append(source)
        except ManifestErrors as errors:
            mistakes += errors.errors
        except ManifestError as error:
            mistakes.append(error)
    if mistakes:
        sources.close()
        raise ManifestErrors(mistakes)


def _second_source(at: OperationAt, first: AnnotationIndex, second: AnnotationIndex) -> ManifestError:
    return ManifestError(
        f"operation '{at[1]}' has images of bucket '{at[0].within}' here and in the block at {first.declared_at}",
        where=second.declared_at,
        remedy="Name the bucket in one way: 'bucket' of the block, or 'storageName' of the entries.",
    )


def operations_elsewhere(manifest: LoadedManifest, state: StateStore, lake: str) -> frozenset[str]:
    """The operations whose sets the manifest sends, or sent, from its top-level `annotations`. `lake`: what the state
    calls it."""
    named = {block.operation for block in manifest.model.annotations}
    return frozenset(named.union(operation for _, operation in state.addressed.operations(lake)))


class AddressedPlanner:
    """`client` is None where the lake is not to be asked. `lake`: what the state calls it. `collections`: the
    manifest's own, which may mean the same images. `full`: read back what the lake has, as far as it can be found."""

    def __init__(
        self,
        sources: AddressedSources,
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
        self._client = client
        self._threads = threads
        self._full = full
        self._listings: dict[Address, Mapping[str, Found]] = {}
        self._read_back: LakeReading | None = None
        self._lost_names = False
        self.notes: list[Note] = []

    def plan(self) -> list[AddressedPlan]:
        """Compare each source with what was sent. Operations and addresses that left the manifest come last."""
        plans = list(self._plans())
        self._remember(plans)
        return plans

    def _plans(self) -> Iterator[AddressedPlan]:
        looks = [self._look(*where, index) for where, index in self._sources.annotations.items()]
        for key, operation in self._state.addressed.operations(self._lake):
            if (Address.from_key(key), operation) not in self._sources.annotations:
                looks.append(self._look(Address.from_key(key), operation, None))
        handles = {key: handle for key, (handle, _) in self._state.collections.of_lake(self._lake).items()}
        operations = {look.operation for look in looks}
        claims = claim_images(looks, sets_at_home(self._collections, handles, self._state.files, operations))
        for look in looks:
            yield self._plan_sets(look, claims)
        for address, sources in self._sources.metadata.items():
            yield self._plan_metadata(address, sources)
        for key in self._state.addressed.described(self._lake):
            if Address.from_key(key) not in self._sources.metadata:
                yield self._metadata_left(Address.from_key(key))

    def _look(self, address: Address, operation: str, index: AnnotationIndex | None) -> AddressedLook:
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
                _guard_emptied(shapes, f"the source of '{operation}'", "entry with a shape", index.declared_at)
        look = AddressedLook(address, operation, index, sent, wanted, None)
        entries = [*(wanted if self._asks_for_all(address) else look.changed), *look.left]
        return replace(look, found=self._find(address, entries, MediaType.IMAGE))

    def _plan_sets(self, look: AddressedLook, claims: Claims) -> AddressedPlan:
        address, operation, found, wanted = look.address, look.operation, look.found, look.wanted
        plan = AddressedPlan(address, operation)
        asked = wanted if self._asks_for_all(address) else look.changed
        lost = [] if found is None else [entry for entry in asked if entry not in found]
        self._note_lost(address, operation, lost, look.index)
        missing = set(lost)
        seen: Mapping[str, SeenSet] = {}
        if look.index is not None and (reading := self._reading()) is not None:
            seen = reading.differing_sets(address, look.index, wanted)
        for entry, desired in wanted.items():
            if entry in missing:
                continue
            sent = None if (address, operation, entry) in claims.resent else look.sent.get(entry)
            here = found.get(entry) if found else None
            action = compare_set(address, entry, desired, sent, here, seen.get(entry))
            if action is None:
                plan.unchanged += 1
            else:
                plan.actions.append(action)
        mode = look.index.mode if look.index is not None else None
        for entry in look.left:
            if (found is not None and entry not in found) or (address, operation, entry) in claims.released:
                plan.forgotten.append(entry)
                continue
            gone = entry_left(address, entry, look.sent[entry], found.get(entry) if found else None, mode)
            if gone is not None:
                plan.actions.append(gone)
            elif mode != "append":
                plan.forgotten.append(entry)
        self._note_unasked(address, operation, len(plan.actions), found)
        return plan

    def _plan_metadata(self, address: Address, sources: Sequence[EntrySource]) -> AddressedPlan:
        plan = AddressedPlan(address)
        sent = self._state.addressed.metadata(self._lake, address.key)
        wanted = _merged(sources, self._state.spelling(self._lake))
        broken = {entry: error for source in sources for entry, error in source.broken.items()}
        for error in broken.values():
            message = f"the entry is left out: {error.message}"
            self.notes.append(Note(NoteCode.METADATA_INVALID, message, str(error.where)))
        if sources and not wanted and not broken:
            _guard_emptied(len(sent), "the source", "entry", self._sources.declared_at[address])
        changed = [entry for entry, one in wanted.items() if _metadata_digest(sent.get(entry)) != one.digest]
        # Of a broken entry nothing is known: it is neither changed nor gone.
        left = [entry for entry in sent if entry not in wanted and entry not in broken]
        asked = list(wanted) if self._asks_for_all(address) else changed
        found = self._find(address, [*asked, *left], None)
        there: Mapping[str, tuple[Found, MetadataValues]] = {}
        if (reading := self._reading()) is not None:
            written_fields = {entry: self._fields(one, sent.get(entry)) for entry, one in wanted.items()}
            there = reading.metadata(address, written_fields, found)
        lost = [] if found is None else [entry for entry in asked if entry not in found]
        self._note_lost(address, "metadata", lost, None)
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

    def _metadata_left(self, address: Address) -> AddressedPlan:
        """The whole block left the manifest: as with a collection that left, what was written there stays."""
        entries = list(self._state.addressed.metadata(self._lake, address.key))
        message = f"is no longer in the manifest; {counted(len(entries), 'file keeps', 'files keep')} what was sent"
        self.notes.append(Note(NoteCode.FIELD_LEFT, message, f"metadata by {address}"))
        return AddressedPlan(address, forgotten=entries)

    def _fields(self, wanted: MetadataSet, sent: SentMetadata | None) -> list[str]:
        """The fields of an entry that are compared with the lake's."""
        written = self._state.metadata_sets.values(sent.digest) if sent is not None else None
        return list(dict.fromkeys((*wanted.values, *(written or ()))))

    # Asking the lake.

    def _reading(self) -> LakeReading | None:
        """What reads back from the lake; None unless the lake is looked at in full."""
        if self._read_back is None and self._full and self._client is not None:
            from metalake_sync.planning.unmanaged_refresh import LakeReading

            self._read_back = LakeReading(self._client, self._threads)
        return self._read_back

    def _asks_for_all(self, address: Address) -> bool:
        """Whether the lake is asked about every entry, and not only about those that changed."""
        return address.by is By.COLLECTION or (address.by is By.UNIQUE_NAME and (self._full or self._lake_moved))

    @cached_property
    def _lake_moved(self) -> bool:
        """Whether files came or went in the lake since every unique name was found as it was recorded."""
        return self._client is not None and self._state.learned(self._moved_key) != self._lake_stands

    @property
    def _moved_key(self) -> str:
        return f"unique names: {self._lake}"

    @cached_property
    def _lake_stands(self) -> str:
        """How many files the lake has of each type that unique names may be of, and which are the newest."""
        assert self._client is not None
        from metalake_sync.remote.listings import count_and_newest_in_lake

        types = {MediaType.IMAGE for address, _ in self._sources.annotations if address.by is By.UNIQUE_NAME}
        for address in self._sources.metadata:
            if address.by is By.UNIQUE_NAME:
                types.update([address.type] if address.type else MediaType)
        return json.dumps(
            {str(media_type): count_and_newest_in_lake(self._client, media_type) for media_type in sorted(types)}
        )

    def _remember(self, plans: Sequence[AddressedPlan]) -> None:
        """Keep how the lake stands, where every unique name is in it as it was recorded."""
        named = [plan for plan in plans if plan.address.by is By.UNIQUE_NAME]
        if not named or self._client is None or self._lost_names or not (self._full or self._lake_moved):
            return
        if not any(plan.actions or plan.settled or plan.forgotten for plan in named):
            with self._state.write():
                self._state.learn(self._moved_key, self._lake_stands)

    def _find(
        self, address: Address, entries: Sequence[str], media_type: MediaType | None
    ) -> Mapping[str, Found] | None:
        """Which files the lake has, as far as the protocol can tell: a collection is listed, unique names are asked for
        where something is to be sent. None where nothing can be told."""
        if self._client is None:
            return None
        match address.by:
            case By.COLLECTION:
                if address not in self._listings:
                    self._listings[address] = self._list(self._client, address)
                return self._listings[address]
            case By.UNIQUE_NAME:
                if not entries:
                    return {}
                types = [media_type] if media_type else list(MediaType)
                from metalake_sync.remote.listings import which_exist

                there = which_exist(self._client, entries, types, self._threads)
                return {name: Found(name, lake_id) for name, lake_id in there.items()}
            case By.JOB:
                if entries:
                    self._check_job(self._client, address)
                return None
            case By.STORAGE_PATH:
                return None

    def _list(self, client: LakeClient, address: Address) -> Mapping[str, Found]:
        from metalake_sync.remote.listings import count_remote, list_remote
        from metalake_sync.remote.media_kinds import media_kind

        ids: dict[MediaType, str] = {}
        for media_type in [address.type] if address.type else list(MediaType):
            lake_id = client.find_collection(address.within, media_kind(media_type))
            if lake_id is not None:
                ids[media_type] = lake_id
        if len(ids) > 1:
            raise ManifestError(
                f"the lake has several collections '{address.within}': of type {', '.join(ids)}",
                where=self._sources.declared_at.get(address),
                remedy="Add 'type'.",
            )
        if not ids:
            message = "the lake has no such collection; nothing is sent there"
            self.notes.append(Note(NoteCode.ADDRESS_UNKNOWN, message, address.within))
            return {}
        ((media_type, lake_id),) = ids.items()
        listing = list_remote(client, lake_id, media_type, count_remote(client, lake_id, media_type))
        files = ((name, listing.get(name)) for name in listing.names())
        return {name: Found(file.unique_name, file.lake_id) for name, file in files if file is not None}

    @staticmethod
    def _check_job(client: LakeClient, address: Address) -> None:
        try:
            client.job_status(address.within)
        except LakeRefused as refusal:
            raise ManifestError(
                f"the lake knows no job '{address.within}' ({refusal.message})",
                remedy="Correct 'job', or take the block out.",
            ) from None

    def _note_lost(self, address: Address, what: str, lost: Sequence[str], index: AnnotationIndex | None) -> None:
        if not lost:
            return
        self._lost_names |= address.by is By.UNIQUE_NAME
        clause = f"{counted(len(lost), 'entry has', 'entries have')} no file in the lake (by {address})"
        if index is not None and index.strict:
            raise ManifestError(f"{clause}: {some_of(lost)}", where=index.declared_at, remedy="Or set 'strict: false'.")
        code = NoteCode.METADATA_WITHOUT_FILE if index is None else NoteCode.ANNOTATION_WITHOUT_FILE
        self.notes.append(Note.naming(code, clause, lost, what))

    def _note_unasked(self, address: Address, what: str, actions: int, found: Mapping[str, Found] | None) -> None:
        """Say what is not known: the lake confirms a page, whether or not it has the files in it."""
        if actions and found is None and self._client is not None:
            message = f"the lake does not say which {address} it has, and passes over those that it does not have"
            self.notes.append(Note(NoteCode.ADDRESS_UNKNOWN, message, what))


def _merged(sources: Sequence[EntrySource], spelling: Spelling) -> dict[str, MetadataSet]:
    """Each entry's values in all sources of one address: later ones win, Tags are united."""
    layers: dict[str, list[Mapping[str, object]]] = {}
    for source in sources:
        for entry, values in source.entries.items():
            layers.setdefault(entry, []).append(values)
    broken = {entry for source in sources for entry in source.broken}
    return {
        entry: metadata_set(merge_layers(values, spelling)) for entry, values in layers.items() if entry not in broken
    }


def _guard_emptied(sent: int, what: str, lost: str, where: str) -> None:
    """A source that lost all its entries or shapes is a mistake more often than a wish to take back everything."""
    if sent:
        raise GuardStopped(
            f"{what} has no {lost} any more, and the state knows {sent} that were sent",
            where=where,
            remedy="Check the source and 'labels'. If all are meant to go, take the block out of the manifest.",
        )


def _metadata_digest(sent: SentMetadata | None) -> str | None:
    return sent.digest if sent else None
