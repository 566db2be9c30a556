"""One state, one manifest: what one has put into a lake must not look to another like what left it.

Owns: which manifest a state belongs to. It is known by its path from the state's folder: both can move
together.
"""

from __future__ import annotations

import os
from pathlib import Path

from metalake_sync.errors import GuardStopped
from metalake_sync.manifest import LoadedManifest
from metalake_sync.state.store import StateStore

OWNER = "manifest"


def claim_state(state: StateStore, manifest: LoadedManifest) -> None:
    """Make the state this manifest's. One whose own manifest is gone from its place is taken over, as after a rename.

    Raises GuardStopped where another manifest, which still stands, uses the state. A manifest that is no file, such as
    standard input, neither claims a state nor is refused.
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
                remedy="Nothing was done: files of the one would look to the other as if they had left it. Give each"
                " manifest a 'name' or a --state of its own, or merge them into one.",
            )
    with state.write():
        state.learn(OWNER, mine)


def _same_text(one: Path, other: Path) -> bool:
    """Whether two files are copies of each other, as in two checkouts."""
    if one.is_dir() or other.is_dir():
        return False
    return one.read_bytes() == other.read_bytes()
