"""Runs jobs, each us and its peers in turn, and prints their tables and a summary with the goals, in Markdown.

    python -m benchmarks.run [JOB ...] [--rounds 3] [--files N]

A peer that is not available is named, and the rows that need it are left out.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.annotations import one_image_changed
from benchmarks.base_sets import base_sets
from benchmarks.curves import curves
from benchmarks.hashing import hashing
from benchmarks.measuring import Bench, PeerMissing, Row, summary
from benchmarks.plans import plan, plan_content, plan_million, start
from benchmarks.s3_sync import s3_sync
from benchmarks.shared_state import plan_shared, shared_state
from benchmarks.uploads import (
    limits,
    refusals,
    second_run,
    upload,
    upload_large,
    upload_latency,
    upload_mixed,
    upload_tls,
)
from benchmarks.workers import workers

JOBS: Mapping[str, Callable[[Bench], None]] = {
    "shared-state": shared_state,
    "plan-shared": plan_shared,
    "start": start,
    "upload": upload,
    "upload-latency": upload_latency,
    "upload-tls": upload_tls,
    "second-run": second_run,
    "upload-large": upload_large,
    "upload-mixed": upload_mixed,
    "limits": limits,
    "refusals": refusals,
    "s3-sync": s3_sync,
    "workers": workers,
    "annotations": one_image_changed,
    "base-sets": base_sets,
    "hashing": hashing,
    "plan": plan,
    "plan-content": plan_content,
    "plan-million": plan_million,
    "curves": curves,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure metalake-sync beside its peers.")
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"{', '.join(JOBS)}; all of them when none is named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, help="instead of a job's usual number")
    given = parser.parse_args()
    unknown = set(given.jobs) - JOBS.keys()
    if unknown:
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    began = time.monotonic()
    print(machine())
    rows: list[Row] = []
    try:
        for name in given.jobs or JOBS:
            with tempfile.TemporaryDirectory(prefix="metalake-sync-bench-") as scratch:
                try:
                    JOBS[name](Bench(Path(scratch), given.rounds, given.files, rows))
                except PeerMissing as missing:
                    print(f"\n{name}: left out, {missing}")
                    rows.append(Row(name, "", f"left out: {missing}", "", "", None))
    finally:
        # What was measured is told, even if a later job fails or is broken off.
        print(f"\n## Summary\n\n{summary(rows)}\n")
        print(f"{(time.monotonic() - began) / 60:.0f} minutes; {machine()}")


def machine() -> str:
    """Processor, cores, memory, system, Python and load."""
    model = "processor unknown"
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        names = [line for line in cpus.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else platform.machine()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({model}), {memory_gb:.0f} GB, {platform.system()} {platform.release()},"
        f" Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
