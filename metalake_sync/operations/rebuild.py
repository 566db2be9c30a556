"""`state rebuild`: makes a new state by adopting the manifest's files that the lake has. Sends nothing.

Owns: the order of steps. The old state is moved aside as a whole, so that a rebuild can be undone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from metalake_sync.core.actions import Action, AdoptFile
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.project import Applied, Project


@dataclass(frozen=True, slots=True)
class Rebuilt:
    applied: Applied
    old: Path | None
    """Where the old state is now. None if there was no state."""


def adopt_only(project: Project, *, lock_timeout_s: float = 0.0, command: str = "import") -> Applied:
    """Adopt the files that the lake already has, and send nothing."""
    return project.apply(lambda _plan: False, lock_timeout_s=lock_timeout_s, command=command, only=is_adoption)


def rebuild(project: Project, *, lock_timeout_s: float = 0.0) -> Rebuilt:
    """Move the old state aside, even if it is damaged, and make a new one from the lake.

    Annotation sets are read back, so that sets which the lake already has are not sent again.
    """
    with project.state_backend.lock(command="state rebuild", timeout_s=lock_timeout_s):
        old = project.state_backend.set_aside()
    in_full = replace(project, options=replace(project.options, refresh="full"))
    return Rebuilt(adopt_only(in_full, lock_timeout_s=lock_timeout_s, command="state rebuild"), old)


def is_adoption(action: Action) -> bool:
    return isinstance(action, AdoptFile)
