"""The embedded lake: a real server of the MetaLake protocol on a loopback port, with its own store.

Used for trials and tests. It knows the protocol and no other part of metalake-sync, so that client and server cannot
share an error. Importing this package is cheap: the server is imported when it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from metalake_sync.embedded_lake.settings import LakeSettings, generate_credentials

if TYPE_CHECKING:
    from metalake_sync.embedded_lake.server import EmbeddedLake

__all__ = ["EmbeddedLake", "LakeSettings", "generate_credentials", "serve"]


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
