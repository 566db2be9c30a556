"""Addresses as users write them: telling a URL from a path, and the parts of a bucket's, such as `s3://acme-state/birds`."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from metalake_sync.lazy_dataclass import dataclass

S3, AZURE, GCS = "s3", "azure", "gs"
BUCKET_SCHEMES = (S3, AZURE, GCS)

_SCHEMES = "s3|gs|gcs|azure|postgres|postgresql|mysql|mariadb|mongodb|redis|s?ftp|https?"
"""What a text begins with that was meant to be a URL, also of a store that is not supported."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_key_store_url(text: str) -> bool:
    """Return whether a text is a URL, not the path of a file. `open_key_store` refuses URLs that it does not know."""
    return _URL.match(text) is not None


def scheme_without_slashes(text: str) -> str | None:
    """Return the scheme with its colon if a text was meant to be a URL and lacks the `//`. Otherwise None."""
    near = re.match(
        r"(s3|gs|gcs|azure|postgres|postgresql|mysql|mariadb|mongodb|redis|s?ftp|https?):(?!//)", text, re.IGNORECASE
    )
    return near[0] if near else None


def shown_address(text: str) -> str:
    """Return an address, also an invalid one, without what can be a credential: the part before an '@', what follows a
    colon and is not a port, the query and the fragment."""
    scheme, slashes, rest = _parts(text)
    before_at, at, after_at = rest.rpartition("@")
    if at and re.search(r"[?#]", before_at):
        # It can be part of a password, or of a query.
        return f"{scheme}{slashes}***"
    place = re.split(r"[?#]", after_at, maxsplit=1)[0]
    host, colon, behind = place.partition(":")
    if not scheme or host.startswith("[") or re.match(r"\d{1,5}(/|$)", behind):
        return f"{scheme}{slashes}{place}"
    return f"{scheme}{slashes}{host}" + (":***" if colon else "")


def _parts(text: str) -> tuple[str, str, str]:
    """Divide an address into the scheme with its colon, the slashes after it, and the rest."""
    found = re.match(r"(\s*[A-Za-z][A-Za-z0-9+.-]*:)?(/*)(.*)", text, re.DOTALL)
    assert found is not None
    return found[1] or "", found[2], found[3]


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """A bucket (Azure: a container), and a prefix of the keys in it."""

    scheme: str
    """One of BUCKET_SCHEMES."""
    bucket: str
    prefix: str
    """Without slashes at its ends. "" is the root of the bucket."""
    endpoint: str | None
    """None is the vendor's own, or what the SDK finds in its settings."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    def key(self, path: str) -> str:
        """Return the key of a path below the prefix."""
        return f"{self.prefix}/{path}" if self.prefix else path


def parse_bucket(url: str, endpoint: str | None) -> BucketAddress | None:
    """Parse the URL of a bucket. Returns None for anything else, and for a URL with a query or with credentials."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in BUCKET_SCHEMES or not parts.netloc or parts.query or parts.fragment:
        return None
    if "@" in parts.netloc or ":" in parts.netloc:
        return None
    return BucketAddress(parts.scheme, parts.netloc, parts.path.strip("/"), endpoint.rstrip("/") if endpoint else None)
