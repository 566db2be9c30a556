"""The entry point: finds the command, and turns every error into one message and its exit code.

Owns: lazy loading of commands and the last word on errors. Must not: import what only a run needs, because
`metalake-sync --version` and completion are expected at once.
"""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

import click

from metalake_sync import __version__
from metalake_sync.cli import streams
from metalake_sync.cli.wording import for_logs, shown
from metalake_sync.errors import ExitCode, Interrupted, SyncError

COMMANDS = {
    "init": "Write a commented starter manifest.",
    "validate": "Check a manifest and everything that it names, offline.",
    "plan": "Show what apply would do.",
    "show": "Print a saved plan.",
    "apply": "Bring the lake to what the manifest says.",
    "drift": "Show what changed in the lake since the last apply.",
    "check": "Verify that the lake has every synced file.",
    "import": "Take over what is in the lake already.",
    "history": "Show past runs, with what each changed.",
    "state": "Look at the local state, copy it, make it anew, or mend it.",
    "pull": "Bring what the lake has into local folders.",
    "status": "Show what is synced, pending and failed.",
    "watch": "Stay, and sync on every change.",
    "doctor": "Look whether everything around a manifest is fit for a run.",
    "schema": "Print the JSON Schema of the manifest, the plan or the events.",
    "item": "List, count, describe and download items.",
    "collection": "Create, describe, list, upload and download collections.",
    "metadata": "Write metadata of collections and files that are in the lake.",
    "annotations": "Draw annotations before they are sent; write and remove those of the lake.",
    "trash": "Put items or collections into the lake's trash.",
    "url": "Print a signed URL that reads a file.",
    "job": "Ask about a job of the lake, or wait for it.",
    "lake": "Run the embedded lake as a server of its own.",
}


MODULES = {"import": "import_"}
"""Commands whose module can't be called like them."""


class LazyCommands(click.Group):
    """A group whose commands live in modules that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"metalake_sync.cli.commands.{MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if near:
                raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?", ctx) from None
            raise


@click.group(
    cls=LazyCommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: metalake-sync init birds && metalake-sync apply birds/manifest.yaml",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Declarative sync of files, metadata and annotations into a LayerNext MetaLake.

    A manifest says what should be in the lake; plan shows what is missing; apply does it, and nothing else.
    """


def main() -> NoReturn:
    """Run the command line and leave with an exit code that scripts can rely on."""
    try:
        streams.prepare()
    except SyncError as error:
        _complain(sys.argv[1:], str(error), error.exit_code)
        sys.exit(error.exit_code)
    signal.signal(signal.SIGTERM, _interrupt)
    # Modules are many objects, and none of them is garbage: `start_is_over` sets what holds for the run.
    gc.set_threshold(100_000, 20, 20)
    # pydantic would look through every installed package for plugins of its own, none of which we know.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    ending = _Ending()
    # What is registered first comes last.
    atexit.register(ending.leave)
    ending.code = run(sys.argv[1:])
    sys.exit(ending.code)


class _Ending:
    """The end of the process, when its threads have ended and all else was put away: the system takes back what is
    left at once. For Python to take every object apart needs a fifth of the time of a run that has nothing to do."""

    code: int | None = None

    def leave(self) -> None:
        if self.code is None:
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            # Python says so, and has a code of its own for it.
            return
        os._exit(self.code)


def _interrupt(*_: object) -> None:
    """A pipeline that is cancelled sends SIGTERM: it is an interruption like any other."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Shells start what runs in the background without SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


_ONLY_LOOKS = frozenset({"validate", "plan", "show", "status", "drift", "check", "history", "doctor"})
"""Commands that have nothing to go on with when they are broken off."""


def run(args: list[str]) -> int:
    """Run one command line and return its exit code; every error is reported here, once."""
    try:
        # Outside of its standalone mode, click returns the code that a command left with.
        code = cli.main(args, prog_name="metalake-sync", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.UsageError as error:
        _complain(args, error.format_message(), ExitCode.USAGE, usage=error.ctx)
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        command = next((word for word in args if not word.startswith("-")), "")
        remedy = "What was finished is recorded; apply again to go on."
        if command in _ONLY_LOOKS:
            remedy = "Nothing was sent."
        interrupted = Interrupted("interrupted", remedy=remedy)
        _complain(args, str(interrupted), interrupted.exit_code)
        return interrupted.exit_code
    except SyncError as error:
        _complain(args, str(error), error.exit_code)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not trip over the pipe once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return _confess(args, error)
        # Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _complain(args, f"the output can't be written ({error.strerror}). Free some space there.", ExitCode.FAILED)
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 - the last net: a mistake of ours is reported, without what it might hold
        return _confess(args, error)
    return code if isinstance(code, int) else ExitCode.DONE


def _complain(args: list[str], message: str, code: int, usage: click.Context | None = None) -> None:
    if "--json" in args or os.environ.get("METALAKE_SYNC_JSON", "").lower() in ("1", "true", "t", "yes", "y", "on"):
        import json

        event: dict[str, Any] = {"message_type": "exit_error", "exit_code": int(code), "message": message}
        click.echo(for_logs(json.dumps(event)), err=True)
        return
    from metalake_sync.cli.log_lines import json_line

    if _logs_json(args):
        click.echo(json_line("error", message, exit_code=int(code)), err=True)
        return
    if usage is not None:
        click.echo(usage.get_usage(), err=True)
    for line in message.splitlines():
        click.secho(f"error: {shown(line)}", fg="red", err=True, color=_colored())


def _logs_json(args: list[str]) -> bool:
    """Whether --log-format is json. Errors may come before the flags are parsed, so it is read here."""
    written = " ".join(args).replace("--log-format=", "--log-format ")
    return "--log-format json" in written or (
        "--log-format" not in written and os.environ.get("METALAKE_SYNC_LOG_FORMAT") == "json"
    )


def _confess(args: list[str], error: Exception) -> int:
    place = traceback.extract_tb(error.__traceback__)[-1]
    _complain(
        args,
        f"a mistake in metalake-sync: {type(error).__name__} in {os.path.basename(place.filename)}:{place.lineno}."
        " What was finished is recorded. Please report it; METALAKE_SYNC_TRACEBACK=1 shows more.",
        ExitCode.FAILED,
    )
    if os.environ.get("METALAKE_SYNC_TRACEBACK"):
        from metalake_sync.remote.redaction import redact

        for line in redact("".join(traceback.format_exception(error))).splitlines():
            click.echo(shown(line), err=True)
    return ExitCode.FAILED


def _colored() -> bool:
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ
