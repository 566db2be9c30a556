"""Saved plans: written by `plan --out`, read by `show` and `apply`.

Owns: the file, which only its owner can read (mode 0600) and which contains no secret. Must not: decide whether a saved
plan still holds (`core.approval`). Every apply checks whether its argument is a saved plan, so the document classes are
imported only where they are needed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.cli.output_files import write_output
from metalake_sync.errors import UsageError

if TYPE_CHECKING:
    from metalake_sync.cli.documents import SavedPlan
    from metalake_sync.core.plan import Plan
    from metalake_sync.project import Project

_BEGINNING = re.compile(rb'\s*\{\s*"kind"\s*:\s*"metalake-sync plan"')

STREAM_LIMIT_BYTES = 1 << 30


def save_plan(plan: Plan, project: Project, path: Path) -> None:
    """Write a plan. Raises UsageError where the file can't be written."""
    from metalake_sync.cli.documents import BasisDocument, SavedPlan, to_json
    from metalake_sync.cli.plan_document import plan_document
    from metalake_sync.manifest.loading import manifest_digest

    if project.manifest.stream:
        what = "standard input" if project.manifest.source == "-" else "a pipe"
        raise UsageError(f"a plan of {what} can't be saved", remedy="Save the manifest to a file first.")
    options = project.options
    saved = SavedPlan(
        manifest=str(Path(project.manifest.source).absolute()),
        manifest_digest=manifest_digest(project.manifest),
        state_serial=plan.state_serial,
        refresh=options.refresh,
        checksum=options.checksum,
        targets=list(options.targets),
        destructive=plan.destructive,
        plan=plan_document(plan),
        basis=[BasisDocument(**action.key._asdict(), facts=dict(action.facts())) for action in plan.actions()],
    )
    try:
        write_output(path, to_json(saved, indent=1, exclude_none=False) + "\n")
    except OSError as error:
        raise UsageError(f"the plan can't be written: {error.strerror}", where=str(path)) from error


def read_stream(source: str) -> bytes | None:
    """What a pipe holds, which can be read only once; None for all else. Raises UsageError."""
    from metalake_sync.manifest.reading import STANDARD_INPUT, is_stream

    if source == STANDARD_INPUT or not is_stream(source):
        return None
    try:
        with open(source, "rb") as file:
            content = file.read(STREAM_LIMIT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"it can't be read: {error.strerror}", where=source, remedy="Name a file.") from error
    if len(content) > STREAM_LIMIT_BYTES:
        raise UsageError("it does not end", where=source, remedy="Name a manifest or a saved plan.")
    return content


def is_saved_plan(path: str, content: bytes | None = None) -> bool:
    """Whether a file that stands where a manifest could is a saved plan. `content`: what was read of it already."""
    if content is None:
        try:
            with open(path, "rb") as file:
                content = file.read(200)
        except OSError:
            return False
    return _BEGINNING.match(content) is not None


def load_plan(path: str, content: bytes | None = None) -> SavedPlan:
    """Read a saved plan. `content`: what was read of it already. Raises UsageError."""
    from pydantic import ValidationError

    from metalake_sync.cli.documents import SavedPlan

    try:
        return SavedPlan.model_validate_json(Path(path).read_bytes() if content is None else content)
    except OSError as error:
        raise UsageError(f"the plan can't be read: {error.strerror}", where=path) from error
    except ValidationError:
        raise UsageError(
            "it is no saved plan, or one of another version", where=path, remedy="Make a new one with 'plan --out'."
        ) from None
