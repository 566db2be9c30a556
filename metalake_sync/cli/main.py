"""The entry point: finds the command, and turns every error into one message and its exit code.

Owns: lazy loading of commands, and the output of errors. Must not: import modules that only a run needs, because
`metalake-sync --version` and completion have to be fast.
"""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import os
import shutil
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import click

from metalake_sync import NO_PLUGINS, __version__
from metalake_sync.cli import terminal
from metalake_sync.cli.terminal import for_logs, shown, wrapped
from metalake_sync.errors import ExitCode, Interrupted, SyncError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "init": "Write a commented starter manifest.",
    "validate": "Check a manifest and its sources, offline.",
    "plan": "Show what apply would change.",
    "show": "Print a saved plan.",
    "apply": "Make the lake match the manifest.",
    "drift": "Show what changed in the lake since the last apply.",
    "check": "Verify that the lake has every synced file.",
    "import": "Adopt files that are in the lake already, or write a manifest of them.",
    "history": "Show past runs and what each of them changed.",
    "revert": "Undo a run: restore metadata and annotation sets as before it.",
    "state": "Show, copy, move, lock, rebuild or repair the state.",
    "pull": "Download files and annotations into local folders.",
    "status": "Show what is synced, pending and failed.",
    "ui": "Show plans, runs and history in the browser, and apply plans there.",
    "watch": "Watch for changes and sync them continuously.",
    "doctor": "Check configuration, state, credentials and connectivity.",
    "schema": "Print the JSON Schema of the manifest, the plan or the events.",
    "formats": "List the formats of annotations, with what they read, write and lose.",
    "item": "List, count, describe and download items.",
    "collection": "Create, describe, list, upload and download collections.",
    "metadata": "Write metadata of collections and files in the lake.",
    "annotations": "Preview, write and remove annotations.",
    "trash": "Move items or collections to the lake's trash.",
    "url": "Print a signed URL for downloading a file.",
    "job": "Show a job of the lake, or wait until it ends.",
    "lake": "Run the embedded lake as a server.",
    "completion": "Print a script that completes commands in your shell.",
    "man": "Print or write the manual pages.",
}

MODULES = {
    "init": "manifest",
    "validate": "manifest",
    "schema": "manifest",
    "show": "plan",
    "apply": "plan",
    "drift": "checks",
    "check": "checks",
    "doctor": "checks",
    "status": "history",
    "import": "adoption",
    "url": "item",
    "job": "item",
}
"""The module of each command that is not in a module of its own name."""


class LazyCommands(click.Group):
    """A group that imports the module of a command when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"metalake_sync.cli.commands.{MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command without importing any."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return found or click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing their modules."""
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

    A manifest describes what the lake should contain, plan shows the differences, and apply makes the changes.
    """


def main() -> NoReturn:
    """Run the command line and exit with a code that scripts can rely on."""
    try:
        terminal.prepare()
    except SyncError as error:
        _complain(sys.argv[1:], str(error), error.exit_code)
        sys.exit(error.exit_code)
    signal.signal(signal.SIGTERM, _interrupt)
    # Imports create many objects and no garbage. `start_is_over` sets the thresholds for the run.
    gc.set_threshold(100_000, 20, 20)
    os.environ.setdefault(*NO_PLUGINS)
    ending = _Ending()
    # Handlers run in reverse order: this one runs last.
    atexit.register(ending.leave)
    ending.code = run(sys.argv[1:])
    sys.exit(ending.code)


class _Ending:
    """Exits the process at once after threads have ended and exit handlers have run.

    Without it, Python frees every object first, which takes a fifth of the time of a run without changes.
    """

    code: int | None = None

    def leave(self) -> None:
        if self.code is None:
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            # Python reports the error itself, with its own exit code.
            return
        os._exit(self.code)


def _interrupt(*_: object) -> None:
    """Handle SIGTERM, which cancelled pipelines send, like an interruption from the keyboard."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Shells start background processes with SIGINT ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


_READ_ONLY = frozenset({"validate", "plan", "show", "status", "drift", "check", "history", "doctor"})
"""Commands that change nothing, so that there is nothing to continue after an interruption."""


def run(args: list[str]) -> int:
    """Run one command line and return its exit code. Every error is printed here, once."""
    try:
        # Outside of its standalone mode, click returns the exit code of the command.
        color = False if "NO_COLOR" in os.environ else None
        code = cli.main(args, prog_name="metalake-sync", standalone_mode=False, color=color)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.UsageError as error:
        _complain(args, error.format_message(), ExitCode.USAGE, usage=error.ctx)
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        command = next((word for word in args if not word.startswith("-")), "")
        remedy = "Finished actions are recorded. Run apply again to continue."
        if command in _READ_ONLY:
            remedy = "Nothing was sent."
        interrupted = Interrupted("interrupted", remedy=remedy)
        _complain(args, str(interrupted), interrupted.exit_code)
        return interrupted.exit_code
    except SyncError as error:
        _complain(args, str(error), error.exit_code)
        return error.exit_code
    except BrokenPipeError:
        # The reader of the output has exited. Without this, Python fails again when it flushes the pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return _report_bug(args, error)
        # Without this, Python fails again when it flushes the output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _complain(args, f"cannot write the output ({error.strerror}). Free some disk space.", ExitCode.FAILED)
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 - an internal error: reported without its message, which may have secrets
        return _report_bug(args, error)
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
        text = f"error: {shown(line)}"
        if sys.stderr.isatty():
            text = wrapped(text, shutil.get_terminal_size().columns)
        click.secho(text, fg="red", err=True, color=_colored())


def _logs_json(args: list[str]) -> bool:
    """Return whether --log-format is json. An error may occur before click parses the options."""
    written = " ".join(args).replace("--log-format=", "--log-format ")
    return "--log-format json" in written or (
        "--log-format" not in written and os.environ.get("METALAKE_SYNC_LOG_FORMAT") == "json"
    )


def _report_bug(args: list[str], error: Exception) -> int:
    place = traceback.extract_tb(error.__traceback__)[-1]
    _complain(
        args,
        f"internal error: {type(error).__name__} in {os.path.basename(place.filename)}:{place.lineno}."
        " Please report it with --log-format json output. METALAKE_SYNC_TRACEBACK=1 prints the traceback.",
        ExitCode.FAILED,
    )
    if os.environ.get("METALAKE_SYNC_TRACEBACK"):
        from metalake_sync.redaction import redact

        for line in redact("".join(traceback.format_exception(error))).splitlines():
            click.echo(shown(line), err=True)
    return ExitCode.FAILED


def _colored() -> bool:
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ
