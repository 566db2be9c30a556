"""`metalake-sync url`: a signed URL of one file."""

from __future__ import annotations

import click

from metalake_sync.cli.connection import LakeFlags, takes_lake


@click.command("url", epilog='Example: curl -o a.jpg "$(metalake-sync url birds_a.jpg)"')
@takes_lake
@click.argument("unique_name")
def command(flags: LakeFlags, unique_name: str) -> None:
    """Print a signed URL that reads a file, for a short time. Whoever has it can read the file: don't keep it.

    The embedded lake answers only while it runs: use 'lake serve' and its --url.
    """
    with flags.lake() as lake:
        url = lake.get_downloadable_url(unique_name)
    flags.show({"url": url}, lambda: iter([url]))
