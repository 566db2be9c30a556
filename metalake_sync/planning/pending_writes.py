"""Finds out what became of annotation sets and metadata that an interrupted run sent, and corrects the records.

A run that is killed between the lake's answer and its record leaves a state that is behind the lake. Without this, the
next plan would miss the change, or take it for one of another client. So before a plan, the lake's values of exactly
these sets and files are read: what the lake has as it was sent is recorded, as the interrupted run would have done.

Owns: these reads, at every refresh, and the records that follow from them. Must not: plan anything, or decide about
values of other clients: a set that is not as it was sent keeps its record, and the plan compares it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from pathlib import Path

from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.readback import is_as_sent, read_back
from metalake_sync.core.addresses import Address, FileAt, Place
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.metadata import NO_METADATA, TAGS, MetadataSet, MetadataValues, is_computed, same_value
from metalake_sync.core.snapshots import CollectionKey, DesiredSet, KeptSet, MediaType, RecordedCollection
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.lake_listing import view_lake
from metalake_sync.planning.unmanaged_lookup import UnmanagedLookup
from metalake_sync.planning.unmanaged_sources import UnmanagedSources
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import fields_in, remote_details, remote_resolutions
from metalake_sync.remote.listings import sets_of_images
from metalake_sync.sources.image_headers import image_size
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.pending_writes import HEAD, PendingMetadata, PendingSet
from metalake_sync.state.records_by_place import PlaceRecords
from metalake_sync.state.store import StateStore

UNKNOWN_DIGEST = ""
"""Recorded for a set that the lake may or may not have. It differs from every set of a source, so it is sent again."""


@contextlib.contextmanager
def settled_copy(writes: PendingWrites) -> Iterator[StateStore]:
    """Yield a copy of the state, with corrected records. A plan does not change the state itself, in which another run
    may be at work."""
    with tempfile.TemporaryDirectory(prefix="metalake-sync-") as folder:
        copy = writes.state.back_up(Path(folder) / "state.db")
        with StateStore(copy) as state:
            replace(writes, state=state).settle()
            yield state


@dataclass(slots=True)
class PendingWrites:
    """What was sent to one lake and not confirmed."""

    state: StateStore
    lake: str
    """The identity of the lake in the state."""
    client: LakeClient
    base_dir: Path
    threads: int
    emit: EventSink
    _confirmed: list[PendingSet] = field(default_factory=list, init=False)
    _unknown: list[PendingSet] = field(default_factory=list, init=False)
    _confirmed_metadata: list[PendingMetadata] = field(default_factory=list, init=False)
    _unknown_metadata: list[PendingMetadata] = field(default_factory=list, init=False)
    _lookup: UnmanagedLookup | None = None

    def settle(self) -> None:
        """Read the lake's values, and correct the records. Raises what the lake raises."""
        pending = self.state.pending_writes
        sets, metadata = pending.sets(self.lake), pending.metadata(self.lake)
        recorded = self.state.collections.of_lake(self.lake)
        for (place, operation), sent in sets.items():
            self.emit(Observing(f"reading what an interrupted run sent to {operation}"))
            if isinstance(place, Address):
                self._compare_unmanaged(place, operation, {one.at.name: one for one in sent})
            elif place in recorded:
                self._compare_managed(place, recorded[place], operation, {one.at.name: one for one in sent})
        for place, files in metadata.items():
            self.emit(Observing(f"reading the metadata that an interrupted run sent to {place}"))
            if isinstance(place, Address):
                self._compare_unmanaged_metadata(place, files)
            elif place in recorded:
                self._compare_managed_metadata(place, recorded[place], files)
        with self.state.write():
            self._record(recorded)
            pending.drop_all(self.lake)

    # Annotation sets.

    def _compare_managed(
        self,
        key: CollectionKey,
        recorded: tuple[CollectionHandle, RecordedCollection],
        operation: str,
        sent: dict[str, PendingSet],
    ) -> None:
        handle, known = recorded
        view = view_lake(self.client, key, known, full=False)
        if view.lake_id != known.lake_id:
            return
        files = self.state.files.named(handle, sent)
        paths = dict(self.state.files.paths(handle, sent))

        def size_of(at: FileAt) -> Size | None:
            path = paths.get(at.name)
            return image_size(os.path.join(self.base_dir, path)) if path is not None else None

        names = {files[name].unique_name: name for name in sent if name in files}
        there = sets_of_images(self.client, view.lake_id or "", names, file_count=view.count or 0, operation=operation)
        for name, shapes in there:
            one = sent[name]
            if _is_as_sent(one, shapes, size_of(one.at) if one.sent.normalized else None):
                self._confirmed.append(one)

    def _compare_unmanaged(self, address: Address, operation: str, sent: dict[str, PendingSet]) -> None:
        located = self._locating().locate(address, sent, [MediaType.IMAGE])
        fractions = [one.at.unique_name or "" for name, one in located.items() if sent[name].sent.normalized]
        sizes = remote_resolutions(self.client, fractions, self.threads) if fractions else {}
        for view in {id(one.view): one.view for one in located.values()}.values():
            here = {one.at.unique_name or "": name for name, one in located.items() if one.view is view}
            listing = view.listed()
            count = len(listing) if listing is not None else 0
            there = sets_of_images(self.client, view.lake_id or "", here, file_count=count, operation=operation)
            for name, shapes in there:
                if _is_as_sent(sent[name], shapes, sizes.get(located[name].at.unique_name or "")):
                    self._confirmed.append(sent[name]._replace(at=located[name].at))
        # The lake does not tell what it has at a job, or at a storage path that it does not confirm.
        self._unknown += (one for name, one in sent.items() if name not in located)

    # Metadata.

    def _compare_managed_metadata(
        self, key: CollectionKey, recorded: tuple[CollectionHandle, RecordedCollection], files: list[PendingMetadata]
    ) -> None:
        handle, known = recorded
        of_files = [one for one in files if one.at.name != HEAD]
        found = self.state.files.named(handle, [one.at.name for one in of_files])
        names = {one.at.name: found[one.at.name].unique_name for one in of_files if one.at.name in found}
        self._compare_details(of_files, names)
        for head in (one for one in files if one.at.name == HEAD):
            view = view_lake(self.client, key, known, full=False)
            if view.lake_id == known.lake_id:
                fields = dict.fromkeys((*head.sent.values, TAGS), True)
                details = fields_in(self.client.collection_details(known.lake_id, fields), fields)
                if _has_fields(details, head.sent):
                    self._confirmed_metadata.append(head)

    def _compare_unmanaged_metadata(self, address: Address, files: list[PendingMetadata]) -> None:
        types = [address.type] if address.type is not None else list(MediaType)
        located = self._locating().locate(address, [one.at.name for one in files], types)
        self._compare_details(files, {name: one.at.unique_name or "" for name, one in located.items()})
        self._unknown_metadata += (one for one in files if one.at.name not in located)

    def _compare_details(self, files: Sequence[PendingMetadata], unique_names: dict[str, str]) -> None:
        asked = [(unique_names[one.at.name], one.sent.values) for one in files if one.at.name in unique_names]
        details = remote_details(self.client, asked, self.threads)
        for one in files:
            there = details.get(unique_names.get(one.at.name, ""))
            if there is not None and _has_fields(there.metadata, one.sent):
                self._confirmed_metadata.append(one._replace(at=FileAt(one.at.place, one.at.name, None, there.lake_id)))

    def _locating(self) -> UnmanagedLookup:
        if self._lookup is None:
            self._lookup = UnmanagedLookup(
                UnmanagedSources(), self.state, self.lake, self.client, self.threads, full=True
            )
        return self._lookup

    # Records.

    def _record(self, recorded: dict[CollectionKey, tuple[CollectionHandle, RecordedCollection]]) -> None:
        for one in self._confirmed:
            records = self._records(one.at.place, recorded)
            if one.record is None:
                records.forget_sets(one.operation, [one.at.name])
                continue
            shapes = one.base if one.base is not None else one.sent
            records.record_sets([(one.at, one.record)], lambda *_, shapes=shapes: shapes)
            if one.kept is not None:
                records.keep_sets([(one.at, KeptSet(one.record, one.kept))])
        for one in self._unknown:
            if one.record is not None:
                wanted = DesiredSet(one.operation, one.kind, UNKNOWN_DIGEST, one.record.shape_count)
                self._records(one.at.place, recorded).record_sets([(one.at, wanted)])
        for file in self._confirmed_metadata:
            if file.at.name == HEAD and isinstance(file.at.place, CollectionKey):
                self.state.collections.record_head(recorded[file.at.place][0], file.record)
            else:
                self._records(file.at.place, recorded).record_metadata([(file.at, file.record)])
        for file in self._unknown_metadata:
            # Everything is sent again.
            self._records(file.at.place, recorded).record_metadata([(file.at, NO_METADATA)])

    def _records(
        self, place: Place, recorded: dict[CollectionKey, tuple[CollectionHandle, RecordedCollection]]
    ) -> PlaceRecords:
        if isinstance(place, Address):
            return self.state.of_address(self.lake, place)
        return self.state.of_collection(recorded[place][0])


def _is_as_sent(one: PendingSet, shapes: Sequence[object], size: Size | None) -> bool:
    """Whether the lake has a set as it was sent. `size`: of the image, for fractions. A set that cannot be compared is
    not."""
    if not one.sent.shapes or not shapes:
        return not one.sent.shapes and not shapes
    _, back = read_back(shapes)
    if back is None:
        return False
    sent = one.sent
    if sent.normalized:
        if size is None:
            return False
        from metalake_sync.annotations.frames import to_pixels

        sent = to_pixels(sent, size)
    return is_as_sent(sent, one.kind, back, "")


def _has_fields(there: MetadataValues, sent: MetadataSet) -> bool:
    """Whether the lake has the fields that were sent. Fields that it computes do not tell."""
    fields = {name: value for name, value in sent.values.items() if not is_computed(name)}
    tags = fields.pop(TAGS, None)
    if tags is not None and set(tags) != set(there.get(TAGS) or ()):
        return False
    return all(name in there and same_value(there[name], value) for name, value in fields.items())
