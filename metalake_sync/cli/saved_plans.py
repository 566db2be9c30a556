"""Saved plans: written by `plan --out` and `revert --out`, read by `show` and `apply`.

Owns: the file, which is written as a whole, which only its owner can read (mode 0600), and which contains no secret.
Must not: decide whether a saved plan still holds (`core.guards`), or replace a pipe, a link or a device. Every apply
checks whether its argument is a saved plan, so the document classes are imported only where they are needed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from metalake_sync.errors import UsageError

if TYPE_CHECKING:
    from metalake_sync.cli.documents import SavedPlan
    from metalake_sync.core.plan import Plan
    from metalake_sync.project import Project

_OPEN_FILE = re.compile(r"(?:/dev|/proc/self)/fd/([0-9]{1,9})|/dev/(stdout|stderr)")

_NAMED = {"stdout": 1, "stderr": 2}

_BEGINNING = re.compile(rb'\s*\{\s*"kind"\s*:\s*"metalake-sync plan"')

STREAM_LIMIT_BYTES = 1 << 30


def write_output(path: Path, text: str) -> None:
    """Write a file that only its owner can read (mode 0600), as a whole or not at all. Raises OSError.

    A symbolic link stays; its target is replaced. A pipe or a character device, such as a process substitution, is
    written to.
    """
    number = _descriptor(path)
    if number is not None:
        with open(os.dup(number), "w", encoding="utf-8") as stream:
            stream.write(text)
        return
    target = Path(os.path.realpath(path))
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with open(path, "w", encoding="utf-8", opener=_open_existing) as stream:
            stream.write(text)
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    descriptor, draft = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(draft, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _open_existing(path: str, flags: int) -> int:
    return os.open(path, (flags & ~(os.O_CREAT | os.O_TRUNC)) | os.O_NOCTTY)


def _descriptor(path: Path) -> int | None:
    """Return the file descriptor of a path such as /dev/stdout or /dev/fd/63, or None."""
    found = _OPEN_FILE.fullmatch(str(path))
    return _NAMED[found[2]] if found and found[2] else int(found[1]) if found else None


def save_plan(plan: Plan, project: Project, path: Path, *, revert: str | None = None) -> None:
    """Write a plan. `revert`: the run that it reverts. Raises UsageError if the file cannot be written."""
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
        revert=revert,
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
