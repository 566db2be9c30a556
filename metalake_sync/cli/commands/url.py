"""`metalake-sync url`: prints a signed URL of one file."""

from __future__ import annotations

import click

from metalake_sync.cli.connection import LakeFlags, takes_lake


@click.command("url", epilog='Example: curl -o a.jpg "$(metalake-sync url birds_a.jpg)"')
@takes_lake
@click.argument("unique_name")
def command(flags: LakeFlags, unique_name: str) -> None:
    """Print a signed URL for reading a file. It is valid for a short time.

    Every person with the URL can read the file, so do not store it. The embedded lake answers only while it runs: start
    it with 'lake serve' and pass its address with --url.
    """
    with flags.lake() as lake:
        url = lake.get_downloadable_url(unique_name)
    flags.show({"url": url}, lambda: iter([url]))
