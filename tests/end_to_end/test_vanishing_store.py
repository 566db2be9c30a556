"""A bucket that vanishes in the middle of a run: the run ends with 5, and the next one completes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from metalake_sync.engine import Engine
from metalake_sync.errors import ExitCode, StateUnreachable
from metalake_sync.key_stores.base import KeyStore
from metalake_sync.manifest import load_manifest
from metalake_sync.planning.run_options import RunOptions
from metalake_sync.state.backends.shared import SharedBackend
from tests.end_to_end.world import World
from tests.faults.project import Project as Files
from tests.key_stores.folder_store import FolderKeyStore

T = TypeVar("T")


class Vanishing:
    """A store that is away from its n-th call on. 0: it stays."""

    def __init__(self, store: KeyStore, calls: int) -> None:
        self.location = store.location
        self._store = store
        self._left = calls
        self._vanishes = calls > 0
        self.calls = 0

    def _call(self, call: Callable[[], T]) -> T:
        self.calls += 1
        if self._vanishes:
            self._left -= 1
            if self._left < 0:
                raise StateUnreachable("the store is away", where=self.location)
        return call()

    def create(self, key: str, body: bytes) -> bool:
        return self._call(lambda: self._store.create(key, body))

    def put(self, key: str, body: bytes) -> None:
        self._call(lambda: self._store.put(key, body))

    def get(self, key: str) -> bytes | None:
        return self._call(lambda: self._store.get(key))

    def keys(self, prefix: str) -> list[str]:
        return self._call(lambda: self._store.keys(prefix))

    def delete(self, keys: Sequence[str]) -> None:
        self._call(lambda: self._store.delete(keys))

    def put_file(self, key: str, path: Path) -> None:
        self._call(lambda: self._store.put_file(key, path))

    def get_file(self, key: str, path: Path) -> bool:
        return self._call(lambda: self._store.get_file(key, path))

    def close(self) -> None:
        self._store.close()


@pytest.fixture
def quick_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease that a run could not release expires soon."""
    for name, value in (("EXPIRES_S", 0.2), ("RENEW_EVERY_S", 0.05), ("LOOK_EVERY_S", 0.02)):
        monkeypatch.setattr(f"metalake_sync.state.shared.lease.{name}", value)


def apply(world: World, calls: int) -> tuple[ExitCode, int]:
    """Apply with a store that vanishes after some calls. Returns the exit code, and how many calls there were."""
    manifest = load_manifest(str(world.folder / "manifest.yaml"), environment=world.environment())
    store = Vanishing(FolderKeyStore(world.folder.parent / "store"), calls)
    backend = SharedBackend(world.folder / ".metalake-sync", lambda: store)
    where = (None, manifest.base_dir, manifest.name)
    project = Engine(manifest, RunOptions(), lambda event: None, backends={where: backend})
    try:
        finished = project.apply(lambda plan: True, lock_timeout_s=30).finished
    except StateUnreachable as error:
        return error.exit_code, store.calls
    assert not finished.failed
    return ExitCode.DONE, store.calls


def test_a_store_that_vanishes_at_any_call_costs_a_run_and_nothing_else(world: World, quick_lease: None) -> None:
    project = Files(world, seed=5, small=4, large=0)
    project.change()
    _, calls = apply(world, 0)
    ended = []
    for number in range(1, calls + 6, 2):
        project.change()
        code, _ = apply(world, number)
        ended.append(code)
        assert code in (ExitCode.LAKE_AWAY, ExitCode.DONE)
        assert apply(world, 0)[0] is ExitCode.DONE
        assert world.names() == sorted(project.files)
        world.lake.requests.clear()
        assert apply(world, 0)[0] is ExitCode.DONE
        assert world.lake.requests.writes == 0
    assert ended.count(ExitCode.LAKE_AWAY) >= len(ended) // 2
