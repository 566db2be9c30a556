"""How the lake of a manifest is reached: one far away, or the embedded one for the length of a run.

Owns: the choice, the credentials, and what identifies a lake in the state. Must not: speak the protocol.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from metalake_sync.errors import CredentialsRefused, ManifestError, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import Credentials, LoadedManifest, credential_sources, resolve_credentials
from metalake_sync.protocol.generations import Generation
from metalake_sync.remote.address import USUAL_TRUST, LakeAddress, Trust, lake_root

EMBEDDED = "embedded:"


def lake_identity(manifest: LoadedManifest) -> str:
    """What the state calls the lake of a manifest."""
    return _identity(manifest.model.remote.url)


def _identity(url: str) -> str:
    """What the state calls a lake: its address as the user wrote it, with or without `/datalake` at its end. It holds
    no credential."""
    return url.rstrip("/") if url.startswith(EMBEDDED) else lake_root(url)


@dataclass(frozen=True, slots=True)
class ReachedLake:
    """A lake that is up. `identity` is the state's name for it. `pinned`: the generation of the address is the only one
    to be tried."""

    address: LakeAddress
    identity: str
    pinned: bool = False

    @classmethod
    def at(cls, address: LakeAddress, url: str, generation: Literal["auto", 2, 3]) -> ReachedLake:
        """The lake at an address. `url`: as the user wrote it. `generation`: which one to speak; auto finds out."""
        if generation == "auto":
            return cls(address, _identity(url))
        return cls(replace(address, generation=Generation(generation)), _identity(url), pinned=True)


@contextlib.contextmanager
def reach_lake(manifest: LoadedManifest) -> Iterator[ReachedLake]:
    """Give the lake's address; start the embedded lake if the manifest asks for it, and stop it in the end. A lake that
    refuses the credentials meanwhile is told with the place that they come from."""
    remote = manifest.model.remote
    trust = Trust(
        str(manifest.base_dir / remote.ca_file) if remote.ca_file else None,
        remote.allow_insecure,
        remote.allow_local_store,
    )
    if trust.ca_file is not None:
        from metalake_sync.remote.http.tls import tls_context

        try:
            tls_context(trust.ca_file)
        except UsageError as error:
            where = manifest.where("remote", "ca_file")
            raise ManifestError(error.message, where=where, remedy=error.remedy) from None
    with open_lake(remote.url, resolve_credentials(manifest), manifest.base_dir, trust) as address:
        try:
            yield ReachedLake.at(address, remote.url, remote.generation)
        except CredentialsRefused as error:
            raise CredentialsRefused(
                error.message,
                where=manifest.where("remote"),
                remedy=f"Check what gives them: {credential_sources(manifest)}.",
            ) from None


@contextlib.contextmanager
def open_lake(
    url: str, credentials: Credentials | None, base_dir: Path, trust: Trust = USUAL_TRUST
) -> Iterator[LakeAddress]:
    """The address behind `https://…`, or behind `embedded:DIR`, whose lake runs while the block lasts; it alone can do
    without credentials."""
    if not url.startswith(EMBEDDED):
        assert credentials is not None, "every lake that is not embedded has credentials"
        yield LakeAddress(url, credentials.api_key, credentials.secret, trust)
        return
    from metalake_sync.embedded_lake import EmbeddedLake, LakeSettings

    api_key = credentials.api_key if credentials else secrets.token_hex(16)
    secret = credentials.secret if credentials else secrets.token_hex(32)
    with EmbeddedLake(LakeSettings(embedded_folder(base_dir, url), api_key=api_key, secret=secret)) as lake:
        yield LakeAddress(lake.url, api_key, secret, trust)


def embedded_folder(base_dir: Path, url: str) -> Path:
    """The folder behind `embedded:DIR`, from the manifest's own."""
    return base_dir / url.removeprefix(EMBEDDED)
