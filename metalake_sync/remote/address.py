"""The address of a lake, its credentials, and where both may be sent.

Must not: put a credential into a repr or an error.
"""

from __future__ import annotations

import base64
from dataclasses import field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from metalake_sync import __version__
from metalake_sync.core.hosts import is_local_address, is_loopback, literal_address
from metalake_sync.errors import LakeAnswerInvalid, UsageError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol.routes import GENERATION_2_SUFFIX, Generation

if TYPE_CHECKING:
    from metalake_sync.protocol.routes import Route

USER_AGENT = f"metalake-sync/{__version__}"


@dataclass(frozen=True, slots=True)
class Trust:
    """Which servers are trusted."""

    ca_file: str | None = None
    """A file of CAs to trust in addition to the system's."""
    allow_insecure: bool = False
    """Allow plain HTTP to another machine."""
    allow_local_store: bool = False
    """Allow a lake on another machine to name stores on this machine or its link-local network."""


USUAL_TRUST = Trust()


def lake_root(url: str) -> str:
    """Return a lake's URL without trailing slashes and the base path of generation 2."""
    return url.rstrip("/").removesuffix(GENERATION_2_SUFFIX).rstrip("/")


@dataclass(frozen=True, slots=True)
class LakeAddress:
    """A lake's base URL, the credentials for it, and which servers are trusted.

    Raises UsageError for an address that is not an http(s) URL, that contains credentials or a query, or that would
    send the credentials over plain HTTP to another machine.
    """

    url: str
    """Without the base path of generation 2, which users may append."""
    api_key: str = field(repr=False)
    secret: str = field(repr=False)
    trust: Trust = USUAL_TRUST
    generation: Generation = Generation.TWO
    """The generation of the protocol to use. `LakeClient.greet` detects it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", lake_root(self.url))
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"the lake's address is not a URL ({error})", remedy="Write https://HOST.") from None
        if parts.scheme not in ("http", "https") or not host:
            raise UsageError("the lake's address is not a URL", remedy="Write https://HOST, or embedded:DIR.")
        if parts.username or parts.password or parts.query:
            raise UsageError("the lake's address contains credentials or a query", remedy="Use 'api_key' and 'secret'.")
        if self.forbids(parts.scheme, host):
            raise UsageError(
                f"credentials would go to {host} over plain HTTP",
                where=self.url,
                remedy="Write https:// instead, or allow it with 'remote.allow_insecure: true'.",
            )

    def url_of(self, route: Route[Any], **parts: str) -> str:
        """Return the URL of a call with the parts of its path filled in."""
        return self.url + route.at(self.generation, **parts)

    def forbids(self, scheme: str, host: str | None) -> bool:
        """Return whether this is plain HTTP to another machine that `allow_insecure` does not allow."""
        return scheme == "http" and not self.trust.allow_insecure and not is_loopback(host or "")

    def check_store(self, url: str) -> None:
        """Check a store's URL from the lake, or its origin. Raises LakeAnswerInvalid if it must not be used."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https"):
            raise self._refused("that is malformed", "Check the lake's storage settings.")
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
        """Return whether a store's host must not lead to this machine or its link-local network.

        A lake on this machine may use both, and every lake may use its own host.
        """
        host = urlsplit(self.url).hostname or ""
        address = literal_address(host)
        local = is_loopback(host) or (address is not None and is_local_address(address))
        return not local and not self.trust.allow_local_store and store.lower() != host

    def local_store(self) -> LakeAnswerInvalid:
        """Return the error for a store's URL that leads to this machine or its link-local network."""
        return self._refused(
            "that leads to this machine or its own link, although the lake is on another machine",
            "Check the lake's storage settings, or allow it with 'remote.allow_local_store: true'.",
        )

    def _refused(self, why: str, remedy: str) -> LakeAnswerInvalid:
        return LakeAnswerInvalid(f"the lake gave a URL of its store {why}", where=self.url, remedy=remedy)

    @property
    def authorization(self) -> str:
        """The value of the Authorization header."""
        return "Basic " + base64.b64encode(f"{self.api_key}:{self.secret}".encode()).decode("ascii")
