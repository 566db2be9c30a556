"""A hundred thousand files: a plan without changes opens none of them, and its memory stays small."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from metalake_sync.core.metadata import NO_METADATA
from metalake_sync.core.snapshots import CollectionKey, Fingerprint, MediaType, Origin
from metalake_sync.state.files import ConfirmedFile
from metalake_sync.state.store import StateStore
from tests.end_to_end.world import BIRDS, PROGRAM, World

FOLDERS, FILES_EACH = 100, 1000
MEMORY_LIMIT_BYTES = 300 << 20


def many_files(world: World) -> list[ConfirmedFile]:
    """Make the files, and the records of an apply that brought them all into the lake."""
    records = []
    for folder_number in range(FOLDERS):
        folder = Path(f"images/{folder_number:02}")
        (world.folder / folder).mkdir(parents=True)
        for number in range(FILES_EACH):
            name = f"{folder_number:02}_{number:03}.jpg"
            path = world.folder / folder / name
            path.write_bytes(name.encode())
            found = path.stat()
            fingerprint = Fingerprint(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
            records.append(
                ConfirmedFile(
                    name, str(folder / name), fingerprint, "A", NO_METADATA, name, f"birds_{name}", Origin.UPLOADED
                )
            )
    return records


@pytest.mark.long
def test_a_plan_of_100_000_unchanged_files_hashes_nothing_and_needs_little_memory(world: World) -> None:
    records = many_files(world)
    world.manifest(BIRDS)
    state_file = world.folder / ".metalake-sync/manifest.db"
    with StateStore(state_file) as state, state.write():
        row = state.collections.record(world.lake.url, CollectionKey(MediaType.IMAGE, "birds"), "c1", "birds")
        state.collections.record_head(row, NO_METADATA)
        state.files.record(row, records, "run")
    # Files younger than two seconds are not trusted.
    time.sleep(2.1)
    command = [str(PROGRAM), "plan", "--refresh", "none", "manifest.yaml"]
    process = subprocess.Popen(
        command,
        cwd=world.folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LAYERNEXT_URL": world.lake.url, "LAYERNEXT_API_KEY": "k", "LAYERNEXT_SECRET": "s"},
    )
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    assert (process.returncode, printed.strip()) == (0, "Nothing to do: 100000 unchanged.")
    assert _peak_bytes(used) < MEMORY_LIMIT_BYTES
    with closing(sqlite3.connect(state_file)) as db:
        assert db.execute("SELECT count(*) FROM hash_cache").fetchone() == (0,)
    assert world.lake.requests.counts == {}


def _peak_bytes(used: resource.struct_rusage) -> int:
    """Linux tells kibibytes."""
    return used.ru_maxrss * 1024
