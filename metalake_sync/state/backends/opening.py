"""Which backend a state's location names: a file, or a place that several machines share.

Owns: this choice. Backends of shared states load their libraries at first use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from metalake_sync.errors import UsageError
from metalake_sync.key_stores.addresses import is_key_store_url, scheme_without_slashes, shown_address
from metalake_sync.state.backends.base import StateBackend
from metalake_sync.state.backends.file import STATE_FOLDER, FileBackend, state_path
from metalake_sync.state.database import can_be_state

STATE_VARIABLE = "METALAKE_SYNC_STATE"
KEY_PARTS = ("log", "snapshot", "lease", "fence", "backup")
"""The first parts of the keys of a shared state."""
NAME = "{name}"
"""In a location: the name of the manifest, so that one variable serves several manifests."""


def find_location(flag: str | None, in_manifest: str | None, environment: Mapping[str, str]) -> str | None:
    """Return where the state is: as the command line, the environment or the manifest says, in this order.

    None means the default file beside the manifest. Raises UsageError for an option or a variable that is empty: a
    pipeline sets an empty variable if it was not set up, and must not use a state of its own.
    """
    in_environment = environment.get(STATE_VARIABLE)
    # The command line reads the variable as its option.
    if flag is not None and flag != in_environment:
        return _not_empty(flag, "--state", "Give a file or a URL, or leave the option out.")
    if in_environment is not None:
        return _not_empty(in_environment, STATE_VARIABLE, "Set it to a file or a URL, or unset it.")
    return in_manifest


def _not_empty(location: str, name: str, remedy: str) -> str:
    if not location.strip():
        raise UsageError(f"{name} is empty", remedy=remedy)
    return location


def open_backend(location: str | None, base_dir: Path, name: str) -> StateBackend:
    """Return the backend of a location. Nothing is created yet.

    `base_dir`: where the default file and the working copies of shared states are. `name`: of the manifest. Raises
    UsageError for a URL that names no store, or that contains a password, and for a file that is not a state.
    """
    if location is None:
        return FileBackend(state_path(base_dir, name))
    location = location.replace(NAME, name)
    _check(location)
    if not is_key_store_url(location):
        return FileBackend(Path(location))
    from metalake_sync.key_stores.opening import open_key_store
    from metalake_sync.state.backends.shared import SharedBackend

    outer = location_around(location)
    return SharedBackend(
        base_dir / STATE_FOLDER,
        lambda: open_key_store(location),
        (lambda: open_key_store(outer)) if outer is not None else None,
    )


def location_around(location: str) -> str | None:
    """Return the URL of the state whose keys a location would be among, if it ends like them, such as `…/birds/log`."""
    place, question, query = location.partition("?")
    outer, _, last = place.rstrip("/").rpartition("/")
    return outer + question + query if last in KEY_PARTS and not outer.endswith("/") else None


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
    """Raise UsageError for a path that was meant to be a URL, for an unknown placeholder, and for a file that is not a
    state."""
    check_no_near_url(location, "the state")
    unknown = re.search(r"\{\w*\}", location)
    if unknown is not None:
        raise UsageError(
            f"the state {shown_address(location)!r} has an unknown placeholder {unknown[0]}", remedy=_LOCATIONS
        )
    if not is_key_store_url(location):
        _check_file(Path(location))


def check_no_near_url(text: str, what: str) -> None:
    """Raise UsageError for the path of a file that was meant to be a URL. `what`: begins the message."""
    near = scheme_without_slashes(text.strip())
    if near is not None:
        raise UsageError(f"{what} {shown_address(text)!r} begins like a URL, but has no '{near}//'", remedy=_LOCATIONS)
    if text != text.strip():
        raise UsageError(
            f"{what} {shown_address(text)!r} has blanks at its beginning or end", remedy="Remove the blanks."
        )


_LOCATIONS = (
    "Use s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, azure://CONTAINER/PREFIX, postgresql://HOST/DATABASE/PREFIX or the"
    " path of a file. '{name}' stands for the name of the manifest."
)


def _check_file(path: Path) -> None:
    """Raise UsageError for something that is not a state: a folder, data, or another program's database.

    No command may lock, replace or move it. A file in the folder of states is one, even if it is damaged.
    """
    remedy = "Nothing was changed. Correct --state, METALAKE_SYNC_STATE or 'state' in the manifest."
    if path.is_dir():
        raise UsageError("the state is a folder", where=str(path), remedy=remedy)
    if path.exists() and path.parent.name != STATE_FOLDER and not can_be_state(path):
        raise UsageError("the file is not a state", where=str(path), remedy=remedy)


def name_of(location: str) -> str:
    """Return the name that a location suggests for a manifest from standard input."""
    return Path(location.rstrip("/")).stem
