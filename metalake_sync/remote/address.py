"""Where a lake is and who we are there."""

from __future__ import annotations

import base64
from dataclasses import field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from metalake_sync import __version__
from metalake_sync.core.hosts import is_local_address, is_loopback, literal_address
from metalake_sync.errors import LakeAnswerInvalid, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol.generations import GENERATION_2_SUFFIX, Generation

if TYPE_CHECKING:
    from metalake_sync.protocol.routes import Route

USER_AGENT = f"metalake-sync/{__version__}"


@dataclass(frozen=True, slots=True)
class Trust:
    """`ca_file`: CAs to trust besides the usual ones. `allow_insecure`: plain HTTP to another machine."""

    ca_file: str | None = None
    allow_insecure: bool = False
    allow_local_store: bool = False
    """Let a lake elsewhere give addresses of stores on this machine or its own link."""


USUAL_TRUST = Trust()


def lake_root(url: str) -> str:
    """The URL of a lake without what does not identify it: slashes at its end, and the base path of generation 2."""
    return url.rstrip("/").removesuffix(GENERATION_2_SUFFIX).rstrip("/")


@dataclass(frozen=True, slots=True)
class LakeAddress:
    """A lake's base URL, our credentials, which stand in no repr, and whom we trust there and at its stores.

    Raises UsageError for an address that is no http(s) URL, that carries credentials itself, or that would send ours
    over plain HTTP to another machine.
    """

    url: str
    """Without the base path of generation 2, which a user may write at its end."""
    api_key: str = field(repr=False)
    secret: str = field(repr=False)
    trust: Trust = USUAL_TRUST
    generation: Generation = Generation.TWO
    """The generation of the protocol to speak. `LakeClient.greet` finds out which one the lake speaks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", lake_root(self.url))
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"the lake's address is no URL ({error})", remedy="Write https://HOST.") from None
        if parts.scheme not in ("http", "https") or not host:
            raise UsageError("the lake's address is no URL", remedy="Write https://HOST, or embedded:DIR.")
        if parts.username or parts.password or parts.query:
            raise UsageError("the lake's address carries more than an address", remedy="Give 'api_key' and 'secret'.")
        if self.forbids(parts.scheme, host):
            raise UsageError(
                f"credentials would go to {host} over plain HTTP",
                where=self.url,
                remedy="Write https:// instead, or allow it with 'remote.allow_insecure: true'.",
            )

    def url_of(self, route: Route[Any], **parts: str) -> str:
        """The URL of a call, with the names of its path filled."""
        return self.url + route.at(self.generation, **parts)

    def forbids(self, scheme: str, host: str | None) -> bool:
        """Whether this is plain HTTP to another machine, and nobody allowed that."""
        return scheme == "http" and not self.trust.allow_insecure and not is_loopback(host or "")

    def check_store(self, url: str) -> None:
        """Check an address of a store that the lake gives: at least its scheme and host. Raises LakeAnswerInvalid for
        one that cannot be used, or that must not be."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https"):
            raise self._refused("that can't be used", "Check the lake's storage settings.")
        if "@" in parts.netloc:
            raise self._refused("with a user name or password in it", "Check the lake's storage settings.")
        if self.forbids(parts.scheme, host):
            raise self._refused(
                "that is plain HTTP to another machine",
                "Give the store TLS, or allow it with 'remote.allow_insecure: true'.",
            )
        address = literal_address(host)
        if self.guards(host) and (is_loopback(host) or (address is not None and is_local_address(address))):
            raise self.local_store()

    def guards(self, store: str) -> bool:
        """Whether a store's host must not lead to this machine or its own link. A lake on this machine may use both,
        and any lake may keep files on its own host."""
        host = urlsplit(self.url).hostname or ""
        address = literal_address(host)
        local = is_loopback(host) or (address is not None and is_local_address(address))
        return not local and not self.trust.allow_local_store and store.lower() != host

    def local_store(self) -> LakeAnswerInvalid:
        """The error for a store's address that leads to this machine or its own link."""
        return self._refused(
            "that leads to this machine or its own link, although the lake is elsewhere",
            "Check the lake's storage settings, or allow it with 'remote.allow_local_store: true'.",
        )

    def _refused(self, why: str, remedy: str) -> LakeAnswerInvalid:
        return LakeAnswerInvalid(f"the lake gave an address of its store {why}", where=self.url, remedy=remedy)

    @property
    def authorization(self) -> str:
        """The value of the Authorization header."""
        return "Basic " + base64.b64encode(f"{self.api_key}:{self.secret}".encode()).decode("ascii")
