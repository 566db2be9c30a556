"""How long the daemon takes from a file's close until the lake confirmed it, and what it costs at rest.

python -m benchmarks.watch_latency latency --files 1000
python -m benchmarks.watch_latency rest --files 100000 --seconds 3600
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.synthetic import make_state, make_tree
from metalake_sync.embedded_lake import EmbeddedLake, LakeSettings

PROGRAM = Path(sys.executable).with_name("metalake-sync")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["latency", "rest"])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--settle", default="0.2")
    parser.add_argument("--seconds", type=float, default=600.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        settings = LakeSettings(place / "lake", api_key="key_bench", secret="secret_bench")
        with EmbeddedLake(settings) as lake:
            images = place / "project" / "images"
            images.mkdir(parents=True)
            (place / "project" / "manifest.yaml").write_text(
                f"version: 1\nremote: {{url: '{lake.url}', api_key: key_bench, secret: secret_bench}}\n"
                "collections: [{name: many, type: image, folders: [{path: images}]}]\n"
            )
            more = []
            if asked.what == "rest":
                # As if they had been synced long ago: recorded, and believed to be in the lake.
                make_tree(images, [64] * asked.files)
                make_state(place / "project" / ".metalake-sync" / "manifest.db", images, lake.url)
                more = ["--refresh", "none"]
            log = place / "watch.log"
            with log.open("w") as out:
                daemon = subprocess.Popen(
                    [PROGRAM, "watch", "manifest.yaml", "--settle", asked.settle, "--log-format", "json", "-v", *more],
                    cwd=place / "project",
                    stderr=out,
                )
                try:
                    if asked.what == "latency":
                        latency(images, log, asked.files)
                    else:
                        rest(daemon.pid, log, asked.seconds)
                finally:
                    daemon.send_signal(signal.SIGTERM)
                    daemon.wait(60)


def uploads(log: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line.get("action") == "upload"]


def latency(images: Path, log: Path, files: int) -> None:
    """One file at a time, the next when the last one is confirmed."""
    time.sleep(2)
    for number in range(files):
        (images / f"{number:05}.jpg").write_bytes(os.urandom(20_000))
        needle, deadline = f'"file": "{number:05}.jpg"', time.monotonic() + 60
        while needle not in log.read_text()[-4000:]:
            if time.monotonic() > deadline:
                sys.exit(f"{number:05}.jpg was not confirmed in a minute:\n{log.read_text()[-4000:]}")
            time.sleep(0.02)
    took = sorted(float(str(line["latency_s"])) for line in uploads(log) if line.get("latency_s") is not None)
    print(
        f"{len(took)} files: median {statistics.median(took):.3f} s,"
        f" 99 % {took[int(len(took) * 0.99) - 1]:.3f} s, worst {took[-1]:.3f} s"
    )


def rest(pid: int, log: Path, seconds: float) -> None:
    """Processor time, resident memory, threads and descriptors, a line every half minute after the first run."""
    while "nothing to do" not in log.read_text():
        time.sleep(1)
    print("nothing to do; at rest from now on", flush=True)
    began, used = time.monotonic(), cpu_s(pid)
    while time.monotonic() - began < seconds:
        time.sleep(30)
        status = Path(f"/proc/{pid}/status").read_text()
        facts = dict(line.split(":", 1) for line in status.splitlines())
        passed = time.monotonic() - began
        print(
            f"{passed:6.0f} s  cpu {100 * (cpu_s(pid) - used) / passed:.2f} %  rss {facts['VmRSS'].strip()}"
            f"  threads {facts['Threads'].strip()}  descriptors {len(os.listdir(f'/proc/{pid}/fd'))}",
            flush=True,
        )


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
