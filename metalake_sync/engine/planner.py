"""From three snapshots to a plan, collection by collection.

Owns: looking closely at what the march could not settle (hashes, sizes in the lake, whole records), and the notes.
Must not: decide (`core.diff`) or change anything but the hash cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from metalake_sync.core.diff import CollectionRules, OperationPolicy, compare, compare_head
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.facts import CollectionKey, DesiredFile, RecordedCollection, RecordedFile, RemoteFile
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import CollectionPlan, Plan
from metalake_sync.engine.desired import DesiredCollection, open_collection
from metalake_sync.engine.march import Candidate, CollectionMarch, MarchResult
from metalake_sync.engine.new_labels import new_labels
from metalake_sync.engine.options import RunOptions
from metalake_sync.errors import GuardStopped, ManifestError, ManifestErrors
from metalake_sync.local.hashing import HashRequest, hash_files, is_racy
from metalake_sync.manifest import LoadedManifest
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.observe import RemoteListing, list_remote, media_kind, remote_sizes
from metalake_sync.state.store import StateStore

NAMES_SHOWN = 5


@dataclass(slots=True)
class PlannedRun:
    """A plan with what is needed to carry it out. Close it: annotation records live in temporary files.

    `unreadable`: things that could not be looked at, so that even a run without a failure did not do everything.
    """

    plan: Plan
    desired: Mapping[CollectionKey, DesiredCollection]
    unreadable: int

    def __enter__(self) -> PlannedRun:
        return self

    def __exit__(self, *_: object) -> None:
        for collection in self.desired.values():
            collection.close()


@dataclass(slots=True)
class Planner:
    """`client` is None where the lake is not to be asked (`--refresh none`). `lake`: what the state calls it.
    `looked_at_ns`: when looking began, in nanoseconds since the epoch."""

    manifest: LoadedManifest
    state: StateStore
    lake: str
    client: LakeClient | None
    options: RunOptions
    emit: EventSink
    looked_at_ns: int
    _notes: list[Note] = field(default_factory=list)
    _unreadable: int = 0

    def plan(self) -> PlannedRun:
        """Observe everything and compare. Raises ManifestErrors, GuardStopped, and what the lake raises."""
        recorded = self.state.records.collections(self.lake)
        desired: dict[CollectionKey, DesiredCollection] = {}
        try:
            plans = []
            for collection in open_collections(self.manifest):
                desired[collection.key] = collection
                plans.append(self._plan_collection(collection, recorded.get(collection.key)))
            if self.client is not None:
                self._notes += new_labels(self.client, plans, desired)
        except BaseException:
            for opened in desired.values():
                opened.close()
            raise
        for key in recorded.keys() - desired.keys():
            note = "is no longer in the manifest; what was put there stays in the lake"
            self._notes.append(Note(NoteCode.COLLECTION_LEFT, note, key.name))
        notes = [Note(NoteCode.MANIFEST, warning.message, str(warning.where)) for warning in self.manifest.warnings]
        plan = Plan(self.manifest.source, self.state.serial, tuple(plans), (*notes, *self._notes))
        return PlannedRun(plan, desired, self._unreadable)

    # One collection.

    def _plan_collection(
        self, desired: DesiredCollection, recorded: tuple[int, RecordedCollection] | None
    ) -> CollectionPlan:
        row_id, known = recorded if recorded else (None, None)
        lake_id, listing = self._ask_lake(desired.key, known)
        same_collection = known is not None and known.lake_id == lake_id
        rules = CollectionRules(
            desired.key,
            desired.policy,
            self.state.records.written_metadata,
            {operation: OperationPolicy(index.kind, index.mode) for operation, index in desired.annotations.items()},
        )
        plan = CollectionPlan(
            desired.key,
            desired.policy,
            storage_prefix=desired.storage_prefix,
            lake_id=lake_id,
            storage_path=known.storage_path if known and same_collection else None,
            head=desired.head,
            common_metadata=desired.common_metadata,
        )
        head_digest = known.head_digest if known and same_collection else None
        verdict = compare_head(rules, desired.head, exists=lake_id is not None, written_digest=head_digest)
        plan.take(verdict, wanted=False)
        self._notes += verdict.notes
        self._guard_empty_annotations(desired, row_id)

        march = CollectionMarch(
            desired,
            self.state,
            row_id,
            listing,
            trust_fingerprints=not self.options.checksum,
            scanned=lambda count: self.emit(Observing(f"scanning {desired.key}", count)),
        )
        found = march.run()
        plan.unchanged += found.unchanged
        self._notes += found.notes
        self._unreadable += sum(problem.hides_files or problem.is_failure for problem in found.left_out)
        matched = found.matched + self._judge(rules, plan, found, listing)
        if listing is not None:
            plan.unmanaged += len(listing) - matched
            self._notes += _duplicates(desired.key, listing)
        self._notes += self._loose_ends(desired)
        return plan

    def _ask_lake(
        self, key: CollectionKey, known: RecordedCollection | None
    ) -> tuple[str | None, RemoteListing | None]:
        """The collection's id in the lake and its files; what was recorded where the lake is not asked."""
        if self.client is None:
            return (known.lake_id if known else None), None
        self.emit(Observing(f"listing {key} in the lake"))
        lake_id = self.client.find_collection(key.name, media_kind(key.type))
        if lake_id is None:
            return None, RemoteListing.empty()
        return lake_id, list_remote(self.client, lake_id, key.type)

    def _guard_empty_annotations(self, desired: DesiredCollection, row_id: int | None) -> None:
        """A source that lost all its entries is a mistake more often than a wish to clear every image."""
        if row_id is None:
            return
        recorded = self.state.records.set_counts(row_id)
        for operation, index in desired.annotations.items():
            sets = recorded.get(operation, 0)
            if sets and not index.images() and index.mode == "replace":
                raise GuardStopped(
                    f"the source of '{operation}' has no entry any more, and the state knows {sets} sets of it",
                    where=index.declared_at,
                    remedy="Check the source. If all are meant to be cleared, take the operation out of the manifest.",
                )

    # Looking closely.

    def _judge(
        self, rules: CollectionRules, plan: CollectionPlan, found: MarchResult, listing: RemoteListing | None
    ) -> int:
        """Compare candidates and what is gone. Returns how many of them the lake has."""
        recorded = self._records_of(found)
        hashes = self._hashes(found.candidates, recorded)
        remotes = self._remotes(rules, found.candidates, recorded, listing)
        matched = 0
        for candidate in found.candidates:
            known = recorded.get(candidate.name)
            remote = remotes.get(candidate.name)
            matched += remote is not None
            content = hashes.get(candidate.name)
            if known is not None and content is None:
                # It can't be read now, so it is unknown: left as it is, and noted.
                continue
            desired = DesiredFile(
                candidate.name,
                candidate.path,
                candidate.fingerprint,
                candidate.metadata,
                content,
                candidate.annotations,
            )
            verdict = compare(rules, desired, known, remote)
            plan.take(verdict, wanted=True)
            self._notes += verdict.notes
        for _, known in self.state.records.files(found.gone.values()):
            remote = _remote_of(known, listing)
            matched += remote is not None
            still_there = os.path.lexists(os.path.join(self.manifest.base_dir, known.path))
            verdict = compare(rules, None, known, remote, filtered_out=still_there)
            plan.take(verdict, wanted=False)
            self._notes += verdict.notes
        return matched

    def _records_of(self, found: MarchResult) -> dict[str, RecordedFile]:
        """Whole records of the candidates, by name. One that is gone from its place and stands elsewhere under the
        same name is the same file."""
        row_ids: dict[str, int] = {}
        for candidate in found.candidates:
            row_id = candidate.row_id if candidate.row_id is not None else found.gone.pop(candidate.name, None)
            if row_id is not None:
                row_ids[candidate.name] = row_id
        records = dict(self.state.records.files(row_ids.values()))
        by_name = {name: records[row_id] for name, row_id in row_ids.items()}
        for candidate in found.candidates:
            known = by_name.get(candidate.name)
            if known is None and candidate.row_id is not None and candidate.row_id in records:
                by_name[candidate.name] = records[candidate.row_id]
        # A row whose file has another name now (the manifest's 'naming' changed) is not this file's.
        return {name: known for name, known in by_name.items() if known.name == name}

    def _hashes(self, candidates: Sequence[Candidate], recorded: Mapping[str, RecordedFile]) -> dict[str, str]:
        """The content hash of each recorded candidate: from the record, the cache, or the bytes. A file that can't be
        read is missing here, and noted."""
        hashes: dict[str, str] = {}
        to_read: dict[str, Candidate] = {}
        for candidate in candidates:
            known = recorded.get(candidate.name)
            if known is None:
                continue
            content = None
            if not self.options.checksum:
                if known.fingerprint == candidate.fingerprint:
                    content = known.content_hash
                else:
                    content = self.state.hash_cache.get(candidate.path, candidate.fingerprint)
            if content is None:
                to_read[os.path.join(self.manifest.base_dir, candidate.path)] = candidate
            else:
                hashes[candidate.name] = content
        if not to_read:
            return hashes
        fresh = []
        requests = (HashRequest(path, candidate.fingerprint) for path, candidate in to_read.items())
        for count, outcome in enumerate(hash_files(requests, self.options.hash_threads), start=1):
            candidate = to_read[outcome.path]
            if outcome.content_hash is None:
                self._unreadable += 1
                self._notes.append(Note(NoteCode.FILE_LEFT_OUT, f"can't be read now ({outcome.error})", candidate.path))
                continue
            hashes[candidate.name] = outcome.content_hash
            if not is_racy(candidate.fingerprint, self.looked_at_ns):
                fresh.append((candidate.path, candidate.fingerprint, outcome.content_hash))
            self.emit(Observing("hashing changed files", count))
        with self.state.write():
            self.state.hash_cache.put(fresh)
        return hashes

    def _remotes(
        self,
        rules: CollectionRules,
        candidates: Sequence[Candidate],
        recorded: Mapping[str, RecordedFile],
        listing: RemoteListing | None,
    ) -> dict[str, RemoteFile]:
        """What the lake has of the candidates. A list carries no sizes: they are asked for where adoption needs one."""
        remotes: dict[str, RemoteFile] = {}
        unknown: list[RemoteFile] = []
        for candidate in candidates:
            known = recorded.get(candidate.name)
            remote = _remote_of(known, listing) if known else (listing.get(candidate.name) if listing else None)
            if remote is not None:
                remotes[candidate.name] = remote
                if known is None and rules.policy.adopt != "never":
                    unknown.append(remote)
        if unknown and self.client is not None:
            self.emit(Observing("asking the lake for sizes", len(unknown)))
            sizes = remote_sizes(self.client, unknown, self.options.parallelism)
            for remote in unknown:
                remotes[remote.name] = RemoteFile(
                    remote.name, remote.lake_id, remote.unique_name, sizes.get(remote.name)
                )
        return remotes

    # Notes.

    def _loose_ends(self, desired: DesiredCollection) -> Iterator[Note]:
        """Entries of sources that met no file, and shapes that were left out."""
        strict: list[ManifestError] = []
        for operation, entries in desired.entries_without_file():
            index = desired.annotations[operation]
            message = f"{len(entries)} entries have no file in the collection: {_some(entries)}"
            if index.strict:
                strict.append(ManifestError(message, where=index.declared_at, remedy="Or set 'strict: false'."))
            yield Note(NoteCode.ANNOTATION_WITHOUT_FILE, message, operation)
        for operation, count in desired.files_without_entry():
            index = desired.annotations[operation]
            message = f"{count} files of the collection have no entry in the source"
            if index.strict:
                strict.append(ManifestError(message, where=index.declared_at, remedy="Or set 'strict: false'."))
            yield Note(NoteCode.FILE_WITHOUT_ANNOTATION, message, operation)
        if strict:
            raise ManifestErrors(strict)
        missing = desired.metadata_rules.entries_without_file()
        if missing:
            message = f"{len(missing)} metadata entries have no file in the collection: {_some(missing)}"
            yield Note(NoteCode.METADATA_WITHOUT_FILE, message, desired.key.name)
        for index in desired.annotations.values():
            yield from index.notes()


def open_collections(manifest: LoadedManifest) -> Iterator[DesiredCollection]:
    """Open every collection of a manifest. The mistakes of all of them are raised together, before any is planned."""
    opened: list[DesiredCollection] = []
    mistakes: list[ManifestError] = []
    for collection in manifest.collections:
        try:
            opened.append(open_collection(manifest, collection))
        except ManifestErrors as errors:
            mistakes += errors.errors
        except ManifestError as error:
            mistakes.append(error)
    if mistakes:
        for collection_opened in opened:
            collection_opened.close()
        raise ManifestErrors(mistakes)
    yield from opened


def _remote_of(known: RecordedFile, listing: RemoteListing | None) -> RemoteFile | None:
    """What the lake has of a recorded file; where it is not asked, what was recorded is believed."""
    if listing is None:
        return RemoteFile(known.name, known.lake_id, known.unique_name, known.fingerprint.size_bytes)
    return listing.get(known.name)


def _duplicates(key: CollectionKey, listing: RemoteListing) -> Iterable[Note]:
    if listing.duplicates:
        message = f"lists {listing.duplicates} names twice; the first of each counts"
        yield Note(NoteCode.DUPLICATE_IN_LAKE, message, key.name)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{shown}, …" if len(names) > NAMES_SHOWN else shown
