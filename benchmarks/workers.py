"""Uploads of small files with no, one and two worker processes: time, and the CPU time of the coordinator per file."""

from __future__ import annotations

import re
import subprocess

from benchmarks.measuring import Bench, Runner, metalake_sync, our_python
from benchmarks.uploads import make_sources, new_lake

SIZE = 2_000
WORKERS = (0, 1, 2)

MEASURED = """
import os, resource, sys
from metalake_sync.cli.main import run
code = run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(f"coordinator {used.ru_utime + used.ru_stime:.3f}", flush=True)
os._exit(code)
"""
"""The command line, which also prints the CPU seconds of its own process."""


def workers(bench: Bench) -> None:
    """The difference between two numbers of files is what a file costs: starting costs the same in both."""
    metalake_sync()
    subprocess.run([our_python(), "-m", "pip", "install", "-q", "loky"], check=True)
    few, many = bench.count(4_000), 3 * bench.count(4_000)
    each_us: dict[int, float] = {}
    wall_s: dict[int, float] = {}
    all_us: dict[int, float] = {}
    runners: dict[tuple[int, int], Runner] = {}
    for count in (few, many):
        scratch = bench.scratch / str(count)
        scratch.mkdir()
        sizes = [SIZE] * count
        make_sources(scratch, sizes)
        for number in WORKERS:
            command = (our_python(), "-c", MEASURED, "apply", "-q", "manifest.yaml", "--workers", str(number))
            runners[count, number] = Runner(
                f"{count:,} files, {number} workers", command, scratch, new_lake(scratch, sizes)
            )
    bench.take_turns(f"{few:,} and {many:,} × 2 KB up with workers", list(runners.values()))
    for number in WORKERS:
        small, large = runners[few, number], runners[many, number]
        each_us[number] = (_coordinator_s(large) - _coordinator_s(small)) / (many - few) * 1e6
        all_us[number] = (large.cpu_s - small.cpu_s) / (many - few) * 1e6
        wall_s[number] = large.wall_s
        bench.row(
            f"{many:,} × 2 KB, {number} workers",
            f"{many / wall_s[number]:,.0f} files/s, coordinator {each_us[number]:.0f} µs CPU per file,"
            f" all processes {all_us[number]:.0f} µs",
            f"no workers {many / wall_s[0]:,.0f} files/s, {each_us[0]:.0f} µs",
            f"time {wall_s[0] / wall_s[number]:.2f} ×, coordinator {each_us[number] / each_us[0]:.2f} ×",
            "coordinator under 30 µs" if number else "",
            each_us[number] < 30 if number else None,
        )


def _coordinator_s(runner: Runner) -> float:
    """CPU seconds of the coordinator in the last round."""
    found = re.search(r"coordinator ([\d.]+)", runner.output)
    if found is None:
        raise SystemExit(f"{runner.name} printed no CPU time: {runner.output[-300:]}")
    return float(found[1])
