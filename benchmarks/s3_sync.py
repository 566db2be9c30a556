"""`aws s3 sync` beside `apply`: to moto's S3 server, which is slow, and to the fast lake, which takes objects too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from benchmarks.measuring import Bench, PeerMissing, Runner, fast_lake
from benchmarks.peers import aws, moto_server
from benchmarks.uploads import SMALL, apply_command, make_sources, new_lake

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "k",
    "AWS_SECRET_ACCESS_KEY": "s",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def s3_sync(bench: Bench) -> None:
    """Small files up, into an empty bucket; what a plain copy costs, without metadata and records."""
    count = bench.count(2000)
    sizes = [SMALL] * count
    make_sources(bench.scratch, sizes)
    program = aws()

    def sync(name: str, around: Callable[[], AbstractContextManager[Mapping[str, str]]]) -> Runner:
        command = (program, "s3", "sync", "images", "s3://bench", "--only-show-errors", "--endpoint-url", "$LAKE")
        return Runner(name, command, bench.scratch, around, 2)

    @contextmanager
    def to_fast() -> Iterator[Mapping[str, str]]:
        with fast_lake() as lake:
            yield {**CREDENTIALS, "LAKE": lake.url}
            tally = lake.tally()
        if tally["put"] != count:
            raise SystemExit(f"the fast server did not get everything: {tally}")

    @contextmanager
    def to_moto() -> Iterator[Mapping[str, str]]:
        with moto_server() as url:
            make_bucket = (program, "s3", "mb", "s3://bench", "--endpoint-url", url)
            subprocess.run(make_bucket, env={**os.environ, **CREDENTIALS}, check=True, capture_output=True)
            yield {**CREDENTIALS, "LAKE": url}

    ours = Runner("apply", apply_command(), bench.scratch, new_lake(bench.scratch, sizes))
    runners = [ours, sync("aws s3 sync to the fast server", to_fast)]
    try:
        with moto_server():
            pass
        runners.append(sync("aws s3 sync to moto", to_moto))
    except PeerMissing as missing:
        print(f"\naws s3 sync to moto: {missing}")
    bench.take_turns(f"{count:,} × 20 KB up, beside aws s3 sync", runners, "Sources warm.")
    for peer in runners[1:]:
        ratio = peer.wall_s / ours.wall_s
        bench.row(
            f"{count:,} × 20 KB up",
            f"{ours.wall_s:.2f} s",
            f"{peer.name} {peer.wall_s:.2f} s",
            f"{ratio:.1f} ×",
            "faster",
            ratio > 1,
        )
