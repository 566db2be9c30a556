"""Key stores in buckets: the common part of S3, Azure and Google Cloud Storage.

Owns: keys below the prefix, telling a lost answer from another writer, deleting in threads, and the translation of SDK
errors. Must not: know an SDK.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol

from metalake_sync.errors import SyncError
from metalake_sync.key_stores.addresses import BucketAddress
from metalake_sync.key_stores.base import check_key
from metalake_sync.key_stores.failures import Failure, failed, local_file
from metalake_sync.key_stores.limits import DELETIONS_AT_ONCE


class BucketSdk(Protocol):
    """The calls of one SDK. Keys are whole, with the prefix. Any thread may call. Methods raise `errors`."""

    errors: tuple[type[Exception], ...]
    credentials: str
    """How users set the credentials."""
    endpoint: str
    """What else a user checks if the store is away: the setting that names the server."""

    def create(self, key: str, body: bytes) -> bool:
        """Create an object. Return False if there is one."""

    def put(self, key: str, body: bytes) -> None: ...

    def read(self, key: str, file: BinaryIO) -> bool:
        """Write an object to an empty file, and verify its size. Return False if it does not exist."""

    def list(self, prefix: str) -> Iterator[str]: ...

    def delete(self, key: str) -> None:
        """Delete an object. One that does not exist is skipped."""

    def put_file(self, key: str, path: Path) -> None: ...

    def explain(self, error: Exception) -> tuple[Failure, str]:
        """Return why a call failed, and a clause without credentials that says more."""

    def close(self) -> None: ...


class BucketKeyStore:
    """Keeps bodies as objects of a bucket."""

    def __init__(self, address: BucketAddress, sdk: BucketSdk) -> None:
        self.location = str(address)
        self._address = address
        self._sdk = sdk

    def create(self, key: str, body: bytes) -> bool:
        whole = self._whole(key)
        with self._translated():
            if self._sdk.create(whole, body):
                return True
        return self.get(key) == body

    def put(self, key: str, body: bytes) -> None:
        whole = self._whole(key)
        with self._translated():
            self._sdk.put(whole, body)

    def get(self, key: str) -> bytes | None:
        whole, body = self._whole(key), io.BytesIO()
        with self._translated():
            return body.getvalue() if self._sdk.read(whole, body) else None

    def keys(self, prefix: str) -> list[str]:
        start = len(self._address.key(""))
        with self._translated():
            # Consoles of the stores keep a folder as an empty object whose key ends in a slash.
            return sorted(key[start:] for key in self._sdk.list(self._address.key(prefix)) if not key.endswith("/"))

    def delete(self, keys: Sequence[str]) -> None:
        whole = [self._whole(key) for key in keys]
        with self._translated(), ThreadPoolExecutor(DELETIONS_AT_ONCE, thread_name_prefix="store") as threads:
            for _ in threads.map(self._sdk.delete, whole):
                pass

    def put_file(self, key: str, path: Path) -> None:
        whole = self._whole(key)
        with local_file(path), self._translated():
            self._sdk.put_file(whole, path)

    def get_file(self, key: str, path: Path) -> bool:
        whole = self._whole(key)
        with local_file(path):
            with path.open("wb") as file, self._translated():
                found = self._sdk.read(whole, file)
            if not found:
                path.unlink()
            return found

    def close(self) -> None:
        self._sdk.close()

    def _whole(self, key: str) -> str:
        return self._address.key(check_key(key))

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._sdk.errors as error:
            raise self._failed(*self._sdk.explain(error)) from None
        except RecursionError:
            # boto3 follows a redirect by asking the same server again, which redirects again.
            raise self._failed(Failure.UNREACHABLE, "it redirects every call") from None

    def _failed(self, why: Failure, detail: str) -> SyncError:
        sdk = self._sdk
        return failed(why, detail, location=self.location, credentials=sdk.credentials, endpoint=sdk.endpoint)
