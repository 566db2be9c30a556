"""The manifest's keys as pydantic models. The JSON Schema is written from them, so every key has its description.

Owns: which keys there are, what each takes, and what it is when left out.
Must not: compare one block with another (`agreement`), apply a collection's defaults (`resolved`), or read files.
"""

from __future__ import annotations

import shlex
import unicodedata
from pathlib import PurePath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    WithJsonSchema,
    field_validator,
)

from metalake_sync.manifest.metadata_values import Metadata, wrong

EMBEDDED = "embedded:"

MediaTypeName = Literal["image", "video", "other"]

# Tags of a union's members; no manifest has such a key, so that they are told from the file's own path.
_TEXT, _OTHER = "<a text>", "<the other form>"


def _not_empty(text: str) -> str:
    if not text.strip():
        raise wrong("is empty", "Give it a value, or take the line out.")
    return text


def _printable(text: str) -> str:
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise wrong("holds characters that can't be printed", "Take them out.")
    return text


def _no_zero_byte(text: str) -> str:
    if "\0" in text:
        raise wrong("holds a zero byte", "Take it out: no file has such a name.")
    return text


def _command(value: Any) -> Any:
    """Split a command as a shell would, though none ever sees it."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError:
            raise wrong("ends inside quotes", "Close them, or write the command as a list of arguments.") from None
    if value == []:
        raise wrong("is empty", "Name a command.")
    return value


def _text_or(kind: type) -> Discriminator:
    """Tells a text from the other form that a key takes, so that a mistake is told of the form that was meant."""

    def form(value: Any) -> str | None:
        if isinstance(value, str):
            return _TEXT
        return _OTHER if isinstance(value, kind | BaseModel) else None

    remedy = "It takes a text or a list of texts." if kind is list else "It takes a path, or {match, metadata}."
    return Discriminator(
        form,
        custom_error_type="manifest",
        custom_error_message="is neither a text nor a {kind}",
        custom_error_context={"kind": "list" if kind is list else "mapping", "remedy": remedy},
    )


_NOT_EMPTY = Field(json_schema_extra={"minLength": 1})
_SOME = Field(json_schema_extra={"minItems": 1})

Text = Annotated[str, AfterValidator(_not_empty), AfterValidator(_printable), _NOT_EMPTY]
PathText = Annotated[str, AfterValidator(_not_empty), AfterValidator(_no_zero_byte), _NOT_EMPTY]
Pattern = Annotated[str, AfterValidator(_not_empty), AfterValidator(_no_zero_byte), _NOT_EMPTY]
Command = Annotated[
    list[PathText],
    BeforeValidator(_command),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ]
        }
    ),
]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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

    @field_validator("url")
    @classmethod
    def _a_lake(cls, url: str) -> str:
        # The address is not repeated in these errors: it may come from a variable, and may hold a password.
        if url.startswith(EMBEDDED):
            if not url.removeprefix(EMBEDDED).strip():
                raise wrong("names no folder", "Write embedded:.metalake.")
            return url
        try:
            parts = urlsplit(url)
            whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            whole = False
        if not whole or any(char.isspace() for char in url):
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
    naming: Literal["name", "path"] = Field(
        "name", description="name: the file's own name. path: a/b.jpg becomes a__b.jpg."
    )
    metadata: Metadata = Field(default={}, description="Metadata of every file in the folder.")


class PatternMetadata(Model):
    """Metadata for files by pattern."""

    match: Pattern = Field(description="A pattern as in a .gitignore.")
    metadata: Metadata = Field(description="Metadata of every file that the pattern matches.")


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


class Annotation(Model):
    """One source of annotations for the images of a collection."""

    operation: Text = Field(description="The operation's unique id: one annotation project, or one model run.")
    kind: Literal["human", "machine"] = Field(description="Who drew the shapes: people, or a model.")
    source: Annotated[
        Annotated[PathText, Tag(_TEXT)] | Annotated[list[PathText], _SOME, Tag(_OTHER)], _text_or(list)
    ] = Field(description="A file, a folder or a glob, from the manifest's folder or absolute; or a list of them.")
    format: Literal["metalake", "coco", "yolo", "voc"] | None = Field(
        None, description="The format of the source; guessed if left out."
    )
    normalized: bool | Literal["convert"] = Field(
        False,
        description="Whether the source's numbers are fractions. true: sent as such. convert: turned to pixels here.",
    )
    mode: Literal["replace", "append"] = Field(
        "replace",
        description="replace: images that the source does not name lose their set. append: they keep it.",
    )
    strict: bool = Field(False, description="Entries without a file, and files without an entry, are errors.")
    labels: Labels = Field(default=Labels(), description="Rename or restrict labels.")
    invalid: InvalidShapes = Field(default=InvalidShapes(), description="What becomes of invalid shapes.")

    @field_validator("source")
    @classmethod
    def _names_a_source(cls, source: str | list[str]) -> str | list[str]:
        if not source:
            raise wrong("names no source", "Name a file, a folder or a glob.")
        return source


FileMetadata = Annotated[Annotated[PathText, Tag(_TEXT)] | Annotated[PatternMetadata, Tag(_OTHER)], _text_or(dict)]


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
        description="Metadata of single files: JSON files in the vendor's format, and patterns; later ones win.",
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


class Manifest(Model):
    """What should be in the lake."""

    version: Literal[1] = Field(description="The version of the manifest's format.")
    name: Text | None = Field(
        None, description="Names the state; if left out, the file's stem or the folder's name. Needed with '-'."
    )
    remote: Remote = Field(description="The lake, and who we are there.")
    defaults: CollectionSettings = Field(
        default=CollectionSettings(), description="Holds for every collection that does not say otherwise."
    )
    collections: list[Collection] = Field(default=[], description="The collections that should be in the lake.")

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
