"""`metalake-sync annotations preview`: draws annotation sources without sending them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from metalake_sync.cli.options import ManifestFlags, option, takes_manifest
from metalake_sync.cli.streams import echo_json


@click.command("preview", epilog="Example: metalake-sync annotations preview birds.yaml --to preview --sample 50")
@takes_manifest
@option(
    "--to",
    "to",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write the images and index.html to.",
)
@option(
    "--sample",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Number of images to draw for each collection and operation, evenly spread.",
)
@option("--image", "images", multiple=True, metavar="NAME", help="Draw this image. Can be repeated.")
@option("--operation", "operations", multiple=True, metavar="ID", help="Draw only this operation. Can be repeated.")
def preview(flags: ManifestFlags, to: Path, sample: int, images: tuple[str, ...], operations: tuple[str, ...]) -> None:
    """Draw the shapes of a sample of images: one PNG with a legend for each, and index.html with all of them.

    The command uses neither the lake nor the state. Needs: pip install 'metalake-sync[preview]'.
    """
    from metalake_sync.cli.wording import count, shown
    from metalake_sync.operations.preview import PreviewSpec, draw_preview

    loaded = flags.load()
    drawn = draw_preview(loaded, PreviewSpec(to, sample, frozenset(images), frozenset(operations)))
    if flags.as_json:
        document = {
            "page": str(drawn.page),
            "pictures": [
                {
                    "collection": one.collection,
                    "operation": one.operation,
                    "file": one.name,
                    "path": str(to / one.png),
                    "labels": dict(one.labels),
                }
                for one in drawn.images
            ],
            "notes": list(drawn.notes),
        }
        echo_json(json.dumps(document, indent=2))
        return
    told = () if flags.quiet else drawn.notes if flags.verbose else drawn.notes[:10]
    for note in told:
        click.echo(f"note: {shown(note)}")
    if told and len(told) < len(drawn.notes):
        click.echo(f"note: and {len(drawn.notes) - len(told)} more; the page lists all of them")
    click.echo(f"Drew {count(len(drawn.images), 'image')}; open {shown(str(drawn.page))}")
