"""The log of a watch on standard error, as lines for people or for machines."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

from metalake_sync.cli.log_lines import json_line
from metalake_sync.cli.wording import shown
from metalake_sync.remote.redaction import redact


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
