"""A store that creates a key twice is refused."""

from __future__ import annotations

import secrets

import pytest

from metalake_sync.errors import StateError
from metalake_sync.key_stores.conditional_writes import check_conditional_writes
from metalake_sync.key_stores.opening import open_key_store
from tests.embedded_lake.store_servers import StoreServer


def test_a_store_without_conditional_writes_is_refused(gcs_store: StoreServer) -> None:
    """gcp-storage-emulator ignores the condition."""
    name = f"careless-{secrets.token_hex(6)}"
    gcs_store.create(name)
    store = open_key_store(f"gs://{name}/birds", {"STORAGE_EMULATOR_HOST": gcs_store.endpoint})
    with pytest.raises(StateError, match="allows two creations of one key") as refused:
        check_conditional_writes(store)
    assert "Use a store with conditional writes" in str(refused.value)
    assert store.keys("") == []
    store.close()
