"""Google Cloud Storage, with google-cloud-storage.

Credentials come from GOOGLE_APPLICATION_CREDENTIALS; signing requires the key of a service account. Each object is a
resumable session, which is valid for a week, keeps the received bytes, and detects when it is complete.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import google.auth
import requests
from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable
from google.auth.exceptions import GoogleAuthError

from metalake_sync.embedded_lake.storage.bucket import PartsMissing, Place
from metalake_sync.errors import UsageError
from metalake_sync.key_stores.addresses import BucketAddress
from metalake_sync.key_stores.gcs import GCS_ERRORS, SCOPE, connect_gcs
from metalake_sync.protocol.uploads import FinishedPart

TIMEOUT_S = 60.0

_NO_BYTES = (None, "bytes=0-0")
"""The ranges of a session without bytes. Google omits the range and keeps multiples of 256 KiB only, so a range of one
byte, as emulators answer, also means no bytes."""


class GcsLibrary:
    errors = GCS_ERRORS

    def __init__(self, address: BucketAddress, url_lifetime_s: float) -> None:
        self._bucket = address.bucket
        self._endpoint = address.endpoint
        self._lifetime = timedelta(seconds=max(1.0, url_lifetime_s))
        self._signer: Any = None
        project: str | None = None
        with contextlib.suppress(GoogleAuthError):
            self._signer, project = google.auth.default(scopes=[SCOPE])
        if not hasattr(self._signer, "sign_bytes"):
            raise UsageError(
                "signing URLs for Google Cloud Storage requires the key of a service account",
                remedy="Set GOOGLE_APPLICATION_CREDENTIALS to its JSON file.",
            )
        self._client: Any = connect_gcs(address.endpoint, self._signer, project)

    def check(self) -> None:
        self._client.get_bucket(self._bucket, timeout=TIMEOUT_S)

    def exists(self, place: Place) -> bool:
        return bool(self._blob(place).exists(timeout=TIMEOUT_S))

    def start(self, place: Place, content_type: str, ticket: str) -> str:
        if ticket and _status_of(ticket).status_code not in (404, 410):
            return ticket
        session: str = self._blob(place).create_resumable_upload_session(content_type=content_type, timeout=TIMEOUT_S)
        return session

    def part_urls(self, place: Place, ticket: str, count: int) -> list[str]:
        return [ticket] * count

    def finish(self, place: Place, ticket: str, parts: Sequence[FinishedPart]) -> int:
        blob = self._blob(place)
        if not self._reload(blob):
            # The session of an empty file has not received its end yet.
            answer = _status_of(ticket)
            if len(parts) > 1 or answer.status_code != 308 or answer.headers.get("Range") not in _NO_BYTES:
                raise PartsMissing(f"The store has not received all of {len(parts)} parts")
            requests.put(ticket, headers={"Content-Range": "bytes */0"}, timeout=TIMEOUT_S).raise_for_status()
            if not self._reload(blob):
                raise PartsMissing("The store has not received the file")
        return int(blob.size)

    def remove(self, place: Place) -> None:
        try:
            self._blob(place).delete(timeout=TIMEOUT_S)
        except NotFound:
            return

    def read_url(self, place: Place) -> str:
        url: str = self._blob(place).generate_signed_url(
            version="v4",
            expiration=self._lifetime,
            method="GET",
            credentials=self._signer,
            api_access_endpoint=self._endpoint,
        )
        return url

    def head(self, place: Place, length: int) -> bytes:
        try:
            body: bytes = self._blob(place).download_as_bytes(start=0, end=length - 1, timeout=TIMEOUT_S)
        except (NotFound, RequestRangeNotSatisfiable):
            return b""
        return body

    def list(self, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
        for blob in self._client.list_blobs(bucket, prefix=prefix or None, timeout=TIMEOUT_S):
            yield blob.name, int(blob.size)

    def _blob(self, place: Place) -> Any:
        return self._client.bucket(place.bucket).blob(place.key)

    @staticmethod
    def _reload(blob: Any) -> bool:
        """Read an object's properties. Returns False if it does not exist."""
        try:
            blob.reload(timeout=TIMEOUT_S)
        except NotFound:
            return False
        return True


def _status_of(session: str) -> requests.Response:
    """Request the status of a session. Source: Cloud Storage, "Check the status of a resumable upload"."""
    return requests.put(session, headers={"Content-Range": "bytes */*"}, timeout=TIMEOUT_S, allow_redirects=False)
