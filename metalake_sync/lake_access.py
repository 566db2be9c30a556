"""Reaches the lake of a manifest: a remote one, or the embedded lake, started for the length of a run.

Owns: this choice, the credentials, and the identity of a lake in the state. Must not: speak the protocol.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from metalake_sync.errors import CredentialsRejected, ManifestError, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest import Credentials, LoadedManifest, credential_sources, resolve_credentials
from metalake_sync.protocol.routes import Generation
from metalake_sync.remote.address import USUAL_TRUST, LakeAddress, Trust, lake_root

EMBEDDED = "embedded:"


def lake_identity(manifest: LoadedManifest) -> str:
    """The identity of a manifest's lake in the state."""
    return _identity(manifest.model.remote.url)


def _identity(url: str) -> str:
    """The identity of a lake in the state: the address that the user wrote, without `/datalake` at its end.

    It contains no credential.
    """
    return url.rstrip("/") if url.startswith(EMBEDDED) else lake_root(url)


@dataclass(frozen=True, slots=True)
class ReachedLake:
    """A running lake."""

    address: LakeAddress
    identity: str
    """The identity of the lake in the state."""
    pinned: bool = False
    """Whether the client must use the protocol generation of the address, without trying others."""

    @classmethod
    def at(cls, address: LakeAddress, url: str, generation: Literal["auto", 2, 3]) -> ReachedLake:
        """The lake at an address. `url`: as the user wrote it. `generation`: of the protocol; `auto` detects it."""
        if generation == "auto":
            return cls(address, _identity(url))
        return cls(replace(address, generation=Generation(generation)), _identity(url), pinned=True)


@contextlib.contextmanager
def reach_lake(manifest: LoadedManifest) -> Iterator[ReachedLake]:
    """Yield the manifest's lake. An embedded lake is started before, and stopped afterwards.

    If the lake rejects the credentials meanwhile, the error names the place that they come from.
    """
    remote = manifest.model.remote
    trust = Trust(
        str(manifest.base_dir / remote.ca_file) if remote.ca_file else None,
        remote.allow_insecure,
        remote.allow_local_store,
    )
    if trust.ca_file is not None:
        from metalake_sync.remote.http.environment import tls_context

        try:
            tls_context(trust.ca_file)
        except UsageError as error:
            where = manifest.where("remote", "ca_file")
            raise ManifestError(error.message, where=where, remedy=error.remedy) from None
    with open_lake(remote.url, resolve_credentials(manifest), manifest.base_dir, trust) as address:
        try:
            yield ReachedLake.at(address, remote.url, remote.generation)
        except CredentialsRejected as error:
            raise CredentialsRejected(
                error.message,
                where=manifest.where("remote"),
                remedy=f"Check their source: {credential_sources(manifest)}.",
            ) from None


@contextlib.contextmanager
def open_lake(
    url: str, credentials: Credentials | None, base_dir: Path, trust: Trust = USUAL_TRUST
) -> Iterator[LakeAddress]:
    """Yield the address of a lake at `https://…`, or of an embedded lake at `embedded:DIR`, started for the block.

    Only an embedded lake can be opened without credentials.
    """
    if not url.startswith(EMBEDDED):
        assert credentials is not None, "only an embedded lake has no credentials"
        yield LakeAddress(url, credentials.api_key, credentials.secret, trust)
        return
    from metalake_sync.embedded_lake import EmbeddedLake, LakeSettings

    api_key = credentials.api_key if credentials else secrets.token_hex(16)
    secret = credentials.secret if credentials else secrets.token_hex(32)
    with EmbeddedLake(LakeSettings(embedded_folder(base_dir, url), api_key=api_key, secret=secret)) as lake:
        yield LakeAddress(lake.url, api_key, secret, trust)


def embedded_folder(base_dir: Path, url: str) -> Path:
    """The folder of `embedded:DIR`, relative to the manifest's folder."""
    return base_dir / url.removeprefix(EMBEDDED)
