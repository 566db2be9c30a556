"""The models of items in the lake: what to download, and what to trash.

Owns: these keys and their defaults. Must not: query the lake.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from metalake_sync.manifest.types import MediaTypeName, Model, Moment, PathText, Text, WrittenFormat


class Filter(Model):
    """Restricts items in addition to a query."""

    annotation_types: list[Literal["raw", "human", "machine"]] = Field(
        default=[],
        description="Items annotated by people (human) or models (machine), or not annotated (raw). An empty "
        "list selects all.",
    )
    from_date: Moment | None = Field(None, description="Items added to the lake since this day or time, in ISO 8601.")
    to_date: Moment | None = Field(
        None, description="Items added to the lake until the end of this day, or until this time."
    )


class Sort(Model):
    """The order in which the lake lists items."""

    by: Literal["date_modified", "date_created", "name", "size", "video_index"] = Field(description="Field to sort by.")
    order: Literal["asc", "desc"] = Field("asc", description="Ascending or descending.")


class Selection(Model):
    """Items of one collection, or of the whole lake."""

    collection: Text | None = Field(
        None, description="Name of the collection. Use 'lake' instead to select from the whole lake."
    )
    type: MediaTypeName | None = Field(
        None, description="Type of the collection. Needed if the lake has several collections of this name."
    )
    lake: MediaTypeName | None = Field(None, description="Select items of this type in the whole lake.")
    query: str = Field(
        "", description="Query as in the web interface, such as annotation.label=Bird or metadata.Tags=skip."
    )
    filter: Filter = Field(
        default=Filter.model_construct(), description="Restricts the items in addition to the query."
    )


class DownloadAnnotationsOf(Model):
    """Annotations that a download includes."""

    kind: Literal["human", "machine", "all"] = Field(
        "all", description="Who drew the shapes. Ignored if 'operations' is set."
    )
    operations: list[Text] = Field(
        default=[],
        description="Operations to include, of either kind. An empty list includes every operation of 'kind'.",
    )
    format: WrittenFormat = Field("metalake", description="Format of the annotation files.")


class Download(Selection):
    """A local folder to download items to."""

    to: PathText = Field(
        description="Folder, relative to the manifest or absolute. It is created if it does not exist."
    )
    media: bool = Field(True, description="Download the files themselves. false: only annotations.")
    annotations: DownloadAnnotationsOf | None = Field(
        None, description="Also write annotation files. Only for a collection."
    )
    sort: Sort | None = Field(
        None, description="Order in which files are downloaded. If left out, the oldest come first."
    )
    naming: Literal["unique_name", "name"] = Field(
        "unique_name", description="Local file names: the unique name in the lake, or the name in the collection."
    )


class TrashRule(Selection):
    """Items to move to the lake's trash, including those that other clients uploaded. Always needs approval."""

    whole: bool = Field(
        False,
        description="Trash the collection itself with all its items. Needs 'collection', without 'query' and 'filter'.",
    )
