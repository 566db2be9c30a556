"""Measuring: commands that take turns, their medians as Markdown, and the rows of the summary with their goals.

Wall and CPU seconds and peak memory are those of the whole process and its children, as the kernel counts them.
"""

from __future__ import annotations

import functools
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]


class PeerMissing(Exception):
    """A peer is not available on this machine; the message says which and why."""


def environment(name: str, package: str) -> Path:
    """The folder of programs of an environment beside ours that has `package`; made once. Raises PeerMissing."""
    where = ROOT / name
    programs = where / "bin"
    try:
        if not (where / "made").exists():
            subprocess.run([sys.executable, "-m", "venv", str(where)], check=True, capture_output=True)
            install(programs, package)
            (where / "made").touch()
    except (OSError, subprocess.CalledProcessError) as error:
        raise PeerMissing(f"{package} can't be installed here ({error})") from None
    return programs


def install(programs: Path, *wanted: str) -> None:
    pip = [str(programs / "python"), "-m", "pip", "-q", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, *wanted], check=True, capture_output=True)


@functools.cache
def metalake_sync() -> tuple[str, ...]:
    """Our command as a user has it: installed, without what is for development (numpy alone takes 60 ms of a start and
    11 MB), and as this tree is now."""
    programs = environment(".venv-bench", str(ROOT))
    install(programs, "--force-reinstall", "--no-deps", str(ROOT))
    return (str(programs / "metalake-sync"),)


def our_python() -> str:
    """The interpreter that our command runs in."""
    return str(Path(metalake_sync()[0]).with_name("python"))


MANIFEST = """version: 1
name: bench
remote: {url: "${LAKE}", api_key: k, secret: s}
collections: [{name: %s, type: image, folders: [{path: images}]}]
"""


def with_lake(url: str) -> Callable[[], AbstractContextManager[Mapping[str, str]]]:
    """The environment that names one lake, for commands that share it."""
    return lambda: nullcontext({"LAKE": url})


def _nothing_around() -> AbstractContextManager[Mapping[str, str]]:
    return nullcontext({})


@dataclass
class Runner:
    """One of the compared commands. `around`: entered before each round and left after it, and not measured; it gives
    the environment, and `$LAKE` in the command is filled in from there. `rounds`: at most so many, for what is slow;
    None is all. `reads`: folders whose files are read before each round: some machines take them out of memory while a
    peer is at work."""

    name: str
    command: Sequence[str]
    folder: Path
    around: Callable[[], AbstractContextManager[Mapping[str, str]]] = _nothing_around
    rounds: int | None = None
    reads: Sequence[str] = ()
    walls_s: list[float] = field(default_factory=list)
    cpus_s: list[float] = field(default_factory=list)
    memory_mb: float = 0.0
    output: str = ""

    def run(self) -> None:
        with self.around() as more:
            for folder in self.reads:
                every = ("find", folder, "-type", "f", "-exec", "cat", "{}", "+")
                subprocess.run(every, cwd=self.folder, stdout=subprocess.DEVNULL, check=True)
            self._run({**os.environ, **more})

    def _run(self, environment: dict[str, str]) -> None:
        # Compiled modules are part of an installed program; an environment that forbids to keep them measures Python.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [part.replace("$LAKE", environment.get("LAKE", "")) for part in self.command]
        with (
            tempfile.NamedTemporaryFile("r") as report,
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as errors,
        ):
            measured = (sys.executable, "-S", str(ROOT / "benchmarks" / "one_run.py"), report.name, *command)
            subprocess.run(measured, cwd=self.folder, env=environment, stdout=output, stderr=errors, check=True)
            took = json.load(report)
            if took["code"]:
                errors.seek(0)
                raise SystemExit(f"{self.name} failed ({took['code']}): {errors.read()[-2000:].decode()}")
            output.seek(0)
            self.output = output.read(100_000).decode(errors="replace")
        self.walls_s.append(took["wall_s"])
        self.cpus_s.append(took["cpu_s"])
        self.memory_mb = max(self.memory_mb, took["memory_mb"])

    @property
    def wall_s(self) -> float:
        return statistics.median(self.walls_s)

    @property
    def cpu_s(self) -> float:
        return statistics.median(self.cpus_s)


@dataclass(frozen=True)
class Row:
    """One line of the summary. `met`: None where there is no goal."""

    job: str
    ours: str
    peer: str
    ratio: str
    goal: str
    met: bool | None

    def __str__(self) -> str:
        met = {True: "met", False: "**missed**", None: ""}[self.met]
        return f"| {self.job} | {self.ours} | {self.peer} | {self.ratio} | {self.goal} | {met} |"


@dataclass
class Bench:
    """What a job gets. `scratch`: an empty folder. `files`: instead of the job's usual number, if given."""

    scratch: Path
    rounds: int
    files: int | None
    rows: list[Row]

    def count(self, usual: int) -> int:
        return self.files or usual

    def take_turns(self, title: str, runners: Sequence[Runner], note: str = "") -> None:
        """Run them round by round, so that noise meets all of them, and print the medians; the first one is ours."""
        began = os.getloadavg()[0]
        for number in range(self.rounds):
            for runner in runners:
                if runner.rounds is None or number < runner.rounds:
                    runner.run()
        print(f"\n### {title}\n\nLoad {began:.1f} before, {os.getloadavg()[0]:.1f} after. {note}\n")
        print("| | rounds | wall s | CPU s | memory MB | wall ÷ ours |\n| --- | ---: | ---: | ---: | ---: | ---: |")
        ours = runners[0].wall_s
        for runner in runners:
            print(
                f"| {runner.name} | {len(runner.walls_s)} | {runner.wall_s:.2f} | {runner.cpu_s:.2f} "
                f"| {runner.memory_mb:.0f} | {runner.wall_s / ours:.2f} |",
                flush=True,
            )

    def row(self, job: str, ours: str, peer: str, ratio: str, goal: str = "", met: bool | None = None) -> None:
        """Add a line to the summary."""
        self.rows.append(Row(job, ours, peer, ratio, goal, met))


class FastLake:
    """A fast lake that is running."""

    def __init__(self, url: str, ca: str | None) -> None:
        self.url = url
        self._ca = ca

    def tally(self) -> Counter[str]:
        """What it was asked since the last time."""
        context = ssl.create_default_context(cafile=self._ca) if self._ca else None
        with urllib.request.urlopen(f"{self.url}/tally", context=context) as answer:
            return Counter(json.load(answer))


@contextmanager
def fast_lake(*options: str, ca: str | None = None) -> Iterator[FastLake]:
    """The fast lake in a process of its own. `ca`: the CA that signed its certificate, as a file."""
    command = [sys.executable, "-m", "benchmarks.fast_lake", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    try:
        yield FastLake(process.stdout.readline().decode().removeprefix("listening on ").strip(), ca)
    finally:
        process.terminate()
        process.wait()


def summary(rows: Sequence[Row]) -> str:
    """The table of all jobs, in Markdown."""
    head = "| job | ours | peer | ratio | goal | |\n| --- | --- | --- | --- | --- | --- |\n"
    return head + "\n".join(map(str, rows))
