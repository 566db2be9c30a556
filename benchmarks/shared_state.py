"""What a shared state costs beside a file: requests and bytes of an apply, and the time until a new machine has it.

The writes are those of an apply: a session for each batch, groups of files before they are finalized, and records.
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import requests
from blake3 import blake3

from benchmarks.fast_lake import ID
from benchmarks.measuring import MANIFEST, Bench, Runner, fast_lake, install, metalake_sync
from benchmarks.peers import moto_server
from benchmarks.synthetic import make_state, make_tree
from metalake_sync.core.metadata import NO_METADATA
from metalake_sync.core.snapshots import CollectionKey, Fingerprint, MediaType, Origin
from metalake_sync.state.backends.shared import SharedBackend
from metalake_sync.state.files import ConfirmedFile
from metalake_sync.state.journal import AboutToFinalize, JournalledFile, JournalledSession
from metalake_sync.state.store import StateStore

BATCH, GROUP = 1000, 64
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
SIZES = (1_000, 100_000, 1_000_000)


class CountingStore:
    """A key store in memory that counts its calls and the bytes that move."""

    location = "memory"

    def __init__(self) -> None:
        self._bodies: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self.calls = Counter[str]()
        self.sent_bytes = Counter[str]()
        self.read_bytes = 0

    def create(self, key: str, body: bytes) -> bool:
        with self._lock:
            self._sent("create", key, len(body))
            return self._bodies.setdefault(key, body) == body

    def put(self, key: str, body: bytes) -> None:
        self._sent("put", key, len(body))
        self._bodies[key] = body

    def get(self, key: str) -> bytes | None:
        self.calls["get"] += 1
        body = self._bodies.get(key)
        self.read_bytes += len(body or b"")
        return body

    def keys(self, prefix: str) -> list[str]:
        self.calls["list"] += 1
        return sorted(key for key in list(self._bodies) if key.startswith(prefix))

    def delete(self, keys: Sequence[str]) -> None:
        self.calls["delete"] += 1
        for key in keys:
            self._bodies.pop(key, None)

    def put_file(self, key: str, path: Path) -> None:
        self.put(key, path.read_bytes())

    def get_file(self, key: str, path: Path) -> bool:
        body = self.get(key)
        if body is None:
            return False
        path.write_bytes(body)
        return True

    def close(self) -> None:
        """Keep the bodies."""

    def newest_bytes(self, prefix: str) -> int:
        """Return the size of the last body below a prefix."""
        keys = [key for key in self._bodies if key.startswith(prefix)]
        return len(self._bodies[max(keys)]) if keys else 0

    def _sent(self, verb: str, key: str, size_bytes: int) -> None:
        self.calls[verb] += 1
        self.sent_bytes[key.partition("/")[0]] += size_bytes


def shared_state(bench: Bench) -> None:
    """Requests and bytes for each number of files."""
    print(
        "\n| files | requests of an apply | log | last of all snapshots | writes, s | in a file, s"
        " | new machine, s | its requests |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for count in [bench.files] if bench.files else SIZES:
        store = CountingStore()
        backend = _backend(bench.scratch / f"first-{count}", store)
        with backend.lock(command="apply"):
            shared_s = _apply(backend, count)
        requests, sent = sum(store.calls.values()), dict(store.sent_bytes)
        file_s = _apply(bench.scratch / f"file-{count}.db", count)
        store.calls.clear()
        began = time.perf_counter()
        elsewhere = _backend(bench.scratch / f"second-{count}", store)
        with StateStore(elsewhere) as state:
            opened_s = time.perf_counter() - began
            found = sum(state.files.count(row[0]) for row in state.collections.of_lake("lake").values())
        if found != count:
            raise SystemExit(f"the new machine has {found} of {count} files")
        log, snapshots, snapshot = sent.get("log", 0), sent.get("snapshot", 0), store.newest_bytes("snapshot/")
        print(
            f"| {count:,} | {requests} | {log / 1e6:.1f} MB, {log / count:.0f} B a file"
            f" | {snapshot / 1e6:.1f} of {snapshots / 1e6:.1f} MB"
            f" | {shared_s:.1f} | {file_s:.1f} | {opened_s:.1f} | {sum(store.calls.values())} |",
            flush=True,
        )
        bench.row(
            f"shared state, {count:,} files",
            f"{log / count:.0f} B a file in the log, {requests} requests",
            f"file {file_s:.1f} s",
            f"{shared_s / file_s:.1f} × the file's writes",
        )


def plan_shared(bench: Bench) -> None:
    """Nothing changed: a plan with a state in S3 (moto) beside the same with a file.

    A machine that keeps its working copy reads what is new in the log. A new one reads the snapshot, and every file.
    """
    count = bench.count(100_000)
    with fast_lake("--listed", str(count)) as lake, moto_server() as url:
        bucket = f"{url}/acme-state"
        requests.put(bucket, timeout=30).raise_for_status()
        make_tree(bench.scratch / "images", [16] * count)
        (bench.scratch / "manifest.yaml").write_text(MANIFEST % "many")
        local = bench.scratch / ".metalake-sync" / "bench.db"
        make_state(local, bench.scratch / "images", lake.url, hashed=True)
        environment = {"LAKE": lake.url, **KEYS, "AWS_ENDPOINT_URL_S3": url}
        around = functools.partial(contextlib.nullcontext, environment)
        program = metalake_sync()
        install(Path(program[0]).parent, "boto3")
        place = ("--state", "s3://acme-state/bench")
        migrate = (*program, "state", "migrate", "--to", place[1], "manifest.yaml")
        Runner("migrate", migrate, bench.scratch, around).run()
        plan = (*program, "plan", "-q", "--refresh", "none")
        file = Runner("plan, state in a file", (*plan, "manifest.yaml"), bench.scratch, around)
        kept = Runner("plan, shared state", (*plan, *place, "manifest.yaml"), bench.scratch, around)
        new = Runner("the same on a new machine", kept.command, bench.scratch, lambda: _new_machine(bench, environment))
        new.rounds = 2
        kept.run()
        kept.walls_s.clear()
        bench.take_turns(f"plan of {count:,} files with a shared state", [file, kept, new], "Nothing changed.")
    for runner in (kept, new):
        bench.row(
            f"`{runner.name}`, {count:,} files, nothing changed",
            f"{runner.wall_s:.2f} s, {runner.memory_mb:.0f} MB",
            f"file {file.wall_s:.2f} s",
            f"{runner.wall_s / file.wall_s:.1f} ×",
        )


@contextlib.contextmanager
def _new_machine(bench: Bench, environment: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Take the working copy away, and give every file a new time, as a new checkout does."""
    for path in (bench.scratch / ".metalake-sync").glob("*.shared-*"):
        path.unlink()
    subprocess.run(("find", "images", "-type", "f", "-exec", "touch", "{}", "+"), cwd=bench.scratch, check=True)
    yield environment


def _backend(folder: Path, store: CountingStore) -> SharedBackend:
    return SharedBackend(folder, lambda: store)


def _apply(place: SharedBackend | Path, count: int) -> float:
    """Write to a state what an apply of new files writes. Returns the seconds."""
    began = time.perf_counter()
    with StateStore(place) as state:
        with state.write():
            handle = state.collections.record("lake", CollectionKey(MediaType.IMAGE, "many"), ID.format(1), "many")
        numbers = iter(range(count))
        batch = 0
        while page := list(islice(numbers, BATCH)):
            batch += 1
            _send(state, handle, f"upload-{batch}", list(map(_confirmed, page)))
        with state.write():
            state.advance_serial()
    return time.perf_counter() - began


def _send(state: StateStore, handle: int, upload_id: str, files: list[ConfirmedFile]) -> None:
    """One batch: the session, groups of files before they are finalized, and the records."""
    journalled = tuple(JournalledFile(file.name, file.path, file.fingerprint) for file in files)
    session = JournalledSession(upload_id, handle, f"job-{upload_id}", "s3", NO_METADATA.digest, False, journalled)
    with state.write():
        state.journal.open_session(session)
    for group in _groups(files):
        with state.write():
            state.journal.about_to_finalize(
                upload_id,
                [AboutToFinalize(file.name, file.content_hash, file.lake_id, file.name, 1 << 20, {}) for file in group],
            )
        state.sync()
    with state.write():
        state.files.record(handle, files, "run")
        state.journal.close_session(upload_id)


def _groups(files: list[ConfirmedFile]) -> Iterator[list[ConfirmedFile]]:
    for start in range(0, len(files), GROUP):
        yield files[start : start + GROUP]


def _confirmed(number: int) -> ConfirmedFile:
    name = f"f{number:07d}.jpg"
    return ConfirmedFile(
        name,
        f"images/d{number // 1000:05d}/{name}",
        Fingerprint(100_000 + number, 1_700_000_000_000_000_000 + number * 7919, 1_000_000 + number, 1_700_000_000),
        blake3(str(number).encode()).hexdigest(),
        NO_METADATA,
        ID.format(number),
        f"many_{name}",
        Origin.UPLOADED,
    )
