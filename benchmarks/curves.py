"""Cost curves: time, memory, requests and bytes as files grow, as tables and as docs/*.svg.

Plans from 1,000 to 1,000,000 files, with a synthetic state and listing; applies from 1,000 to 10,000 files that are
really sent. `--files` is the largest size.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.chart import Line, chart
from benchmarks.measuring import MANIFEST, ROOT, Bench, FastLake, Runner, fast_lake, with_lake
from benchmarks.plans import plan_of
from benchmarks.synthetic import make_state, make_tree
from benchmarks.uploads import apply_command

PLANNED = (1_000, 10_000, 100_000, 1_000_000)
APPLIED = (1_000, 3_000, 10_000)
APPLIED_BYTES = 1_000


@dataclass
class Point:
    """What one run cost."""

    files: int
    wall_s: float
    memory_mb: float
    requests: int
    body_bytes: int


def curves(bench: Bench) -> None:
    """Measure each size once, smallest first, and draw."""
    most = bench.count(PLANNED[-1])
    lines: dict[str, list[Point]] = {"plan, no listing": [], "plan, listing": [], "apply": []}
    print("\n### Cost curves\n\n| run | files | wall s | memory MB | requests | bytes of bodies |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for count in (size for size in PLANNED if size <= most):
        _fresh(bench)
        make_tree(bench.scratch / "images", [0] * count)
        (bench.scratch / "manifest.yaml").write_text(MANIFEST % "many")
        with fast_lake("--listed", str(count)) as lake:
            make_state(bench.scratch / ".metalake-sync" / "bench.db", bench.scratch / "images", lake.url)
            for name, refresh in (("plan, no listing", "none"), ("plan, listing", "list")):
                lines[name].append(_point(plan_of(bench, lake, "--refresh", refresh), count, lake))
                _say(name, lines[name][-1])
    for count in (size for size in APPLIED if size <= most):
        _fresh(bench)
        make_tree(bench.scratch / "images", [APPLIED_BYTES] * count)
        (bench.scratch / "manifest.yaml").write_text(MANIFEST % "up")
        with fast_lake() as lake:
            lines["apply"].append(
                _point(Runner("apply", apply_command(), bench.scratch, with_lake(lake.url)), count, lake)
            )
            _say("apply", lines["apply"][-1])
    if all(len(points) > 1 for points in lines.values()):
        draw(lines)
    for name, points in lines.items():
        if len(points) < 2:
            continue
        first, last = points[0], points[-1]
        growth = (last.memory_mb - first.memory_mb) * 1e6 / (last.files - first.files)
        bench.row(
            f"memory for each file: {name}",
            f"{growth:.0f} bytes",
            f"{first.files:,} to {last.files:,} files",
            "",
            "400 bytes",
            growth < 400,
        )


def _fresh(bench: Bench) -> None:
    for name in ("images", ".metalake-sync"):
        shutil.rmtree(bench.scratch / name, ignore_errors=True)


def _point(runner: Runner, files: int, lake: FastLake) -> Point:
    lake.tally()
    runner.run()
    tally = lake.tally()
    return Point(files, runner.wall_s, runner.memory_mb, tally["requests"], tally["bytes_in"])


def _say(name: str, point: Point) -> None:
    print(
        f"| {name} | {point.files:,} | {point.wall_s:.2f} | {point.memory_mb:.0f} | {point.requests:,} "
        f"| {point.body_bytes:,} |",
        flush=True,
    )


def draw(lines: dict[str, list[Point]]) -> None:
    """Write the four charts into docs/."""
    values: dict[str, tuple[str, Callable[[Point], float]]] = {
        "time": ("seconds", lambda point: point.wall_s),
        "memory": ("memory, MB", lambda point: point.memory_mb),
        "requests": ("requests", lambda point: point.requests),
        "bytes": ("bytes of bodies sent", lambda point: point.body_bytes),
    }
    for what, (title, value) in values.items():
        drawn = [
            Line(name, [(point.files, value(point)) for point in points if value(point)])
            for name, points in lines.items()
        ]
        path = ROOT / "docs" / f"cost-{what}.svg"
        path.write_text(chart(title, [line for line in drawn if line.points]))
