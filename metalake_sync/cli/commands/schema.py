"""`metalake-sync schema`: prints a JSON Schema."""

from __future__ import annotations

import click

from metalake_sync.cli.streams import echo_json


@click.command("schema", epilog="Example: metalake-sync schema > manifest.schema.json")
@click.argument("name", type=click.Choice(["manifest", "plan", "events"]), default="manifest", metavar="[NAME]")
def command(name: str) -> None:
    """Print the JSON Schema of the manifest. NAME selects the plan or the events of 'apply --json' instead."""
    from metalake_sync.cli.schemas import schema_text

    echo_json(schema_text(name).rstrip("\n"))
