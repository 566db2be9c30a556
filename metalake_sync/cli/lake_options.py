"""The options of commands that call a lake without a plan, their prompt for approval, and the output of their results.

Owns: where the address and the credentials come from: options, else a manifest's `remote`, else LAYERNEXT_URL,
LAYERNEXT_API_KEY and LAYERNEXT_SECRET. Must not: take a key as an option, because every user of the machine can read
command lines.
"""

from __future__ import annotations

import json
import os
import shlex
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
    CommandT,
    gathered,
    option,
    rate,
    start_is_over,
)
from metalake_sync.cli.terminal import ask, echo_json, say, shown
from metalake_sync.errors import UsageError
from metalake_sync.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from metalake_sync.api import MetaLake
    from metalake_sync.api.connected import ProgressCallback

ResultT = TypeVar("ResultT")

GenerationChoice = Literal["auto", 2, 3]


@dataclass(frozen=True, slots=True)
class _Remote:
    """The address and credentials of a lake, from options, environment variables or a manifest."""

    url: str
    api_key: str = field(repr=False)
    secret: str = field(repr=False)
    ca_file: Path | None = None
    allow_insecure: bool = False
    allow_local_store: bool = False
    generation: GenerationChoice = "auto"


@dataclass(frozen=True, slots=True)
class LakeFlags:
    """The options of a command that calls a lake."""

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
        """Open the lake. Raises UsageError if no lake is given, and all errors of `MetaLake`."""
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

    def _warn_of_readable_files(self) -> None:
        from metalake_sync.cli.log_lines import json_line
        from metalake_sync.manifest.credentials import readable_by_everyone

        for file in (self.api_key_file, self.secret_file):
            if file is not None and readable_by_everyone(file):
                message = f"every user of this machine can read '{file}'; run: chmod o-r {shlex.quote(str(file))}"
                if self._json_log:
                    click.echo(json_line("warning", message), err=True)
                else:
                    say(f"warning: {shown(message)}", err=True)

    def _remote(self) -> _Remote:
        if self.manifest is not None:
            return self._from_manifest(self.manifest)
        url = self.url or os.environ.get("LAYERNEXT_URL", "")
        self._warn_of_readable_files()
        if not url:
            raise UsageError("no lake is given", remedy="Pass --url or --manifest, or set LAYERNEXT_URL.")
        return _Remote(
            url,
            _credential(self.api_key_file, "LAYERNEXT_API_KEY", "--api-key-file"),
            _credential(self.secret_file, "LAYERNEXT_SECRET", "--secret-file"),
            generation=_generation(self.generation),
        )

    def _from_manifest(self, source: str) -> _Remote:
        from metalake_sync.manifest import load_manifest, resolve_credentials

        if self.url is not None:
            raise UsageError("'--url' and '--manifest' cannot be combined", remedy="Remove one of them.")
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

    # Approval and results.

    def ask(self, question: str, *, approved: bool) -> None:
        """Return if the user approved. Raises GuardStopped if not, or if no prompt is possible."""
        ask(question, approved=approved, as_json=self.as_json)

    def show(self, result: object, lines: Callable[[], Iterator[str]]) -> None:
        """Print a result as one JSON document, or as text."""
        if self.as_json:
            echo_json(json.dumps(result, indent=2, default=_plain))
            return
        for line in lines():
            say(line)

    def finish(self, call: Callable[[], ResultT], lines: Callable[[ResultT], Iterator[str]]) -> None:
        """Make a call and print its result. If a part of it failed, also print every failure, and exit with code 3."""
        from metalake_sync.api import SomeFailed
        from metalake_sync.api.arguments import translated_remedies
        from metalake_sync.cli.log_lines import Failures

        try:
            with translated_remedies(FLAGS):
                result = call()
        except SomeFailed as some:
            done = cast(ResultT, some.result)
            self.show({"result": done, "failed": some.failed}, lambda: lines(done))
            if not self.as_json:
                failures = Failures(everything=False, json_log=self._json_log)
                for failure in some.failed:
                    failures.report(failure.name, failure.error)
                failures.close()
            click.get_current_context().exit(some.exit_code)
        self.show(result, lambda: lines(result))

    @contextmanager
    def progress(self) -> Iterator[ProgressCallback]:
        """Show the progress of a long call on standard error: live on a terminal, as occasional lines elsewhere."""
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
"""Terms of the Python API in error messages → terms of the command line."""

_LAKE_FLAGS = (
    *EFFORT_FLAGS,
    IGNORE_COMPATIBILITY,
    option(
        "--generation",
        type=click.Choice(["auto", "2", "3"]),
        default="auto",
        show_default=True,
        help="Generation of the lake's protocol. With --manifest, the manifest sets it.",
    ),
    LOG_FORMAT,
    option("--json", "as_json", is_flag=True, help="Print JSON."),
    option("--manifest", metavar="MANIFEST", help="Use the lake of a manifest's 'remote'."),
    option("--secret-file", type=click.Path(path_type=Path), help="File with the secret (default: LAYERNEXT_SECRET)."),
    option(
        "--api-key-file", type=click.Path(path_type=Path), help="File with the API key (default: LAYERNEXT_API_KEY)."
    ),
    option("--url", help="Address of the lake: https://HOST or embedded:DIR (default: LAYERNEXT_URL)."),
)


def takes_lake(command: CommandT) -> CommandT:
    """Give a command the options of a lake as its first argument."""
    return gathered(command, _LAKE_FLAGS, LakeFlags)


def _generation(text: str) -> GenerationChoice:
    """Return the value of --generation."""
    choices: dict[str, GenerationChoice] = {"2": 2, "3": 3}
    return choices.get(text, "auto")


def _credential(file: Path | None, variable: str, flag: str) -> str:
    if file is None:
        return os.environ.get(variable, "")
    try:
        return file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"cannot read '{flag} {file}' ({reason})", remedy="Correct the path.") from None


def _plain(value: object) -> object:
    """Return a dataclass, a mapping or a path as a JSON value."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return asdict(cast(Any, value))
