"""Whom we trust: one TLS context for lake and stores, for both HTTP libraries.

Certificates and host names are always verified; there is no switch for that. Must not: open a connection.
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
"""The first that is set names what is trusted instead of the system's CAs."""

CA_FILE = "remote.ca_file"

_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""How OpenSSL looks for a CA in a folder: it trusts no other file there."""


@dataclass(frozen=True, slots=True)
class _Bundle:
    """A file or folder of CAs as it is now. `setting`: what names it."""

    setting: str
    path: str
    modified_ns: int


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """The system's CAs, or those of the environment, and those of `ca_file` besides.

    Raises UsageError for a file that can't be read or holds no certificate.
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
    """What `tls_context` trusts, as PEM, for a library that has its own TLS. Raises as that does."""
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
        # Where the system has both, its folder holds what its file does, unless somebody named it.
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
    # Reading a bundle takes 20 ms; a run asks several times, and a watch forever.
    if instead is None:
        context = ssl.create_default_context()
        if not any(ssl.get_default_verify_paths()[:2]):
            # A slim container has no CAs of its own.
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
    """As a file, or as a folder of hashed names."""
    return (None, bundle.path) if os.path.isdir(bundle.path) else (bundle.path, None)


def _unusable(bundle: _Bundle, error: OSError) -> UsageError:
    reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
    return UsageError(
        f"the CAs that '{bundle.setting}' names can't be used ({reason})",
        where=bundle.path,
        remedy="It names a PEM file with the certificates of CAs.",
    )
