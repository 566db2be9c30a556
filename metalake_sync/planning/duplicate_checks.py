"""Finds files with the same bytes: in one collection, and in collections of which no two may share an image.

Owns: which files are hashed. That is a file whose size another file has; recorded files have their hashes in the state.
Must not: write anything but the hash cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from metalake_sync.core.checks import Check, Finding, Level
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.snapshots import CollectionKey, Fingerprint
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.planning.source_checks import FileToCheck
from metalake_sync.sources.hashing import HashRequest, hash_files, is_racy
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

HASHES_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Place:
    """Where some bytes are."""

    collection: CollectionKey
    name: str
    path: str
    checked: FileToCheck | None
    """The file that is checked. None: a file that stays as it is recorded."""


@dataclass(frozen=True, slots=True)
class DuplicateChecks:
    """Compares the bytes of files."""

    duplicates: Level | None
    split_leak: Level | None
    lists: Sequence[Sequence[CollectionKey]]
    """The lists of collections of which no two may share an image."""
    base_dir: str
    state: StateStore
    handles: Mapping[CollectionKey, CollectionHandle]
    """The recorded collections."""
    threads: int
    emit: EventSink
    looked_at_ns: int
    """When the files were scanned, in nanoseconds since the epoch."""

    def run(self, files: Sequence[FileToCheck], leaving: Mapping[CollectionKey, Set[str]]) -> Iterator[Finding]:
        """Yield the files that have the bytes of another one. `leaving`: recorded files to ignore, by collection."""
        if self.duplicates is None and self.split_leak is None:
            return
        places: dict[str, list[Place]] = {}
        recorded = self._recorded(files, leaving)
        sizes = _sizes_of_several(files, recorded)
        wanted = [one for one in files if one.fingerprint.size_bytes in sizes]
        contents = {(one.collection, one.name): content for one, content in self._hashes(wanted)}
        for one in wanted:
            content = contents.get((one.collection, one.name))
            if content is not None:
                places.setdefault(content, []).append(Place(one.collection, one.name, one.path, one))
        for size, content, place in recorded:
            if size in sizes and content in places:
                places[content].append(place)
        for group in places.values():
            if len(group) > 1:
                group = [one for one in group if one.checked or os.path.lexists(os.path.join(self.base_dir, one.path))]
                yield from self._in_one_collection(group)
                yield from self._in_several(group)

    def _recorded(
        self, files: Sequence[FileToCheck], leaving: Mapping[CollectionKey, Set[str]]
    ) -> list[tuple[int, str, Place]]:
        """Size, content hash and place of the recorded files that have the size of a checked one."""
        checked = {(one.collection, one.name) for one in files}
        sizes = {one.fingerprint.size_bytes for one in files} - {0}
        found: list[tuple[int, str, Place]] = []
        for key, handle in self.handles.items() if sizes else ():
            left = leaving.get(key, frozenset())
            for name, path, size, content in self.state.files.of_sizes(handle, sizes):
                if content and name not in left and (key, name) not in checked:
                    found.append((size, content, Place(key, name, path, None)))
        return found

    def _hashes(self, files: Sequence[FileToCheck]) -> Iterator[tuple[FileToCheck, str]]:
        """Yield the content hash of each file: known, cached, or read. Files that cannot be read now are left out."""
        to_read: list[FileToCheck] = []
        for one in files:
            known = one.content_hash or self.state.hash_cache.get(one.path, one.fingerprint)
            if known is None:
                to_read.append(one)
            else:
                yield one, known
        if not to_read:
            return
        requests = (HashRequest(os.path.join(self.base_dir, one.path), one.fingerprint) for one in to_read)
        fresh: list[tuple[str, Fingerprint, str]] = []
        for number, (one, outcome) in enumerate(zip(to_read, hash_files(requests, self.threads), strict=True), start=1):
            self.emit(Observing("hashing files of equal size", number))
            if outcome.content_hash is None:
                continue
            if not is_racy(one.fingerprint, self.looked_at_ns):
                fresh.append((one.path, one.fingerprint, outcome.content_hash))
            yield one, outcome.content_hash
            if len(fresh) >= HASHES_AT_ONCE:
                self._keep(fresh)
        self._keep(fresh)

    def _keep(self, fresh: list[tuple[str, Fingerprint, str]]) -> None:
        if fresh:
            with self.state.write():
                self.state.hash_cache.put(fresh)
            fresh.clear()

    def _in_one_collection(self, group: Sequence[Place]) -> Iterator[Finding]:
        if self.duplicates is None:
            return
        for key in dict.fromkeys(one.collection for one in group):
            same = [one for one in group if one.collection == key]
            # Of several new files, the first one stays.
            first = next((one for one in same if one.checked is None), same[0])
            for one in same:
                if one.checked is not None and one is not first:
                    message = f"has the same bytes as '{first.path}'"
                    yield Finding(Check.DUPLICATE, self.duplicates, key, one.name, one.path, message)

    def _in_several(self, group: Sequence[Place]) -> Iterator[Finding]:
        if self.split_leak is None:
            return
        reported: set[tuple[CollectionKey, str]] = set()
        for keys in self.lists:
            same = [one for one in group if one.collection in keys]
            for one in same:
                other = next((other for other in same if other.collection != one.collection), None)
                if other is None or one.checked is None or (one.collection, one.name) in reported:
                    continue
                reported.add((one.collection, one.name))
                message = f"has the same bytes as '{other.path}' of collection '{other.collection}'"
                yield Finding(Check.SPLIT_LEAK, self.split_leak, one.collection, one.name, one.path, message)


def _sizes_of_several(files: Iterable[FileToCheck], recorded: Iterable[tuple[int, str, Place]]) -> set[int]:
    """The sizes that at least two files have. Empty files have no bytes to compare."""
    counts: dict[int, int] = {}
    for size in (*(one.fingerprint.size_bytes for one in files), *(size for size, _, _ in recorded)):
        counts[size] = counts.get(size, 0) + 1
    return {size for size, count in counts.items() if count > 1 and size}
