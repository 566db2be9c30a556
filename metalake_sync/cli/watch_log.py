"""The daemon's log on standard error: lines for people, or JSON for machines.

Owns: how records look, and that no secret slips through. Must not: change what is said.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from metalake_sync.cli.wording import shown
from metalake_sync.remote.redaction import redact


class JsonLines(logging.Formatter):
    """One object on each line: time (ISO 8601, UTC), level, message, and the record's facts."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "message": redact(record.getMessage()),
        }
        for name, value in getattr(record, "facts", {}).items():
            line[name] = redact(value) if isinstance(value, str) else value
        return json.dumps({name: value for name, value in line.items() if value is not None}, ensure_ascii=True)


class Words(logging.Formatter):
    """Time, level where it matters, and the words."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return f"{_time(record)[:19]}Z  {level}{shown(redact(record.getMessage()))}"


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def start_log(*, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Send the watching log to standard error. `verbose` shows each action; `quiet` warnings alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else Words())
    logger = logging.getLogger("metalake_sync.watch")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
