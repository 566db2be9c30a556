"""Looking closely at what the march could not settle: whole records, hashes, and what the lake says of single files.

Owns: what is read and asked for, and in which amounts. Must not: decide (`core.diff`), and write nothing but the hash
cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.renames import pair_renames
from metalake_sync.core.snapshots import RecordedFile, RemoteFile
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.lake_listing import LakeView
from metalake_sync.planning.march import Candidate, MarchResult
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.sources.hashing import Hasher, HashRequest, is_racy
from metalake_sync.sources.scan import ScannedFile
from metalake_sync.state.handles import CollectionHandle
from metalake_sync.state.store import StateStore

if TYPE_CHECKING:
    from metalake_sync.remote.client import LakeClient
    from metalake_sync.remote.item_details import RemoteDetails


@dataclass(slots=True)
class CloseLook:
    """`looked_at_ns`: when looking began. `notes` and `unreadable` gather what could not be read; `verified` counts the
    files that were read although they look as recorded. `recovered`: records that the state does not have yet."""

    state: StateStore
    handle: CollectionHandle | None
    client: LakeClient | None
    base_dir: Path
    options: RunOptions
    emit: EventSink
    looked_at_ns: int
    hasher: Hasher
    recovered: Sequence[RecordedFile] = ()
    notes: list[Note] = field(default_factory=list)
    unreadable: int = 0
    verified: int = 0

    def records_of(self, found: MarchResult) -> dict[str, RecordedFile]:
        """Whole records of the candidates, by name. One that is gone from its place and stands elsewhere under the
        same name is the same file."""
        names = []
        for candidate in found.candidates:
            if candidate.recorded:
                names.append(candidate.name)
            elif candidate.name in found.gone:
                del found.gone[candidate.name]
                names.append(candidate.name)
        return {known.name: known for known in self.records(names)}

    def records(self, names: Iterable[str]) -> list[RecordedFile]:
        """Whole records by name, in that order, recovered ones too."""
        wanted = list(names)
        known = {file.name: file for file in self.recovered}
        if self.handle is not None:
            known |= self.state.files.named(self.handle, (name for name in wanted if name not in known))
        return [known[name] for name in wanted if name in known]

    def holding(self, folder: str, files: Sequence[ScannedFile], hashes: Mapping[str, str]) -> set[str]:
        """The names of those files of a folder whose bytes have the hash that is given. One that can't be read is not
        among them, and told of when it is looked at as a candidate."""
        place = os.path.join(self.base_dir, folder, "")
        requests = (HashRequest(place + file.filename, file.fingerprint()) for file in files)
        outcomes = zip(files, self.hasher.hash_files(requests), strict=True)
        found = {file.filename for file, outcome in outcomes if outcome.content_hash == hashes[file.filename]}
        self.verified += len(files)
        self.emit(Observing("reading recorded files", self.verified))
        return found

    def hashes(self, candidates: Iterable[Candidate], recorded: Mapping[str, RecordedFile]) -> dict[str, str]:
        """The content hash of each candidate by name: from its record, the cache, or the bytes. A file that can't be
        read is missing here, and noted."""
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
            if not is_racy(candidate.fingerprint, self.looked_at_ns):
                fresh.append((candidate.path, candidate.fingerprint, outcome.content_hash))
            self.emit(Observing("hashing changed files", count))
        with self.state.write():
            self.state.hash_cache.put(fresh)
        return hashes

    def renames(
        self, candidates: Sequence[Candidate], recorded: Mapping[str, RecordedFile], gone: Sequence[RecordedFile]
    ) -> dict[str, str]:
        """New name → old name. Only new files of the size of one that is gone are read for it."""
        sizes = {file.fingerprint.size_bytes for file in gone if file.content_hash and file.fingerprint.size_bytes}
        new = [file for file in candidates if file.name not in recorded and file.fingerprint.size_bytes in sizes]
        return pair_renames(self.hashes(new, {}), gone) if new else {}

    def adoptable(
        self, view: LakeView, candidates: Sequence[Candidate], recorded: Mapping[str, RecordedFile], *, ask: bool
    ) -> dict[str, RemoteFile]:
        """What the lake has of files that nobody recorded; with `ask`, their sizes and the metadata that the manifest
        names."""
        unknown = [candidate for candidate in candidates if candidate.name not in recorded]
        listing = view.listed() if unknown else None
        if listing is None or self.client is None:
            return {}
        there = [(candidate, listing.get(candidate.name)) for candidate in unknown]
        found = [(candidate, remote) for candidate, remote in there if remote is not None]
        if not ask:
            return {remote.name: remote for _, remote in found}
        return self._detailed(found)

    def uploaded_anew(
        self,
        view: LakeView,
        candidates: Iterable[Candidate],
        recorded: Mapping[str, RecordedFile],
        hashes: Mapping[str, str],
    ) -> dict[str, RemoteFile]:
        """Files of the lake that have taken the place of recorded ones, and whether their bytes are the local file's:
        by the store's word, or read back. By name; `hashes`: of the local files."""
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
        remotes = self.proven(self._detailed(found), [candidate for candidate, _ in found])
        unproven = [
            (remote, candidate.fingerprint.size_bytes, hashes[candidate.name])
            for candidate, remote in ((candidate, remotes[candidate.name]) for candidate, _ in found)
            if remote.same_bytes is None and remote.size_bytes == candidate.fingerprint.size_bytes
        ]
        if unproven:
            from metalake_sync.remote.object_hash import read_back

            remotes |= {name: replace(remotes[name], same_bytes=True) for name in read_back(self.client, unproven)}
        return remotes

    def _detailed(self, found: Sequence[tuple[Candidate, RemoteFile]]) -> dict[str, RemoteFile]:
        """Files of the lake with their sizes and the metadata that the manifest names, by name."""
        if not found or self.client is None:
            return {remote.name: remote for _, remote in found}
        self.emit(Observing("asking the lake for sizes and metadata", len(found)))
        from metalake_sync.remote.item_details import remote_details

        asked = [(remote.unique_name, list(candidate.metadata.values)) for candidate, remote in found]
        details = remote_details(self.client, asked, self.options.calls_at_once)
        return {remote.name: _with_details(remote, details.get(remote.unique_name)) for _, remote in found}

    def proven(
        self, remotes: Mapping[str, RemoteFile], candidates: Sequence[Candidate], *, unproven: bool | None = None
    ) -> dict[str, RemoteFile]:
        """Say of those that have their candidate's size what the store proves of their bytes. `unproven`: what is said
        where it proves nothing."""
        if not remotes or self.client is None:
            return dict(remotes)
        # What asks a lake is loaded by who asks: together, 60 ms.
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
        told = {
            name: replace(remotes[name], same_bytes=proofs.get(pair.unique_name, unproven))
            for name, pair in pairs.items()
        }
        return {**remotes, **told}


def _with_details(remote: RemoteFile, details: RemoteDetails | None) -> RemoteFile:
    if details is None:
        return remote
    return replace(remote, size_bytes=details.size_bytes, metadata=details.metadata)
