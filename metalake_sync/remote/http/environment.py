"""The proxy and the trusted CAs of a connection, from the environment and the settings, for both HTTP libraries.

Owns: the proxy variables, interpreted as curl does, and one TLS context for lake and stores. Certificates and host
names are always verified; no setting disables that. Must not: open a connection, or put a proxy's credentials into an
error.

Requests to this machine never go through a proxy: the embedded lake runs in this process, and a proxy elsewhere could
not reach it.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import re
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies

from metalake_sync.core.hosts import is_loopback
from metalake_sync.errors import UsageError
from metalake_sync.sources.opening import NotRegular

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
        raise _unusable_proxy(variable, "is not a URL") from None
    if parts.scheme.startswith("socks"):
        raise _unusable_proxy(variable, f"names a SOCKS proxy ({parts.scheme}://), which is not supported")
    if parts.scheme not in SCHEMES:
        raise _unusable_proxy(variable, f"names a proxy of the unsupported scheme '{parts.scheme}'")
    if not usable:
        raise _unusable_proxy(variable, "is not a URL")
    return proxy


def _unusable_proxy(variable: str, why: str) -> UsageError:
    return UsageError(
        f"the proxy cannot be used: {variable} {why}",
        where=variable,
        remedy=f"Set {variable} to http://HOST:PORT, or add the server's host to no_proxy.",
    )


BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""The first variable that is set replaces the system's CAs."""

CA_FILE = "remote.ca_file"

_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""The file names under which OpenSSL finds a CA in a folder. It ignores other files."""


@dataclass(frozen=True, slots=True)
class _Bundle:
    """A file or folder of CAs in its present version."""

    setting: str
    """The setting or variable that names it."""
    path: str
    modified_ns: int


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context with the CAs of the system or the environment, and those of `ca_file`.

    Raises UsageError for a file that cannot be read or contains no certificate.
    """
    variable = _bundle_variable()
    replacement = _bundle(variable, os.environ[variable]) if variable else None
    return _context(replacement, _bundle(CA_FILE, ca_file) if ca_file else None)


def _bundle_variable() -> str | None:
    return next((name for name in BUNDLE_VARIABLES if os.environ.get(name)), None)


def _bundle(setting: str, path: str) -> _Bundle:
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise NotRegular(path)
        return _Bundle(setting, path, found.st_mtime_ns)
    except OSError as error:
        raise _unusable_bundle(_Bundle(setting, path, 0), error) from None


def trusted_certificates(ca_file: str | None) -> bytes:
    """Return the CAs of `tls_context` as PEM, for a library with its own TLS. Raises UsageError."""
    tls_context(ca_file)
    variable = _bundle_variable()
    usual = ssl.get_default_verify_paths()
    if variable:
        replacement = [os.environ[variable]]
    else:
        common = usual.cafile or usual.capath
        if not common:
            import certifi

            common = certifi.where()
        # If the system has both, its folder contains the same CAs as its file, unless the environment names a folder.
        named = os.environ.get(usual.openssl_capath_env, "").split(os.pathsep)
        replacement = [common, *(folder for folder in named if os.path.isdir(folder))]
    return b"\n".join(_pem(path) for path in (*replacement, *([ca_file] if ca_file else [])))


def _pem(path: str) -> bytes:
    if not os.path.isdir(path):
        return _content(path)
    with os.scandir(path) as entries:
        contents = [_content(entry.path) for entry in entries if _HASHED_NAME.fullmatch(entry.name) and entry.is_file()]
    return b"\n".join(content for content in contents if b"-----BEGIN" in content)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


@functools.lru_cache(maxsize=4)
def _context(replacement: _Bundle | None, additional: _Bundle | None) -> ssl.SSLContext:
    # Cached because reading a bundle takes 20 ms, and a run needs the context several times.
    if replacement is None:
        context = ssl.create_default_context()
        if not any(ssl.get_default_verify_paths()[:2]):
            # Slim containers have no CAs.
            import certifi

            context.load_verify_locations(certifi.where())
    else:
        try:
            cafile, capath = _place(replacement)
            context = ssl.create_default_context(cafile=cafile, capath=capath)
        except OSError as error:
            raise _unusable_bundle(replacement, error) from None
    if additional is not None:
        try:
            context.load_verify_locations(*_place(additional))
        except OSError as error:
            raise _unusable_bundle(additional, error) from None
    return context


def _place(bundle: _Bundle) -> tuple[str | None, str | None]:
    """Return the bundle as `cafile` or `capath`."""
    return (None, bundle.path) if os.path.isdir(bundle.path) else (bundle.path, None)


def _unusable_bundle(bundle: _Bundle, error: OSError) -> UsageError:
    reason = "it contains no certificate" if isinstance(error, ssl.SSLError) else error.strerror
    return UsageError(
        f"the CAs of '{bundle.setting}' cannot be used ({reason})",
        where=bundle.path,
        remedy=f"Set {bundle.setting} to a PEM file with CA certificates.",
    )
