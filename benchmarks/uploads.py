"""Uploads beside the vendor's client, on a fast lake: small files, far away, over TLS, in parts, and a second time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks.measuring import MANIFEST, Bench, Runner, fast_lake, metalake_sync, with_lake
from benchmarks.peers import VENDOR_UPLOAD, vendor_python
from benchmarks.synthetic import make_tree

SMALL = 20_480


def apply_command() -> tuple[str, ...]:
    return (*metalake_sync(), "apply", "-q", "manifest.yaml")


def make_sources(scratch: Path, sizes: Sequence[int]) -> None:
    """`images`, a tree for us, with a manifest; `flat`, the same files in the one folder that the vendor's takes."""
    make_tree(scratch / "images", sizes)
    (scratch / "manifest.yaml").write_text(MANIFEST % "up")
    flat = scratch / "flat"
    flat.mkdir()
    for path in sorted((scratch / "images").rglob("*.jpg")):
        os.link(path, flat / path.name)


def vendor_upload(scratch: Path) -> tuple[str, ...]:
    return (vendor_python(), "-c", VENDOR_UPLOAD, "$LAKE", str(scratch / "flat"))


def new_lake(
    scratch: Path,
    sizes: Sequence[int],
    *options: str,
    ca: str | None = None,
    tally: dict[str, int] | None = None,
) -> Callable[[], AbstractContextManager[Mapping[str, str]]]:
    """A lake and a state that are new in each round. A figure counts only for work that was done: a lake that did not
    get every byte ends the benchmark. `tally`: gets what the lake counted."""

    @contextmanager
    def around() -> Iterator[Mapping[str, str]]:
        shutil.rmtree(scratch / ".metalake-sync", ignore_errors=True)
        with fast_lake(*options, ca=ca) as lake:
            trusted = {"SSL_CERT_FILE": ca, "REQUESTS_CA_BUNDLE": ca} if ca else {}
            yield {**trusted, "LAKE": lake.url}
            counted = lake.tally()
        if counted["put_bytes"] != sum(sizes) or counted["finalizeMultipartUpload"] != len(sizes):
            raise SystemExit(f"the lake did not get everything: {counted}")
        if tally is not None:
            tally.update(counted)

    return around


def _compared(
    bench: Bench,
    title: str,
    sizes: Sequence[int],
    *options: str,
    ca: str | None = None,
    vendor_rounds: int | None = None,
) -> tuple[Runner, Runner]:
    make_sources(bench.scratch, sizes)
    around = new_lake(bench.scratch, sizes, *options, ca=ca)
    ours = Runner("apply", apply_command(), bench.scratch, around)
    vendor = Runner("vendor's client", vendor_upload(bench.scratch), bench.scratch, around, vendor_rounds)
    bench.take_turns(title, [ours, vendor], "Sources warm; lake and state new in each round.")
    return ours, vendor


def _rates(bench: Bench, job: str, count: int, ours: Runner, vendor: Runner, times: float) -> None:
    ratio = vendor.wall_s / ours.wall_s
    bench.row(
        job,
        f"{count / ours.wall_s:,.0f} files/s",
        f"vendor {count / vendor.wall_s:,.0f} files/s",
        f"{ratio:.1f} ×",
        f"{times:.0f} ×",
        ratio >= times,
    )


def _cpu(bench: Bench, job: str, count: int, ours: Runner, vendor: Runner, goal_s: float) -> None:
    mine, theirs = (runner.cpu_s / count * 1000 for runner in (ours, vendor))
    bench.row(
        job,
        f"{mine:.2f} CPU s",
        f"vendor {theirs:.1f} CPU s",
        f"{theirs / mine:.1f} ×",
        f"{goal_s} CPU s",
        mine <= goal_s,
    )


def upload(bench: Bench) -> None:
    """Small files, no latency: time, and CPU for 1,000 files."""
    count = bench.count(2000)
    ours, vendor = _compared(bench, f"{count:,} × 20 KB up, no latency", [SMALL] * count)
    _rates(bench, f"{count:,} × 20 KB up, no latency", count, ours, vendor, 10)
    _cpu(bench, "CPU for 1,000 files of 20 KB, whole `apply`", count, ours, vendor, 0.6)


def upload_latency(bench: Bench) -> None:
    """Small files to a lake that answers after 20 ms."""
    count = bench.count(2000)
    title = f"{count:,} × 20 KB up, 20 ms of latency"
    ours, vendor = _compared(bench, title, [SMALL] * count, "--latency-ms", "20")
    _rates(bench, title, count, ours, vendor, 12)


def upload_tls(bench: Bench) -> None:
    """Small files over HTTPS, with a CA of our own beside the usual ones. The vendor takes minutes: one round."""
    count = bench.count(2000)
    bundle, certificate, key = _certificates(bench.scratch)
    title = f"{count:,} × 20 KB up, HTTPS"
    ours, vendor = _compared(bench, title, [SMALL] * count, "--tls", certificate, key, ca=bundle, vendor_rounds=1)
    _rates(bench, title, count, ours, vendor, 100)
    _cpu(bench, "CPU for 1,000 files of 20 KB, HTTPS", count, ours, vendor, 0.8)


def _certificates(folder: Path) -> tuple[str, str, str]:
    """A bundle of CAs as a system has it, with a test CA; a certificate for localhost, and its key."""
    import certifi
    import trustme

    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    bundle, certificate, key = (folder / name for name in ("bundle.pem", "certificate.pem", "key.pem"))
    bundle.write_bytes(Path(certifi.where()).read_bytes() + ca.cert_pem.bytes())
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return str(bundle), str(certificate), str(key)


def upload_large(bench: Bench) -> None:
    """One large file in parts; each connection is as slow as a store's."""
    count = bench.count(1)
    title = f"{count} GB in parts up, 100 MB/s for each connection"
    ours, vendor = _compared(bench, title, [1 << 30] * count, "--connection-rate", "100e6")
    ratio = vendor.wall_s / ours.wall_s
    bench.row(
        title,
        f"{count * 1074 / ours.wall_s:.0f} MB/s, {ours.memory_mb:.0f} MB memory",
        f"vendor {count * 1074 / vendor.wall_s:.0f} MB/s, {vendor.memory_mb:.0f} MB memory",
        f"{ratio:.1f} ×",
        "4.5 ×, under 80 MB",
        ratio >= 4.5 and ours.memory_mb < 80,
    )


def upload_mixed(bench: Bench) -> None:
    """Small files with some large ones among them, on a link with both limits."""
    count = bench.count(1000)
    sizes = [64 << 20 if number % 200 == 199 else SMALL for number in range(count)]
    title = f"{count:,} files up, every 200th of 64 MB, 20 ms, 100 MB/s for each connection"
    ours, vendor = _compared(bench, title, sizes, "--latency-ms", "20", "--connection-rate", "100e6")
    bench.row(title, f"{ours.wall_s:.2f} s", f"vendor {vendor.wall_s:.2f} s", f"{vendor.wall_s / ours.wall_s:.1f} ×")


def second_run(bench: Bench) -> None:
    """Nothing changed since the last run, and all of it is in the lake: by both ways, once before the rounds."""
    count = bench.count(2000)
    make_sources(bench.scratch, [SMALL] * count)
    with fast_lake() as lake:
        around = with_lake(lake.url)
        ours = Runner("apply", apply_command(), bench.scratch, around)
        vendor = Runner("vendor's client", vendor_upload(bench.scratch), bench.scratch, around)
        Runner("the first apply", apply_command(), bench.scratch, around).run()
        Runner("the vendor's first upload", vendor.command, bench.scratch, around).run()
        lake.tally()
        ours.run()
        asked = lake.tally()["requests"]
        title = f"second run, nothing changed, {count:,} files"
        bench.take_turns(title, [ours, vendor], f"Ours sends {asked} requests in all.")
    ratio = vendor.wall_s / ours.wall_s
    bench.row(
        title,
        f"{count / ours.wall_s:,.0f} files/s, {asked} requests",
        f"vendor {count / vendor.wall_s:,.0f} files/s",
        f"{ratio:.1f} ×",
        "30 ×, no call for a file",
        ratio >= 30 and asked < 10,
    )


def limits(bench: Bench) -> None:
    """What --parallelism and --bwlimit do: 20 KB files at 20 ms of latency."""
    count = bench.count(300)
    sizes = [SMALL] * count
    make_sources(bench.scratch, sizes)
    around = new_lake(bench.scratch, sizes, "--latency-ms", "20")
    flags = [(), *(("--parallelism", files) for files in ("1", "4", "16", "64", "256"))]
    flags += [("--bwlimit", rate) for rate in ("1M", "4M")]
    runners = [
        Runner(" ".join(more) or "no limit", (*apply_command(), *more), bench.scratch, around, 1) for more in flags
    ]
    bench.take_turns(f"{count:,} × 20 KB up at 20 ms, with limits", runners)
    for runner in runners[1:]:
        bench.row(
            f"{count:,} × 20 KB at 20 ms with {runner.name}",
            f"{count / runner.wall_s:,.0f} files/s, {sum(sizes) / runner.wall_s / 1e6:.1f} MB/s",
            f"no limit {count / runners[0].wall_s:,.0f} files/s",
            f"{runners[0].wall_s / runner.wall_s:.2f} ×",
        )


def refusals(bench: Bench) -> None:
    """What refused calls cost: a share of all calls, and a limit of calls per second."""
    count = bench.count(300)
    sizes = [2_000] * count
    make_sources(bench.scratch, sizes)
    shares = {
        "503 to 5 %": (("--refuse", "503:0.05"), 3),
        "429 to 3 %": (("--refuse", "429:0.03"), 3),
        "503 to 5 %, Retry-After: 1": (("--refuse", "503:0.05", "--retry-after", "1"), 8),
        "429 to 3 %, Retry-After: 1": (("--refuse", "429:0.03", "--retry-after", "1"), 8),
    }
    undisturbed = Runner("undisturbed", apply_command(), bench.scratch, new_lake(bench.scratch, sizes))
    runners = [
        Runner(name, apply_command(), bench.scratch, new_lake(bench.scratch, sizes, *options))
        for name, (options, _) in shares.items()
    ]
    bench.take_turns(f"{count:,} × 2 KB up, calls refused", [undisturbed, *runners])
    for runner in runners:
        ratio = runner.wall_s / undisturbed.wall_s
        goal = shares[runner.name][1]
        bench.row(
            f"{count:,} × 2 KB, {runner.name}",
            f"{runner.wall_s:.2f} s",
            f"undisturbed {undisturbed.wall_s:.2f} s",
            f"{ratio:.1f} ×",
            f"at most {goal} ×",
            ratio <= goal,
        )
    for per_second, files in ((50, count), (500, 10 * count)):
        for more in ((), ("--retry-after", "1")):
            _limited(bench, per_second, files, *more)


def _limited(bench: Bench, per_second: int, count: int, *more: str) -> None:
    """An apply to a lake that allows so many calls per second."""
    scratch = bench.scratch / f"limit-{per_second}-{len(more)}"
    scratch.mkdir()
    sizes = [2_000] * count
    make_sources(scratch, sizes)
    tally: dict[str, int] = {}
    limit = ("--calls-per-second", str(per_second), *more)
    runner = Runner("limited", apply_command(), scratch, new_lake(scratch, sizes, *limit, tally=tally), 1)
    bench.take_turns(f"{count:,} × 2 KB up, {per_second} calls/s allowed {' '.join(more)}", [runner])
    calls = tally["requests"] - tally["put"]
    possible_s = (calls - per_second) / per_second
    used = possible_s / runner.wall_s
    refused = tally["refused"] / (calls + tally["refused"])
    bench.row(
        f"{count:,} × 2 KB, {per_second} calls/s allowed{', Retry-After: 1' if more else ''}",
        f"{runner.wall_s:.1f} s, {tally['refused']:,} of {calls + tally['refused']:,} refused ({refused:.1%})",
        f"possible {possible_s:.1f} s",
        f"{used:.0%} used",
        "80 % used, at most 10 % refused",
        used >= 0.8 and refused <= 0.1,
    )
