"""The flags of the commands that speak to a lake without a manifest's plan, and how their results are shown.

Owns: where address and credentials come from: flags, else a manifest's `remote`, else LAYERNEXT_URL, LAYERNEXT_API_KEY
and LAYERNEXT_SECRET. No flag takes a key itself: command lines can be read by everybody on the machine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import click

from metalake_sync.cli.options import (
    EFFORT_FLAGS,
    IGNORE_COMPATIBILITY,
    LOG_FORMAT,
    FormatChoice,
    gathered,
    option,
    rate,
    start_is_over,
)
from metalake_sync.cli.streams import echo_json
from metalake_sync.errors import UsageError
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.api import ItemFilter, ItemSort, MetaLake
    from metalake_sync.api.connected import ContentType, ProgressCallback

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
ResultT = TypeVar("ResultT")

TYPES = click.Choice(["image", "video", "other"])
KINDS = click.Choice(["human", "machine"])
READ_FORMATS = FormatChoice()
WRITTEN_FORMATS = FormatChoice(writing=True)
GenerationChoice = Literal["auto", 2, 3]
NAMINGS = click.Choice(["unique_name", "name"])
SHAPE_TYPES = click.Choice(["rectangle", "polygon", "line", "points"])


@dataclass(frozen=True, slots=True)
class _Remote:
    """A lake as flags, variables or a manifest name it."""

    url: str
    api_key: str = field(repr=False)
    secret: str = field(repr=False)
    ca_file: Path | None = None
    allow_insecure: bool = False
    allow_local_store: bool = False
    generation: GenerationChoice = "auto"


@dataclass(frozen=True, slots=True)
class LakeFlags:
    """The flags of a command that speaks to a lake."""

    url: str | None
    api_key_file: Path | None
    secret_file: Path | None
    manifest: str | None
    as_json: bool
    parallelism: int | None
    bwlimit: str | None
    retry_for: float | None
    ignore_compatibility: bool
    generation: str
    log_format: str

    @property
    def _json_log(self) -> bool:
        return self.log_format == "json"

    @contextmanager
    def lake(self) -> Iterator[MetaLake]:
        """Open the lake. Raises UsageError where nothing says which, and what `MetaLake` raises."""
        from metalake_sync.api import MetaLake
        from metalake_sync.cli.listeners import PlainDisplay

        remote = self._remote()
        with MetaLake(
            remote.url,
            remote.api_key,
            remote.secret,
            ca_file=remote.ca_file,
            allow_insecure=remote.allow_insecure,
            allow_local_store=remote.allow_local_store,
            generation=remote.generation,
            ignore_compatibility=self.ignore_compatibility,
            parallelism=self.parallelism,
            bytes_per_second=rate(self.bwlimit) if self.bwlimit else None,
            retry_for_s=60.0 if self.retry_for is None else self.retry_for,
            waiting=PlainDisplay(quiet=False, json_log=self._json_log).waiting,
        ) as lake:
            start_is_over()
            yield lake

    def _remote(self) -> _Remote:
        if self.manifest is not None:
            return self._from_manifest(self.manifest)
        url = self.url or os.environ.get("LAYERNEXT_URL", "")
        if not url:
            raise UsageError(
                "nothing says which lake is meant", remedy="Give --url or --manifest, or set LAYERNEXT_URL."
            )
        return _Remote(
            url,
            _credential(self.api_key_file, "LAYERNEXT_API_KEY", "--api-key-file"),
            _credential(self.secret_file, "LAYERNEXT_SECRET", "--secret-file"),
            generation=_generation(self.generation),
        )

    def _from_manifest(self, source: str) -> _Remote:
        from metalake_sync.manifest import load_manifest, resolve_credentials

        if self.url is not None:
            raise UsageError("'--url' and '--manifest' both say which lake is meant", remedy="Keep one of them.")
        manifest = load_manifest(source, environment=os.environ, stdin=sys.stdin)
        credentials = resolve_credentials(manifest)
        remote = manifest.model.remote
        url = remote.url
        if remote.embedded:
            url = "embedded:" + str((manifest.base_dir / url.removeprefix("embedded:")).absolute())
        return _Remote(
            url,
            credentials.api_key if credentials else "",
            credentials.secret if credentials else "",
            manifest.base_dir / remote.ca_file if remote.ca_file else None,
            remote.allow_insecure,
            remote.allow_local_store,
            remote.generation,
        )

    # Results.

    def show(self, result: object, lines: Callable[[], Iterator[str]]) -> None:
        """Print a result: as one JSON document, or as lines for people."""
        if self.as_json:
            echo_json(json.dumps(result, indent=2, default=_plain))
            return
        for line in lines():
            click.echo(line)

    def finish(self, call: Callable[[], ResultT], lines: Callable[[ResultT], Iterator[str]]) -> None:
        """Make a call that may fail in part: what was done is shown, and every failure is named, with exit code 3."""
        from metalake_sync.api import SomeFailed
        from metalake_sync.api.wording import translated_remedies
        from metalake_sync.cli.failures import Failures

        try:
            with translated_remedies(FLAGS):
                result = call()
        except SomeFailed as some:
            done = cast(ResultT, some.result)
            self.show({"result": done, "failed": some.failed}, lambda: lines(done))
            if not self.as_json:
                failures = Failures(everything=False, json_log=self._json_log)
                for failure in some.failed:
                    failures.tell(failure.name, failure.error)
                failures.close()
            click.get_current_context().exit(some.exit_code)
        self.show(result, lambda: lines(result))

    @contextmanager
    def progress(self) -> Iterator[ProgressCallback]:
        """Where a long call stands, on standard error: it moves on a terminal, and is a line now and then elsewhere."""
        from metalake_sync.cli.listeners import LiveDisplay, PlainDisplay

        live = sys.stderr.isatty() and not self.as_json and not self._json_log
        display = LiveDisplay() if live else PlainDisplay(self.as_json, self._json_log)
        try:
            yield display.progress
        finally:
            display.close()


FLAGS = {
    "'normalized=True'": "'--normalized'",
    'existing="replace"': "--replace",
    "'recursive'": "'--recursive'",
}
"""From Python's words to those of the command line."""

_LAKE_FLAGS = (
    *EFFORT_FLAGS,
    IGNORE_COMPATIBILITY,
    option(
        "--generation",
        type=click.Choice(["auto", "2", "3"]),
        default="auto",
        show_default=True,
        help="The generation of the lake's protocol, instead of finding out. --manifest says it itself.",
    ),
    LOG_FORMAT,
    option("--json", "as_json", is_flag=True, help="Print JSON for machines."),
    option("--manifest", metavar="MANIFEST", help="Take the lake from a manifest's 'remote'."),
    option("--secret-file", type=click.Path(path_type=Path), help="A file with the secret. [LAYERNEXT_SECRET]"),
    option("--api-key-file", type=click.Path(path_type=Path), help="A file with the API key. [LAYERNEXT_API_KEY]"),
    option("--url", help="https://HOST of the lake, or embedded:DIR. [LAYERNEXT_URL]"),
)


def takes_lake(command: CommandT) -> CommandT:
    """Give a command the flags of a lake, as its first argument."""
    return gathered(command, _LAKE_FLAGS, LakeFlags)


@dataclass(frozen=True, slots=True)
class SelectionFlags:
    """The flags that narrow a selection."""

    query: str
    annotated: tuple[str, ...]
    from_date: str | None
    to_date: str | None

    def filter(self) -> ItemFilter:
        from metalake_sync.api import ItemFilter

        return ItemFilter(cast(Any, self.annotated), self.from_date, self.to_date)


_SELECTION_FLAGS = (
    option("--to-date", metavar="DATE", help="In the lake until that day, itself included."),
    option("--from-date", metavar="DATE", help="In the lake since that day."),
    option(
        "--annotated",
        type=click.Choice(["raw", "human", "machine"]),
        multiple=True,
        help="Annotated by people or by models; raw: by nobody. May be repeated.",
    ),
    option("--query", default="", help="As in the web page, such as annotation.label=Bird or metadata.Tags=skip."),
)


def narrows(command: CommandT) -> CommandT:
    """Give a command the flags of a selection, as one argument."""
    return gathered(command, _SELECTION_FLAGS, SelectionFlags)


def takes_form(command: CommandT) -> CommandT:
    """Give a command `old_form` and `shape_type`: the form of MetaLake's annotation JSON."""
    command = option(
        "--shape-type",
        type=SHAPE_TYPES,
        help="MetaLake's JSON: the type of shapes without 'type'; left out: by the file, or the coordinates' key.",
    )(command)
    return option(
        "--old-form/--new-form",
        "old_form",
        default=None,
        help="MetaLake's JSON: 'metadata' of a shape holds attributes of its label, or does not; left out: it does for "
        "shapes without 'type'.",
    )(command)


@dataclass(frozen=True, slots=True)
class PlaceFlags:
    """Where a selection looks: a collection, or the whole lake."""

    collection: str | None
    content_type: ContentType | None
    lake: ContentType | None

    def check(self) -> None:
        """Raises UsageError unless exactly one is meant."""
        if (self.collection is None) == (self.lake is None):
            raise UsageError("say where to look", remedy="Give either --collection NAME or --lake TYPE.")


_PLACE_FLAGS = (
    option("--lake", type=TYPES, help="All items of this type, in whatever collection."),
    option("--type", "content_type", type=TYPES, help="The collection's type, where the lake has several of the name."),
    option("--collection", metavar="NAME", help="The collection to look in."),
)


def takes_place(command: CommandT) -> CommandT:
    """Give a command the flags of a place, as one argument."""
    return gathered(command, _PLACE_FLAGS, PlaceFlags)


def sort_options(command: CommandT) -> CommandT:
    """--sort and --order."""
    command = option(
        "--order", type=click.Choice(["asc", "desc"]), default="asc", show_default=True, help="Of --sort."
    )(command)
    fields = ["date_modified", "date_created", "name", "size", "video_index"]
    return option("--sort", "sort_field", type=click.Choice(fields), default="date_created", show_default=True)(command)


def item_sort(field: str, order: str) -> ItemSort:
    from metalake_sync.api import ItemSort

    return ItemSort(cast(Any, field), cast(Literal["asc", "desc"], order))


def metadata_options(command: CommandT) -> CommandT:
    """--set and --tag, which `metadata_of` reads."""
    command = option("--tag", "tags", multiple=True, help="A tag; may be repeated.")(command)
    return option(
        "--set",
        "assignments",
        multiple=True,
        metavar="FIELD=VALUE",
        help="A metadata field with a text; FIELD:=JSON for other values. May be repeated.",
    )(command)


def metadata_of(assignments: tuple[str, ...], tags: tuple[str, ...]) -> dict[str, Any]:
    """Metadata from the command line. Raises UsageError."""
    found: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.rstrip(":"):
            raise UsageError(f"'--set {assignment}' is no assignment", remedy="Write --set FIELD=VALUE.")
        if name.endswith(":"):
            try:
                found[name[:-1]] = json.loads(value)
            except ValueError:
                raise UsageError(f"'--set {assignment}' holds no JSON", remedy="Write --set FIELD:=42.") from None
        else:
            found[name] = value
    if tags:
        found["Tags"] = list(tags)
    return found


def _generation(text: str) -> GenerationChoice:
    """What the flag means."""
    choices: dict[str, GenerationChoice] = {"2": 2, "3": 3}
    return choices.get(text, "auto")


def _credential(file: Path | None, variable: str, flag: str) -> str:
    if file is None:
        return os.environ.get(variable, "")
    try:
        return file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8"
        raise UsageError(f"'{flag} {file}' can't be read ({reason})", remedy="Correct the path.") from None


def _plain(value: object) -> object:
    """Dataclasses and paths as JSON."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return asdict(cast(Any, value))
