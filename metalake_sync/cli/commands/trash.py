"""`metalake-sync trash`: puts items into the lake's trash after approval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.lake_options import LakeFlags, takes_lake
from metalake_sync.cli.options import option
from metalake_sync.cli.selection_options import COLLECTION_TYPE, TYPES, SelectionFlags, narrows
from metalake_sync.cli.terminal import count, say, shown
from metalake_sync.errors import ExitCode, UsageError
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.api import ItemInfo, TrashResult
    from metalake_sync.api.connected import ContentType

SHOWN = 10
"""Number of names to print without --verbose."""


@click.group("trash", epilog="Example: metalake-sync trash collection birds --query metadata.Tags=skip")
def trash_command() -> None:
    """Put items or collections into the lake's trash. No call restores them."""


@trash_command.command("collection", epilog="Example: metalake-sync trash collection birds --query metadata.Tags=skip")
@takes_lake
@narrows
@click.argument("name")
@COLLECTION_TYPE
@option("-v", "--verbose", is_flag=True, help="List every item, not only the first 10.")
@option("--auto-approve", is_flag=True, help="Do not ask for approval.")
def collection(
    flags: LakeFlags,
    narrow: SelectionFlags,
    name: str,
    content_type: ContentType | None,
    verbose: bool,
    auto_approve: bool,
) -> None:
    """Trash the matching items of a collection. Without query and filter, trash the collection with all its items."""
    with flags.lake() as lake:
        found = lake.find_collection(name, content_type)
        wanted = narrow.filter()
        whole = not (narrow.query.strip() or wanted)
        number = lake.get_item_count_from_collection(found.id, query=narrow.query, filter=wanted)
        items = lake.get_item_list_from_collection(found.id, query=narrow.query, filter=wanted)
        if not (whole or number):
            narrow.check_labels(lake)
        what = f"the collection {shown(name)} ({found.type.value}) with {count(number, 'item')}" if whole else None
        _trash(
            _Selection(flags, verbose, auto_approve, number, what),
            items,
            lambda: lake.trash_objects_from_collection(found.id, query=narrow.query, filter=wanted),
        )


@trash_command.command(
    "lake", epilog="Example: metalake-sync trash lake image --query metadata.Tags=skip --to-date 2022-01-01"
)
@takes_lake
@narrows
@click.argument("content_type", metavar="TYPE", type=TYPES)
@option("-v", "--verbose", is_flag=True, help="List every item, not only the first 10.")
@option("--auto-approve", is_flag=True, help="Do not ask for approval.")
def whole_lake(
    flags: LakeFlags, narrow: SelectionFlags, content_type: ContentType, verbose: bool, auto_approve: bool
) -> None:
    """Trash the matching items of the whole lake."""
    wanted = narrow.filter()
    if not narrow.query.strip() and not wanted:
        raise UsageError(
            "without a query or a filter, this would trash everything in the lake", remedy="Give --query or a filter."
        )
    with flags.lake() as lake:
        number = lake.get_item_count_from_metalake(content_type, query=narrow.query, filter=wanted)
        if not number:
            narrow.check_labels(lake)
        items = lake.get_item_list_from_datalake(content_type, query=narrow.query, filter=wanted)
        _trash(
            _Selection(flags, verbose, auto_approve, number, None),
            items,
            lambda: lake.trash_objects_from_datalake(query=narrow.query, filter=wanted, content_type=content_type),
        )


@dataclass(frozen=True, slots=True)
class _Selection:
    """The items to trash."""

    flags: LakeFlags
    verbose: bool
    approved: bool
    number: int
    whole: str | None
    """Description of the collection, if it is trashed as a whole, even if it is empty."""


def _trash(selection: _Selection, items: Iterator[ItemInfo], trash: Callable[[], TrashResult]) -> None:
    """List the items, ask for approval, trash them, and print the result."""
    flags = selection.flags
    if not selection.number and selection.whole is None:
        nothing = {"trashed": 0, "failed": 0, "message": "nothing matches"}
        flags.show(nothing, lambda: iter(["Nothing matches: nothing to do."]))
        return
    shown_items = islice(items, None if selection.verbose else SHOWN)
    if flags.as_json and not selection.approved:
        names = [item.unique_name for item in shown_items]
        flags.show({"to_trash": selection.number, "whole": selection.whole, "items": names}, lambda: iter(()))
    if not flags.as_json:
        for item in shown_items:
            say(f"  - {shown(item.unique_name)}")
        if not selection.verbose and selection.number > SHOWN:
            say(f"  … and {selection.number - SHOWN} more (-v shows all)")
    what = selection.whole or count(selection.number, "item")
    if not flags.as_json:
        say(f"To trash: {what}")
    flags.ask(f"Put {what} into the trash?", approved=selection.approved)
    result = trash()
    flags.show(result, lambda: iter([shown(result.message)]))
    if result.failed:
        click.get_current_context().exit(ExitCode.SOME_FAILED)
