"""The trusted CAs: one TLS context for lake and stores, and for both HTTP libraries.

Certificates and host names are always verified; no setting disables that. Must not: open a connection.
"""

from __future__ import annotations

import functools
import os
import re
import ssl
import stat
from dataclasses import dataclass

from metalake_sync.errors import UsageError
from metalake_sync.sources.regular_files import NotRegular

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
    instead = _bundle(variable, os.environ[variable]) if variable else None
    return _context(instead, _bundle(CA_FILE, ca_file) if ca_file else None)


def _bundle_variable() -> str | None:
    return next((name for name in BUNDLE_VARIABLES if os.environ.get(name)), None)


def _bundle(setting: str, path: str) -> _Bundle:
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise NotRegular(path)
        return _Bundle(setting, path, found.st_mtime_ns)
    except OSError as error:
        raise _unusable(_Bundle(setting, path, 0), error) from None


def trusted_certificates(ca_file: str | None) -> bytes:
    """Return the CAs of `tls_context` as PEM, for a library with its own TLS. Raises UsageError."""
    tls_context(ca_file)
    variable = _bundle_variable()
    usual = ssl.get_default_verify_paths()
    if variable:
        instead = [os.environ[variable]]
    else:
        common = usual.cafile or usual.capath
        if not common:
            import certifi

            common = certifi.where()
        # If the system has both, its folder contains the same CAs as its file, unless the environment names a folder.
        named = os.environ.get(usual.openssl_capath_env, "").split(os.pathsep)
        instead = [common, *(folder for folder in named if os.path.isdir(folder))]
    return b"\n".join(_pem(path) for path in (*instead, *([ca_file] if ca_file else [])))


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
def _context(instead: _Bundle | None, besides: _Bundle | None) -> ssl.SSLContext:
    # Cached because reading a bundle takes 20 ms, and a run needs the context several times.
    if instead is None:
        context = ssl.create_default_context()
        if not any(ssl.get_default_verify_paths()[:2]):
            # Slim containers have no CAs.
            import certifi

            context.load_verify_locations(certifi.where())
    else:
        try:
            cafile, capath = _place(instead)
            context = ssl.create_default_context(cafile=cafile, capath=capath)
        except OSError as error:
            raise _unusable(instead, error) from None
    if besides is not None:
        try:
            context.load_verify_locations(*_place(besides))
        except OSError as error:
            raise _unusable(besides, error) from None
    return context


def _place(bundle: _Bundle) -> tuple[str | None, str | None]:
    """Return the bundle as `cafile` or `capath`."""
    return (None, bundle.path) if os.path.isdir(bundle.path) else (bundle.path, None)


def _unusable(bundle: _Bundle, error: OSError) -> UsageError:
    reason = "it contains no certificate" if isinstance(error, ssl.SSLError) else error.strerror
    return UsageError(
        f"the CAs of '{bundle.setting}' cannot be used ({reason})",
        where=bundle.path,
        remedy=f"Set {bundle.setting} to a PEM file with CA certificates.",
    )
