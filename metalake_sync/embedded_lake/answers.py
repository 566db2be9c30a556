"""What answers about collections and items have in common."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def iso_time(seconds: float) -> str:
    """A moment as the lake says it: 2026-01-31T12:00:00.000Z."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def asked_fields(
    fields: Mapping[str, Any], default: tuple[str, ...], asked: Mapping[str, bool], *, nulls: bool = False
) -> dict[str, Any]:
    """The default fields and those that were asked for, as far as they are there; `false` drops a default one. `nulls`:
    what is not there is null."""
    wanted = [name for name in default if asked.get(name, True)]
    wanted += [name for name, spec in asked.items() if spec and name not in default]
    return {name: fields.get(name) for name in wanted if nulls or name in fields}
