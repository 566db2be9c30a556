"""Plans of files that did not change, beside `find` and rclone; and what it costs to begin at all."""

from __future__ import annotations

import shutil
import sys

from benchmarks.measuring import MANIFEST, Bench, FastLake, PeerMissing, Runner, fast_lake, metalake_sync, with_lake
from benchmarks.peers import rclone
from benchmarks.synthetic import make_state, make_tree

FIND = ("find", "images", "-printf", "%s %T@ %p\n")


def plan_of(bench: Bench, lake: FastLake, *flags: str) -> Runner:
    command = (*metalake_sync(), "plan", "-q", *flags, "manifest.yaml")
    return Runner(" ".join(("plan", *flags)), command, bench.scratch, with_lake(lake.url))


def _make_world(bench: Bench, count: int, size_bytes: int, lake: FastLake, *, hashed: bool = False) -> None:
    make_tree(bench.scratch / "images", [size_bytes] * count)
    (bench.scratch / "manifest.yaml").write_text(MANIFEST % "many")
    make_state(bench.scratch / ".metalake-sync" / "bench.db", bench.scratch / "images", lake.url, hashed=hashed)


def _must_be_unchanged(runner: Runner, count: int) -> None:
    if f"{count} unchanged" not in runner.output.replace(",", ""):
        raise SystemExit(f"{runner.name} did not find everything unchanged: {runner.output[-500:]}")


def _rclone(bench: Bench, name: str, *arguments: str, rounds: int | None = None) -> list[Runner]:
    """Return rclone as a peer, or nothing where it is not available, and print why."""
    try:
        return [Runner(name, (rclone(), *arguments), bench.scratch, rounds=rounds)]
    except PeerMissing as missing:
        print(f"\n{name}: {missing}")
        return []


def plan(bench: Bench) -> None:
    """Nothing changed: what a plan costs beside walking the tree and beside rclone's no-op sync."""
    count = bench.count(100_000)
    with fast_lake("--listed", str(count)) as lake:
        _make_world(bench, count, 16, lake)
        shutil.copytree(bench.scratch / "images", bench.scratch / "copy", copy_function=shutil.copy2)
        ours, listing = plan_of(bench, lake, "--refresh", "none"), plan_of(bench, lake, "--refresh", "list")
        find = Runner("find -printf", FIND, bench.scratch)
        peers = _rclone(bench, "rclone sync, no-op", "sync", "images", "copy")
        bench.take_turns(f"plan of {count:,} files, nothing changed", [ours, listing, find, *peers], "Warm.")
        _must_be_unchanged(ours, count)
        _must_be_unchanged(listing, count)
    job = f"`plan`, {count:,} files, nothing changed"
    figures = f"{ours.wall_s:.2f} s, {ours.memory_mb:.0f} MB"
    ratio = ours.wall_s / find.wall_s
    bench.row(job, figures, f"`find` {find.wall_s:.2f} s", f"{ratio:.1f} × find", "3 × find", ratio <= 3)
    for peer in peers:
        bench.row(
            job,
            figures,
            f"rclone {peer.wall_s:.2f} s, {peer.memory_mb:.0f} MB",
            f"{peer.wall_s / ours.wall_s:.2f} ×",
            "faster, under 50 MB",
            ours.wall_s < peer.wall_s and ours.memory_mb < 50,
        )
    bench.row("the same, `--refresh list`", f"{listing.wall_s:.2f} s, {listing.memory_mb:.0f} MB", "", "")


def plan_content(bench: Bench) -> None:
    """By content: every file is read. `rclone check` reads the tree and its copy, `rclone checksum` the tree alone."""
    count = bench.count(100_000)
    with fast_lake("--listed", str(count)) as lake:
        _make_world(bench, count, 4096, lake, hashed=True)
        shutil.copytree(bench.scratch / "images", bench.scratch / "copy", copy_function=shutil.copy2)
        ours = plan_of(bench, lake, "--refresh", "none", "--checksum")
        peers = _rclone(bench, "rclone check", "check", "images", "copy", rounds=2)
        if peers:
            Runner("md5", (rclone(), "md5sum", "images", "--output-file", "sums"), bench.scratch).run()
            peers += _rclone(bench, "rclone checksum", "checksum", "md5", "sums", "images", rounds=2)
        for runner in (ours, *peers):
            runner.reads = ("images", "copy") if runner.name == "rclone check" else ("images",)
        bench.take_turns(f"plan by content, {count:,} × 4 KB", [ours, *peers], "Read before each round.")
        _must_be_unchanged(ours, count)
    for peer, goal in zip(peers, (10, None), strict=True):
        ratio = peer.wall_s / ours.wall_s
        bench.row(
            f"`plan` by content, {count:,} × 4 KB",
            f"{ours.wall_s:.1f} s",
            f"`{peer.name}` {peer.wall_s:.1f} s",
            f"{ratio:.1f} ×",
            f"{goal} ×" if goal else "",
            ratio >= goal if goal else None,
        )


def plan_million(bench: Bench) -> None:
    """A million files on disk, in the state, and in the listing."""
    count = bench.count(1_000_000)
    with fast_lake("--listed", str(count)) as lake:
        _make_world(bench, count, 0, lake)
        none, listing = plan_of(bench, lake, "--refresh", "none"), plan_of(bench, lake, "--refresh", "list")
        listing.rounds = 1
        find = Runner("find -printf", FIND, bench.scratch)
        bench.take_turns(f"plan of {count:,} files, nothing changed", [none, listing, find], "Warm; a synthetic state.")
        _must_be_unchanged(none, count)
        _must_be_unchanged(listing, count)
    for runner, most_s, most_mb in ((none, 6, 200), (listing, 60, 400)):
        bench.row(
            f"`{runner.name}`, {count:,} files",
            f"{runner.wall_s:.1f} s, {runner.memory_mb:.0f} MB",
            f"`find` {find.wall_s:.1f} s",
            f"{runner.wall_s / find.wall_s:.1f} × find",
            f"{most_s} s, {most_mb} MB",
            runner.wall_s <= most_s and runner.memory_mb <= most_mb,
        )


def start(bench: Bench) -> None:
    """What it costs to begin at all."""
    count = bench.count(10)
    make_tree(bench.scratch / "images", [16] * count)
    (bench.scratch / "manifest.yaml").write_text(MANIFEST % "many")
    nowhere = with_lake("http://127.0.0.1:9")
    plan_few = Runner(
        f"plan of {count} files",
        (*metalake_sync(), "plan", "-q", "--refresh", "none", "manifest.yaml"),
        bench.scratch,
        nowhere,
    )
    version = Runner("--version", (*metalake_sync(), "--version"), bench.scratch)
    bare = Runner("bare python", (sys.executable, "-c", "pass"), bench.scratch)
    bench.rounds = max(bench.rounds, 7)
    bench.take_turns("start", [plan_few, version, bare], "Warm, compiled modules kept.")
    for runner, most_s in ((version, 0.15), (plan_few, 0.4)):
        over = runner.wall_s - bare.wall_s
        bench.row(
            f"start: {runner.name}",
            f"{runner.wall_s:.2f} s",
            f"bare python {bare.wall_s:.2f} s",
            f"{over:.2f} s over it",
            f"{most_s} s over it",
            over <= most_s,
        )
