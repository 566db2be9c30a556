"""A state belongs to one manifest. Otherwise, files that one manifest uploaded would look to another like removed ones.

Owns: which manifest a state belongs to. The state has the path of the manifest relative to its own folder, so that both
can move together.
"""

from __future__ import annotations

import os
from pathlib import Path

from metalake_sync.errors import GuardStopped
from metalake_sync.manifest import LoadedManifest
from metalake_sync.state.store import StateStore

OWNER = "manifest"


def claim_state(state: StateStore, manifest: LoadedManifest) -> None:
    """Record that the state belongs to this manifest. If the former manifest does not exist any more, take over.

    Raises GuardStopped if another manifest that still exists uses the state. A manifest that is not a file, such as
    standard input, does not claim the state and is accepted.
    """
    source = Path(os.path.abspath(manifest.source))
    if manifest.stream or not source.exists():
        return
    folder = os.path.abspath(state.path.parent)
    mine, owner = os.path.relpath(source, folder), state.learned(OWNER)
    if owner == mine:
        return
    if owner is not None:
        theirs = Path(os.path.normpath(os.path.join(folder, owner)))
        if theirs.exists() and not _same_text(theirs, source):
            raise GuardStopped(
                f"the state belongs to another manifest, {theirs}",
                where=str(state.path),
                remedy="Nothing was done, because each manifest would treat the other's files as removed. Give each"
                " manifest its own 'name' or --state, or merge them into one.",
            )
    with state.write():
        state.learn(OWNER, mine)


def _same_text(one: Path, other: Path) -> bool:
    """Whether two files have the same content, as in two checkouts."""
    if one.is_dir() or other.is_dir():
        return False
    return one.read_bytes() == other.read_bytes()
