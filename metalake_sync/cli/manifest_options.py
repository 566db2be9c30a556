"""The options of commands that read a manifest, and those of commands that make a plan of it.

A command decorated with `takes_manifest` gets a `ManifestFlags` as its first argument, then a `RunFlags` if it is
decorated with `observes`, and only its own options by name. Must not: decide what a run does. Longer than 300 lines,
because each option is stated once, with its help.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from metalake_sync.cli.options import (
    EFFORT_FLAGS,
    IGNORE_COMPATIBILITY,
    LOG_FORMAT,
    RETRY_FOR,
    CommandT,
    gathered,
    option,
    rate,
    start_is_over,
)
from metalake_sync.errors import UsageError
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.cli.listeners import Listener, TextListener
    from metalake_sync.core.events import EventSink
    from metalake_sync.core.guards import MaxDelete
    from metalake_sync.engine import Engine
    from metalake_sync.manifest import LoadedManifest
    from metalake_sync.planning.run_options import Refresh, RunOptions


@dataclass(frozen=True, slots=True)
class ManifestFlags:
    """The argument and options of every command that reads a manifest."""

    manifest: str
    as_json: bool
    state: str | None
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
        from metalake_sync.state.backends.opening import name_of

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
            default_name=name_of(self.state) if self.state is not None else None,
        )
        _check_used(self.var, loaded)
        if safe:
            from metalake_sync.sources.text_files import confine
            from metalake_sync.state.backends.opening import find_location

            state_given = find_location(self.state, None, os.environ) is not None

            confine(check_safe(loaded, os.environ.get(ORIGIN_VARIABLE), state_given=state_given))
        return loaded

    def engine(
        self,
        emit: EventSink | None = None,
        options: RunOptions | None = None,
        content: bytes | None = None,
        *,
        safe: bool = False,
    ) -> Engine:
        """Read the manifest and open the engine. `emit`: called with each event. `content`, `safe`: see `load`."""
        from metalake_sync.engine import Engine
        from metalake_sync.planning.run_options import RunOptions

        engine = Engine(
            self.load(content, safe=safe),
            options or RunOptions(),
            emit or (lambda _event: None),
            self.state,
            command_line=("metalake-sync", *sys.argv[1:]),
        )
        start_is_over()
        return engine


@dataclass(frozen=True, slots=True)
class ComparisonFlags:
    """The options of commands that compare the lake with the state. They send nothing, and read the lake in full."""

    parallelism: int | None
    retry_for: float | None
    target: tuple[str, ...]
    exclude: tuple[str, ...]
    ignore_compatibility: bool

    def options(self) -> RunOptions:
        """Return the options of the run."""
        from metalake_sync.planning.run_options import RunOptions

        return RunOptions(
            parallelism=self.parallelism,
            retry_for_s=self.retry_for,
            targets=self.target,
            excludes=self.exclude,
            ignore_compatibility=self.ignore_compatibility,
        )


@dataclass(frozen=True, slots=True)
class TransferFlags:
    """The options of commands that transfer files, without a part of the manifest to choose."""

    parallelism: int | None
    bwlimit: str | None
    retry_for: float | None
    ignore_compatibility: bool

    def options(self) -> RunOptions:
        """Return the options of the run. Raises UsageError."""
        from metalake_sync.planning.run_options import RunOptions

        return RunOptions(
            parallelism=self.parallelism,
            bytes_per_second=rate(self.bwlimit) if self.bwlimit else None,
            retry_for_s=self.retry_for,
            ignore_compatibility=self.ignore_compatibility,
        )


@dataclass(frozen=True, slots=True)
class CallFlags(TransferFlags):
    """The options of a run that concern its calls and its targets."""

    target: tuple[str, ...]

    def options(self) -> RunOptions:
        """Return the options of the run. Raises UsageError."""
        return replace(TransferFlags.options(self), targets=self.target)


@dataclass(frozen=True, slots=True)
class RunFlags(CallFlags):
    """The options of every command that makes a plan."""

    refresh: str
    checksum: bool
    exclude: tuple[str, ...]

    def options(self) -> RunOptions:
        """Return the options of the run. Raises UsageError."""
        return replace(
            CallFlags.options(self),
            refresh=cast("Refresh", self.refresh),
            checksum=self.checksum,
            excludes=self.exclude,
        )


_MANIFEST_FLAGS = (
    LOG_FORMAT,
    option("--json", "as_json", is_flag=True, help="Print JSON."),
    option(
        "--state",
        metavar="FILE|URL",
        help="Use this state: a file, or s3://, gs://, azure:// or postgresql:// for one that several machines share "
        "(default: the manifest's 'state', or a file beside it).",
    ),
    option(
        "--var-file", multiple=True, type=click.Path(), help="Read manifest variables from a file. May be repeated."
    ),
    option("--var", multiple=True, metavar="NAME=VALUE", help="Set a manifest variable. May be repeated."),
    option("-v", "--verbose", is_flag=True, help="Show every action instead of the first ones."),
    option("-q", "--quiet", is_flag=True, help="Show only the outcome and errors."),
    click.argument("manifest", metavar="MANIFEST", type=click.Path()),
)

LOCK_TIMEOUT = option(
    "--lock-timeout",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Seconds to wait for another run's lock (default: 0).",
)

SAFE = option(
    "--safe",
    is_flag=True,
    help="Refuse a manifest that runs commands, uses files outside the repository or variables that are not its own,"
    " or sends credentials to a lake other than METALAKE_SYNC_ORIGIN.",
)

TARGET = option(
    "--target",
    multiple=True,
    metavar="COLLECTION[/GLOB]",
    help="Restrict the run to a collection, or to matching files. May be repeated.",
)

EXCLUDE = option(
    "--exclude",
    multiple=True,
    metavar="COLLECTION[/GLOB]",
    help="Leave a collection, or matching files, out of the run, as they are. Skips trash rules. May be repeated.",
)

_TRANSFER_FLAGS = (IGNORE_COMPATIBILITY, *EFFORT_FLAGS)

_CALL_FLAGS = (IGNORE_COMPATIBILITY, TARGET, *EFFORT_FLAGS)

_COMPARISON_FLAGS = (
    IGNORE_COMPATIBILITY,
    EXCLUDE,
    TARGET,
    option(
        "--parallelism",
        type=click.IntRange(1, 1024),
        help="Maximum number of parallel calls (default: 64) and downloads (default: 8).",
    ),
    RETRY_FOR,
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
    EXCLUDE,
    TARGET,
    option("--checksum", is_flag=True, help="Hash every file, even if its size and times are unchanged."),
    *EFFORT_FLAGS,
)


WORKERS = option(
    "--workers",
    metavar="N|URL|MODULE:FACTORY",
    callback=lambda context, parameter, value: _workers_of(context, parameter, value),
    help="Send small files from N processes on this machine, from the workers of a Dask scheduler, or through the "
    "Executor that a function returns "
    "(default: the manifest's 'run.workers', or the process of the run).",
)


def _workers_of(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    from pydantic import TypeAdapter, ValidationError

    from metalake_sync.manifest.types import Workers

    try:
        return TypeAdapter[str](Workers).validate_python(value)
    except ValidationError as error:
        details = error.errors()[0]["ctx"]
        raise click.BadParameter(f"'{value}' {details['message']}. {details['remedy']}", context, parameter) from None


def takes_manifest(command: CommandT) -> CommandT:
    """Give a command MANIFEST and its options as the first argument. Write it above `observes`."""
    return gathered(command, _MANIFEST_FLAGS, ManifestFlags)


def observes(command: CommandT) -> CommandT:
    """Give a command the options of a run as one argument."""
    return gathered(command, _RUN_FLAGS, RunFlags)


def compares(command: CommandT) -> CommandT:
    """Give a command the options of a comparison as one argument."""
    return gathered(command, _COMPARISON_FLAGS, ComparisonFlags)


def takes_transfers(command: CommandT) -> CommandT:
    """Give a command the options of its transfers as one argument."""
    return gathered(command, _TRANSFER_FLAGS, TransferFlags)


def takes_calls(command: CommandT) -> CommandT:
    """Give a command the options of its calls as one argument."""
    return gathered(command, _CALL_FLAGS, CallFlags)


def _check_used(assignments: tuple[str, ...], manifest: LoadedManifest) -> None:
    """Raise UsageError if the manifest refers to no such variable: it is misspelled, or the manifest lost it.

    Variable files are not checked, because several manifests may share one.
    """
    for assignment in assignments:
        name = assignment.partition("=")[0]
        if name not in manifest.variables:
            import difflib

            near = difflib.get_close_matches(name, sorted(manifest.variables), n=1)
            raise UsageError(
                f"the manifest does not use the variable '{name}', which --var sets",
                where=manifest.source,
                remedy=f"Did you mean '{near[0]}'?" if near else f"Remove it, or use ${{{name}}} in the manifest.",
            )


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
    limit = MaxDelete.parse(text)
    if limit is not None:
        return limit
    raise UsageError(f"'--max-delete {text}' is not a limit", remedy="Write a number of files, such as 20, or 10%.")
