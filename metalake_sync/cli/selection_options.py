"""The options that name items of a lake: a place, a query and a filter; and those for sorting, metadata and shapes.

Must not: call a lake.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from metalake_sync.cli.options import (
    CommandT,
    FormatChoice,
    gathered,
    option,
)
from metalake_sync.errors import LakeAnswerInvalid, LakeRejected, UsageError
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.api import ItemFilter, ItemSort, MetaLake
    from metalake_sync.api.connected import ContentType

TYPES = click.Choice(["image", "video", "other"])
COLLECTION_TYPE = option(
    "--type",
    "content_type",
    type=TYPES,
    help="The collection's type. Needed if the lake has several collections with this name.",
)
KINDS = click.Choice(["human", "machine"])
READ_FORMATS = FormatChoice()
WRITTEN_FORMATS = FormatChoice(writing=True)
NAMINGS = click.Choice(["unique_name", "name"])
SHAPE_TYPES = click.Choice(["rectangle", "polygon", "line", "points"])


@dataclass(frozen=True, slots=True)
class SelectionFlags:
    """The options that restrict a selection."""

    query: str
    annotated: tuple[str, ...]
    from_date: str | None
    to_date: str | None

    def filter(self) -> ItemFilter:
        from metalake_sync.api import ItemFilter

        return ItemFilter(cast(Any, self.annotated), self.from_date, self.to_date)

    def check_labels(self, lake: MetaLake) -> None:
        """Raise UsageError for a label of the query that the lake does not have. Call it if nothing was selected."""
        from metalake_sync.remote.query_labels import labels_of_query, unknown_labels

        if not any(labels_of_query(self.query)):
            return
        try:
            known = [label.text for label in lake.get_all_labels()]
        except (LakeRejected, LakeAnswerInvalid):
            return
        for clause in unknown_labels([self.query], known):
            raise UsageError.of_clause(clause)


_SELECTION_FLAGS = (
    option("--to-date", metavar="DATE", help="Select items added to the lake up to this day, inclusive."),
    option("--from-date", metavar="DATE", help="Select items added to the lake since this day."),
    option(
        "--annotated",
        type=click.Choice(["raw", "human", "machine"]),
        multiple=True,
        help="Select items with human or machine annotations, or raw items without any. May be repeated.",
    ),
    option(
        "--query",
        default="",
        help="Query in the syntax of the web page, such as annotation.label=Bird or metadata.Tags=skip.",
    ),
)


def narrows(command: CommandT) -> CommandT:
    """Give a command the options of a selection as one argument."""
    return gathered(command, _SELECTION_FLAGS, SelectionFlags)


def takes_form(command: CommandT) -> CommandT:
    """Give a command `old_form` and `shape_type`: the form of MetaLake's annotation JSON."""
    command = option(
        "--shape-type",
        type=SHAPE_TYPES,
        help="Type of shapes without 'type' in MetaLake's JSON (default: set by the file, or the coordinates' key).",
    )(command)
    return option(
        "--old-form/--new-form",
        "old_form",
        default=None,
        help="Whether a shape's 'metadata' in MetaLake's JSON has attributes of its label (default: only for shapes "
        "without 'type').",
    )(command)


@dataclass(frozen=True, slots=True)
class PlaceFlags:
    """The place of a selection: a collection, or the whole lake."""

    collection: str | None
    content_type: ContentType | None
    lake: ContentType | None

    def check(self) -> None:
        """Raise UsageError unless exactly one place is given."""
        if (self.collection is None) == (self.lake is None):
            raise UsageError("no place, or two places, given", remedy="Pass either --collection NAME or --lake TYPE.")


_PLACE_FLAGS = (
    option("--lake", type=TYPES, help="Select all items of this type, in every collection."),
    option("--type", "content_type", type=TYPES, help="Type of the collection, if several have this name."),
    option("--collection", metavar="NAME", help="Select items of this collection."),
)


def takes_place(command: CommandT) -> CommandT:
    """Give a command the options of a place as one argument."""
    return gathered(command, _PLACE_FLAGS, PlaceFlags)


def sort_options(command: CommandT) -> CommandT:
    """Give a command --sort and --order."""
    command = option(
        "--order", type=click.Choice(["asc", "desc"]), default="asc", show_default=True, help="Direction of --sort."
    )(command)
    fields = ["date_modified", "date_created", "name", "size", "video_index"]
    return option(
        "--sort",
        "sort_field",
        type=click.Choice(fields),
        default="date_created",
        show_default=True,
        help="Field to sort by.",
    )(command)


def item_sort(field: str, order: str) -> ItemSort:
    from metalake_sync.api import ItemSort

    return ItemSort(cast(Any, field), cast(Literal["asc", "desc"], order))


def metadata_options(command: CommandT) -> CommandT:
    """Give a command --set and --tag, which `metadata_of` reads."""
    command = option("--tag", "tags", multiple=True, help="Add a tag. May be repeated.")(command)
    return option(
        "--set",
        "assignments",
        multiple=True,
        metavar="FIELD=VALUE",
        help="Set a metadata field to a text, or to a JSON value with FIELD:=JSON. May be repeated.",
    )(command)


def metadata_of(assignments: tuple[str, ...], tags: tuple[str, ...]) -> dict[str, Any]:
    """Return the metadata of --set and --tag. Raises UsageError."""
    found: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.rstrip(":"):
            raise UsageError(f"'--set {assignment}' is not an assignment", remedy="Write --set FIELD=VALUE.")
        if name.endswith(":"):
            try:
                found[name[:-1]] = json.loads(value)
            except ValueError:
                raise UsageError(
                    f"'--set {assignment}' does not contain valid JSON", remedy="Write --set FIELD:=42."
                ) from None
        else:
            found[name] = value
    listed = found.get("Tags", [])
    if not isinstance(listed, list) or not all(isinstance(tag, str) for tag in listed):
        raise UsageError(
            "'--set' gives Tags a value that is not a list of texts",
            remedy="Write --tag TAG for each Tag, or --set 'Tags:=[\"TAG\"]'.",
        )
    if tags:
        found["Tags"] = list(dict.fromkeys((*listed, *tags)))
    return found
