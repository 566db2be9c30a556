"""A full refresh: compares the size, metadata and annotation sets of recorded files with the lake.

Owns: which pages are requested, and what is kept of them: only files that differ. Must not: decide what becomes of
them.

Metadata and sizes cost one call per file. So files are read from the newest change on, down to the marker that the last
refresh without drift has left. Annotation sets are all read back, one operation after the other, because the protocol
does not say whether a new shape counts as a change of its file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import field, replace
from pathlib import Path

from metalake_sync.annotations.readback import read_back
from metalake_sync.core.diff import CollectionRules
from metalake_sync.core.diff_sets import has_drifted
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.metadata import TAGS, MetadataValues, update_to_mend
from metalake_sync.core.shapes import EMPTY_SET_DIGEST
from metalake_sync.core.snapshots import (
    CollectionPolicy,
    Origin,
    RecordedCollection,
    RecordedFile,
    RecordedSet,
    RemoteFile,
    RemoteSet,
)
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.desired import DesiredCollection
from metalake_sync.planning.lake_sets import NO_SHAPES, LakeSetComparer
from metalake_sync.protocol.items import ListedItem, ListItems, SortBy
from metalake_sync.protocol.wire import PAGE_SIZE_LIMIT, SortField
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import fields_in, remote_details, sortable_date
from metalake_sync.remote.listings import RemoteListing, annotations_of, pages_in_parallel
from metalake_sync.remote.selections import object_kind
from metalake_sync.state.annotation_sets import ReadBackSet
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore


@dataclass(frozen=True, slots=True)
class Marker:
    """A refresh found no drift in changes up to `until`, by the rules of a policy."""

    until: str
    policy: CollectionPolicy

    def write(self) -> str:
        return f"{self.policy.tags} {self.policy.metadata_override} {self.until}"

    @classmethod
    def read(cls, text: str | None, policy: CollectionPolicy) -> str:
        """The sortable date in a marker, or '' without a marker or if the policy has changed since."""
        start = cls("", policy).write()
        # Older versions kept the date as the lake wrote it.
        return sortable_date(text.removeprefix(start)) if text is not None and text.startswith(start) else ""


UNRECORDED_AT_ONCE = 250
"""How many sets without a record are compared together."""

PAGE_TO_THE_MARKER = 100
"""How many files' details are requested together while any of them may reach the marker."""


@dataclass(slots=True)
class FullRefreshResult:
    """What a full refresh found."""

    differing: dict[str, tuple[RecordedFile, RemoteFile]] = field(default_factory=dict)
    """The recorded file and the lake's file by name, if they differ."""
    head: MetadataValues = field(default_factory=dict)
    """The metadata of the collection's head, limited to the fields that we wrote."""
    until: str = ""
    """The date of the newest change in the lake."""
    seen: list[ReadBackSet] = field(default_factory=list)
    """The sets that were read back for the first time, to be recorded."""

    def marker_by(self, policy: CollectionPolicy) -> str | None:
        """The marker from which the next refresh can start. None if something differs."""
        return Marker(self.until, policy).write() if self.until and not self.differing else None


@dataclass(slots=True)
class FullRefresh:
    """Refreshes one collection."""

    client: LakeClient
    state: StateStore
    base_dir: Path
    rules: CollectionRules
    desired: DesiredCollection | None
    handle: CollectionHandle
    """Of the recorded collection."""
    known: RecordedCollection
    listing: RemoteListing
    marker: str
    """As `Marker.read` returns it."""
    threads: int
    emit: EventSink
    elsewhere: Set[str] = frozenset()
    """Operations that the manifest also sends to unmanaged files, from its top-level `annotations`."""
    recovered: Mapping[str, RecordedFile] = field(default_factory=dict)
    """Files that an interrupted run uploaded and that have no row in the state yet, by name."""
    _result: FullRefreshResult = field(default_factory=FullRefreshResult)
    _sets: dict[str, dict[str, RemoteSet]] = field(default_factory=dict)

    @property
    def _comparer(self) -> LakeSetComparer:
        return LakeSetComparer(self.desired, self.state, self.handle, self.base_dir)

    def run(self) -> FullRefreshResult:
        """Ask the lake, and return what differs."""
        if self.known.head_digest is not None:
            written = self.rules.written(self.known.head_digest) or {}
            fields = dict.fromkeys((*written, TAGS), True)
            details = self.client.collection_details(self.known.lake_id, fields)
            self._result.head = fields_in(details, fields)
        self._compare_files()
        wanted = self.desired.annotations if self.desired is not None else ()
        for operation in dict.fromkeys((*self.state.annotation_sets.operations(self.handle), *wanted)):
            self._compare_sets(operation)
        self._join_sets()
        return self._result

    def _records_of(self, names: Collection[str]) -> dict[str, RecordedFile]:
        """The records of files by name, recovered ones first."""
        recovered = {name: self.recovered[name] for name in names if name in self.recovered}
        return self.state.files.named(self.handle, names) | recovered

    # Sizes and metadata.

    def _compare_files(self) -> None:
        compared = 0
        for page in self._newest_changes():
            recorded = self._records_of([item.name for item in page])
            # Files without a record only show how far down the list we are.
            asked = [item for item in page if item.name in recorded or self.marker]
            details = remote_details(
                self.client, [(_unique(item), self._fields(recorded.get(item.name))) for item in asked], self.threads
            )
            for item in asked:
                found = details.get(_unique(item))
                if found is None:
                    continue
                self._result.until = max(self._result.until, found.updated_at)
                known = recorded.get(item.name)
                if known is not None:
                    remote = RemoteFile(item.name, item.id, _unique(item), found.size_bytes, found.metadata)
                    self._compare(known, remote)
            compared += len(asked)
            self.emit(Observing(f"comparing {self.rules.key} in the lake", compared))
            dates = [details[_unique(item)].updated_at for item in asked if _unique(item) in details]
            # Without a readable date, it is unknown how far down the list the changes reach.
            readable = [date for date in dates if date]
            if self.marker and readable and min(readable) < self.marker:
                return

    def _newest_changes(self) -> Iterator[Sequence[ListedItem]]:
        """Pages of the collection, last changed first."""
        size = PAGE_TO_THE_MARKER if self.marker else PAGE_SIZE_LIMIT
        last_changed_first = SortBy(sort_by_field=SortField.DATE_MODIFIED, sort_order="DESC")

        def page(index: int) -> list[ListedItem]:
            request = ListItems(
                content_type=object_kind(self.rules.key.type),
                sort_by=last_changed_first,
                page_size=size,
                page_index=index,
            )
            return self.client.list_page(request, self.known.lake_id)

        expected = 1 if self.marker else -(-len(self.listing) // size)
        for found in pages_in_parallel(page, expected):
            if found:
                yield found
            if len(found) < size:
                return

    def _fields(self, recorded: RecordedFile | None) -> Sequence[str]:
        """The metadata fields that we wrote to a file."""
        return list(self.rules.written(recorded.metadata_digest) or ()) if recorded is not None else []

    def _compare(self, known: RecordedFile, remote: RemoteFile) -> None:
        if _is_drifted(self.rules, known, remote):
            self._result.differing[known.name] = (known, remote)

    # Annotation sets.

    def _compare_sets(self, operation: str) -> None:
        """Read one operation back, and keep the sets that differ from what we wrote."""
        recorded = self.state.annotation_sets.of_operation(self.handle, operation)
        names = {self.listing.unique_name_of(name): name for name in recorded}
        self.emit(Observing(f"reading {operation} back from {self.rules.key}"))
        there = annotations_of(self.client, self.known.lake_id, file_count=len(self.listing), operations=[operation])
        unrecorded: dict[str, Sequence[object]] = {}
        for unique_name, shapes in there:
            name = names.pop(unique_name, None)
            if name is not None:
                self._compare_set(name, recorded[name], shapes)
            elif (listed := self.listing.name_of(unique_name)) is not None:
                unrecorded[listed] = shapes
            if len(unrecorded) == UNRECORDED_AT_ONCE:
                self._compare_unrecorded(operation, unrecorded)
                unrecorded = {}
        self._compare_unrecorded(operation, unrecorded)
        for name in names.values():
            if recorded[name].digest != EMPTY_SET_DIGEST and self.listing.id_of(name) is not None:
                self._keep(name, recorded[name], NO_SHAPES)

    def _compare_set(self, name: str, known: RecordedSet, shapes: Sequence[object]) -> None:
        if known.seen is not None and read_back(shapes)[0] == known.seen:
            return
        file = self._records_of([name])[name]
        there = self._comparer.compare(name, file.path, known.operation, known, shapes)
        if there.as_recorded and known.digest != EMPTY_SET_DIGEST:
            self._result.seen.append(ReadBackSet(name, known.operation, known.digest, there.digest))
        elif there.as_recorded is not None:
            self._keep(name, known, there)

    def _compare_unrecorded(self, operation: str, there: Mapping[str, Sequence[object]]) -> None:
        """Compare sets of a manifest operation that we did not send, by file name.

        They matter only on recorded files, and only if the manifest wants a different set or none there.
        """
        index = self.desired.annotations.get(operation) if self.desired is not None else None
        if self.desired is None or index is None:
            return
        for name, file in self._records_of(there).items():
            image = index.images().get(name)
            if image is None and (
                index.mode == "append" or operation in self.elsewhere or file.origin is Origin.ADOPTED
            ):
                continue
            found = self._comparer.compare(name, file.path, operation, None, there[name])
            self._sets.setdefault(name, {})[operation] = found

    def _keep(self, name: str, known: RecordedSet, there: RemoteSet) -> None:
        self._sets.setdefault(name, {})[known.operation] = there

    def _join_sets(self) -> None:
        """Add the sets to the differing files.

        `core.diff` takes a set that is not listed for one that the lake does not have, so unchanged sets are added too.
        """
        for name, differing in self._sets.items():
            known, remote = self._result.differing.get(name) or self._as_listed(name)
            sets = {operation: there for operation, there in differing.items() if there.shape_count}
            for operation, recorded in known.annotations.items():
                if operation not in differing and recorded.digest != EMPTY_SET_DIGEST:
                    sets[operation] = RemoteSet(
                        recorded.seen or "", recorded.shape_count, as_desired=False, as_recorded=True
                    )
            self._result.differing[name] = (known, replace(remote, sets=sets))

    def _as_listed(self, name: str) -> tuple[RecordedFile, RemoteFile]:
        remote = self.listing.get(name)
        assert remote is not None, "sets are compared only for listed files"
        return self._records_of([name])[name], remote


def _unique(item: ListedItem) -> str:
    return item.unique_name or item.name


def _is_drifted(rules: CollectionRules, recorded: RecordedFile, remote: RemoteFile) -> bool:
    """Return whether a file in the lake differs from its record.

    The metadata of an adopted file belongs to other clients, unless `metadata_override` is set. The content hash is
    unknown for a file whose bytes `on_change: keep` kept different; its size is not compared.
    """
    if remote.lake_id != recorded.lake_id:
        return True
    if recorded.content_hash and remote.size_bytes not in (None, recorded.fingerprint.size_bytes):
        return True
    owned = recorded.origin is Origin.UPLOADED or rules.policy.metadata_override
    if owned and remote.metadata is not None:
        before = rules.written(recorded.metadata_digest) or {}
        if update_to_mend(before, before, remote.metadata, rules.policy.tags):
            return True
    sets = remote.sets
    return sets is not None and any(has_drifted(known, sets.get(name)) for name, known in recorded.annotations.items())
