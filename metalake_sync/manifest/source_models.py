"""Where metadata of single files comes from, and how files are addressed that the manifest does not upload.

Owns: these keys. Must not: read a source.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from metalake_sync.manifest.metadata_values import Metadata, wrong
from metalake_sync.manifest.types import TEXT, MediaTypeName, Model, PathText, Pattern, Text

ColumnType = Literal["text", "integer", "number", "boolean", "json"]

FactName = Literal[
    "captured_at",
    "latitude",
    "longitude",
    "altitude_m",
    "camera_make",
    "camera_model",
    "width",
    "height",
    "size_bytes",
]

_PATTERN, _SOURCE, _FROM = "<a pattern>", "<a source>", "<the files>"
_FORMS = {"match": _PATTERN, "source": _SOURCE, "from": _FROM}


def error_at(key: str, message: str, remedy: str) -> ValidationError:
    """A mistake of a whole block, told at one of its keys."""
    error = InitErrorDetails(type=wrong(message, remedy), loc=(key,), input=None)
    return ValidationError.from_exception_data("block", [error])


class PatternMetadata(Model):
    """Metadata for files by pattern."""

    match: Pattern = Field(description="A pattern as in a .gitignore.")
    metadata: Metadata = Field(description="Metadata of every file that the pattern matches.")


class MetadataSourceFile(Model):
    """A file that holds metadata of many files, and how to read it."""

    source: PathText = Field(description="The file, from the manifest's folder or absolute.")
    format: Literal["metalake", "jsonl", "csv"] | None = Field(
        None,
        description="metalake: the vendor's JSON. jsonl: one JSON object a line. csv: a table. Left out, the file's "
        "ending tells.",
    )
    file_column: Text = Field("file", description="csv: the column that names the file.")
    types: dict[str, ColumnType] = Field(
        default={}, description="csv: what a column holds; text where it is not said. Empty cells give no value."
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        None, description="csv: what separates columns; a comma, or a tab in a file that ends in .tsv."
    )
    tags_separator: Text = Field(";", description="csv: what separates the tags in the column 'Tags'.")

    @model_validator(mode="after")
    def _tags_are_no_column_of_a_type(self) -> MetadataSourceFile:
        if "Tags" in self.types:
            raise error_at("types", "names 'Tags'", "Tags are texts, split by 'tags_separator': take it out.")
        return self


class FromFiles(Model):
    """Metadata that the files carry themselves, or that stands beside each of them."""

    from_: Literal["exif", "sidecar"] = Field(
        alias="from",
        description="exif: what pictures tell of themselves. sidecar: a.jpg.json, a.json, a.jpg.yaml or a.yaml beside "
        "a.jpg.",
    )
    fields: dict[FactName, Text] | None = Field(
        None, description="exif: which facts are taken, and under which field of the lake. Left out: all of them."
    )

    @model_validator(mode="after")
    def _only_exif_has_fields(self) -> FromFiles:
        if self.from_ == "sidecar" and self.fields is not None:
            raise error_at("fields", "goes with 'from: exif' only", "Take it out: a sidecar names its own fields.")
        return self


def _form(value: Any) -> str | None:
    if isinstance(value, str):
        return TEXT
    if isinstance(value, BaseModel):
        return _PATTERN if isinstance(value, PatternMetadata) else _FROM if isinstance(value, FromFiles) else _SOURCE
    if isinstance(value, dict):
        return next(
            (tag for key, tag in (("match", _PATTERN), ("source", _SOURCE), ("from", _FROM)) if key in value), None
        )
    return None


FileMetadata = Annotated[
    Annotated[PathText, Tag(TEXT)]
    | Annotated[PatternMetadata, Tag(_PATTERN)]
    | Annotated[MetadataSourceFile, Tag(_SOURCE)]
    | Annotated[FromFiles, Tag(_FROM)],
    Discriminator(
        _form,
        custom_error_type="manifest",
        custom_error_message="is neither a path nor a mapping with 'match', 'source' or 'from'",
        custom_error_context={
            "remedy": "It takes a path, {match, metadata}, {source: FILE, …}, {from: sidecar} or {from: exif}."
        },
    ),
]


class Addressing(Model):
    """How the entries of a source name files of the lake."""

    by: Literal["storage_path", "unique_name", "job", "collection"] = Field(
        description="What the entries name files by: their path in the lake's storage, their unique name in the lake, "
        "or their name in one upload job or in one collection."
    )
    bucket: Text | None = Field(None, description="by: storage_path: the bucket; left out, the lake's default one.")
    job: Text | None = Field(None, description="by: job: the id of the upload job.")
    collection: Text | None = Field(None, description="by: collection: its name in the lake.")
    type: MediaTypeName | None = Field(
        None, description="by: collection: its type, where the name stands for several collections."
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Addressing:
        belongs = {"bucket": "storage_path", "job": "job", "collection": "collection", "type": "collection"}
        for key, by in belongs.items():
            if getattr(self, key) is not None and self.by != by:
                raise error_at(key, f"does not go with 'by: {self.by}'", f"Take it out, or write 'by: {by}'.")
        for key in ("job", "collection"):
            if self.by == key and getattr(self, key) is None:
                raise error_at("by", f"is {key}, and '{key}' is missing", f"Add '{key}'.")
        return self


class AddressedMetadata(MetadataSourceFile, Addressing):
    """A source of metadata for files that this manifest does not upload."""
