"""Runs jobs and prints them as Markdown: medians of wall and CPU time, memory, and ratios to ours.

    python -m benchmarks.run [JOB ...] [--rounds 3] [--files N]

We and the peers run in turn, round by round, so that noise meets all of them. Warm: every file was read before.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers import VENDOR_UPLOAD, rclone, vendor_python
from benchmarks.synthetic import make_state, make_tree

MANIFEST = """version: 1
name: bench
remote: {url: "${LAKE}", api_key: k, secret: s}
collections: [{name: %s, type: image, folders: [{path: images}]}]
"""
SMALL = 20_480
METALAKE_SYNC = (sys.executable, "-m", "metalake_sync")


@dataclass
class Runner:
    """One of the compared commands. `prepare` runs before each round and is not measured; it gives the environment."""

    name: str
    command: Sequence[str]
    folder: Path
    prepare: Callable[[], Mapping[str, str]] = dict
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    memory_mb: float = 0.0

    def run(self) -> None:
        environment = {**os.environ, **self.prepare()}
        # Compiled modules are part of an installed program; an environment that forbids to keep them measures Python.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [part.replace("$LAKE", environment.get("LAKE", "")) for part in self.command]
        started = os.times().elapsed
        process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{self.name} failed ({process.returncode}): {errors.decode(errors='replace')[-2000:]}")
        self.wall_s.append(os.times().elapsed - started)
        self.cpu_s.append(usage.ru_utime + usage.ru_stime)
        self.memory_mb = max(self.memory_mb, usage.ru_maxrss / 1024)


@contextmanager
def fast_lake(*options: str) -> Iterator[str]:
    """The fast lake in a process of its own; gives its address."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.fast_lake", *options], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().decode().removeprefix("listening on ").strip()
    finally:
        process.terminate()
        process.wait()


def measure(title: str, runners: Sequence[Runner], rounds: int) -> None:
    for _ in range(rounds):
        for runner in runners:
            runner.run()
    ours = statistics.median(runners[0].wall_s)
    print(f"\n### {title}\n\n| | wall s | CPU s | memory MB | wall ÷ ours |\n| --- | ---: | ---: | ---: | ---: |")
    for runner in runners:
        wall = statistics.median(runner.wall_s)
        cpu = statistics.median(runner.cpu_s)
        print(f"| {runner.name} | {wall:.2f} | {cpu:.2f} | {runner.memory_mb:.0f} | {wall / ours:.2f} |")


def plan(scratch: Path, rounds: int, files: int) -> None:
    """Nothing changed: what a plan costs beside walking the tree and beside rclone's no-op sync."""
    make_tree(scratch / "images", [16] * files)
    (scratch / "manifest.yaml").write_text(MANIFEST % "many")
    shutil.copytree(scratch / "images", scratch / "copy", copy_function=shutil.copy2)
    with fast_lake("--listed", str(files)) as lake:
        make_state(scratch / ".metalake-sync" / "bench.db", scratch / "images", lake)

        def ours(refresh: str) -> Runner:
            command = (*METALAKE_SYNC, "plan", "-q", "--refresh", refresh, "manifest.yaml")
            return Runner(f"plan --refresh {refresh}", command, scratch, lambda: {"LAKE": lake})

        runners = [
            ours("none"),
            ours("list"),
            Runner("find -printf", ("find", "images", "-printf", "%s %T@ %p\n"), scratch),
            Runner("rclone sync, no-op", (rclone(), "sync", "images", "copy"), scratch),
        ]
        measure(f"plan of {files:,} files, nothing changed", runners, rounds)


def _upload(scratch: Path, rounds: int, sizes: Sequence[int], title: str, *options: str) -> None:
    make_tree(scratch / "images", sizes)
    (scratch / "manifest.yaml").write_text(MANIFEST % "up")
    flat = scratch / "flat"
    flat.mkdir()
    for path in sorted((scratch / "images").rglob("*.jpg")):
        os.link(path, flat / path.name)
    python = vendor_python(Path(__file__).parents[1] / ".venv-vendor")
    for_us = (*METALAKE_SYNC, "apply", "-q", "manifest.yaml")
    ours, theirs = Runner("apply", for_us, scratch), Runner("vendor's client", (), scratch)
    for _ in range(rounds):
        with fast_lake(*options) as lake:
            shutil.rmtree(scratch / ".metalake-sync", ignore_errors=True)
            ours.prepare = lambda address=lake: {"LAKE": address}  # type: ignore[misc]
            ours.run()
            _check_all_arrived(lake, sizes)
        with fast_lake(*options) as lake:
            theirs.command = (python, "-c", VENDOR_UPLOAD, lake, str(flat))
            theirs.run()
            _check_all_arrived(lake, sizes)
    measure(title, [ours, theirs], 0)


def _check_all_arrived(lake: str, sizes: Sequence[int]) -> None:
    """A figure counts only for work that was done."""
    with urllib.request.urlopen(f"{lake}/tally") as answer:
        tally = json.load(answer)
    if tally.get("put_bytes") != sum(sizes) or tally.get("finalizeMultipartUpload") != len(sizes):
        raise SystemExit(f"the lake did not get everything: {tally}")


def upload(scratch: Path, rounds: int, files: int) -> None:
    _upload(scratch, rounds, [SMALL] * files, f"{files:,} files of 20 KB up, no latency")


def upload_latency(scratch: Path, rounds: int, files: int) -> None:
    _upload(scratch, rounds, [SMALL] * files, f"{files:,} files of 20 KB up, 20 ms of latency", "--latency-ms", "20")


def upload_large(scratch: Path, rounds: int, files: int) -> None:
    title = f"{files} GB in parts up, 100 MB/s for each connection"
    _upload(scratch, rounds, [1 << 30] * files, title, "--connection-rate", "100e6")


def upload_mixed(scratch: Path, rounds: int, files: int) -> None:
    """Small files with some large ones among them, on a link with both limits."""
    sizes = [64 << 20 if number % 200 == 199 else SMALL for number in range(files)]
    title = f"{files:,} files up, every 200th of 64 MB, 20 ms of latency, 100 MB/s for each connection"
    _upload(scratch, rounds, sizes, title, "--latency-ms", "20", "--connection-rate", "100e6")


def start(scratch: Path, rounds: int, files: int) -> None:
    """What it costs to begin at all."""
    make_tree(scratch / "images", [16] * files)
    (scratch / "manifest.yaml").write_text(MANIFEST % "many")
    lake = {"LAKE": "http://127.0.0.1:9"}
    command = (*METALAKE_SYNC, "plan", "-q", "--refresh", "none", "manifest.yaml")
    runners = [
        Runner(f"plan of {files} files", command, scratch, lambda: lake),
        Runner("--version", (*METALAKE_SYNC, "--version"), scratch),
        Runner("bare python", (sys.executable, "-c", "pass"), scratch),
    ]
    measure("start", runners, rounds)


JOBS: Mapping[str, tuple[Callable[[Path, int, int], None], int]] = {
    "start": (start, 10),
    "plan": (plan, 100_000),
    "upload": (upload, 2000),
    "upload-latency": (upload_latency, 2000),
    "upload-large": (upload_large, 1),
    "upload-mixed": (upload_mixed, 1000),
}
"""Every job with its usual number of files."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure metalake-sync beside its peers.")
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"{', '.join(JOBS)}; all of them when none is named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, help="instead of a job's usual number")
    given = parser.parse_args()
    unknown = set(given.jobs) - JOBS.keys()
    if unknown:
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f} before")
    for name in given.jobs or JOBS:
        job, files = JOBS[name]
        with tempfile.TemporaryDirectory(prefix="metalake-sync-bench-") as scratch:
            job(Path(scratch), given.rounds, given.files or files)


if __name__ == "__main__":
    main()
