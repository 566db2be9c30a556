"""The settings of an embedded lake.

Must not: open files or connections.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.protocol.routes import Generation

if TYPE_CHECKING:
    import ssl

    from metalake_sync.embedded_lake.faults import FaultPlan
    from metalake_sync.embedded_lake.quirks import Quirk
    from metalake_sync.embedded_lake.storage.interface import BucketAddress


@dataclass(frozen=True, slots=True)
class LakeSettings:
    """How to run an embedded lake."""

    dir: Path
    """The folder for the database and the objects."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 selects a free port."""
    job_delay_s: float = 0.0
    """How long a job takes after its session is completed, in seconds."""
    api_key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    url_lifetime_s: float = 3600.0
    """How long signed URLs are valid, in seconds."""
    request_log: Path | None = None
    """A file for one JSON line per request: method, route, effect, status and bytes; no query and no credential."""
    storage: BucketAddress | None = None
    """The bucket of the objects. None keeps them as files in `dir`."""
    faults: FaultPlan | None = None
    """The requests that fail."""
    tls: ssl.SSLContext | None = None
    """None serves plain HTTP."""
    generations: frozenset[Generation] = frozenset(Generation)
    """The served generations of the protocol, each under its own base path."""
    quirks: frozenset[Quirk] = frozenset()
    """How the lake differs from the default behavior."""


def generate_credentials() -> tuple[str, str]:
    """Return a new API key and secret."""
    return f"key_{secrets.token_hex(16)}", secrets.token_hex(32)
