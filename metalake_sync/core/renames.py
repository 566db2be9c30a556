"""Renames: a new file with the same bytes as a removed one was renamed.

Owns: the pairing. The protocol has no rename, so a rename costs an upload and, with pruning, a trashed file. Must not:
hash files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from metalake_sync.core.snapshots import RecordedFile


def pair_renames(new: Mapping[str, str], gone: Iterable[RecordedFile]) -> dict[str, str]:
    """Return new name → old name. `new`: name → content hash of files without a record.

    Each old file is paired once, in the order of names, so that the same files give the same plan.
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
