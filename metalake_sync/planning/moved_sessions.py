"""Open upload sessions whose files were written again since: in another checkout, or on another machine.

A session was journalled with the fingerprints of the files that it sends. A new checkout has the same bytes with other
times and inodes. A file that provably has the bytes that were sent gets its present fingerprint, so that the session
resumes as if nothing had moved.

Owns: this proof. A content hash proves a file that was about to be finalized. The store's MD5s of finished parts prove
these parts. Must not: decide which sessions resume (`interrupted_runs`).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from metalake_sync.core.snapshots import Fingerprint
from metalake_sync.sources.hashing import HashRequest, hash_files
from metalake_sync.sources.opening import open_regular_file
from metalake_sync.state.caches import HashCache
from metalake_sync.state.journal import JournalledFile, JournalledSession

_MD5 = re.compile(r"[0-9a-f]{32}")
_READ_BYTES = 1 << 20


def with_present_fingerprints(
    sessions: Iterable[JournalledSession], base_dir: Path, threads: int, cache: HashCache
) -> list[JournalledSession]:
    """Return sessions whose files have the fingerprints of today where their bytes are the same.

    Only files of the same size with another fingerprint are read.
    """
    found = list(sessions)
    moved = [file for session in found for file in session.files if _has_moved(file, base_dir)]
    if not moved:
        return found
    proven = {(file.path, file.fingerprint): now for file, now in _proven(moved, base_dir, threads, cache)}
    return [
        replace(session, files=tuple(proven.get((file.path, file.fingerprint), file) for file in session.files))
        for session in found
    ]


def _has_moved(file: JournalledFile, base_dir: Path) -> bool:
    now = present_fingerprint(file, base_dir)
    return now is not None and now != file.fingerprint and now.size_bytes == file.fingerprint.size_bytes


def present_fingerprint(file: JournalledFile, base_dir: Path) -> Fingerprint | None:
    """Return the fingerprint of the local file now. None if it is not a regular file any more."""
    try:
        found = os.stat(os.path.join(base_dir, file.path))
    except OSError:
        return None
    return Fingerprint.of(found) if stat.S_ISREG(found.st_mode) else None


def _proven(
    moved: list[JournalledFile], base_dir: Path, threads: int, cache: HashCache
) -> Iterator[tuple[JournalledFile, JournalledFile]]:
    """Yield files with the same files as they are now, if these have the same bytes."""
    finalized: list[tuple[JournalledFile, JournalledFile]] = []
    for file in moved:
        fingerprint = present_fingerprint(file, base_dir)
        if fingerprint is None:
            continue
        now = replace(file, fingerprint=fingerprint)
        if file.content_hash is None:
            # Nothing of it was finalized. What its finished parts do not prove is sent again.
            yield file, replace(now, finished_parts=_same_parts(now, base_dir))
        elif (known := cache.get(file.path, fingerprint)) is None:
            finalized.append((file, now))
        elif known == file.content_hash:
            yield file, now
    requests = (HashRequest(os.path.join(base_dir, now.path), now.fingerprint) for _, now in finalized)
    for (file, now), outcome in zip(finalized, hash_files(requests, threads), strict=True):
        if outcome.content_hash == file.content_hash:
            yield file, now


def _same_parts(file: JournalledFile, base_dir: Path) -> dict[int, str]:
    """Return the finished parts whose ETag is the MD5 of the local bytes."""
    etags = {number: etag.strip('"').lower() for number, etag in file.finished_parts.items()}
    if not file.part_size or not any(map(_MD5.fullmatch, etags.values())):
        return {}
    same: dict[int, str] = {}
    try:
        with os.fdopen(open_regular_file(os.path.join(base_dir, file.path)), "rb") as opened:
            for number in sorted(etags):
                if etags[number] == _md5_of(opened, (number - 1) * file.part_size, file.part_size):
                    same[number] = file.finished_parts[number]
    except OSError:
        return {}
    return same


def _md5_of(opened: BinaryIO, start: int, length: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    opened.seek(start)
    while length and (chunk := opened.read(min(_READ_BYTES, length))):
        digest.update(chunk)
        length -= len(chunk)
    return digest.hexdigest()
