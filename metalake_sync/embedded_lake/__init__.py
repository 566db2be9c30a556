"""The embedded lake: a real server of the MetaLake protocol on a loopback port, with its own store.

Used for trials and tests. It knows the protocol and no other part of metalake-sync, so that client and server cannot
share an error. Importing this package is cheap: the server is imported when it starts.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.protocol.routes import Generation

if TYPE_CHECKING:
    import ssl

    from metalake_sync.embedded_lake.faults import FaultPlan
    from metalake_sync.embedded_lake.quirks import Quirk
    from metalake_sync.embedded_lake.server import EmbeddedLake
    from metalake_sync.key_stores.addresses import BucketAddress

__all__ = ["EmbeddedLake", "LakeSettings", "generate_credentials", "serve"]


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


def serve(settings: LakeSettings, announce: Callable[[str], None]) -> Mapping[str, int]:
    """Serve until SIGINT or SIGTERM. Returns how many faults were injected, by kind.

    `announce` receives 'listening on URL' when the server accepts requests.
    """
    from metalake_sync.embedded_lake.server import serve_forever

    return serve_forever(settings, announce).injected


def __getattr__(name: str) -> object:
    if name == "EmbeddedLake":
        from metalake_sync.embedded_lake.server import EmbeddedLake

        return EmbeddedLake
    raise AttributeError(name)
