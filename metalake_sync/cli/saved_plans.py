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
    """Write a plan. Raises UsageError if the file cannot be written."""
    from metalake_sync.cli.documents import BasisDocument, SavedPlan, to_json
    from metalake_sync.cli.plan_document import plan_document
    from metalake_sync.manifest.loading import manifest_digest

    if project.manifest.stream:
        what = "standard input" if project.manifest.source == "-" else "a pipe"
        raise UsageError(f"cannot save a plan of {what}", remedy="Save the manifest to a file first.")
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
        raise UsageError(f"cannot write the plan: {error.strerror}", where=str(path)) from error


def read_stream(source: str) -> bytes | None:
    """Return the content of a pipe, which can be read only once, or None for other files. Raises UsageError."""
    from metalake_sync.manifest.reading import STANDARD_INPUT, is_stream

    if source == STANDARD_INPUT or not is_stream(source):
        return None
    try:
        with open(source, "rb") as file:
            content = file.read(STREAM_LIMIT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read it: {error.strerror}", where=source, remedy="Pass a file.") from error
    if len(content) > STREAM_LIMIT_BYTES:
        raise UsageError("the pipe is too large", where=source, remedy="Pass a manifest or a saved plan.")
    return content


def is_saved_plan(path: str, content: bytes | None = None) -> bool:
    """Return whether a file is a saved plan and not a manifest. `content`: the file's bytes, if known already."""
    if content is None:
        try:
            with open(path, "rb") as file:
                content = file.read(200)
        except OSError:
            return False
    return _BEGINNING.match(content) is not None


def load_plan(path: str, content: bytes | None = None) -> SavedPlan:
    """Read a saved plan. `content`: the file's bytes, if known already. Raises UsageError."""
    from pydantic import ValidationError

    from metalake_sync.cli.documents import SavedPlan

    try:
        return SavedPlan.model_validate_json(Path(path).read_bytes() if content is None else content)
    except OSError as error:
        raise UsageError(f"cannot read the plan: {error.strerror}", where=path) from error
    except ValidationError:
        raise UsageError(
            "this is not a saved plan of this version", where=path, remedy="Make a new one with 'plan --out'."
        ) from None
