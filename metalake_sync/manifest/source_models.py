"""The models of metadata and annotation sources, and of the addresses of unmanaged files.

Owns: these keys and their defaults. Must not: read a source.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from metalake_sync.core.shapes import ShapeTypeName
from metalake_sync.manifest.types import (
    OTHER,
    SOME,
    TEXT,
    MediaTypeName,
    Metadata,
    Model,
    PathText,
    Pattern,
    ReadFormat,
    Text,
    text_or_list,
    value_error,
)

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
    """Return the error of a whole block, placed at one of its keys."""
    error = InitErrorDetails(type=value_error(message, remedy), loc=(key,), input=None)
    return ValidationError.from_exception_data("block", [error])


class PatternMetadata(Model):
    """Metadata for files by pattern."""

    match: Pattern = Field(description="Pattern as in gitignore.")
    metadata: Metadata = Field(description="Metadata of every file that matches the pattern.")


class MetadataSourceFile(Model):
    """A file with metadata of many files, and how to read it."""

    source: PathText = Field(description="File, relative to the manifest or absolute.")
    format: Literal["metalake", "jsonl", "csv"] | None = Field(
        None,
        description="metalake: the vendor's JSON. jsonl: one JSON object per line. csv: a table. If left out, the file "
        "extension decides.",
    )
    file_column: Text = Field("file", description="csv: column with the file name.")
    types: dict[str, ColumnType] = Field(
        default={}, description="csv: types of columns. Others are text. Empty cells set no value."
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        None, description="csv: character between columns. If left out, a comma, or a tab in a .tsv file."
    )
    tags_separator: Text = Field(";", description="csv: text between the tags in the column 'Tags'.")

    @model_validator(mode="after")
    def _tags_are_no_column_of_a_type(self) -> MetadataSourceFile:
        if "Tags" in self.types:
            raise error_at("types", "contains 'Tags'", "Remove it: tags are text, split by 'tags_separator'.")
        return self


class FromFiles(Model):
    """Metadata inside the files themselves, or in a sidecar file beside each of them."""

    from_: Literal["exif", "sidecar"] = Field(
        alias="from",
        description="exif: facts from the header of each image. sidecar: a.jpg.json, a.json, a.jpg.yaml or "
        "a.yaml beside "
        "a.jpg.",
    )
    fields: dict[FactName, Text] | None = Field(
        None, description="exif: facts to use, with the field of the lake for each. If left out, all facts."
    )

    @model_validator(mode="after")
    def _only_exif_has_fields(self) -> FromFiles:
        if self.from_ == "sidecar" and self.fields is not None:
            raise error_at("fields", "needs 'from: exif'", "Remove it: a sidecar file names its own fields.")
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
            "remedy": "Write a path, {match, metadata}, {source: FILE, …}, {from: sidecar} or {from: exif}."
        },
    ),
]


class Addressing(Model):
    """How the entries of a source address files in the lake."""

    by: Literal["storage_path", "unique_name", "job", "collection"] = Field(
        description="What the entries contain: the path in the lake's storage, the unique name in the lake, or "
        "the name in "
        "one upload job or in one collection."
    )
    bucket: Text | None = Field(None, description="by: storage_path: bucket. If left out, the lake's default bucket.")
    job: Text | None = Field(None, description="by: job: id of the upload job.")
    collection: Text | None = Field(None, description="by: collection: name of the collection in the lake.")
    type: MediaTypeName | None = Field(
        None, description="by: collection: type of the collection, if several collections have the name."
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Addressing:
        belongs = {"bucket": "storage_path", "job": "job", "collection": "collection", "type": "collection"}
        for key, by in belongs.items():
            if getattr(self, key) is not None and self.by != by:
                raise error_at(key, f"cannot be used with 'by: {self.by}'", f"Remove it, or write 'by: {by}'.")
        for key in ("job", "collection"):
            if self.by == key and getattr(self, key) is None:
                raise error_at("by", f"is {key}, and '{key}' is missing", f"Add '{key}'.")
        return self


class AddressedMetadata(MetadataSourceFile, Addressing):
    """A source of metadata for unmanaged files: files that this manifest does not upload."""


class Labels(Model):
    """How labels are changed before they are sent."""

    rename: dict[str, Text] = Field(
        default={}, alias="map", description="Renames labels: label in the source → label in the lake."
    )
    allow: list[Text] = Field(default=[], description="Labels to send. An empty list allows all labels.")


class InvalidShapes(Model):
    """What happens to shapes that cannot be sent as they are. fix: repair. skip: leave out with a note. fail: error."""

    default: Literal["fix", "skip", "fail"] = Field(
        "skip",
        description="Applies to every problem below that is not set. Shapes that cannot be repaired are skipped.",
    )
    outside: Literal["fix", "skip", "fail"] | None = Field(
        None, description="The shape extends more than a pixel outside the image. fix: clip it."
    )
    fraction: Literal["fix", "skip", "fail"] | None = Field(
        None, description="A normalized coordinate outside 0 to 1. fix: clip it."
    )
    negative_size: Literal["fix", "skip", "fail"] | None = Field(
        None, description="A box of negative width or height. fix: swap its corners."
    )
    confidence: Literal["fix", "skip", "fail"] | None = Field(
        None, description="A confidence outside 0 to 1. fix: clip it."
    )
    zero_size: Literal["skip", "fail"] | None = Field(None, description="A box without width or height.")
    too_few_points: Literal["skip", "fail"] | None = Field(
        None, description="A polygon with fewer than three points, a line with fewer than two, or points with none."
    )
    not_finite: Literal["skip", "fail"] | None = Field(None, description="A number that is NaN or infinite.")
    empty_label: Literal["skip", "fail"] | None = Field(None, description="A label without a letter.")
    control_character: Literal["skip", "fail"] | None = Field(
        None, description="A label with a control character, such as a line break."
    )
    unreadable: Literal["skip", "fail"] | None = Field(
        None, description="A COCO or VOC annotation that cannot be read."
    )


class Annotation(Model):
    """One source of annotations for the images of a collection."""

    operation: Text = Field(description="Unique id of the operation: one annotation project or one model run.")
    kind: Literal["human", "machine"] = Field(description="Who drew the shapes: people, or a model.")
    source: Annotated[Annotated[PathText, Tag(TEXT)] | Annotated[list[PathText], SOME, Tag(OTHER)], text_or_list()] = (
        Field(
            description="File, folder or glob, relative to the manifest or absolute; or a list of them. Later sources "
            "win."
        )
    )
    format: ReadFormat | None = Field(None, description="Format of the source. Detected if left out.")
    normalized: bool | Literal["convert"] = Field(
        False,
        description="Whether the source has fractions instead of pixels. true: send fractions. convert: convert "
        "them to pixels.",
    )
    mode: Literal["replace", "append"] = Field(
        "replace",
        description="What happens to images that the source does not name. replace: their set is removed. "
        "append: they keep it.",
    )
    on_drift: Literal["ask", "keep", "merge", "overwrite"] = Field(
        "ask",
        description="What happens to a set in the lake that another client changed. ask: the plan shows it, and "
        "overwriting it needs approval. keep: the lake's set stays. merge: both sides are combined shape by shape; a "
        "shape that both sides changed needs approval. overwrite: the source's set is sent.",
    )
    strict: bool = Field(False, description="Treat entries without a file, and files without an entry, as errors.")
    labels: Labels = Field(default=Labels.model_construct(), description="Rename or restrict labels.")
    invalid: InvalidShapes = Field(
        default=InvalidShapes.model_construct(), description="What happens to invalid shapes."
    )
    old_form: bool | None = Field(
        None,
        description="MetaLake JSON: whether 'metadata' of a shape holds attributes of its label, as in section "
        "2.6 of the "
        "vendor's documentation. If left out, it does for shapes without 'type'.",
    )
    shape_type: ShapeTypeName | None = Field(
        None,
        description="MetaLake JSON: type of shapes without 'type'. If left out, 'shape_type' at the top of the "
        "file sets "
        "it, else the key of the coordinates.",
    )
    destination_project_id: Text | None = Field(
        None,
        description="kind: machine: project of the annotation studio to attach the model run to after its "
        "annotations are "
        "sent.",
    )

    @field_validator("source")
    @classmethod
    def _names_a_source(cls, source: str | list[str]) -> str | list[str]:
        if not source:
            raise value_error("does not name a source", "Name a file, a folder or a glob.")
        return source

    @model_validator(mode="after")
    def _only_model_runs_are_attached(self) -> Annotation:
        if self.destination_project_id is not None and self.kind != "machine":
            message = "needs 'kind: machine', and 'kind' is human"
            raise error_at("destination_project_id", message, "Remove it, or fix 'kind'.")
        return self


class AddressedAnnotation(Annotation, Addressing):
    """A source of annotations for unmanaged images: images that this manifest does not upload."""

    @model_validator(mode="after")
    def _has_no_images_here(self) -> AddressedAnnotation:
        if self.normalized == "convert":
            raise error_at("normalized", "cannot be 'convert' here", "Write true: the images are not local.")
        if self.type not in (None, "image"):
            raise error_at("type", f"is {self.type}", "Remove the line: only images have annotations.")
        return self
