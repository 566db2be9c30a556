"""The check that a store creates a key only once. The lease of a shared state depends on it."""

from __future__ import annotations

import secrets

from metalake_sync.errors import StateError
from metalake_sync.key_stores.base import KeyStore


def check_conditional_writes(store: KeyStore) -> None:
    """Create one key twice with different bodies, then delete it.

    Raises StateError if the store allows both creations: two runs could hold the state's lease at the same time.
    """
    key = f"conditional-write-check/{secrets.token_hex(8)}"
    try:
        first, second = store.create(key, b"first"), store.create(key, b"second")
        kept = store.get(key)
    finally:
        store.delete([key])
    if not first or second or kept != b"first":
        raise StateError(
            "the store allows two creations of one key, so it cannot keep two runs apart",
            where=store.location,
            remedy="Use a store with conditional writes ('If-None-Match: *' for S3), or a newer version of this one.",
        )
