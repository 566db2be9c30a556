"""The embedded lake: a real server of the MetaLake protocol on a loopback port, with its own store.

It knows the protocol and nothing else of ours: client and server must not share a mistake. Importing this package is
cheap; the server is loaded when it is started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from metalake_sync.embedded_lake.settings import LakeSettings, generate_credentials

if TYPE_CHECKING:
    from metalake_sync.embedded_lake.server import EmbeddedLake

__all__ = ["EmbeddedLake", "LakeSettings", "generate_credentials", "serve"]


def serve(settings: LakeSettings, announce: Callable[[str], None]) -> Mapping[str, int]:
    """Serve until SIGINT or SIGTERM. `announce` is told 'listening on URL' once requests are taken. Returns how many
    faults were injected, by kind."""
    from metalake_sync.embedded_lake.server import serve_forever

    return serve_forever(settings, announce).injected


def __getattr__(name: str) -> object:
    if name == "EmbeddedLake":
        from metalake_sync.embedded_lake.server import EmbeddedLake

        return EmbeddedLake
    raise AttributeError(name)
