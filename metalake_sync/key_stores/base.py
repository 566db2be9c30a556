"""The port of a key store, and which keys every store accepts.

Owns: what an implementation must do. Must not: know any store. `tests/key_stores/test_conformance.py` has the suite
that every implementation must pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from metalake_sync.errors import StateError

MAX_KEY_BYTES = 512
"""In UTF-8. With a prefix of the same length, it fits into the 1,024 bytes of S3, Azure and Google Cloud Storage."""


class KeyStore(Protocol):
    """A place that keeps bodies under keys: a prefix of a bucket, or a table of a database. Any thread may call.

    Each call that returns has reached the store, and what it wrote is durable there. A reader sees a whole body or
    none. Calls raise StateUnreachable while the store is away, CredentialsRejected if it does not accept the
    credentials, and StateError for everything else that it refuses, such as a key that `check_key` refuses.
    """

    location: str
    """The place as users write it, such as `s3://acme-state/birds`. Never with credentials."""

    def create(self, key: str, body: bytes) -> bool:
        """Create a key. Return False if it has another body already.

        Also returns True if the body there equals `body`, because the answer to a first attempt may have been lost.
        """

    def put(self, key: str, body: bytes) -> None:
        """Create or overwrite a key."""

    def get(self, key: str) -> bytes | None:
        """Return the body of a key, or None if there is no such key."""

    def keys(self, prefix: str) -> list[str]:
        """Return all keys that start with `prefix`, sorted and relative to the location."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete keys. Skips keys that do not exist."""

    def put_file(self, key: str, path: Path) -> None:
        """Create or overwrite a key with the content of a file. Memory does not grow with its size."""

    def get_file(self, key: str, path: Path) -> bool:
        """Write the body of a key to a file, and verify its size. Return False if there is no such key.

        Memory does not grow with the size. Without the key, or after an error, the file is missing or incomplete.
        """

    def close(self) -> None:
        """Close the connections. The store cannot be used afterwards."""


def check_key(key: str) -> str:
    """Return a key that every store keeps as it is. Raises StateError for other keys.

    The parts between slashes must not be empty or end in a dot, because HTTP libraries and Azure remove such parts.
    """
    parts = key.split("/")
    if any(not part or part.endswith(".") for part in parts) or "\\" in key or not key.isprintable():
        problem = "a part is empty or ends in a dot, or a character is a backslash or not printable"
    elif len(key.encode()) > MAX_KEY_BYTES:
        problem = f"it has more than {MAX_KEY_BYTES} bytes"
    else:
        return key
    raise StateError(f"{key!r} cannot be a key of the state's store: {problem}", remedy="Use another name.")
