"""`metalake-sync formats`: list the annotation formats, with what they read, write and lose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.options import option
from metalake_sync.cli.terminal import echo_json, shown

if TYPE_CHECKING:
    from metalake_sync.annotations.formats.descriptions import FormatDescription


@click.command("formats", epilog="Example: metalake-sync formats --json")
@option("--json", "as_json", is_flag=True, help="Print JSON.")
def formats_command(as_json: bool) -> None:
    """List the formats of annotations, built-in ones and those of installed packages.

    Each line says whether the format is read and written, its files, and what is left out and counted. A package whose
    format cannot be used is named, and the other formats work.
    """
    from metalake_sync.annotations.formats.descriptions import describe_formats

    formats = describe_formats()
    if as_json:
        echo_json(json.dumps([asdict(one) for one in formats], indent=2))
        return
    width = max(len(one.name) for one in formats)
    for one in formats:
        for number, line in enumerate(_lines(one)):
            start = click.style(shown(one.name.ljust(width)), bold=True) if number == 0 else " " * width
            click.echo(f"{start}  {shown(line)}")


def _lines(one: FormatDescription) -> Iterator[str]:
    """Yield what is printed about a format: one line, and one for each kind of loss."""
    of_package = f", of the package '{one.package}'" if one.package is not None else ""
    if one.error is not None:
        yield f"cannot be used{of_package}"
        yield f"  {one.error}"
        return
    ways = [word for word, can in (("read", one.reads), ("written", one.writes)) if can]
    title = f"{one.title}: " if one.title else ""
    yield f"{title}{' and '.join(ways)} ({', '.join(one.extensions)}){of_package}"
    if one.reads and not one.detected:
        yield "  is read only where the manifest names it"
    if one.reading_loses:
        yield f"  reading leaves out: {', '.join(one.reading_loses)}"
    if one.writing_loses:
        yield f"  writing leaves out or changes: {', '.join(one.writing_loses)}"
    if one.needs_sizes:
        yield "  writing needs the sizes of images"
