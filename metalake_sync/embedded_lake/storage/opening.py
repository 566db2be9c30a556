"""Opens the bucket of a lake with the library of its store, which is an optional extra."""

from __future__ import annotations

from importlib import import_module

from metalake_sync.embedded_lake.storage.address import BucketAddress
from metalake_sync.embedded_lake.storage.bucket import BucketLibrary, BucketStorage
from metalake_sync.errors import UsageError
from metalake_sync.protocol.wire import StorageKind

_LIBRARIES = {
    StorageKind.S3: ("s3", "S3Library"),
    StorageKind.AZURE: ("azure", "AzureLibrary"),
    StorageKind.GCS: ("gcs", "GcsLibrary"),
}
"""Module and class. The extra has the name of the module."""


def open_bucket(address: BucketAddress, url_lifetime_s: float) -> BucketStorage:
    """Open a bucket. Raises UsageError for a missing library or credentials, StateError for an unusable bucket."""
    return BucketStorage(address, open_library(address, url_lifetime_s))


def open_library(address: BucketAddress, url_lifetime_s: float) -> BucketLibrary:
    """Create the library of a store, without calling the store. Raises UsageError."""
    extra, name = _LIBRARIES[address.kind]
    try:
        module = import_module(f"metalake_sync.embedded_lake.storage.{extra}")
    except ImportError as error:
        raise UsageError(
            f"this storage needs a library that is not installed ({error.name})",
            remedy=f"Run: pip install 'metalake-sync[{extra}]'",
        ) from None
    library: BucketLibrary = getattr(module, name)(address, url_lifetime_s)
    return library
