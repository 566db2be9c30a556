"""The flags that commands share. Each has an environment variable: `--lock-timeout` is METALAKE_SYNC_LOCK_TIMEOUT.

Owns: parsing what a user types into what the engine takes. A flag beats the environment, the environment a default.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from metalake_sync.errors import UsageError

if TYPE_CHECKING:
    from metalake_sync.core.events import EventSink
    from metalake_sync.engine.session import Session

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def option(*names: str, **settings: Any) -> Callable[[CommandT], CommandT]:
    """A click option with its environment variable."""
    flag = next(name for name in names if name.startswith("--"))
    variable = "METALAKE_SYNC_" + flag.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_envvar=False, **settings)


manifest_argument = click.argument("manifest", metavar="MANIFEST")


def manifest_options(command: CommandT) -> CommandT:
    """The flags of every command that reads a manifest."""
    for decorate in (
        option("--json", "as_json", is_flag=True, help="Print JSON for machines."),
        option(
            "--state", type=click.Path(path_type=Path), help="The state file, instead of the one beside the manifest."
        ),
        option("--var-file", multiple=True, type=click.Path(), help="Read variables from a file."),
        option("--var", multiple=True, metavar="NAME=VALUE", help="Set a variable of the manifest; may be repeated."),
        option("-v", "--verbose", is_flag=True, help="Show every action, not only the first of many."),
        option("-q", "--quiet", is_flag=True, help="Show only the outcome and what went wrong."),
    ):
        command = decorate(command)
    return command


def run_options(command: CommandT) -> CommandT:
    """The flags of every command that observes."""
    for decorate in (
        option(
            "--refresh",
            type=click.Choice(["none", "list"]),
            default="list",
            show_default=True,
            help="Ask the lake what it has, or trust the records.",
        ),
        option("--checksum", is_flag=True, help="Hash every file, whatever its size and times say."),
        option(
            "--parallelism",
            type=click.IntRange(1, 1024),
            default=64,
            show_default=True,
            help="Files on the wire at once.",
        ),
        option("--bwlimit", metavar="RATE", help="Bytes per second, such as 800k or 10M."),
        option(
            "--retry-for",
            type=click.FloatRange(0),
            metavar="SECONDS",
            help="Patience with a lake that is away at the start. [default: 60]",
        ),
    ):
        command = decorate(command)
    return command


@dataclass(frozen=True, slots=True)
class Common:
    """What the shared flags came to."""

    as_json: bool
    quiet: bool
    verbose: bool


def variables(assignments: tuple[str, ...], files: tuple[str, ...]) -> dict[str, str]:
    """The manifest's variables: from files in their order, then from the command line."""
    from metalake_sync.manifest import read_var_file

    found: dict[str, str] = {}
    for file in files:
        found.update(read_var_file(Path(file)))
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"'--var {assignment}' is no assignment", remedy="Write --var NAME=VALUE.")
        found[name] = value
    return found


def open_session(
    manifest: str,
    emit: EventSink,
    *,
    state: Path | None,
    var: tuple[str, ...],
    var_file: tuple[str, ...],
    refresh: str = "list",
    checksum: bool = False,
    parallelism: int = 64,
    bwlimit: str | None = None,
    retry_for: float | None = None,
) -> Session:
    """Read the manifest and put a session together."""
    from metalake_sync.engine.options import RunOptions
    from metalake_sync.engine.session import Session
    from metalake_sync.manifest import load_manifest

    loaded = load_manifest(manifest, variables=variables(var, var_file), environment=os.environ, stdin=sys.stdin)
    options = RunOptions(
        refresh="none" if refresh == "none" else "list",
        checksum=checksum,
        parallelism=parallelism,
        bytes_per_second=rate(bwlimit) if bwlimit else None,
        retry_for_s=retry_for,
    )
    return Session(loaded, options, emit, state)


def rate(text: str) -> float:
    """Bytes per second from '800k', '10M', '1.5G' or a number; the units are decimal."""
    factors = {"k": 1e3, "m": 1e6, "g": 1e9}
    number, factor = (text[:-1], factors[text[-1].lower()]) if text[-1:].lower() in factors else (text, 1.0)
    try:
        value = float(number) * factor
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"'--bwlimit {text}' is no rate", remedy="Write bytes per second, such as 800k or 10M.")
    return value
