"""Lines on standard error, as text or JSON (`--log-format json`): log lines, and failed items by name.

Owns: the form of a line, the redaction of secrets, and when further failed items of one reason are counted instead of
named. Must not: change a message otherwise, or drop items from JSON or the history.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import click

from metalake_sync.cli.terminal import for_logs, say, shown
from metalake_sync.redaction import redact

SHOWN_OF_A_KIND = 10
"""How many items are named for one reason, without `--verbose`."""


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
        say(shown(message), fg="red", err=True)


class Failures:
    """The failed items of one command. Close it to print the counts."""

    def __init__(self, *, everything: bool, json_log: bool) -> None:
        self._everything = everything or json_log
        self._json_log = json_log
        self._reasons: Counter[str] = Counter()

    def report(self, item: str, reason: str) -> None:
        self._reasons[reason] += 1
        if self._everything or self._reasons[reason] <= SHOWN_OF_A_KIND:
            log_error(f"failed: {item}: {reason}", json_log=self._json_log)

    def close(self) -> None:
        """Print how many items were not named."""
        for reason, times in self._reasons.items():
            if not self._everything and times > SHOWN_OF_A_KIND:
                log_error(f"failed: … and {times - SHOWN_OF_A_KIND} more: {reason}", json_log=False)
        self._reasons.clear()
