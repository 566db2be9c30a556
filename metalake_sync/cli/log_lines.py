"""Log lines on standard error: text, or JSON (`--log-format json`).

Owns: the form of a line, and the redaction of secrets. Must not: change the message otherwise.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from metalake_sync.cli.wording import for_logs, shown
from metalake_sync.remote.redaction import redact


def json_line(level: str, message: str, time: datetime | None = None, **facts: object) -> str:
    """Return one JSON object: time (ISO 8601, UTC), level, message, and facts that are not None."""
    line: dict[str, Any] = {
        "time": (time or datetime.now(UTC)).isoformat(timespec="milliseconds"),
        "level": level,
        "message": redact(message),
    }
    for name, value in facts.items():
        line[name] = redact(value) if isinstance(value, str) else value
    return for_logs(json.dumps({name: value for name, value in line.items() if value is not None}, ensure_ascii=True))


def log_error(message: str, *, json_log: bool) -> None:
    """Print an error on standard error."""
    if json_log:
        click.echo(json_line("error", message), err=True)
    else:
        click.secho(shown(message), fg="red", err=True)
