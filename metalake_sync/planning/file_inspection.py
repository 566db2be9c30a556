"""Inspects what change detection left open: loads whole records, hashes files, and asks the lake about single files.

Owns: what is read and requested, in which amounts, and the pairs of renamed files. Must not: decide what becomes of a
file (`core.diff`), or write anything but the hash cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.snapshots import RecordedFile, RemoteFile
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.change_detection import Candidate, ScanResult
from metalake_sync.planning.lake_listing import LakeView
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.sources.base import ScannedFile
from metalake_sync.sources.hashing import Hasher, HashRequest, is_racy
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.remote.item_details import RemoteDetails


@dataclass(slots=True)
class FileInspector:
    """Inspects the files of one collection."""

    state: StateStore
    handle: CollectionHandle | None
    client: LakeClient | None
    base_dir: Path
    options: RunOptions
    emit: EventSink
    started_at_ns: int
    """When the planner started, in nanoseconds since the epoch."""
    hasher: Hasher
    recovered: Sequence[RecordedFile] = ()
    """Files that an interrupted run uploaded and that have no row in the state yet."""
    notes: list[Note] = field(default_factory=list)
    unreadable: int = 0
    """How many files could not be read."""
    verified: int = 0
    """How many files were hashed although their fingerprint matches."""

    def records_of(self, found: ScanResult) -> dict[str, RecordedFile]:
        """The whole records of the candidates, by name.

        A vanished file with the name of a candidate is the same file, moved: it is removed from `found.gone`.
        """
        names = []
        for candidate in found.candidates:
            if candidate.recorded:
                names.append(candidate.name)
            elif candidate.name in found.gone:
                del found.gone[candidate.name]
                names.append(candidate.name)
        return {known.name: known for known in self.records(names)}

    def records(self, names: Iterable[str]) -> list[RecordedFile]:
        """Whole records by name, in that order, including recovered files."""
        wanted = list(names)
        known = {file.name: file for file in self.recovered}
        if self.handle is not None:
            known |= self.state.files.named(self.handle, (name for name in wanted if name not in known))
        return [known[name] for name in wanted if name in known]

    def find_unchanged(self, folder: str, files: Sequence[ScannedFile], hashes: Mapping[str, str]) -> set[str]:
        """Hash files of a folder. Returns the names of those whose content hash is the given one.

        An unreadable file is not among them. It becomes a candidate, and is noted then.
        """
        prefix = os.path.join(self.base_dir, folder, "")
        requests = (HashRequest(prefix + file.filename, file.fingerprint()) for file in files)
        outcomes = zip(files, self.hasher.hash_files(requests), strict=True)
        found = {file.filename for file, outcome in outcomes if outcome.content_hash == hashes[file.filename]}
        self.verified += len(files)
        self.emit(Observing("reading recorded files", self.verified))
        return found

    def hashes(self, candidates: Iterable[Candidate], recorded: Mapping[str, RecordedFile]) -> dict[str, str]:
        """The content hash of each candidate by name: from its record, the cache, or the bytes.

        An unreadable file is missing from the result, and noted.
        """
        hashes: dict[str, str] = {}
        to_read: dict[str, Candidate] = {}
        for candidate in candidates:
            known = recorded.get(candidate.name)
            content = None
            if not self.options.checksum:
                if known is not None and known.fingerprint == candidate.fingerprint:
                    content = known.content_hash
                else:
                    content = self.state.hash_cache.get(candidate.path, candidate.fingerprint)
            if content is None:
                to_read[os.path.join(self.base_dir, candidate.path)] = candidate
            else:
                hashes[candidate.name] = content
        if not to_read:
            return hashes
        fresh = []
        requests = (HashRequest(path, candidate.fingerprint) for path, candidate in to_read.items())
        for count, outcome in enumerate(self.hasher.hash_files(requests), start=1):
            candidate = to_read[outcome.path]
            if outcome.content_hash is None:
                self.unreadable += 1
                self.notes.append(Note(NoteCode.FILE_LEFT_OUT, f"can't be read now ({outcome.error})", candidate.path))
                continue
            hashes[candidate.name] = outcome.content_hash
            if not is_racy(candidate.fingerprint, self.started_at_ns):
                fresh.append((candidate.path, candidate.fingerprint, outcome.content_hash))
            self.emit(Observing("hashing changed files", count))
        with self.state.write():
            self.state.hash_cache.put(fresh)
        return hashes

    def renames(
        self, candidates: Sequence[Candidate], recorded: Mapping[str, RecordedFile], gone: Sequence[RecordedFile]
    ) -> dict[str, str]:
        """Find renamed files: new name → old name. Hashes only new files that have the size of a vanished one."""
        sizes = {file.fingerprint.size_bytes for file in gone if file.content_hash and file.fingerprint.size_bytes}
        new = [file for file in candidates if file.name not in recorded and file.fingerprint.size_bytes in sizes]
        return pair_renames(self.hashes(new, {}), gone) if new else {}

    def adoptable(
        self, view: LakeView, candidates: Sequence[Candidate], recorded: Mapping[str, RecordedFile], *, ask: bool
    ) -> dict[str, RemoteFile]:
        """Files in the lake with the names of candidates that have no record.

        With `ask`, they come with their sizes and with the metadata fields that the manifest names.
        """
        unknown = [candidate for candidate in candidates if candidate.name not in recorded]
        listing = view.listed() if unknown else None
        if listing is None or self.client is None:
            return {}
        there = [(candidate, listing.get(candidate.name)) for candidate in unknown]
        found = [(candidate, remote) for candidate, remote in there if remote is not None]
        if not ask:
            return {remote.name: remote for _, remote in found}
        return self._with_details(found)

    def uploaded_again(
        self,
        view: LakeView,
        candidates: Iterable[Candidate],
        recorded: Mapping[str, RecordedFile],
        hashes: Mapping[str, str],
    ) -> dict[str, RemoteFile]:
        """Files in the lake that have replaced recorded ones under the same name, by name.

        Each says whether its bytes are those of the local file: the store proves it, or the bytes are read back.
        `hashes`: of the local files.
        """
        if self.client is None or view.listing is None:
            return {}
        there = [(candidate, view.listing.get(candidate.name)) for candidate in candidates if candidate.name in hashes]
        found = [
            (candidate, remote)
            for candidate, remote in there
            if remote is not None and candidate.name in recorded and recorded[candidate.name].lake_id != remote.lake_id
        ]
        if not found:
            return {}
        remotes = self.with_proofs(self._with_details(found), [candidate for candidate, _ in found])
        unproven = [
            (remote, candidate.fingerprint.size_bytes, hashes[candidate.name])
            for candidate, remote in ((candidate, remotes[candidate.name]) for candidate, _ in found)
            if remote.same_bytes is None and remote.size_bytes == candidate.fingerprint.size_bytes
        ]
        if unproven:
            from metalake_sync.remote.content_proof import read_back

            remotes |= {name: replace(remotes[name], same_bytes=True) for name in read_back(self.client, unproven)}
        return remotes

    def _with_details(self, found: Sequence[tuple[Candidate, RemoteFile]]) -> dict[str, RemoteFile]:
        """Files in the lake with their sizes and the metadata fields that the manifest names, by name."""
        if not found or self.client is None:
            return {remote.name: remote for _, remote in found}
        self.emit(Observing("asking the lake for sizes and metadata", len(found)))
        from metalake_sync.remote.item_details import remote_details

        asked = [(remote.unique_name, list(candidate.metadata.values)) for candidate, remote in found]
        details = remote_details(self.client, asked, self.options.calls_at_once)
        return {remote.name: _add_details(remote, details.get(remote.unique_name)) for _, remote in found}

    def with_proofs(
        self, remotes: Mapping[str, RemoteFile], candidates: Sequence[Candidate], *, unproven: bool | None = None
    ) -> dict[str, RemoteFile]:
        """Set `same_bytes` of each file that has its candidate's size, as far as the store can prove it.

        `unproven`: the value where the store proves nothing.
        """
        if not remotes or self.client is None:
            return dict(remotes)
        # Imported here, because only plans that need proofs pay its 60 ms.
        from metalake_sync.remote.content_proof import Pair, compare_bytes

        pairs = {}
        for candidate in candidates:
            remote = remotes.get(candidate.name)
            if remote is not None and remote.size_bytes == candidate.fingerprint.size_bytes:
                path = os.path.join(self.base_dir, candidate.path)
                pairs[candidate.name] = Pair(remote.unique_name, path, candidate.fingerprint.size_bytes)
        if not pairs:
            return dict(remotes)
        self.emit(Observing("asking the store for proofs of equal bytes", len(pairs)))
        proofs = compare_bytes(self.client, list(pairs.values()), self.options.calls_at_once)
        proven = {
            name: replace(remotes[name], same_bytes=proofs.get(pair.unique_name, unproven))
            for name, pair in pairs.items()
        }
        return {**remotes, **proven}


def _add_details(remote: RemoteFile, details: RemoteDetails | None) -> RemoteFile:
    if details is None:
        return remote
    return replace(remote, size_bytes=details.size_bytes, metadata=details.metadata)


def pair_renames(new: Mapping[str, str], gone: Iterable[RecordedFile]) -> dict[str, str]:
    """Return new name → old name. `new`: name → content hash of files without a record.

    A new file with the bytes of a removed one was renamed. The protocol has no rename, so it costs an upload and, with
    pruning, a trashed file. Each old file is paired once, in the order of names, so that the same files give the same
    plan.
    """
    by_hash: dict[str, list[str]] = {}
    for file in sorted(gone, key=lambda file: file.name, reverse=True):
        by_hash.setdefault(file.content_hash, []).append(file.name)
    pairs: dict[str, str] = {}
    for name, content_hash in sorted(new.items()):
        old = by_hash.get(content_hash)
        if old:
            pairs[name] = old.pop()
    return pairs
