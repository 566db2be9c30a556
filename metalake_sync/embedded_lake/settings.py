"""How a lake is to be run.

Must not: open anything.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.protocol.generations import Generation

if TYPE_CHECKING:
    import ssl

    from metalake_sync.embedded_lake.faults import FaultPlan
    from metalake_sync.embedded_lake.quirks import Quirk
    from metalake_sync.embedded_lake.storage.address import BucketAddress


@dataclass(frozen=True, slots=True)
class LakeSettings:
    """`dir`: where everything is kept. `port`: 0 takes a free one. `job_delay_s`: how long a job takes after its
    session is completed. `url_lifetime_s`: how long a signed URL works. `request_log`: a file that gets one JSON line
    for each request: method, route, effect, status and bytes, no query and no credential. `storage`: the bucket of
    the objects; None keeps them as files in `dir`. `faults`: the requests that are to be spoiled. `tls`: what it shows
    to whom; None speaks plain HTTP."""

    dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    job_delay_s: float = 0.0
    api_key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    url_lifetime_s: float = 3600.0
    request_log: Path | None = None
    storage: BucketAddress | None = None
    faults: FaultPlan | None = None
    tls: ssl.SSLContext | None = None
    generations: frozenset[Generation] = frozenset(Generation)
    """The generations of the protocol that are served, each under its own base path."""
    quirks: frozenset[Quirk] = frozenset()
    """In which ways the lake differs from the usual."""


def generate_credentials() -> tuple[str, str]:
    """A new API key and secret."""
    return f"key_{secrets.token_hex(16)}", secrets.token_hex(32)
