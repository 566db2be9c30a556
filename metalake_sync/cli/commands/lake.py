"""`metalake-sync lake`: the embedded lake as a server of its own."""

from __future__ import annotations

import os
from pathlib import Path

import click

from metalake_sync.cli.options import option


@click.group("lake")
def command() -> None:
    """Run the embedded lake as a server of its own."""


@command.command("serve", epilog="Example: metalake-sync lake serve --dir .metalake --port 8080")
@option("--dir", "folder", type=click.Path(path_type=Path), required=True, help="Where the lake keeps everything.")
@option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="The port; 0 takes a free one.")
@option("--job-delay", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="How long a job takes.")
@option("--faults", type=click.Path(path_type=Path), help="Spoil requests as this plan says (docs/reliability.md).")
def serve(folder: Path, host: str, port: int, job_delay: float, faults: Path | None) -> None:
    """Serve a lake until it is stopped.

    The first line on standard output is 'listening on http://HOST:PORT'. Credentials are those in LAYERNEXT_API_KEY and
    LAYERNEXT_SECRET; where there are none, new ones are made and printed once.
    """
    from metalake_sync.lake import LakeSettings, generate_credentials
    from metalake_sync.lake import serve as serve_lake

    plan = None
    if faults is not None:
        from metalake_sync.lake.faults import read_fault_plan

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
            click.echo("the lake is open to other machines, over plain HTTP", err=True)

    settings = LakeSettings(
        folder, host=host, port=port, job_delay_s=job_delay, api_key=api_key, secret=secret, faults=plan
    )
    injected = serve_lake(settings, announce)
    if plan is not None:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(injected.items()))
        click.echo(f"faults injected: {counts or 'none'}")
