"""The models of the lake: how to connect to it, and which of its items to download or to trash. Also of the webhook.

Owns: these keys and their defaults. Must not: read a credential, open a connection or query the lake.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator

from metalake_sync.format_registry import format_names, numbers_classes
from metalake_sync.manifest.types import (
    Command,
    MediaTypeName,
    Model,
    Moment,
    PathText,
    Text,
    WrittenFormat,
    number_in_text,
    value_error,
)

EMBEDDED = "embedded:"


def _web_address(url: str) -> SplitResult | None:
    """Return the parts of an http(s) URL, or None if it is not one. Errors must not repeat the URL, because it may come
    from a variable and hold a password or a token."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return None
    return parts if whole and not any(char.isspace() for char in url) else None


class Remote(Model):
    """The lake and the credentials for it. The key and the secret each come from exactly one place."""

    url: Text = Field(description="Address of the lake: https://HOST, or embedded:DIR for the embedded lake.")
    api_key: SecretStr | None = Field(None, description="API key. Use ${LAYERNEXT_API_KEY} instead of the key itself.")
    api_key_file: PathText | None = Field(None, description="File that holds only the API key.")
    api_key_command: Command | None = Field(
        None, description="Command that prints the API key, as a list of arguments. It runs without a shell."
    )
    secret: SecretStr | None = Field(None, description="Secret. Use ${LAYERNEXT_SECRET} instead of the secret itself.")
    secret_file: PathText | None = Field(None, description="File that holds only the secret.")
    secret_command: Command | None = Field(
        None, description="Command that prints the secret, as a list of arguments. It runs without a shell."
    )
    ca_file: PathText | None = Field(
        None, description="PEM file of additional certificate authorities to trust, for the lake and its object stores."
    )
    allow_insecure: bool = Field(
        False,
        description="Allow http:// to another machine. Anyone on the network path can then read the key and the files.",
    )
    allow_local_store: bool = Field(
        False,
        description="Allow a lake on another machine to name object stores on this machine or its local link "
        "(loopback and"
        " link-local addresses).",
    )
    generation: Annotated[Literal["auto", 2, 3], BeforeValidator(number_in_text)] = Field(
        "auto",
        description="Generation of the lake's protocol. auto: detect it. 2: lakes up to August 2024. 3: later lakes.",
    )

    @field_validator("url")
    @classmethod
    def _a_lake(cls, url: str) -> str:
        if url.startswith(EMBEDDED):
            if not url.removeprefix(EMBEDDED).strip():
                raise value_error("does not name a folder", "Write embedded:.metalake.")
            return url
        parts = _web_address(url)
        if parts is None:
            raise value_error("is not the address of a lake", "Write https://HOST, or embedded:DIR.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise value_error("contains more than an address", "Use 'api_key' and 'secret' for credentials.")
        return url

    @property
    def embedded(self) -> bool:
        return self.url.startswith(EMBEDDED)


class Notify(Model):
    """A webhook that receives a message when watching fails, when it has recovered, and when actions wait for
    approval."""

    url: Text = Field(description="Address that receives a POST request with a JSON body.")
    on: list[Literal["failed", "recovered", "held"]] = Field(
        default=["failed", "recovered", "held"],
        description="Events that send a message. held: actions that need approval wait for it; each is reported once.",
    )
    secret: SecretStr | None = Field(
        None,
        description="Secret that signs each message (HMAC-SHA256). Use ${NOTIFY_SECRET} instead of the secret itself.",
    )
    secret_file: PathText | None = Field(None, description="File that holds only the signing secret.")

    @field_validator("url")
    @classmethod
    def _a_receiver(cls, url: str) -> str:
        if _web_address(url) is None:
            raise value_error("is not a web address", "Write https://HOST/PATH.")
        return url


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


_SPLIT_NAME = "[A-Za-z0-9][A-Za-z0-9_-]{0,39}"
_DEVICE_NAME = re.compile("con|prn|aux|nul|com[0-9]|lpt[0-9]", re.IGNORECASE)


def _split_name(name: str) -> str:
    if _DEVICE_NAME.fullmatch(name):
        raise value_error(
            "is a device name, which Windows does not take for a folder", "Choose another name, such as train."
        )
    if not re.fullmatch(_SPLIT_NAME, name) or name.lower() in ("images", "labels"):
        raise value_error(
            "is not the name of a split",
            "Use up to 40 letters, digits, '-' and '_', and neither 'images' nor 'labels', which trainers interpret.",
        )
    return name


def _is_share(value: float | str) -> bool:
    try:
        return 0 < float(value) < math.inf
    except ValueError:
        return False


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
    classes: list[Text] = Field(
        default=[],
        description="Labels in the order of their class ids, for formats that number them. A shape with another label"
        " is an error. If left out, the list of the other downloads, or else the order of the names.",
    )

    @field_validator("classes")
    @classmethod
    def _each_once_and_numbered(cls, classes: list[str], info: ValidationInfo) -> list[str]:
        twice = next((label for number, label in enumerate(classes) if label in classes[:number]), None)
        if twice is not None:
            raise value_error(f"names '{twice}' twice", "Keep one of them: a label has one class id.")
        # A format that is not valid is reported alone.
        form = info.data.get("format")
        if classes and form is not None and not numbers_classes(form):
            numbering = ", ".join(name for name in format_names(writing=True) if numbers_classes(name))
            raise value_error(
                f"has no effect with the format '{form}', which has no class ids",
                f"Remove 'classes', or choose one of these formats: {numbering}.",
            )
        return classes


SplitName = Annotated[
    str,
    AfterValidator(_split_name),
    Field(json_schema_extra={"pattern": f"^{_SPLIT_NAME}$"}),
]


class Splits(Model):
    """Divides the files of a download into folders of their own below 'to', such as train, val and test."""

    by: Literal["ratio", "metadata", "query"] = Field(
        description="What decides: the ratio and the file's name, the value of a metadata field, or a query."
    )
    parts: dict[SplitName, float | str] = Field(
        description="Name of each split, and its share (such as 0.8 or 80), its value of 'field', or its query.",
        json_schema_extra={"minProperties": 1},
    )
    field: Text | None = Field(None, description="Metadata field that names the split of a file, with 'by: metadata'.")
    seed: int = Field(0, description="With 'by: ratio', another seed divides the files in another way.")

    @model_validator(mode="after")
    def _of_one_kind(self) -> Splits:
        if not self.parts:
            raise value_error("has no 'parts'", "Name at least one, such as train: 0.8.")
        if (self.field is not None) is not (self.by == "metadata"):
            remedy = "Add 'field: NAME'." if self.by == "metadata" else "Remove 'field', or set 'by: metadata'."
            raise value_error(f"is by {self.by}, {'without' if self.field is None else 'with'} a 'field'", remedy)
        for name, value in self.parts.items():
            if self.by == "ratio":
                if not _is_share(value):
                    raise value_error(f"has {value!r} as the share of '{name}'", "Write a number above 0, such as 0.8.")
            elif not isinstance(value, str) or not value.strip():
                raise value_error(f"has {value!r} for '{name}'", f"Write a text, because it is by {self.by}.")
        return self


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
    splits: Splits | None = Field(None, description="Divide the files into folders such as train, val and test.")
    metadata: bool = Field(
        False,
        description="Also write metadata.json (metadata.jsonl beside annotations with a JSON file for each image),"
        " which 'file_metadata' reads: the Tags of each file, the fields that this manifest wrote into the lake, and"
        " 'metadata_fields'. Costs a call for each file.",
    )
    metadata_fields: list[Text] = Field(
        default=[], description="More fields for 'metadata', because the lake does not list the fields that it has."
    )
    prune: bool = Field(
        False,
        description="Remove local files that this download wrote and no longer selects. Needs approval. Files that were"
        " changed since are kept.",
    )
    backup_dir: PathText | None = Field(
        None,
        description="Folder that keeps the files that 'prune' removes, under the same relative paths. It is outside of"
        " 'to'.",
    )


class TrashRule(Selection):
    """Items to move to the lake's trash, including those that other clients uploaded. Always needs approval."""

    whole: bool = Field(
        False,
        description="Trash the collection itself with all its items. Needs 'collection', without 'query' and 'filter'.",
    )
