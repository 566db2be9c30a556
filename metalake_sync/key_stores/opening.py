"""Opening a key store from the URL that users write.

    s3://BUCKET/PREFIX                                        also S3-compatible stores, with AWS_ENDPOINT_URL_S3
    gs://BUCKET/PREFIX
    azure://CONTAINER/PREFIX
    postgresql://[USER@]HOST[:PORT]/DATABASE[/PREFIX][?…]     the query has libpq's parameters, such as sslmode=require

Owns: reading URLs, and the optional SDKs. Must not: call a store. Credentials come from the environment, as the tools
of each store take them, and never from a URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from metalake_sync.errors import StateError, UsageError

if TYPE_CHECKING:
    from metalake_sync.key_stores.addresses import BucketAddress
    from metalake_sync.key_stores.base import KeyStore

POSTGRESQL = "postgresql"

_EXAMPLES = "Use s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, azure://CONTAINER/PREFIX or postgresql://HOST/DATABASE/PREFIX."
_MODULES = {"s3": "s3", "gs": "gcs", "azure": "azure", POSTGRESQL: "postgresql"}
_EXTRAS = {"s3": "s3", "gs": "gcs", "azure": "azure", POSTGRESQL: "postgres"}
_LIBRARIES = {"s3": "boto3", "gs": "google.cloud.storage", "azure": "azure.storage.blob", POSTGRESQL: "psycopg"}
_BUCKET_NAMES = {
    "s3": r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]",
    "gs": r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]",
    "azure": r"[a-z0-9](?:-?[a-z0-9]){2,62}",
}
"""What the stores' documentation allows. Azure says container."""
_SECRET_PARAMETERS = {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}


def open_key_store(url: str, environment: Mapping[str, str] = os.environ) -> KeyStore:
    """Open a store without calling it. Raises UsageError.

    `environment` has the endpoint of S3 or Google Cloud Storage and the account of Azure. boto3, Google's SDK and libpq
    read their other variables from the process.
    """
    parsed = _parse(url)
    if isinstance(parsed, DatabaseAddress):
        store: KeyStore = load_sdk(POSTGRESQL).PostgresKeyStore(parsed.url, parsed.prefix, location=parsed.location)
        return store
    return _open_bucket(parsed, environment)


def check_key_store_url(url: str) -> str | None:
    """Check an address without the SDK of its store. Raises UsageError.

    Returns the pip command that installs the SDK if it is not installed.
    """
    parsed = _parse(url)
    scheme = POSTGRESQL if isinstance(parsed, DatabaseAddress) else parsed.scheme
    try:
        installed = find_spec(_LIBRARIES[scheme]) is not None
    except ImportError:
        installed = False
    return None if installed else _pip_command(_EXTRAS[scheme])


class DatabaseAddress(NamedTuple):
    """A database, and a prefix of the keys in it."""

    url: str
    """What libpq reads."""
    prefix: str
    location: str
    """The address as users write it, without the query."""


def _parse(url: str) -> BucketAddress | DatabaseAddress:
    """Parse the address of a store. Raises UsageError."""
    scheme = url.partition("://")[0].lower()
    if scheme not in _MODULES or not url.isprintable():
        raise UsageError(f"{_shown(url)} is not the address of a store", remedy=_EXAMPLES)
    url = scheme + url[len(scheme) :]
    if scheme == POSTGRESQL:
        return _parse_database(url)
    from metalake_sync.key_stores.addresses import parse_bucket

    parsed = parse_bucket(url, None)
    if parsed is None:
        raise UsageError(f"{_shown(url)} is not the address of a bucket", remedy=_EXAMPLES)
    if not re.fullmatch(_BUCKET_NAMES[parsed.scheme], parsed.bucket):
        raise UsageError(
            f"{_shown(url)} is not the address of a bucket: {parsed.bucket!r} cannot be the name of one",
            remedy=_EXAMPLES,
        )
    _check_prefix(parsed.prefix, url)
    return parsed


def _open_bucket(parsed: BucketAddress, environment: Mapping[str, str]) -> KeyStore:
    from metalake_sync.key_stores.addresses import AZURE, S3, BucketAddress
    from metalake_sync.key_stores.buckets import BucketKeyStore

    module = load_sdk(parsed.scheme)
    if parsed.scheme == AZURE:
        return BucketKeyStore(parsed, module.AzureSdk(parsed, environment))
    address = BucketAddress(parsed.scheme, parsed.bucket, parsed.prefix, module.endpoint_from(environment))
    return BucketKeyStore(address, (module.S3Sdk if parsed.scheme == S3 else module.GcsSdk)(address))


def _parse_database(url: str) -> DatabaseAddress:
    """Divide a URL into what libpq reads, and the prefix."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageError(f"{_shown(url)} is not the address of a database", remedy=_EXAMPLES) from None
    # A password with a slash ends what urlsplit takes for the host.
    address = url.partition("://")[2]
    if "@" in address[len(parts.netloc) :].partition("?")[0]:
        raise _password_in_url(f"{POSTGRESQL}://{address.rpartition('@')[2]}")
    user, _, host = parts.netloc.rpartition("@")
    parameters = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if ":" in user or parameters & _SECRET_PARAMETERS:
        raise _password_in_url(f"{POSTGRESQL}://{host}{parts.path}")
    if not all(_is_port(one.rpartition("]")[2].partition(":")[2]) for one in host.split(",")):
        raise UsageError(
            f"{_shown(url)} is not the address of a database: the port is not a number up to 65535", remedy=_EXAMPLES
        )
    database, _, prefix = parts.path.strip("/").partition("/")
    if not database or parts.fragment:
        raise UsageError(f"{_shown(url)} does not name a database", remedy=_EXAMPLES)
    prefix = unquote(prefix)
    _check_prefix(prefix, url)
    query = f"?{parts.query}" if parts.query else ""
    place = f"{POSTGRESQL}://{parts.netloc}/{database}"
    return DatabaseAddress(place + query, prefix, f"{place}/{prefix}" if prefix else place)


def _is_port(text: str) -> bool:
    """Whether a text can be a port. "" is the default one."""
    return not text or (text.isascii() and text.isdigit() and 0 < int(text) <= 65535)


def _password_in_url(shown: str) -> UsageError:
    return UsageError(
        "the address of a database must not contain a password",
        where=shown,
        remedy="Remove it from the address, and set PGPASSWORD, or PGPASSFILE to the path of a password file.",
    )


def load_sdk(scheme: str) -> Any:
    """Import the module of a kind of store. Raises UsageError if its SDK is not installed."""
    try:
        return import_module(f"metalake_sync.key_stores.{_MODULES[scheme]}")
    except ImportError as error:
        raise library_missing(error, _EXTRAS[scheme]) from None


def library_missing(error: ImportError, extra: str) -> UsageError:
    return UsageError(
        f"this storage needs a library that is not installed ({error.name or error})",
        remedy=f"Run: {_pip_command(extra)}",
    )


def _pip_command(extra: str) -> str:
    return f"pip install 'metalake-sync[{extra}]'"


def _check_prefix(prefix: str, url: str) -> None:
    from metalake_sync.key_stores.base import check_key

    try:
        if prefix:
            check_key(prefix)
    except StateError as error:
        raise UsageError(error.message, where=_shown(url), remedy="Use another prefix.") from None


def _shown(url: str) -> str:
    """Return a URL in quotes, without what can be a credential."""
    from metalake_sync.key_stores.addresses import shown_address

    return repr(shown_address(url))
