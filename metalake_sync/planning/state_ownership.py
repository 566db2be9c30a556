"""A state belongs to one manifest. Otherwise, files that one manifest uploaded would look to another like removed ones.

Owns: which manifest a state belongs to. A state file has the path of the manifest relative to its own folder, so that
both can move together. A shared state has the path in the repository, because each checkout is elsewhere, and the
address of the repository.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.errors import GuardStopped
from metalake_sync.manifest import LoadedManifest
from metalake_sync.planning.repositories import origin_of, repository_of
from metalake_sync.state.store import StateStore

OWNER = "manifest"
SHARED_OWNER = "shared by"
REPOSITORY = "repository"
"""In the owner of a shared state: the address of the repository, if it has one."""


def check_owner(state: StateStore, manifest: LoadedManifest) -> bool:
    """Raise GuardStopped if another manifest that still exists uses the state.

    Returns whether `claim_state` may have something to record. A manifest that is not a file, such as standard input,
    is accepted.
    """
    source = Path(os.path.abspath(manifest.source))
    if manifest.stream or not source.exists():
        return False
    if state.is_shared:
        check_shared_owner(state, manifest)
        return True
    owner = state.learned(OWNER)
    if owner is None or owner == _local_owner(state, source):
        return owner is None
    theirs = Path(os.path.normpath(os.path.join(_folder(state), owner)))
    if theirs.exists() and not _same_text(theirs, source):
        raise _of_another(str(theirs), state)
    return True


def claim_state(state: StateStore, manifest: LoadedManifest) -> None:
    """Record that the state belongs to this manifest, also if the former manifest does not exist any more.

    Call it if `check_owner` returned True, and only for a run that is carried out: a refused run must not silence the
    warning of the next one. A manifest that is not a file, such as standard input, does not claim the state.
    """
    source = Path(os.path.abspath(manifest.source))
    if manifest.stream or not source.exists():
        return
    if state.is_shared:
        owner, mine = state.learned(SHARED_OWNER), _shared_owner(manifest, source)
        if owner == mine or (owner is not None and _is_less(mine, owner)):
            return
        with state.write():
            state.learn(SHARED_OWNER, mine)
        return
    with state.write():
        state.learn(OWNER, _local_owner(state, source))


def _folder(state: StateStore) -> str:
    return os.path.abspath(state.path.parent)


def _local_owner(state: StateStore, source: Path) -> str:
    return os.path.relpath(source, _folder(state))


def _is_less(mine: str, owner: str) -> bool:
    """Whether an owner differs from the recorded one only by not having a repository, as in a local clone."""
    try:
        known: dict[str, str] = json.loads(owner)
        return {REPOSITORY: known.get(REPOSITORY), **json.loads(mine)} == known
    except (ValueError, AttributeError, TypeError):
        return False


def check_shared_owner(state: StateStore, manifest: LoadedManifest) -> None:
    """Raise GuardStopped if a shared state belongs to another manifest.

    Each checkout has the same paths in its repository. A manifest with the owner's path is the owner. One with another
    path is the owner if it has the same name, and if the owner's path does not exist here any more: it was moved.
    """
    source = Path(os.path.abspath(manifest.source))
    found = state.learned(SHARED_OWNER) if state.is_shared else None
    if found is None or manifest.stream or not source.exists():
        return
    owner, mine = json.loads(found), json.loads(_shared_owner(manifest, source))
    if owner["path"] == mine["path"]:
        return
    theirs = repository_of(source) / owner["path"]
    if owner["name"] == mine["name"] and not theirs.exists():
        return
    raise _of_another(f"{owner['path']} (name: {owner['name']})", state)


def notes_on_repository(state: StateStore, manifest: LoadedManifest) -> list[Note]:
    """Return a warning if a manifest of the same path in another repository used a shared state last.

    It may be another manifest. It may also be this one, because a repository can be moved or forked, so no run stops.
    Call it before `claim_state`.
    """
    source = Path(os.path.abspath(manifest.source))
    found = state.learned(SHARED_OWNER) if state.is_shared else None
    if found is None or manifest.stream or not source.exists():
        return []
    theirs, mine = json.loads(found).get(REPOSITORY), origin_of(repository_of(source))
    if theirs is None or mine is None or theirs == mine:
        return []
    message = (
        f"was last used from the repository {theirs}, and this one is {mine}; if they have different manifests, give"
        " each a state of its own, because each would treat the other's files as removed"
    )
    return [Note(NoteCode.ANOTHER_MANIFEST, message, state.location)]


def _shared_owner(manifest: LoadedManifest, source: Path) -> str:
    repository = repository_of(source)
    owner = {"name": manifest.name, "path": os.path.relpath(source, repository)}
    origin = origin_of(repository)
    return json.dumps(owner if origin is None else {**owner, REPOSITORY: origin})


def _of_another(theirs: str, state: StateStore) -> GuardStopped:
    return GuardStopped(
        f"the state belongs to another manifest, {theirs}",
        where=state.location,
        remedy="Nothing was done, because each manifest would treat the other's files as removed. Give each manifest a"
        " state of its own (with 'state', --state or METALAKE_SYNC_STATE; '{name}' stands for its name), or merge them"
        " into one.",
    )


def _same_text(one: Path, other: Path) -> bool:
    """Whether two files have the same content, as in two checkouts."""
    if one.is_dir() or other.is_dir():
        return False
    return one.read_bytes() == other.read_bytes()
