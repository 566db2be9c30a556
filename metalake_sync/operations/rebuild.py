"""A new state from the lake: what the manifest wants and the lake has is taken over, and nothing is sent.

Owns: the order, and where the old state goes. The old one is set aside whole, so that a rebuild can be taken back.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from metalake_sync.core.actions import Action, AdoptFile
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.project import Applied, Project


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """`old`: where the old state is now, None where there was none."""

    applied: Applied
    old: Path | None


def adopt_only(project: Project, *, lock_timeout_s: float = 0.0, command: str = "import") -> Applied:
    """Take over what is in the lake already; send nothing."""
    return project.apply(lambda _plan: False, lock_timeout_s=lock_timeout_s, command=command, only=is_adoption)


def rebuild(project: Project, *, lock_timeout_s: float = 0.0) -> Rebuilt:
    """Set the old state aside, whatever is the matter with it, and make a new one from the lake.

    Annotation sets are read back, so that those which the lake has as the manifest wants them are not sent again.
    """
    with project.state_backend.lock(command="state rebuild", timeout_s=lock_timeout_s):
        old = project.state_backend.set_aside()
    in_full = replace(project, options=replace(project.options, refresh="full"))
    return Rebuilt(adopt_only(in_full, lock_timeout_s=lock_timeout_s, command="state rebuild"), old)


def is_adoption(action: Action) -> bool:
    return isinstance(action, AdoptFile)
