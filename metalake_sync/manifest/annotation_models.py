"""The models of annotation sources.

Owns: these keys and their defaults. Must not: read a source.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag, field_validator, model_validator

from metalake_sync.core.shapes import ShapeTypeName
from metalake_sync.manifest.metadata_values import wrong
from metalake_sync.manifest.source_models import Addressing, error_at
from metalake_sync.manifest.types import OTHER, SOME, TEXT, Model, PathText, ReadFormat, Text, text_or_list


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
        Field(description="File, folder or glob, relative to the manifest or absolute; or a list of them.")
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
            raise wrong("does not name a source", "Name a file, a folder or a glob.")
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
