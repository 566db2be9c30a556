"""`metalake-sync annotations preview`: look at the shapes before they are sent."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from metalake_sync.cli.options import manifest_argument, option, variables


@click.command("preview", epilog="Example: metalake-sync annotations preview birds.yaml --to preview --sample 50")
@manifest_argument
@option("--to", "to", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder to draw into.")
@option(
    "--sample",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Pictures of each collection and operation, evenly spread.",
)
@option("--image", "images", multiple=True, metavar="NAME", help="Draw this picture; may be repeated.")
@option("--operation", "operations", multiple=True, metavar="ID", help="Draw this operation only; may be repeated.")
@option("--var-file", multiple=True, type=click.Path(), help="Read variables from a file.")
@option("--var", multiple=True, metavar="NAME=VALUE", help="Set a variable of the manifest; may be repeated.")
@option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def preview(
    manifest: str,
    to: Path,
    sample: int,
    images: tuple[str, ...],
    operations: tuple[str, ...],
    var: tuple[str, ...],
    var_file: tuple[str, ...],
    as_json: bool,
) -> None:
    """Draw the shapes of a sample of pictures: one PNG each, with a legend, and index.html with all of them.

    Neither the lake nor the state is touched. Needs: pip install 'metalake-sync[preview]'.
    """
    from metalake_sync.cli.wording import count, shown
    from metalake_sync.engine.preview import PreviewWish, draw_preview
    from metalake_sync.manifest import load_manifest

    loaded = load_manifest(manifest, variables=variables(var, var_file), environment=os.environ, stdin=sys.stdin)
    drawn = draw_preview(loaded, PreviewWish(to, sample, frozenset(images), frozenset(operations)))
    if as_json:
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
                for one in drawn.pictures
            ],
            "notes": list(drawn.notes),
        }
        click.echo(json.dumps(document, indent=2))
        return
    for note in drawn.notes[:10]:
        click.echo(f"note: {shown(note)}")
    if len(drawn.notes) > 10:
        click.echo(f"note: and {len(drawn.notes) - 10} more; the page lists all of them")
    click.echo(f"Drew {count(len(drawn.pictures), 'picture')}; open {shown(str(drawn.page))}")
