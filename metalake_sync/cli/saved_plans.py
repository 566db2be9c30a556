"""Saved plans: written by `plan --out`, read by `show` and `apply`. For the owner's eyes (0600), and without a secret.

Owns: the file. What of a plan must still hold when it is carried out stands in `core.basis`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from metalake_sync.cli.documents import Document, PlanDocument, plan_document
from metalake_sync.core.basis import ActionKey, Approved, basis_of, key_of
from metalake_sync.core.plan import Plan
from metalake_sync.engine.session import Session
from metalake_sync.errors import UsageError
from metalake_sync.manifest.digest import manifest_digest

MARK = "metalake-sync plan"


class BasisDocument(Document):
    """An action and the facts that it rests on: fingerprints, digests, ids."""

    action: str
    type: str
    collection: str
    file: str | None
    operation: str | None
    facts: dict[str, Any]


class SavedPlan(Document):
    """`manifest`: its path. `refresh` and `targets`: what the plan was made with, and is carried out with."""

    kind: Literal["metalake-sync plan"] = "metalake-sync plan"
    format_version: Literal["1.0"] = "1.0"
    manifest: str
    manifest_digest: str
    state_serial: int
    refresh: Literal["none", "list", "full"]
    checksum: bool
    targets: list[str]
    destructive: bool
    plan: PlanDocument
    basis: list[BasisDocument]

    def approved(self) -> Approved:
        actions = {
            ActionKey(one.action, one.type, one.collection, one.file, one.operation): one.facts for one in self.basis
        }
        return Approved(self.manifest_digest, self.state_serial, actions)


def save_plan(plan: Plan, session: Session, path: Path) -> None:
    """Write a plan. Raises UsageError where the file can't be written."""
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
    try:
        return SavedPlan.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"the plan can't be read: {error.strerror}", where=path) from error
    except ValidationError:
        raise UsageError(
            "it is no saved plan, or one of another version", where=path, remedy="Make a new one with 'plan --out'."
        ) from None
