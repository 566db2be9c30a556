"""Determines the proxy of a request, in the same way for both HTTP libraries.

Owns: the proxy variables of the environment, interpreted as curl does. Must not: open a connection, or put a proxy's
credentials into an error.

Requests to this machine never go through a proxy: the embedded lake runs in this process, and a proxy elsewhere could
not reach it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies

from metalake_sync.core.hosts import is_loopback
from metalake_sync.errors import UsageError

_SEPARATORS = re.compile(r"[,\s]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
SCHEMES = ("http", "https")


def proxy_for(url: str, proxies: Mapping[str, str] | None = None) -> str:
    """Return the URL of the proxy for a request, or '' for none.

    `proxies`: scheme → URL, with 'all' and 'no'. None reads them from the environment. Raises UsageError for an
    unusable proxy, such as a SOCKS proxy.
    """
    known = getproxies() if proxies is None else proxies
    parts = urlsplit(url)
    host = parts.hostname or ""
    scheme = parts.scheme.lower()
    name = scheme if known.get(scheme) else "all"
    proxy = known.get(name, "")
    if not proxy or is_loopback(host) or bypasses(known.get("no", ""), host, parts.port or _DEFAULT_PORTS.get(scheme)):
        return ""
    return _checked(proxy, f"{name}_proxy")


def bypasses(no_proxy: str, host: str, port: int | None) -> bool:
    """Return whether a NO_PROXY list contains a host.

    Entries are separated by commas or blanks. An entry is a domain, which includes its subdomains, with or without a
    leading dot; an address; or a network such as 10.0.0.0/8. Domains and addresses may end in a port. A list of '*'
    matches every host. Source: curl, "NO_PROXY"; ports as in Python's urllib.
    """
    if no_proxy.strip() == "*":
        return True
    host = host.lower().rstrip(".")
    address = _address(host)
    return any(_names(entry.lower(), host, address, port) for entry in _SEPARATORS.split(no_proxy) if entry)


def _names(
    entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int | None
) -> bool:
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, only_port = _split_port(entry)
    if only_port is not None and only_port != port:
        return False
    named = _address(name)
    if address is not None or named is not None:
        return address == named
    domain = name.strip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _split_port(entry: str) -> tuple[str, int | None]:
    """Split `host:port` and `[::1]:port`. A bare IPv6 address has no port."""
    match = re.fullmatch(r"(\[[^]]*\]|[^:]*):(\d+)", entry)
    name, port = (match[1], int(match[2])) if match else (entry, None)
    return name.strip("[]"), port


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _checked(proxy: str, variable: str) -> str:
    """Return the proxy's URL with its scheme. Raises UsageError."""
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        parts = urlsplit(proxy)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise _unusable(variable, "is not a URL") from None
    if parts.scheme.startswith("socks"):
        raise _unusable(variable, f"names a SOCKS proxy ({parts.scheme}://), which is not supported")
    if parts.scheme not in SCHEMES:
        raise _unusable(variable, f"names a proxy of the unsupported scheme '{parts.scheme}'")
    if not usable:
        raise _unusable(variable, "is not a URL")
    return proxy


def _unusable(variable: str, why: str) -> UsageError:
    return UsageError(
        f"the proxy cannot be used: {variable} {why}",
        where=variable,
        remedy=f"Set {variable} to http://HOST:PORT, or add the server's host to no_proxy.",
    )
