"""`metalake-sync lake`: runs the embedded lake as a server."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import click

from metalake_sync.cli.options import option
from metalake_sync.cli.terminal import echo_json, shown
from metalake_sync.embedded_lake import LakeSettings, generate_credentials
from metalake_sync.embedded_lake import serve as serve_lake
from metalake_sync.embedded_lake.quirks import Quirk, parse_quirks
from metalake_sync.protocol.routes import Generation

SKIPPED_SHOWN = 20


def storage_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options for the object store."""
    function = option("--storage-endpoint", metavar="URL", help="Address of the store (default: the vendor's own).")(
        function
    )
    return option(
        "--storage",
        default="file",
        show_default=True,
        metavar="file|s3://…|azure://…|gs://…",
        help="Where to keep objects: in --dir, or in BUCKET/PREFIX of a store.",
    )(function)


@click.group("lake", epilog="Example: metalake-sync lake serve --dir .metalake --port 8080")
def lake_command() -> None:
    """Run the embedded lake as a server."""


class _Serve(click.Command):
    """A command whose help lists the quirks below the options."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Quirks"):
            formatter.write_dl([(quirk.value, f"The lake {quirk.effect}.") for quirk in Quirk])
        super().format_epilog(ctx, formatter)


@lake_command.command(
    "serve",
    cls=_Serve,
    epilog="Example: metalake-sync lake serve --dir .metalake --port 8080 --quirks opaque_ids,nulls",
)
@option("--dir", "folder", type=click.Path(path_type=Path), required=True, help="Folder of the lake's data.")
@option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port to listen on. 0 chooses a free port.",
)
@option(
    "--job-delay",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Seconds that a job takes (default: 0).",
)
@storage_options
@option(
    "--generation",
    type=click.Choice(["2", "3"]),
    default=None,
    help="Serve only this generation of the protocol (default: both on one port).",
)
@option(
    "--quirks",
    "quirk_names",
    metavar="NAME,NAME,…",
    default="",
    help="Behave differently from the usual lake (docs/fidelity.md). The names are listed below.",
)
@option("--faults", type=click.Path(path_type=Path), help="Inject faults from this fault plan (docs/reliability.md).")
def serve(
    folder: Path,
    host: str,
    port: int,
    job_delay: float,
    storage: str,
    storage_endpoint: str | None,
    generation: str | None,
    quirk_names: str,
    faults: Path | None,
) -> None:
    """Serve a lake until the process is stopped.

    The first line on standard output is 'listening on http://HOST:PORT'. The credentials come from LAYERNEXT_API_KEY
    and LAYERNEXT_SECRET. If these are not set, the command generates credentials and prints them once.
    """
    from metalake_sync.embedded_lake.storage.interface import parse_storage

    plan = None
    if faults is not None:
        from metalake_sync.embedded_lake.faults import read_fault_plan

        plan = read_fault_plan(faults)
    api_key, secret = os.environ.get("LAYERNEXT_API_KEY"), os.environ.get("LAYERNEXT_SECRET")
    made = not (api_key and secret)
    if made:
        api_key, secret = generate_credentials()
    assert api_key is not None
    assert secret is not None

    def announce(line: str) -> None:
        click.echo(line)
        if made:
            click.echo(f"export LAYERNEXT_API_KEY={api_key} LAYERNEXT_SECRET={secret}")
        if host not in ("127.0.0.1", "::1", "localhost"):
            click.echo("warning: other machines can reach the lake, over plain HTTP", err=True)

    settings = LakeSettings(
        folder,
        host=host,
        port=port,
        job_delay_s=job_delay,
        api_key=api_key,
        secret=secret,
        storage=parse_storage(storage, storage_endpoint),
        faults=plan,
        generations=frozenset(Generation) if generation is None else frozenset({Generation(int(generation))}),
        quirks=parse_quirks(quirk_names.split(",")),
    )
    injected = serve_lake(settings, announce)
    if plan is not None:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(injected.items()))
        click.echo(f"faults injected: {counts or 'none'}")


@lake_command.command(
    "crawl",
    epilog="Examples: metalake-sync lake crawl /mnt/img_bucket_2 --dir .metalake;"
    " metalake-sync lake crawl raw/2026 --dir .metalake --storage s3://acme-lake",
)
@click.argument("bucket_folder", metavar="BUCKET-FOLDER")
@option("--dir", "folder", type=click.Path(path_type=Path), required=True, help="Folder of the lake's data.")
@storage_options
@option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def crawl(bucket_folder: str, folder: Path, storage: str, storage_endpoint: str | None, as_json: bool) -> None:
    """Add files that are already in a bucket to the lake. No server may run on the lake meanwhile.

    BUCKET-FOLDER is a folder of the lake's own bucket ("" is the whole bucket), or the address of a folder in another
    bucket of the same store. With --storage file it is a local folder that represents a bucket of the same name, and
    its files are copied. Each folder becomes one collection for each type of file in it. Files that the lake already
    knows are skipped.
    """
    from metalake_sync.embedded_lake.crawl import Crawled
    from metalake_sync.embedded_lake.crawl import crawl as crawl_bucket
    from metalake_sync.embedded_lake.storage.interface import parse_storage

    shows_progress = sys.stderr.isatty()

    def progress(crawled: Crawled) -> None:
        if shows_progress:
            click.echo(f"\r{crawled.taken} files added", nl=False, err=True)

    settings = LakeSettings(folder, storage=parse_storage(storage, storage_endpoint))
    crawled = crawl_bucket(settings, bucket_folder, progress)
    if shows_progress:
        click.echo(err=True)
    if as_json:
        echo_json(json.dumps(dataclasses.asdict(crawled)))
        return
    click.echo(f"{crawled.taken} files added, in {crawled.collections} collections; {crawled.known} were known")
    for path, reason in islice(crawled.left_out.items(), SKIPPED_SHOWN):
        click.echo(f"skipped: {shown(path)}: {reason}", err=True)
    if len(crawled.left_out) > SKIPPED_SHOWN:
        click.echo(f"… and {len(crawled.left_out) - SKIPPED_SHOWN} more skipped (--json lists all)", err=True)
