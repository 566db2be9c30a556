"""The command line as a process that can be killed at any step, and a world whose lake has an undisturbed twin.

A run is a forked child of a server that has everything imported: a kill costs milliseconds, and is a true SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.embedded_lake.request_log import RequestKind, RequestLog
from metalake_sync.embedded_lake.storage.files import FileStorage
from tests.embedded_lake.talk import API_KEY, SECRET, Talk, settings, talk_to
from tests.end_to_end.world import World
from tests.faults.hurry import shorten_lease, shorten_pauses, shorten_timeouts
from tests.forked import CONTEXT

if TYPE_CHECKING:
    from metalake_sync.state.backends.base import StateBackend
    from metalake_sync.state.store import StateStore

PART_BYTES = 1 << 20
"""Parts are small here, so that a file of some MiB has several."""

FORESEEN = frozenset({0, 3, 5})
"""All is done, some items failed, the lake is away."""


class Child(Protocol):
    """What is used of a process."""

    @property
    def pid(self) -> int | None: ...

    @property
    def exitcode(self) -> int | None: ...

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def join(self) -> None: ...


def without_trackers(errors: str) -> str:
    """Return what a run printed, without what loky's tracker of an earlier run that was killed says when it ends."""
    lines = errors.splitlines(keepends=True)
    return "".join(line for line in lines if "resource_tracker" not in line and "warnings.warn(" not in line)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended that may have met faults. `failures`: of items, in its events."""

    code: int
    errors: str
    failures: tuple[str, ...] = ()


def run_in_child(
    folder: str,
    args: list[str],
    environment: dict[str, str],
    die_at: int | str,
    prepare: Callable[[], None] | None = None,
    hurried: bool = False,
    quick_lease: bool = True,
) -> None:
    """A run of the command line in a child. `die_at`: kill itself at the n-th commit of its state, before it if n is
    odd and after it if even, or at the first commit of a writer, as in `before uploads.send`; 0 never does. `prepare`:
    called first in the child. `hurried`: the run gives up early, so that a busy machine may look like a lake that is
    away. Meant for runs under faults, which may fail. `quick_lease`: the lease of a killed run expires soon."""
    import metalake_sync.remote.storage as storage
    from metalake_sync.cli.main import run
    from metalake_sync.state.store import StateStore

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor in (1, 2):
        os.dup2(os.open(f"{folder}/../output.{descriptor}", os.O_CREAT | os.O_TRUNC | os.O_WRONLY), descriptor)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w")
    storage.PART_BYTES = PART_BYTES
    shorten_pauses()
    if quick_lease:
        shorten_lease()
    if hurried:
        shorten_timeouts()
    if prepare is not None:
        prepare()
    write, steps = StateStore.write, list[str]()

    @contextlib.contextmanager
    def mortal_write(self: StateStore) -> Iterator[None]:
        # Past the two frames of contextlib stands whoever writes.
        writer = sys._getframe(2)
        name = f"{writer.f_globals['__name__'].rpartition('.')[2]}.{writer.f_code.co_name}"
        steps.append(name)
        commits = len(steps)
        with write(self):
            yield
            if die_at in (2 * commits - 1, f"before {name}"):
                os.kill(os.getpid(), signal.SIGKILL)
        if die_at in (2 * commits, f"after {name}"):
            os.kill(os.getpid(), signal.SIGKILL)

    StateStore.write = mortal_write  # type: ignore[method-assign]
    _keep_what_is_synced(StateStore)
    code = run(args)
    Path(folder, "../steps").write_text("\n".join(steps))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _keep_what_is_synced(store: type[StateStore]) -> None:
    """Keep a copy of what a power failure would leave of a state: its log, as far as it was synced. The main file stays
    as it is, because no checkpoint moves anything into it."""
    opened, sync = store.__init__, store.sync

    def watched_open(self: StateStore, place: StateBackend | Path | None) -> None:
        opened(self, place)
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")

    def watched_sync(self: StateStore) -> None:
        log = Path(f"{self.path}-wal")
        size = log.stat().st_size
        sync(self)
        copy = self.path.with_name(f"synced-{os.getpid()}-{threading.get_ident()}")
        with log.open("rb") as file:
            copy.write_bytes(file.read(size))
        copy.rename(_synced_log(self.path))

    store.__init__ = watched_open  # type: ignore[method-assign]
    store.sync = watched_sync  # type: ignore[method-assign]


def _synced_log(state: Path) -> Path:
    return state.with_name("synced.wal")


@dataclass
class WatchedLog(RequestLog):
    """Calls back before each request is carried out, and before its answer is sent."""

    answered: Callable[[RequestKind], None] = lambda asked: None

    def note(self, asked: RequestKind, status: int, bytes_in: int) -> None:
        super().note(asked, status, bytes_in)
        self.answered(asked)


@dataclass
class Mortal:
    """A world with a lake that runs are killed on, and a twin that none is."""

    world: World
    twin: Talk
    twin_url: str
    lakes: tuple[Path, Path]
    kills: int = 0
    steps: int = 0
    bytes_received: int = 0
    parts: Counter[tuple[str, int]] = field(default_factory=Counter)
    finished: set[tuple[str, int]] = field(default_factory=set)
    sent_again: list[tuple[str, int]] = field(default_factory=list)
    on_request: Callable[[str], None] = lambda place: None
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the environment of each run."""
    quick_lease: bool = True
    """Whether the lease of a shared state expires soon. Not where two runs are alive at the same time."""
    prepare: Callable[[], None] | None = None
    """Called first in the process of each run."""

    def start(self, *options: str, die_at: int | str = 0, twin: bool = False, folder: Path | None = None) -> Child:
        """Start a run. `folder`: of another checkout."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.world.folder),
            "NO_PROXY": "*",
            "LAYERNEXT_URL": self.twin_url if twin else self.world.lake.url,
            "LAYERNEXT_API_KEY": API_KEY,
            "LAYERNEXT_SECRET": SECRET,
            **self.variables,
        }
        args = ["apply", "--json", "--auto-approve", "--parallelism", "4", "manifest.yaml"]
        args += ["--state", self.location(twin), *options]
        hurried = self.world.lake.faults.active and not twin
        child = CONTEXT.Process(
            target=run_in_child,
            args=(str(folder or self.world.folder), args, environment, die_at, self.prepare, hurried, self.quick_lease),
        )
        child.start()
        return child

    def location(self, twin: bool = False) -> str:
        """Where the state is, as on a command line."""
        return str(self.state(twin))

    def state(self, twin: bool = False) -> Path:
        return self.world.folder / ".metalake-sync" / ("twin.db" if twin else "mortal.db")

    def run(self, *, twin: bool = False) -> dict[str, Any]:
        """An undisturbed run, which must succeed. Returns its summary."""
        ended = self.disturbed_run(twin=twin)
        assert ended.code == 0, ended
        output = (self.world.folder / "../output.1").read_text()
        summary: dict[str, Any] = json.loads(output.splitlines()[-1])
        return summary

    def disturbed_run(self, *options: str, twin: bool = False) -> Ended:
        """A run that may fail, but only in a way that is foreseen."""
        child = self.start(*options, twin=twin)
        child.join()
        errors = without_trackers((self.world.folder / "../output.2").read_text())
        assert child.exitcode in FORESEEN, (child.exitcode, errors[-3000:])
        assert "Traceback" not in errors, errors[-3000:]
        events = [json.loads(line) for line in (self.world.folder / "../output.1").read_text().splitlines()]
        failures = tuple(event["error"] for event in events if event["message_type"] == "action_failed")
        ended = Ended(child.exitcode, errors, failures)
        assert bool(errors.strip()) == (ended.code == 5), ended
        assert bool(failures) == (ended.code == 3), ended
        return ended

    def killed_after(self, seconds: float) -> bool:
        """A run that is killed after some time. False if it was done before."""
        child = self.start()
        threading.Event().wait(seconds)
        child.kill()
        return self._died(child)

    def killed_at_commit(self, place: int | str) -> bool:
        return self._died(self.start(die_at=place))

    def recorded_steps(self) -> set[str]:
        """Who wrote to the state in the last run that came to its end."""
        return set((self.world.folder / "../steps").read_text().split())

    def killed_at_request(self, number: int, on_death: Callable[[], None] = lambda: None) -> bool:
        """A run that is killed at the n-th step of its requests: before one is carried out, or before it is answered.
        False if it came to its end."""
        steps = Counter[str]()
        child: list[Child] = []
        started = threading.Event()

        def count(_place: str) -> None:
            steps["seen"] += 1
            if steps["seen"] == number:
                started.wait()
                assert child[0].pid is not None
                os.kill(child[0].pid, signal.SIGKILL)
                time.sleep(0.005)

        self.on_request = count
        child.append(self.start())
        started.set()
        try:
            return self._died(child[0], on_death)
        finally:
            self.on_request = lambda place: None

    def loses_power_at_request(self, number: int) -> bool:
        """The same, and what the run has written to its state without a sync is lost."""
        state = self.state()
        before = state.read_bytes()
        _synced_log(state).unlink(missing_ok=True)

        def lose() -> None:
            state.write_bytes(before)
            state.with_name(f"{state.name}-shm").unlink(missing_ok=True)
            log = state.with_name(f"{state.name}-wal")
            log.unlink(missing_ok=True)
            if _synced_log(state).exists():
                _synced_log(state).rename(log)

        return self.killed_at_request(number, lose)

    def _died(self, child: Child, on_death: Callable[[], None] = lambda: None) -> bool:
        child.join()
        if child.exitcode == -signal.SIGKILL:
            on_death()
        died = child.exitcode == -signal.SIGKILL
        errors = (self.world.folder / "../output.2").read_text()
        assert died or child.exitcode == 0 or (self.world.lake.faults.active and child.exitcode in FORESEEN), (
            child.exitcode,
            errors[-2000:],
        )
        self.kills += died
        if self.state().exists():
            db = sqlite3.connect(f"file:{self.state()}?mode=ro", uri=True)
            # A state that was killed while it was made may have no tables yet.
            with contextlib.closing(db), contextlib.suppress(sqlite3.OperationalError):
                self.finished |= set(db.execute("SELECT file_id, part_number FROM upload_parts"))
        return died

    def part_received(self, file_id: str, number: int, size_bytes: int) -> None:
        self.bytes_received += size_bytes
        if (file_id, number) in self.finished:
            self.sent_again.append((file_id, number))
        self.parts[file_id, number] += 1

    # What must be the same in both lakes.

    def differences(self) -> list[str]:
        """Where lake and state differ from those of the twin; empty if nowhere."""
        found: list[str] = []
        pairs = [
            ("lake", _lake_of(self.lakes[0]), _lake_of(self.lakes[1])),
            ("state", _state_of(self.state()), _state_of(self.state(twin=True))),
        ]
        for what, here, there in pairs:
            found += [
                f"{what}: {key}: {here.get(key)} instead of {there.get(key)}"
                for key in sorted(here.keys() | there.keys())
                if here.get(key) != there.get(key)
            ]
        return found


M = TypeVar("M", bound=Mortal)


@contextlib.contextmanager
def mortal_world(folder: Path) -> Iterator[Mortal]:
    """A project, a lake to be killed on, and a twin."""
    with mortal_world_of(Mortal, folder) as mortal:
        yield mortal


@contextlib.contextmanager
def mortal_world_of(make: Callable[..., M], folder: Path) -> Iterator[M]:
    """The same, with a kind of world of its own."""
    project = folder / "project"
    project.mkdir()
    log = WatchedLog()
    lake, twin = EmbeddedLake(settings(folder / "lake")), EmbeddedLake(settings(folder / "twin"))
    lake.requests = log
    with lake, twin, talk_to(lake.url) as talk, talk_to(twin.url) as twin_talk:
        mortal = make(World(project, lake, talk), twin_talk, twin.url, (folder / "lake", folder / "twin"))
        pick, received = lake.faults.pick, FileStorage.part_received

        def step(place: str) -> None:
            mortal.steps += 1
            mortal.on_request(place)

        def watched_pick(kind: RequestKind) -> Any:
            step(f"before {kind.route}")
            return pick(kind)

        def watched_part(self: FileStorage, file_id: str, number: int, part: Any) -> None:
            received(self, file_id, number, part)
            mortal.part_received(file_id, number, part.size_bytes)

        lake.faults.pick = watched_pick  # type: ignore[method-assign]
        log.answered = lambda asked: step(f"after {asked.route}")
        FileStorage.part_received = watched_part  # type: ignore[method-assign]
        try:
            yield mortal
        finally:
            FileStorage.part_received = received  # type: ignore[method-assign]


def _lake_of(folder: Path) -> dict[str, Any]:
    """What a lake has, without its ids and times, straight from its database."""
    found: dict[str, Any] = {}
    with contextlib.closing(sqlite3.connect(f"file:{folder}/lake.db?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT id, name, unique_name, blob, size_bytes, metadata, trashed FROM items").fetchall()
        live = [row for row in rows if not row[6]]
        assert len({row[1] for row in live}) == len(live), "a name is twice in the lake"
        found["how many are trashed"] = sum(row[6] for row in rows)
        found["how many collections"] = db.execute("SELECT count(*) FROM collections").fetchone()[0]
        for row in live:
            blob = folder / "objects" / row[3][-2:] / row[3]
            found[row[1]] = (row[2], _digest(blob), row[4], json.loads(row[5]), _sets_of(db, row[0]))
    return found


def _sets_of(db: sqlite3.Connection, item: str) -> dict[str, Any]:
    rows = db.execute("SELECT operation, mode, shapes FROM annotation_sets WHERE item = ?", (item,))
    return {
        operation: (mode, [(shape["points"], shape["label"]["labelText"]) for shape in json.loads(shapes)])
        for operation, mode, shapes in rows
    }


def _digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def _state_of(path: Path) -> dict[str, Any]:
    """What a state records, without what belongs to one lake alone."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        found: dict[str, Any] = {
            name: (
                rest,
                sorted(db.execute("SELECT operation, kind, digest FROM annotation_sets WHERE file = ?", (row,))),
            )
            for row, name, *rest in db.execute(
                "SELECT id, name, folder, filename, size_bytes, content_hash, metadata_digest, unique_name, origin"
                " FROM files"
            )
        }
        for table in ("upload_sessions", "upload_files", "upload_parts", "failures"):
            found[f"rows in {table}"] = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return found
