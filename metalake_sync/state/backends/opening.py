"""Which backend a state's location names: a file, or a place that several machines share.

Owns: this choice. Backends of shared states load their libraries at first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metalake_sync.state.backends.base import StateBackend
from metalake_sync.state.backends.file import STATE_FOLDER, FileBackend, state_path

STATE_VARIABLE = "METALAKE_SYNC_STATE"
NAME = "{name}"
"""In a location: the name of the manifest, so that one variable serves several manifests."""


def find_location(flag: str | None, in_manifest: str | None, environment: Mapping[str, str]) -> str | None:
    """Return where the state is: as the command line, the environment or the manifest says, in this order.

    None means the default file beside the manifest.
    """
    return flag or environment.get(STATE_VARIABLE) or in_manifest


def open_backend(location: str | None, base_dir: Path, name: str) -> StateBackend:
    """Return the backend of a location. Nothing is read or created yet.

    `base_dir`: where the default file and the working copies of shared states are. `name`: of the manifest. Raises
    UsageError for a URL that names no store, or that contains a password.
    """
    if location is None:
        return FileBackend(state_path(base_dir, name))
    location = location.replace(NAME, name)
    if "://" not in location:
        return FileBackend(Path(location))
    from metalake_sync.key_stores.opening import open_key_store
    from metalake_sync.state.backends.shared import SharedBackend

    return SharedBackend(base_dir / STATE_FOLDER, lambda: open_key_store(location))


def name_of(location: str) -> str:
    """Return the name that a location suggests for a manifest from standard input."""
    return Path(location.rstrip("/")).stem
