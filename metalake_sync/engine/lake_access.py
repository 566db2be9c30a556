"""How the lake of a manifest is reached: one far away, or the embedded one for the length of a run.

Owns: the choice, the credentials, and what identifies a lake in the state. Must not: speak the protocol.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from metalake_sync.manifest import LoadedManifest, resolve_credentials
from metalake_sync.remote.address import LakeAddress

EMBEDDED = "embedded:"


def lake_identity(manifest: LoadedManifest) -> str:
    """What the state calls the lake: its address as the manifest has it. It holds no credential."""
    return manifest.model.remote.url.rstrip("/")


@dataclass(frozen=True, slots=True)
class ReachedLake:
    """A lake that is up. `identity` is the state's name for it."""

    address: LakeAddress
    identity: str


@contextlib.contextmanager
def reach_lake(manifest: LoadedManifest) -> Iterator[ReachedLake]:
    """Give the lake's address; start the embedded lake if the manifest asks for it, and stop it in the end."""
    url = manifest.model.remote.url
    credentials = resolve_credentials(manifest)
    identity = lake_identity(manifest)
    if not url.startswith(EMBEDDED):
        assert credentials is not None, "the manifest's models demand credentials for a lake that is not embedded"
        yield ReachedLake(LakeAddress(url, credentials.api_key, credentials.secret), identity)
        return
    from metalake_sync.lake import EmbeddedLake, LakeSettings

    api_key = credentials.api_key if credentials else secrets.token_hex(16)
    secret = credentials.secret if credentials else secrets.token_hex(32)
    folder = embedded_folder(manifest.base_dir, url)
    with EmbeddedLake(LakeSettings(folder, api_key=api_key, secret=secret)) as lake:
        yield ReachedLake(LakeAddress(lake.url, api_key, secret), identity)


def embedded_folder(base_dir: Path, url: str) -> Path:
    """The folder behind `embedded:DIR`, from the manifest's own."""
    return base_dir / url.removeprefix(EMBEDDED)
