"""The daemon as a process, with a served lake."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.end_to_end.world import PROGRAM, World


class Daemon:
    """A running watch. Its output is in a file beside the folder."""

    def __init__(self, world: World, *args: str, settle: str = "0.2") -> None:
        self.log_file = world.folder.parent / f"watch-{time.monotonic_ns()}.log"
        self.out = self.log_file.open("w")
        self.process = subprocess.Popen(
            [*world.prefix, PROGRAM, "watch", "manifest.yaml", "--settle", settle, "--log-format", "json", "-v", *args],
            cwd=world.folder,
            env=world.environment(),
            stdout=self.out,
            stderr=subprocess.STDOUT,
        )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait(self, what: Callable[[], bool], retry_timeout_s: float = 40.0) -> None:
        deadline = time.monotonic() + retry_timeout_s
        while not what():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log[-4000:]
            time.sleep(0.05)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=45)
        self.out.close()
        assert "Traceback" not in self.log, self.log
        assert "internal error" not in self.log, self.log
        return code


@contextlib.contextmanager
def watching(world: World, *args: str, settle: str = "0.2") -> Iterator[Daemon]:
    daemon = Daemon(world, *args, settle=settle)
    try:
        daemon.wait(lambda: "watching " in daemon.log)
        yield daemon
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.process.wait()
        daemon.out.close()


def names(world: World, collection: str = "birds") -> list[str]:
    """The names in the lake's collection. Empty if the lake is unreachable or does not have the collection."""
    try:
        return world.names(collection)
    except (AssertionError, KeyError):
        return []


def on_disk(world: World) -> list[str]:
    return sorted(path.name for path in (world.folder / "images").rglob("*.png"))


def lines(daemon: Daemon) -> list[dict[str, Any]]:
    """The JSON log lines of the daemon."""
    return [json.loads(line) for line in daemon.log.splitlines() if line.startswith("{")]


def is_synced(world: World) -> bool:
    """Whether the lake has exactly the files of the folder, with the same bytes."""
    files = {path.name: path for path in (world.folder / "images").rglob("*.png")}
    return names(world) == sorted(files) and all(
        world.talk.read(f"birds_{name}") == path.read_bytes() for name, path in files.items()
    )
