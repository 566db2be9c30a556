"""Saved plans: written by `plan --out`, read by `show` and `apply`. For the owner's eyes (0600), and without a secret.

Owns: the file. Every apply looks whether it is given one, so the documents are loaded by who needs them. What of a
plan must still hold when it is carried out stands in `core.basis`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.errors import UsageError

if TYPE_CHECKING:
    from metalake_sync.cli.documents import SavedPlan
    from metalake_sync.core.plan import Plan
    from metalake_sync.engine.session import Session

MARK = "metalake-sync plan"


def save_plan(plan: Plan, session: Session, path: Path) -> None:
    """Write a plan. Raises UsageError where the file can't be written."""
    from metalake_sync.cli.documents import BasisDocument, SavedPlan, plan_document
    from metalake_sync.core.basis import basis_of, key_of
    from metalake_sync.manifest.digest import manifest_digest

    if session.manifest.source == "-":
        raise UsageError("a plan of standard input can't be saved", remedy="Save the manifest to a file first.")
    options = session.options
    saved = SavedPlan(
        manifest=str(Path(session.manifest.source).absolute()),
        manifest_digest=manifest_digest(session.manifest),
        state_serial=plan.state_serial,
        refresh=options.refresh,
        checksum=options.checksum,
        targets=list(options.targets),
        destructive=plan.destructive,
        plan=plan_document(plan),
        basis=[BasisDocument(**key_of(action)._asdict(), facts=dict(basis_of(action))) for action in plan.actions()],
    )
    text = saved.model_dump_json(indent=1) + "\n"
    draft = path.with_name(path.name + ".part")
    try:
        draft.unlink(missing_ok=True)
        with open(draft, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
        draft.rename(path)
    except OSError as error:
        raise UsageError(f"the plan can't be written: {error.strerror}", where=str(path)) from error


def is_saved_plan(path: str) -> bool:
    """Whether a file that stands where a manifest could is a saved plan."""
    try:
        with open(path, encoding="utf-8") as file:
            return f'"{MARK}"' in file.read(200)
    except (OSError, UnicodeDecodeError):
        return False


def load_plan(path: str) -> SavedPlan:
    """Read a saved plan. Raises UsageError."""
    from pydantic import ValidationError

    from metalake_sync.cli.documents import SavedPlan

    try:
        return SavedPlan.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"the plan can't be read: {error.strerror}", where=path) from error
    except ValidationError:
        raise UsageError(
            "it is no saved plan, or one of another version", where=path, remedy="Make a new one with 'plan --out'."
        ) from None
