"""How options are declared, and the options that most commands share. Each option has an environment variable:
`--lock-timeout` is METALAKE_SYNC_LOCK_TIMEOUT.

Owns: parsing options. An option takes precedence over its environment variable, and that over the default. Must not:
decide what a run does.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from metalake_sync.errors import UsageError
from metalake_sync.format_registry import can_write, format_names, is_known

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def option(*names: str, **settings: Any) -> Callable[[CommandT], CommandT]:
    """Return a click option with its environment variable."""
    flag = next(name for name in names if name.startswith("--"))
    variable = "METALAKE_SYNC_" + flag.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_envvar=False, **settings)


def on_command_line(flag: str) -> bool:
    """Return whether the running command got this option as a word of its command line, not from the environment."""
    from click.core import ParameterSource

    context = click.get_current_context()
    names = [one.name for one in context.command.params if flag in one.opts]
    return any(name and context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names)


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


LOG_FORMAT = option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of log lines on standard error.",
)

RETRY_FOR = option(
    "--retry-for",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Seconds to keep retrying an unreachable lake at startup (default: 60).",
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
    RETRY_FOR,
)

IGNORE_COMPATIBILITY = option(
    "--ignore-compatibility",
    is_flag=True,
    help="Continue even if the lake reports that it is not compatible with this version of the protocol.",
)


@functools.cache
def start_is_over() -> None:
    """Exclude all loaded modules from garbage collection. Only the first call has an effect."""
    gc.freeze()
    # A plan has many objects that live as long as the run. The default thresholds cost a twentieth of its time.
    gc.set_threshold(50_000, 20, 20)


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
