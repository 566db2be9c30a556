"""The options that commands share. Each has an environment variable: `--lock-timeout` is METALAKE_SYNC_LOCK_TIMEOUT.

Owns: parsing options. An option takes precedence over its environment variable, and that over the default. A command
decorated with `takes_manifest` gets a `ManifestFlags` as its first argument, then a `RunFlags` if it is decorated with
`observes`, and only its own options by name. Must not: decide what a run does.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from metalake_sync.errors import UsageError
from metalake_sync.format_names import can_write, format_names, is_known
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from metalake_sync.cli.listeners import Listener, TextListener
    from metalake_sync.core.events import EventSink
    from metalake_sync.core.guards import MaxDelete
    from metalake_sync.manifest import LoadedManifest
    from metalake_sync.planning.run_options import Refresh, RunOptions
    from metalake_sync.project import Project

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def option(*names: str, **settings: Any) -> Callable[[CommandT], CommandT]:
    """Return a click option with its environment variable."""
    flag = next(name for name in names if name.startswith("--"))
    variable = "METALAKE_SYNC_" + flag.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_envvar=False, **settings)


class FolderPath(click.Path):
    """A folder to write to. Empty text is an error: an unset shell variable must not mean the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("'' is not a folder; pass its path, or '.'", param, ctx)
        return super().convert(value, param, ctx)


class FormatChoice(click.ParamType[str]):
    """The name of an annotation format, built in or installed. Names are looked up when a value or a help text needs
    them."""

    name = "format"

    def __init__(self, *, writing: bool = False) -> None:
        self._writing = writing

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and is_known(value) and (not self._writing or can_write(value)):
            return value
        return self._choice().convert(value, param, ctx)

    def get_metavar(self, *context: Any, **named: Any) -> str | None:
        return self._choice().get_metavar(*context, **named)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self._choice().shell_complete(ctx, param, incomplete)

    def _choice(self) -> click.Choice[str]:
        return click.Choice(format_names(writing=self._writing))


@dataclass(frozen=True, slots=True)
class ManifestFlags:
    """The argument and options of every command that reads a manifest."""

    manifest: str
    as_json: bool
    state: Path | None
    var: tuple[str, ...]
    var_file: tuple[str, ...]
    verbose: bool
    quiet: bool
    log_format: str

    @property
    def json_log(self) -> bool:
        return self.log_format == "json"

    def listener(self) -> Listener:
        """Return the listener of a run: JSON Lines with --json, otherwise text."""
        from metalake_sync.cli.listeners import JsonListener

        return JsonListener() if self.as_json else self.words()

    def words(self, *, silent: bool = False) -> TextListener:
        """Return a listener that prints text. `silent`: print errors only, because the output is a document."""
        from metalake_sync.cli.listeners import TextListener

        return TextListener(quiet=self.quiet or silent, verbose=self.verbose, json_log=self.json_log)

    def load(self, content: bytes | None = None, *, safe: bool = False) -> LoadedManifest:
        """Read the manifest. Raises ManifestErrors, and UsageError if `safe` lacks the lake's origin.

        `content`: the manifest's bytes, if it is a pipe that was read already. `safe`: the manifest is a proposal of an
        untrusted author.
        """
        from metalake_sync.manifest import load_manifest

        environment: Mapping[str, str] = os.environ
        if safe:
            from metalake_sync.manifest.reading import is_stream
            from metalake_sync.manifest.safety import ORIGIN_VARIABLE, check_safe, check_source, safe_environment

            if not is_stream(self.manifest):
                check_source(self.manifest)
            environment = safe_environment(os.environ)
        loaded = load_manifest(
            self.manifest,
            variables=read_variables(self.var, self.var_file),
            environment=environment,
            stdin=sys.stdin,
            content=content,
            withheld=os.environ.keys() - environment.keys(),
            default_name=self.state.stem if self.state is not None else None,
        )
        if safe:
            from metalake_sync.sources.text_files import confine

            confine(check_safe(loaded, os.environ.get(ORIGIN_VARIABLE)))
        return loaded

    def project(
        self,
        emit: EventSink | None = None,
        options: RunOptions | None = None,
        content: bytes | None = None,
        *,
        safe: bool = False,
    ) -> Project:
        """Read the manifest and open the project. `emit`: called with each event. `content`, `safe`: see `load`."""
        from metalake_sync.planning.run_options import RunOptions
        from metalake_sync.project import Project

        project = Project(
            self.load(content, safe=safe), options or RunOptions(), emit or (lambda _event: None), self.state
        )
        start_is_over()
        return project


@dataclass(frozen=True, slots=True)
class RunFlags:
    """The options of every command that makes a plan."""

    refresh: str
    checksum: bool
    parallelism: int | None
    bwlimit: str | None
    retry_for: float | None
    target: tuple[str, ...]
    ignore_compatibility: bool

    def options(self) -> RunOptions:
        """Return the options of the run. Raises UsageError."""
        from metalake_sync.planning.run_options import RunOptions

        return RunOptions(
            refresh=cast("Refresh", self.refresh),
            checksum=self.checksum,
            parallelism=self.parallelism,
            bytes_per_second=rate(self.bwlimit) if self.bwlimit else None,
            retry_for_s=self.retry_for,
            targets=self.target,
            ignore_compatibility=self.ignore_compatibility,
        )


LOG_FORMAT = option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of log lines on standard error.",
)

_MANIFEST_FLAGS = (
    LOG_FORMAT,
    option("--json", "as_json", is_flag=True, help="Print JSON."),
    option(
        "--state", type=click.Path(path_type=Path), help="Use this state file (default: the one beside the manifest)."
    ),
    option(
        "--var-file", multiple=True, type=click.Path(), help="Read manifest variables from a file. May be repeated."
    ),
    option("--var", multiple=True, metavar="NAME=VALUE", help="Set a manifest variable. May be repeated."),
    option("-v", "--verbose", is_flag=True, help="Show every action instead of the first ones."),
    option("-q", "--quiet", is_flag=True, help="Show only the outcome and errors."),
    click.argument("manifest", metavar="MANIFEST"),
)

SAFE = option(
    "--safe",
    is_flag=True,
    help="Refuse a manifest that runs commands, uses files outside the repository or variables that are not its own,"
    " or sends credentials to a lake other than METALAKE_SYNC_ORIGIN.",
)

# Commands that call a lake without a plan have only these options of a run.
EFFORT_FLAGS = (
    option(
        "--parallelism",
        type=click.IntRange(1, 1024),
        help="Maximum number of parallel transfers (default: uploads adapt it, others use 64).",
    ),
    option(
        "--bwlimit",
        metavar="RATE",
        help="Limit the transfer rate, in bytes per second, such as 800k or 10M (default: no limit).",
    ),
    option(
        "--retry-for",
        type=click.FloatRange(0),
        metavar="SECONDS",
        help="Seconds to keep retrying an unreachable lake at startup (default: 60).",
    ),
)

IGNORE_COMPATIBILITY = option(
    "--ignore-compatibility",
    is_flag=True,
    help="Continue even if the lake reports that it is not compatible with this version of the protocol.",
)

_RUN_FLAGS = (
    IGNORE_COMPATIBILITY,
    option(
        "--refresh",
        type=click.Choice(["none", "list", "full"]),
        default="list",
        show_default=True,
        help="What to read from the lake: nothing, names and ids, or also sizes, metadata and shapes.",
    ),
    option(
        "--target",
        multiple=True,
        metavar="COLLECTION[/GLOB]",
        help="Restrict the run to a collection, or to matching files. May be repeated.",
    ),
    option("--checksum", is_flag=True, help="Hash every file, even if its size and times are unchanged."),
    *EFFORT_FLAGS,
)


@functools.cache
def start_is_over() -> None:
    """Exclude all loaded modules from garbage collection. Only the first call has an effect."""
    gc.freeze()
    # A plan has many objects that live as long as the run. The default thresholds cost a twentieth of its time.
    gc.set_threshold(50_000, 20, 20)


def takes_manifest(command: CommandT) -> CommandT:
    """Give a command MANIFEST and its options as the first argument. Write it above `observes`."""
    return gathered(command, _MANIFEST_FLAGS, ManifestFlags)


def observes(command: CommandT) -> CommandT:
    """Give a command the options of a run as one argument."""
    return gathered(command, _RUN_FLAGS, RunFlags)


def gathered(command: CommandT, flags: tuple[Callable[[Any], Any], ...], into: type[Any]) -> CommandT:
    """Decorate a command with options, and pass them as one object before its other arguments."""
    names = [field.name for field in fields(into)]

    @functools.wraps(command)
    def with_one_object(*gathered: Any, **values: Any) -> Any:
        own = {name: value for name, value in values.items() if name not in names}
        return command(*gathered, into(**{name: values[name] for name in names}), **own)

    decorated: Any = with_one_object
    for decorate in flags:
        decorated = decorate(decorated)
    return cast(CommandT, decorated)


def read_variables(assignments: tuple[str, ...], files: tuple[str, ...]) -> dict[str, str]:
    """Return the manifest's variables: from files in their order, then from the command line."""
    from metalake_sync.manifest import read_var_file

    found: dict[str, str] = {}
    for file in files:
        found.update(read_var_file(Path(file)))
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"'--var {assignment}' is not an assignment", remedy="Write --var NAME=VALUE.")
        found[name] = value
    return found


def max_delete_of(text: str | None) -> MaxDelete:
    """Parse --max-delete: '20', '10%' or None for the default limits. Raises UsageError."""
    from metalake_sync.core.guards import MaxDelete

    if text is None:
        return MaxDelete()
    number = text.removesuffix("%").strip()
    if text.endswith("%"):
        try:
            percent = float(number)
        except ValueError:
            percent = -1.0
        if 0 <= percent <= 100:
            return MaxDelete(percent=percent, files=None, few=0)
    elif number.isascii() and number.isdigit():
        return MaxDelete(percent=None, files=int(number), few=0)
    raise UsageError(f"'--max-delete {text}' is not a limit", remedy="Write a number of files, such as 20, or 10%.")


def rate(text: str) -> float:
    """Parse bytes per second: a number, or a number with a decimal unit, such as '800k', '10M', '1.5G'."""
    factors = {"k": 1e3, "m": 1e6, "g": 1e9}
    number, factor = (text[:-1], factors[text[-1].lower()]) if text[-1:].lower() in factors else (text, 1.0)
    try:
        value = float(number) * factor
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"'--bwlimit {text}' is not a rate", remedy="Write bytes per second, such as 800k or 10M.")
    return value
