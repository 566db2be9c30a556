"""The log of `watch` on standard error, as text or JSON lines.

Owns: the handler and the formatters. Must not: write log records (`watch`).
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

from metalake_sync.cli.log_lines import json_line
from metalake_sync.cli.wording import shown
from metalake_sync.remote.redaction import redact


class JsonLines(logging.Formatter):
    """Formats a record as JSON, with its facts."""

    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, "facts", {})
        return json_line(record.levelname.lower(), record.getMessage(), _time(record), **facts)


class TextLines(logging.Formatter):
    """Formats a record as text: time, level for warnings and errors, and the message."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return f"{_time(record):%Y-%m-%dT%H:%M:%S}Z  {level}{shown(redact(record.getMessage()))}"


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def start_log(*, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Send the log of `watch` to standard error. `verbose`: also log each action. `quiet`: only log warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    logger = logging.getLogger("metalake_sync.watch")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
