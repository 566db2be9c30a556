"""Where a lake is and who we are there."""

from __future__ import annotations

import base64
from dataclasses import field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from metalake_sync import __version__
from metalake_sync.core.hosts import is_loopback
from metalake_sync.errors import UsageError
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

    @property
    def authorization(self) -> str:
        """The value of the Authorization header."""
        return "Basic " + base64.b64encode(f"{self.api_key}:{self.secret}".encode()).decode("ascii")
