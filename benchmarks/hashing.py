"""Hashing as we do it (checked: regular files only, the same before and after) beside the bare hash of the same files.

    python -m benchmarks.hashing ours|blake3|sha256 FOLDER

hashes every file of a tree in a process of its own. The bare ones open, read and hash, on both cores: small files in
one process for each, a large one by the hash's own threads. Python's start is in all of them.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from blake3 import blake3

from benchmarks.measuring import ROOT, Bench, Runner, our_python
from benchmarks.synthetic import make_tree

CHUNK_BYTES = 1 << 20
SMALL_BYTES = 4096
WORKERS = os.cpu_count() or 2


def hashing(bench: Bench) -> None:
    """Many small files, then one large."""
    count = bench.count(100_000)
    make_tree(bench.scratch / "small", [SMALL_BYTES] * count)
    make_tree(bench.scratch / "large", [1 << 30])
    for folder, title in (("small", f"hashing {count:,} × 4 KB"), ("large", "hashing 1 GB")):
        ours, bare, sha = (
            Runner(name, (our_python(), "-m", "benchmarks.hashing", how, str(bench.scratch / folder)), ROOT)
            for name, how in (
                ("ours, checked", "ours"),
                ("bare blake3 on all cores", "blake3"),
                ("hashlib's SHA-256 on all cores" if folder == "small" else "hashlib's SHA-256", "sha256"),
            )
        )
        for runner in (ours, bare, sha):
            runner.reads = (str(bench.scratch / folder),)
        bench.take_turns(title, [ours, bare, sha], "Read before each round.")
        share = bare.wall_s / ours.wall_s
        bench.row(
            title,
            f"{ours.wall_s:.2f} s",
            f"bare blake3 {bare.wall_s:.2f} s",
            f"{share:.0%} of it",
            "85 %",
            share >= 0.85,
        )


def files_of(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from files_of(entry.path)
            else:
                yield entry


def hash_ours(folder: str) -> int:
    from metalake_sync.core.snapshots import Fingerprint
    from metalake_sync.sources.hashing import HashRequest, hash_files

    def requests() -> Iterator[HashRequest]:
        for entry in files_of(folder):
            found = entry.stat()
            fingerprint = Fingerprint(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
            yield HashRequest(entry.path, fingerprint)

    return sum(outcome.content_hash is not None for outcome in hash_files(requests(), WORKERS))


def hash_bare(how: str, folder: str) -> int:
    paths = [entry.path for entry in files_of(folder)]
    if len(paths) == 1:
        return _large(how, paths[0])
    slices = [paths[number::WORKERS] for number in range(WORKERS)]
    with ProcessPoolExecutor(WORKERS) as pool:
        return sum(pool.map(_small, [how] * WORKERS, slices))


def _small(how: str, paths: list[str]) -> int:
    new = blake3 if how == "blake3" else hashlib.sha256
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        new(os.read(descriptor, SMALL_BYTES)).hexdigest()
        os.close(descriptor)
    return len(paths)


def _large(how: str, path: str) -> int:
    digest = blake3(max_threads=WORKERS) if how == "blake3" else hashlib.sha256()
    buffer = memoryview(bytearray(16 * CHUNK_BYTES))
    with open(path, "rb", buffering=0) as file:
        while read := file.readinto(buffer):
            digest.update(buffer[:read])
    digest.hexdigest()
    return 1


def main() -> None:
    how, folder = sys.argv[1:]
    print(hash_ours(folder) if how == "ours" else hash_bare(how, folder))


if __name__ == "__main__":
    main()
