"""Runs the checks of the manifest on what a plan is about to send, and turns problems into findings.

Owns: which files are checked, and how severe a problem is. A plan checks the files that it sends and no others, so that
a plan without changes reads nothing. Must not: decide what a finding stops (`apply.run`), or know formats of files
(`checks`).

Without `checks` in the manifest, only files of up to 1 KB are opened, and files that replace others, which were read
already to compare their bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from metalake_sync.checks.placeholders import HEAD_BYTES, POINTER_LIMIT_BYTES, Problem, find_pointer, find_stand_in
from metalake_sync.core.actions import ReplaceFile
from metalake_sync.core.checks import Check, Finding, Level
from metalake_sync.core.events import EventSink, Observing
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionKey, DesiredFile, MediaType
from metalake_sync.errors import SourceChanged
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.check_models import Checks, ImageChecks
from metalake_sync.sources.hashing import read_head


@dataclass(frozen=True, slots=True)
class FileToCheck:
    """A local file that a plan sends."""

    collection: CollectionKey
    name: str
    """The name in the collection."""
    path: str
    """Relative to the manifest's folder."""
    file: DesiredFile
    replaces: bool
    """Whether it replaces a file of the lake."""


def files_to_send(plans: Iterable[CollectionPlan]) -> list[FileToCheck]:
    """Return the files that the plans send."""
    return [
        FileToCheck(plan.key, action.file.name, action.file.path, action.file, isinstance(action, ReplaceFile))
        for plan in plans
        for action in plan.uploads
    ]


def check_plans(
    checks: Checks, base_dir: Path, plans: Sequence[CollectionPlan], emit: EventSink
) -> tuple[Finding, ...]:
    """Check what the plans send. Returns the findings in the order of collections and files."""
    files = files_to_send(plans)
    return tuple(check_bytes(checks.images, base_dir, files, emit)) if files else ()


def check_bytes(rules: ImageChecks, base_dir: Path, files: Sequence[FileToCheck], emit: EventSink) -> Iterator[Finding]:
    """Yield findings about the bytes of files."""
    if rules.level == "off":
        return
    for number, one in enumerate(files, start=1):
        problem = _find_placeholder(base_dir, one)
        if problem is not None:
            yield _finding(one, problem, _level_of_placeholder(rules.level, problem, one))
        if not number % 1000:
            emit(Observing("checking files to send", number))


def _find_placeholder(base_dir: Path, one: FileToCheck) -> Problem | None:
    """Return what is wrong with a file, as far as few bytes tell."""
    size = one.file.fingerprint.size_bytes
    is_media = one.collection.type is not MediaType.OTHER
    if size > POINTER_LIMIT_BYTES and not (one.replaces and is_media):
        return None
    head = b""
    if size:
        try:
            head = read_head(os.path.join(base_dir, one.path), one.file.fingerprint, HEAD_BYTES)
        except SourceChanged:
            return None  # The upload of the file reports it.
    return find_stand_in(head, size) if is_media else find_pointer(head, size)


def _level_of_placeholder(level: Level, problem: Problem, one: FileToCheck) -> Level:
    """Return the level of a problem. A placeholder is never meant. Any other file without an image is an error only if
    the lake would lose an image for it."""
    return level if problem.check == Check.POINTER or one.replaces else "warn"


def _finding(one: FileToCheck, problem: Problem, level: Level) -> Finding:
    return Finding(Check(problem.check), level, one.collection, one.name, one.path, problem.message)
