"""Google Cloud Storage, with google-cloud-storage.

Credentials come from GOOGLE_APPLICATION_CREDENTIALS or another default source of Google's SDK.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import google.auth
import requests
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, NotFound, PreconditionFailed, RetryError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from metalake_sync.errors import UsageError
from metalake_sync.key_stores import limits
from metalake_sync.key_stores.addresses import BucketAddress
from metalake_sync.key_stores.failures import Failure, answer, why_status
from metalake_sync.redaction import describe

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
GCS_ERRORS: tuple[type[Exception], ...] = (
    GoogleAPIError,
    GoogleAuthError,
    InvalidResponse,
    DataCorruption,
    requests.RequestException,
    ConnectionError,
)

_PART_BYTES = limits.PART_BYTES >> 18 << 18
"""Google requires a multiple of 256 KiB."""


def endpoint_from(environment: Mapping[str, str]) -> str | None:
    return environment.get("STORAGE_EMULATOR_HOST") or None


def connect_gcs(endpoint: str | None, credentials: Any, project: str | None) -> Any:
    """Return a client. No call is made. Over plain HTTP, which emulators use, it sends no token."""
    # Otherwise the library reads the bucket's metadata in a thread, for traces, and needs another permission for it.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    plain = endpoint is not None and endpoint.startswith("http:")
    return storage.Client(
        project=project or "metalake",
        credentials=AnonymousCredentials() if plain else credentials,  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": endpoint} if endpoint else None,
    )


class GcsSdk:
    errors = GCS_ERRORS
    credentials = "GOOGLE_APPLICATION_CREDENTIALS to the JSON file of a service account, or the role of this machine"
    endpoint = "STORAGE_EMULATOR_HOST if it is set"

    def __init__(self, address: BucketAddress) -> None:
        credentials, project = None, None
        if address.endpoint is None or not address.endpoint.startswith("http:"):
            try:
                credentials, project = google.auth.default(scopes=[SCOPE])
            except GoogleAuthError as error:
                raise UsageError(
                    f"there are no credentials for Google Cloud Storage ({describe(error)})",
                    remedy=f"Set {self.credentials}.",
                ) from None
        self._client = connect_gcs(address.endpoint, credentials, project)
        self._bucket = self._client.bucket(address.bucket)
        self._bucket_seen = False
        self._limits: dict[str, Any] = {
            "timeout": (limits.CONNECT_TIMEOUT_S, limits.READ_TIMEOUT_S),
            "retry": DEFAULT_RETRY.with_timeout(limits.RETRY_S),
        }

    def create(self, key: str, body: bytes) -> bool:
        try:
            self._bucket.blob(key).upload_from_string(body, if_generation_match=0, **self._limits)
        except PreconditionFailed:
            return False
        return True

    def put(self, key: str, body: bytes) -> None:
        self._bucket.blob(key).upload_from_string(body, **self._limits)

    def read(self, key: str, file: BinaryIO) -> bool:
        try:
            # The SDK continues a download that broke off, and compares the checksum.
            self._bucket.blob(key).download_to_file(file, **self._limits)
        except NotFound:
            self._require_bucket()
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        for blob in self._client.list_blobs(
            self._bucket,
            prefix=prefix or None,
            page_size=limits.KEYS_PER_PAGE,
            fields="items(name),nextPageToken",
            **self._limits,
        ):
            yield blob.name

    def delete(self, key: str) -> None:
        try:
            self._bucket.blob(key).delete(**self._limits)
        except NotFound:
            self._require_bucket()

    def put_file(self, key: str, path: Path) -> None:
        with path.open("rb") as file:
            self._bucket.blob(key, chunk_size=_PART_BYTES).upload_from_file(file, **self._limits)

    def explain(self, error: Exception) -> tuple[Failure, str]:
        if isinstance(error, RetryError) and isinstance(error.cause, Exception):
            return self.explain(error.cause)
        if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
            return Failure.CREDENTIALS_REJECTED, describe(error)
        if isinstance(error, GoogleAPICallError) and error.code is not None:
            status = int(error.code)
        elif isinstance(error, InvalidResponse):
            status = int(error.response.status_code)
        else:
            return Failure.UNREACHABLE, describe(error)
        if status == 404:
            return Failure.MISSING, answer(status, None)
        return why_status(status), answer(status, None)

    def close(self) -> None:
        self._client.close()

    def _require_bucket(self) -> None:
        """Raise NotFound if the bucket does not exist. The answer is the same as for an object that does not exist."""
        if not self._bucket_seen:
            for _ in self._client.list_blobs(self._bucket, max_results=1, fields="items(name)", **self._limits):
                break
            self._bucket_seen = True
