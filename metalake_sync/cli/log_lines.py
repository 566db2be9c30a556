"""What goes to standard error while a command works: lines for people, or JSON for machines (`--log-format json`).

Owns: how records look, and that no secret slips through. Must not: change what is said.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from metalake_sync.cli.wording import for_logs, shown
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
    return for_logs(json.dumps({name: value for name, value in line.items() if value is not None}, ensure_ascii=True))


def complain(words: str, *, json_log: bool) -> None:
    """Say on standard error what went wrong."""
    if json_log:
        click.echo(json_line("error", words), err=True)
    else:
        click.secho(shown(words), fg="red", err=True)
