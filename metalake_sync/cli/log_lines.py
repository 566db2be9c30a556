"""What goes to standard error while a command works: lines for people, or JSON for machines (`--log-format json`).

Owns: how records look, and that no secret slips through. Must not: change what is said.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import click

from metalake_sync.cli.wording import shown
from metalake_sync.remote.redaction import redact


def json_line(level: str, message: str, time: datetime | None = None, **facts: object) -> str:
    """One object: time (ISO 8601, UTC), level, message, and facts that are not None."""
    line: dict[str, Any] = {
        "time": (time or datetime.now(UTC)).isoformat(timespec="milliseconds"),
        "level": level,
        "message": redact(message),
    }
    for name, value in facts.items():
        line[name] = redact(value) if isinstance(value, str) else value
    return json.dumps({name: value for name, value in line.items() if value is not None}, ensure_ascii=True)


def complain(words: str, *, json_log: bool) -> None:
    """Say on standard error what went wrong."""
    if json_log:
        click.echo(json_line("error", words), err=True)
    else:
        click.secho(shown(words), fg="red", err=True)


class JsonLines(logging.Formatter):
    """A record as `json_line` has it, with the record's facts."""

    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, "facts", {})
        return json_line(record.levelname.lower(), record.getMessage(), _time(record), **facts)


class Words(logging.Formatter):
    """Time, level where it matters, and the words."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return f"{_time(record):%Y-%m-%dT%H:%M:%S}Z  {level}{shown(redact(record.getMessage()))}"


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def start_log(*, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Send the watching log to standard error. `verbose` shows each action; `quiet` warnings alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else Words())
    logger = logging.getLogger("metalake_sync.watch")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
