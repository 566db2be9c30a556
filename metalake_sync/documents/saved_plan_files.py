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

from metalake_sync.core.base_action import CONTENT
from metalake_sync.errors import UsageError

if TYPE_CHECKING:
    from metalake_sync.core.plan import Plan
    from metalake_sync.documents.plan import PlanDocument
    from metalake_sync.documents.saved_plan import SavedPlan
    from metalake_sync.engine import Engine

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


def save_plan(
    plan: Plan, engine: Engine, path: Path, *, document: PlanDocument | None = None, revert: str | None = None
) -> None:
    """Write a plan. `document`: that of the plan, if it was made before. `revert`: the run that the plan reverts.

    Raises UsageError if the file cannot be written.
    """
    from metalake_sync.documents.base import to_json
    from metalake_sync.documents.plan import plan_document
    from metalake_sync.documents.saved_plan import BasisDocument, DecisionDocument, SavedPlan
    from metalake_sync.manifest.loading import manifest_digest

    if engine.manifest.stream:
        source = engine.manifest.source
        what = "standard input" if source == "-" else "a pipe" if os.path.exists(source) else "a composed manifest"
        raise UsageError(f"cannot save a plan of {what}", remedy="Save the manifest to a file first.")
    options = engine.options
    manifest = Path(engine.manifest.source).absolute()
    basis = [(action, dict(action.facts())) for action in plan.actions()]
    unread = [
        (facts, file)
        for action, facts in basis
        if CONTENT in facts and facts[CONTENT] is None and (file := action.local_file) is not None
    ]
    contents = engine.hash_sent(file for _, file in unread)
    for facts, file in unread:
        facts[CONTENT] = contents.get(file.path)
    saved = SavedPlan(
        manifest=_path_from(Path.cwd(), manifest) or str(manifest),
        manifest_from_plan=_path_from(path.absolute().parent, manifest),
        manifest_digest=manifest_digest(engine.manifest),
        state_lineage=plan.state_lineage,
        state_serial=plan.state_serial,
        refresh=options.refresh,
        checksum=options.checksum,
        targets=list(options.targets),
        excludes=list(options.excludes),
        decisions=[
            DecisionDocument(**key._asdict(), on_drift=one.on_drift, theirs=one.theirs, ours=one.ours)
            for key, one in options.decisions.items()
        ],
        revert=revert,
        destructive=plan.destructive,
        plan=document if document is not None else plan_document(plan),
        basis=[BasisDocument(**action.key._asdict(), facts=facts) for action, facts in basis],
    )
    try:
        write_output(path, to_json(saved, indent=1, exclude_none=False) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write the plan: {error.strerror}", where=str(path)) from error


def _path_from(folder: Path, path: Path) -> str | None:
    """Return a path relative to a folder, or None if it is outside of it."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else None


def manifest_of(saved: SavedPlan, path: str) -> str:
    """Return the path of the manifest of a saved plan, which may have been made in another checkout.

    `path`: of the saved plan. Raises UsageError if there is no such manifest.
    """
    found = [saved.manifest]
    if saved.manifest_from_plan is not None:
        found.insert(0, os.path.join(os.path.dirname(path), saved.manifest_from_plan))
    for candidate in found:
        if os.path.exists(candidate):
            return candidate
    raise UsageError(
        f"there is no manifest '{saved.manifest}' of the plan here",
        where=path,
        remedy="Run the command in the folder where the plan was made, such as the root of the checkout.",
    )


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


def check_not_broken(path: str, content: bytes | None = None) -> None:
    """Raise UsageError for what is neither a saved plan nor a manifest: an empty file, `{}`, `[]`, `null`, and a file
    with the name of a plan. `content`: the file's bytes, if known already. Call it if `is_saved_plan` says no."""
    beginning = content
    if beginning is None:
        try:
            with open(path, "rb") as file:
                beginning = file.read(200)
        except OSError:
            return
    if path.endswith(".plan") or beginning.strip() in (b"", b"{}", b"[]", b"null"):
        raise UsageError(
            "the file is not a saved plan, and not a manifest", where=path, remedy="Make a plan with 'plan --out'."
        )


def load_plan(path: str, content: bytes | None = None) -> SavedPlan:
    """Read a saved plan. `content`: the file's bytes, if known already. Raises UsageError."""
    from pydantic import ValidationError

    from metalake_sync.documents.saved_plan import SavedPlan

    try:
        return SavedPlan.model_validate_json(Path(path).read_bytes() if content is None else content)
    except OSError as error:
        raise UsageError(f"cannot read the plan: {error.strerror}", where=path) from error
    except ValidationError:
        raise UsageError(
            "this is not a saved plan of this version", where=path, remedy="Make a new one with 'plan --out'."
        ) from None
