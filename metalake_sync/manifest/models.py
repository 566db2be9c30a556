"""The manifest's keys as pydantic models. The JSON Schema is written from them, so every key has its description.

Owns: which keys there are, what each takes, and what it is when left out.
Must not: compare one block with another (`agreement`), apply a collection's defaults (`resolved`), or read files.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, Tag, field_validator, model_validator

from metalake_sync.core.shapes import FormatName, ShapeTypeName
from metalake_sync.manifest.metadata_values import Metadata, wrong
from metalake_sync.manifest.source_models import AddressedMetadata, Addressing, FileMetadata, error_at
from metalake_sync.manifest.types import (
    OTHER,
    SOME,
    TEXT,
    Command,
    MediaTypeName,
    Model,
    Moment,
    PathText,
    Pattern,
    Text,
    number_in_text,
    text_or_list,
)

EMBEDDED = "embedded:"


def _web_address(url: str) -> SplitResult | None:
    """The parts of an http(s) URL; None if it is none. Whoever complains does not repeat it: it may come from a
    variable, and hold a password or a token."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return None
    return parts if whole and not any(char.isspace() for char in url) else None


class Remote(Model):
    """The lake, and who we are there. The key and the secret each come from exactly one place."""

    url: Text = Field(description="https://HOST of the lake, or embedded:DIR for the lake that is built in.")
    api_key: SecretStr | None = Field(None, description="The API key; better ${LAYERNEXT_API_KEY} than the key itself.")
    api_key_file: PathText | None = Field(None, description="A file that holds the API key and nothing else.")
    api_key_command: Command | None = Field(
        None, description="A command that prints the API key; a list of arguments, run without a shell."
    )
    secret: SecretStr | None = Field(None, description="The secret; better ${LAYERNEXT_SECRET} than the secret itself.")
    secret_file: PathText | None = Field(None, description="A file that holds the secret and nothing else.")
    secret_command: Command | None = Field(
        None, description="A command that prints the secret; a list of arguments, run without a shell."
    )
    ca_file: PathText | None = Field(
        None, description="A PEM file of CAs to trust besides the usual ones, for the lake and its stores."
    )
    allow_insecure: bool = Field(
        False, description="Take http:// to another machine, where everybody on the way can read key and files."
    )
    allow_local_store: bool = Field(
        False,
        description="Let a lake on another machine give addresses of stores on this machine or its own link (loopback,"
        " link-local).",
    )
    generation: Annotated[Literal["auto", 2, 3], BeforeValidator(number_in_text)] = Field(
        "auto",
        description="The generation of the lake's protocol. auto finds out; 2: lakes until August 2024; 3: later ones.",
    )

    @field_validator("url")
    @classmethod
    def _a_lake(cls, url: str) -> str:
        if url.startswith(EMBEDDED):
            if not url.removeprefix(EMBEDDED).strip():
                raise wrong("names no folder", "Write embedded:.metalake.")
            return url
        parts = _web_address(url)
        if parts is None:
            raise wrong("is no address of a lake", "Write https://HOST, or embedded:DIR.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise wrong("carries more than an address", "Give 'api_key' and 'secret' instead.")
        return url

    @property
    def embedded(self) -> bool:
        return self.url.startswith(EMBEDDED)


class Folder(Model):
    """A folder of files."""

    path: PathText = Field(description="The folder, from the manifest's own or absolute.")
    include: list[Pattern] = Field(
        default=[], description="Patterns as in a .gitignore; none takes every file of the collection's type."
    )
    exclude: list[Pattern] = Field(default=[], description="Patterns of what is left out, also of what include takes.")
    recursive: bool = Field(True, description="Also take the folders below.")
    follow_symlinks: bool = Field(False, description="Take what links lead to, also out of the folder.")
    naming: Literal["name", "path"] = Field(
        "name", description="name: the file's own name. path: a/b.jpg becomes a__b.jpg."
    )
    metadata: Metadata = Field(default={}, description="Metadata of every file in the folder.")


class Labels(Model):
    """What becomes of labels before they are sent."""

    rename: dict[str, Text] = Field(default={}, alias="map", description="Label in the source → label in the lake.")
    allow: list[Text] = Field(default=[], description="The only labels that are sent; none allows all.")


class InvalidShapes(Model):
    """What becomes of shapes that can't be sent as they are. fix: mended; skip: left out and named; fail: an error."""

    default: Literal["fix", "skip", "fail"] = Field(
        "skip", description="What holds for every problem below that is not named; what can't be mended is skipped."
    )
    outside: Literal["fix", "skip", "fail"] | None = Field(
        None, description="It reaches out of the picture by more than a pixel. fix: clipped."
    )
    fraction: Literal["fix", "skip", "fail"] | None = Field(
        None, description="A normalized coordinate outside 0 to 1. fix: clipped."
    )
    negative_size: Literal["fix", "skip", "fail"] | None = Field(
        None, description="A box of negative width or height. fix: its corners are swapped."
    )
    confidence: Literal["fix", "skip", "fail"] | None = Field(
        None, description="A confidence outside 0 to 1. fix: clipped."
    )
    zero_size: Literal["skip", "fail"] | None = Field(None, description="A box without width or height.")
    too_few_points: Literal["skip", "fail"] | None = Field(
        None, description="A polygon under three points, a line under two, points without one."
    )
    not_finite: Literal["skip", "fail"] | None = Field(None, description="A number that is NaN or infinite.")
    empty_label: Literal["skip", "fail"] | None = Field(None, description="A label without a letter.")
    control_character: Literal["skip", "fail"] | None = Field(
        None, description="A label with a control character, such as a line break."
    )
    unreadable: Literal["skip", "fail"] | None = Field(
        None, description="An annotation of COCO or VOC that can't be read."
    )


class Annotation(Model):
    """One source of annotations for the images of a collection."""

    operation: Text = Field(description="The operation's unique id: one annotation project, or one model run.")
    kind: Literal["human", "machine"] = Field(description="Who drew the shapes: people, or a model.")
    source: Annotated[Annotated[PathText, Tag(TEXT)] | Annotated[list[PathText], SOME, Tag(OTHER)], text_or_list()] = (
        Field(description="A file, a folder or a glob, from the manifest's folder or absolute; or a list of them.")
    )
    format: FormatName | None = Field(None, description="The format of the source; guessed if left out.")
    normalized: bool | Literal["convert"] = Field(
        False,
        description="Whether the source's numbers are fractions. true: sent as such. convert: turned to pixels here.",
    )
    mode: Literal["replace", "append"] = Field(
        "replace",
        description="replace: images that the source does not name lose their set. append: they keep it.",
    )
    strict: bool = Field(False, description="Entries without a file, and files without an entry, are errors.")
    labels: Labels = Field(default=Labels.model_construct(), description="Rename or restrict labels.")
    invalid: InvalidShapes = Field(
        default=InvalidShapes.model_construct(), description="What becomes of invalid shapes."
    )
    old_form: bool | None = Field(
        None,
        description="MetaLake's JSON: whether 'metadata' of a shape holds attributes of its label, as in the vendor's "
        "section 2.6. Left out, it does for shapes without 'type'.",
    )
    shape_type: ShapeTypeName | None = Field(
        None,
        description="MetaLake's JSON: the type of shapes without 'type'. Left out, 'shape_type' at the top of the file "
        "says it, or else the key of the coordinates.",
    )
    destination_project_id: Text | None = Field(
        None,
        description="kind: machine: the project of the annotation studio that the model run is attached to, once its "
        "annotations are sent.",
    )

    @field_validator("source")
    @classmethod
    def _names_a_source(cls, source: str | list[str]) -> str | list[str]:
        if not source:
            raise wrong("names no source", "Name a file, a folder or a glob.")
        return source

    @model_validator(mode="after")
    def _only_model_runs_are_attached(self) -> Annotation:
        if self.destination_project_id is not None and self.kind != "machine":
            message = "takes machine annotations only, and 'kind' is human"
            raise error_at("destination_project_id", message, "Remove it, or correct 'kind'.")
        return self


class AddressedAnnotation(Annotation, Addressing):
    """A source of annotations for images that this manifest does not upload."""

    @model_validator(mode="after")
    def _has_no_images_here(self) -> AddressedAnnotation:
        if self.normalized == "convert":
            raise error_at("normalized", "can't be convert here", "The pictures are in the lake: write true instead.")
        if self.type not in (None, "image"):
            raise error_at("type", f"is {self.type}", "Only images take annotations: take the line out.")
        return self


class CollectionSettings(Model):
    """What a collection may say, and `defaults` too."""

    type: MediaTypeName | None = Field(
        None, description="What the collection holds. Each collection needs a type, its own or that of 'defaults'."
    )
    storage_prefix: Text | None = Field(
        None, description="The folder in the lake's storage that the collection's files go under."
    )
    metadata: Metadata = Field(
        default={}, description="Metadata of the collection, and of every file in it (see metadata_scope)."
    )
    metadata_scope: Literal["files", "collection"] = Field(
        "files", description="files: the collection and every file in it. collection: its head alone."
    )
    metadata_override: bool = Field(False, description="Also rewrite metadata of files that were in the lake already.")
    folders: list[Folder] = Field(default=[], description="Folders of files.")
    files: list[PathText] = Field(default=[], description="Single files, from the manifest's folder or absolute.")
    file_metadata: list[FileMetadata] = Field(
        default=[],
        description="Metadata of single files: from JSON, JSON Lines and CSV files, sidecar files, EXIF, and by "
        "pattern; later ones win.",
    )
    annotations: list[Annotation] = Field(
        default=[], description="Sources of annotations; only a collection of type image takes them."
    )
    on_change: Literal["replace", "keep", "fail"] = Field(
        "replace",
        description="What becomes of a local file whose bytes changed under a name that the lake has. "
        "replace: the old one is trashed, the new one sent. keep: warn. fail: stop.",
    )
    adopt: Literal["match", "take_over", "never"] = Field(
        "match",
        description="What becomes of a file that the lake has already. match: taken over if its size is the same. "
        "take_over: of any size, then as on_change says. never.",
    )
    tags: Literal["own", "exact"] = Field(
        "own", description="own: Tags that others set in the lake stay. exact: they go."
    )
    prune: bool = Field(False, description="Trash files in the lake that this manifest put there and no longer names.")
    prevent_destroy: bool = Field(False, description="Refuse a plan that would trash or replace something here.")


class Collection(CollectionSettings):
    """One collection of the lake. Its name is unique for its type."""

    name: Text = Field(description="The collection's name in the lake.")


class Filter(Model):
    """Which items, beside a query."""

    annotation_types: list[Literal["raw", "human", "machine"]] = Field(
        default=[], description="Items that people or models annotated; raw: that nobody did. None takes all."
    )
    from_date: Moment | None = Field(None, description="In the lake since that day or moment, in ISO 8601.")
    to_date: Moment | None = Field(None, description="In the lake until that day, itself included, or that moment.")


class Sort(Model):
    """In which order a lake lists."""

    by: Literal["date_modified", "date_created", "name", "size", "video_index"] = Field(description="The field.")
    order: Literal["asc", "desc"] = Field("asc", description="Ascending or descending.")


class Selection(Model):
    """Items of one collection, or of the whole lake."""

    collection: Text | None = Field(None, description="The collection's name; or say 'lake'.")
    type: MediaTypeName | None = Field(
        None, description="The collection's type; needed where the lake has several collections of the name."
    )
    lake: MediaTypeName | None = Field(None, description="All items of this type in the whole lake.")
    query: str = Field("", description="As in the web page, such as annotation.label=Bird or metadata.Tags=skip.")
    filter: Filter = Field(default=Filter.model_construct(), description="Which items, beside the query.")


class DownloadAnnotationsOf(Model):
    """Annotations that come along with a download."""

    kind: Literal["human", "machine", "all"] = Field(
        "all", description="Who drew the shapes. It counts only where 'operations' names none."
    )
    operations: list[Text] = Field(
        default=[], description="Only these operations, whoever drew them; none takes every one of the kind."
    )
    format: FormatName = Field("metalake", description="How they are written.")


class Download(Selection):
    """A local folder that should hold what the lake has."""

    to: PathText = Field(description="The folder, from the manifest's own or absolute. It is created if need be.")
    media: bool = Field(True, description="The files themselves; false takes annotations alone.")
    annotations: DownloadAnnotationsOf | None = Field(
        None, description="Also write the annotations, in their format's files; only for a collection."
    )
    sort: Sort | None = Field(None, description="In which order files are fetched; left out: oldest first.")
    naming: Literal["unique_name", "name"] = Field(
        "unique_name", description="What files are called: the unique name in the lake, or the name in the collection."
    )


class TrashRule(Selection):
    """Items that go into the lake's trash, whoever put them there. Always a destructive action."""

    whole: bool = Field(
        False,
        description="With 'collection', without 'query' and 'filter': trash the collection itself, with all items.",
    )


class Notify(Model):
    """A webhook that is told when watching fails, and when it has recovered."""

    url: Text = Field(description="Where to send a POST request with a JSON body.")
    on: list[Literal["failed", "recovered"]] = Field(
        default=["failed", "recovered"], description="Which turns to tell of."
    )
    secret: SecretStr | None = Field(
        None, description="Signs each message (HMAC-SHA256); better ${NOTIFY_SECRET} than the secret itself."
    )
    secret_file: PathText | None = Field(None, description="A file that holds the signing secret and nothing else.")

    @field_validator("url")
    @classmethod
    def _a_receiver(cls, url: str) -> str:
        if _web_address(url) is None:
            raise wrong("is no web address", "Write https://HOST/PATH.")
        return url


class Manifest(Model):
    """What should be in the lake."""

    version: Literal[1] = Field(description="The version of the manifest's format.")
    name: Text | None = Field(
        None, description="Names the state; if left out, the file's stem or the folder's name. Needed with '-'."
    )
    remote: Remote = Field(description="The lake, and who we are there.")
    defaults: CollectionSettings = Field(
        default=CollectionSettings.model_construct(),
        description="Holds for every collection that does not say otherwise.",
    )
    collections: list[Collection] = Field(default=[], description="The collections that should be in the lake.")
    annotations: list[AddressedAnnotation] = Field(
        default=[], description="Sources of annotations for images that this manifest does not upload."
    )
    metadata: list[AddressedMetadata] = Field(
        default=[], description="Sources of metadata for files that this manifest does not upload."
    )
    downloads: list[Download] = Field(default=[], description="Local folders that should hold what the lake has.")
    trash: list[TrashRule] = Field(
        default=[], description="Items that go into the lake's trash; each plan with one of them needs approval."
    )
    notify: Notify | None = Field(None, description="A webhook that 'watch' tells of failure and recovery.")

    @field_validator("version", mode="before")
    @classmethod
    def _from_a_variable(cls, version: object) -> object:
        return 1 if version == "1" else version

    @field_validator("name")
    @classmethod
    def _names_a_file(cls, name: str | None) -> str | None:
        if name is not None and (PurePath(name).name != name or name in (".", "..") or len(name.encode()) > 200):
            raise wrong("can't be the name of a file", "The state is called by it: take out '/', or make it shorter.")
        return name
