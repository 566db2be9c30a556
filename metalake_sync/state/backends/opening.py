"""Which backend a state's location names: a file, or a place that several machines share.

Owns: this choice. Backends of shared states load their libraries at first use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from metalake_sync.errors import UsageError
from metalake_sync.key_stores.addresses import is_key_store_url, scheme_without_slashes
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
    _check(location)
    if not is_key_store_url(location):
        return FileBackend(Path(location))
    from metalake_sync.key_stores.opening import open_key_store
    from metalake_sync.state.backends.shared import SharedBackend

    return SharedBackend(base_dir / STATE_FOLDER, lambda: open_key_store(location))


def check_location(location: str | None, name: str) -> str | None:
    """Check where the state is without opening it. `name`: of the manifest. Raises UsageError.

    Returns the command that installs the library of its store, if it is not installed.
    """
    if location is None:
        return None
    location = location.replace(NAME, name)
    _check(location)
    if not is_key_store_url(location):
        return None
    from metalake_sync.key_stores.opening import check_key_store_url

    return check_key_store_url(location)


def _check(location: str) -> None:
    """Raise UsageError for a path that was meant to be a URL, and for an unknown placeholder."""
    near = scheme_without_slashes(location)
    unknown = re.search(r"\{\w*\}", location)
    if near is None and unknown is None:
        return
    what = f"begins like a URL, but has no '{near}//'" if near is not None else ""
    raise UsageError(
        f"the state {location!r} {what or f'has an unknown placeholder {unknown[0] if unknown else None}'}",
        remedy="Use s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, azure://CONTAINER/PREFIX, postgresql://HOST/DATABASE/PREFIX"
        " or the path of a file. '{name}' stands for the name of the manifest.",
    )


def name_of(location: str) -> str:
    """Return the name that a location suggests for a manifest from standard input."""
    return Path(location.rstrip("/")).stem
