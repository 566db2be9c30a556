"""Synthetic sources and states: a tree of small files, and a state that says that all of it is in the lake.

Owns: making them, as `benchmarks.fast_lake --listed` lists them. Must not: measure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from blake3 import blake3

from benchmarks.fast_lake import ID
from metalake_sync.core.metadata import NO_METADATA
from metalake_sync.core.snapshots import CollectionKey, Fingerprint, MediaType, Origin
from metalake_sync.state.files import ConfirmedFile
from metalake_sync.state.store import StateStore

OLD_S = 1_600_000_000
FILES_PER_FOLDER = 1000
PIECE_BYTES = 1 << 20


def file_name(number: int) -> str:
    return f"f{number:07d}.jpg"


def make_tree(root: Path, sizes: Sequence[int]) -> None:
    """One file of each size, in bytes; no two alike, a thousand in a folder, long untouched."""
    filling = os.urandom(min(max(sizes, default=0), PIECE_BYTES))
    for number, size_bytes in enumerate(sizes):
        folder = root / f"d{number // FILES_PER_FOLDER:05d}"
        if number % FILES_PER_FOLDER == 0:
            folder.mkdir(parents=True, exist_ok=True)
        path = folder / file_name(number)
        with path.open("wb") as file:
            file.write(number.to_bytes(8, "big")[:size_bytes])
            while (left := size_bytes - file.tell()) > 0:
                file.write(filling[:left])
        os.utime(path, (OLD_S, OLD_S))


def make_state(path: Path, source: Path, lake: str, *, hashed: bool = False) -> int:
    """A state in which every file of the tree at `source` is recorded; its manifest stands beside the tree. `hashed`:
    with the hashes of their contents; otherwise with made-up ones."""
    with StateStore(path) as state, state.write():
        row = state.collections.record(lake, CollectionKey(MediaType.IMAGE, "many"), ID.format(1), "many")
        state.collections.record_head(row, NO_METADATA)
        count = 0
        for batch in _batches(source, hashed):
            state.files.record(row, batch, "synthetic")
            count += len(batch)
    return count


def _batches(source: Path, hashed: bool) -> Iterator[list[ConfirmedFile]]:
    for folder in sorted(os.scandir(source), key=lambda entry: entry.name):
        batch = []
        for entry in sorted(os.scandir(folder.path), key=lambda entry: entry.name):
            found = entry.stat(follow_symlinks=False)
            number = int(entry.name[1:8])
            batch.append(
                ConfirmedFile(
                    entry.name,
                    f"{source.name}/{folder.name}/{entry.name}",
                    Fingerprint(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns),
                    blake3(Path(entry.path).read_bytes()).hexdigest() if hashed else f"{number:064x}",
                    NO_METADATA,
                    ID.format(number),
                    f"many_{entry.name}",
                    Origin.UPLOADED,
                )
            )
        yield batch
