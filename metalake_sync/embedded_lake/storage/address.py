"""The value of `--storage`: `file`, or the address of a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from metalake_sync.errors import UsageError
from metalake_sync.protocol.wire import StorageKind

FILE = "file"

_KINDS = {"s3": StorageKind.S3, "azure": StorageKind.AZURE, "gs": StorageKind.GCS}


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """A bucket (Azure: a container)."""

    kind: StorageKind
    bucket: str
    prefix: str
    """Without slashes at its ends. "" is the root of the bucket."""
    endpoint: str | None
    """None is the vendor's own."""

    def __str__(self) -> str:
        scheme = next(scheme for scheme, kind in _KINDS.items() if kind is self.kind)
        return f"{scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    def key(self, path: str) -> str:
        """Return the key of a path below the prefix."""
        return f"{self.prefix}/{path}" if self.prefix else path


def parse_storage(storage: str, endpoint: str | None) -> BucketAddress | None:
    """Parse the value of `--storage`. Returns None for `file`. Raises UsageError."""
    if storage == FILE:
        if endpoint:
            raise UsageError(
                "--storage-endpoint requires a bucket", remedy="Remove it, or use --storage s3://, azure:// or gs://."
            )
        return None
    try:
        parts = urlsplit(storage)
        kind = _KINDS[parts.scheme]
        if not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError
    except (KeyError, ValueError):
        raise UsageError(
            f"the storage {storage!r} is invalid",
            remedy="Use file, s3://bucket/prefix, azure://container/prefix or gs://bucket/prefix.",
        ) from None
    if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
        raise UsageError(
            f"the storage endpoint {endpoint!r} is not a URL", remedy="Use a URL that starts with http:// or https://."
        )
    return BucketAddress(kind, parts.netloc, parts.path.strip("/"), endpoint.rstrip("/") if endpoint else None)
