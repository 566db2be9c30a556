"""Renames as a second look: a new file that has the bytes of one that is gone was renamed.

Owns: pairing. The protocol has no rename, so that a rename costs an upload and, where pruning is on, a file in the
trash; the plan says so. Must not: hash anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from metalake_sync.core.snapshots import RecordedFile


def pair_renames(new: Mapping[str, str], gone: Iterable[RecordedFile]) -> dict[str, str]:
    """New name → old name. `new`: name → content hash of files that nobody knows yet. Each old file is paired once, in
    the order of names, so that the same disk gives the same plan."""
    by_hash: dict[str, list[str]] = {}
    for file in sorted(gone, key=lambda file: file.name, reverse=True):
        by_hash.setdefault(file.content_hash, []).append(file.name)
    pairs: dict[str, str] = {}
    for name, content_hash in sorted(new.items()):
        old = by_hash.get(content_hash)
        if old:
            pairs[name] = old.pop()
    return pairs
