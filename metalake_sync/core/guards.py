"""What stops a plan before it destroys something: the guard against deletes, and an approved plan that no longer holds.

Owns: the limit on how many files one run may trash, replace or remove, which facts of an approved plan must still
hold, and what is left out of a plan that was made since. A replacement counts, because it moves the old bytes to the
trash. A renamed file does not count: its bytes are in the lake under the new name before the old file is trashed. Which
actions need approval is declared by each action. Must not: ask for approval (`cli`) or stop a run (`engine`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from metalake_sync.core.actions import Action, Reason, ReplaceFile
from metalake_sync.core.base_action import CONTENT, VERSION, ActionKey, Facts
from metalake_sync.core.downloads import DownloadPlan
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import CollectionPlan, Plan
from metalake_sync.core.snapshots import DesiredFile
from metalake_sync.lazy_dataclass import dataclass

DEFAULT_PERCENT = 50.0
DEFAULT_FILES = 1000
DEFAULT_FEW = 20


@dataclass(frozen=True, slots=True)
class MaxDelete:
    """How many files a run may trash, replace or remove. The command line always sets at least one of both limits."""

    percent: float | None = DEFAULT_PERCENT
    """The limit in percent of each collection's files; None for no such limit."""
    files: int | None = DEFAULT_FILES
    """The limit in files of the whole run; None for no such limit."""
    few: int = DEFAULT_FEW
    """Up to this many replacements in a collection, and removed files of a download, do not count for `percent`, so
    that small collections and folders can change as a whole. It is 0 if the user set a limit."""

    @classmethod
    def parse(cls, text: str) -> MaxDelete | None:
        """Read a number of files, such as `20`, or a share, such as `10%`. Returns None for anything else."""
        number = text.removesuffix("%").strip()
        if text.endswith("%"):
            try:
                percent = float(number)
            except ValueError:
                return None
            return cls(percent=percent, files=None, few=0) if 0 <= percent <= 100 else None
        if number.isascii() and number.isdigit():
            return cls(percent=None, files=int(number), few=0)
        return None

    def __str__(self) -> str:
        limits = [f"{self.percent:g} % of a collection"] if self.percent is not None else []
        limits += [f"{self.files} files"] if self.files is not None else []
        return " or ".join(limits)


def too_many_deletes(
    plans: Sequence[CollectionPlan], limit: MaxDelete, *, by_rules: int = 0, downloads: Sequence[DownloadPlan] = ()
) -> Iterator[Note]:
    """Yield a note for each collection, each download and for the whole run, whose trashed, replaced and removed files
    exceed the limit.

    `by_rules`: the number of items that match trash rules. They count for the whole run only, because they may belong
    to any collection.
    """
    remedy = f"more than --max-delete allows ({limit}); to allow it, pass --max-delete N or P%"
    trashed = replaced = 0
    for collection in plans:
        deletes, replaces = _deletes(collection), _replaces(collection)
        trashed, replaced = trashed + deletes, replaced + replaces
        # Files that are adopted or replaced for the first time have no record yet.
        files = max(collection.recorded, replaces + len(collection.adopts))
        lost = deletes + (replaces if replaces > limit.few else 0)
        if limit.percent is not None and lost * 100 > limit.percent * files:
            message = f"would lose {_of_which(lost, lost - deletes)} of {files} files, {remedy}"
            yield Note(NoteCode.TOO_MANY_DELETES, message, str(collection.key))
    removed = sum(len(download.removals) for download in downloads)
    yield from _too_many_removals(downloads, limit, remedy)
    total = trashed + replaced + by_rules + removed
    if limit.files is not None and total > limit.files:
        words = {"trashed": trashed + by_rules, "replaced": replaced, "removed": removed}
        deleted = " or ".join(word for word, number in words.items() if number)
        yield Note(NoteCode.TOO_MANY_DELETES, f"{total} files would be {deleted}, {remedy}")


def _too_many_removals(downloads: Sequence[DownloadPlan], limit: MaxDelete, remedy: str) -> Iterator[Note]:
    """The folders of one block count together."""
    blocks: dict[str, list[DownloadPlan]] = {}
    for download in downloads:
        blocks.setdefault(download.spec.declared_at or download.spec.to, []).append(download)
    for where, parts in blocks.items():
        lost = sum(len(download.removals) for download in parts)
        files = sum(download.recorded for download in parts)
        if limit.percent is not None and lost > limit.few and lost * 100 > limit.percent * files:
            message = f"the download would remove {lost} of {files} local files, {remedy}"
            yield Note(NoteCode.TOO_MANY_DELETES, message, where)


def _of_which(lost: int, replaced: int) -> str:
    return f"the bytes of {lost} ({replaced} by replacement)" if replaced else str(lost)


def _deletes(collection: CollectionPlan) -> int:
    return sum(action.reason is not Reason.RENAMED for action in collection.trash)


def _replaces(collection: CollectionPlan) -> int:
    return sum(isinstance(action, ReplaceFile) for action in collection.uploads)


@dataclass(frozen=True, slots=True)
class Approved:
    """A plan that a user approved."""

    manifest_digest: str
    state_lineage: str | None
    """The state from which the plan was made. None: it had no run yet."""
    state_serial: int
    """The version of that state."""
    actions: Mapping[ActionKey, Facts]
    """The facts of each action that must still hold."""


def files_to_compare(approved: Approved, plan: Plan) -> Iterator[DesiredFile]:
    """Yield the files whose content hash decides whether an approved plan still holds.

    These are files with the approved size and another version, as on another disk or after `touch`.
    """
    for action in plan.actions():
        file, before = action.local_file, approved.actions.get(action.key)
        if file is None or file.content_hash is not None or before is None or before.get(CONTENT) is None:
            continue
        now = action.facts()
        if before.get("size") == now.get("size") and before.get(VERSION) != now.get(VERSION):
            yield file


def find_stale_facts(
    approved: Approved, plan: Plan, manifest_digest: str, contents: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """Yield, as clauses, why an approved plan no longer holds. `plan`: the plan as it would be made now.

    `contents`: path → content hash of the files that `files_to_compare` yields. Unreadable files are missing.
    """
    if approved.manifest_digest != manifest_digest:
        yield "the manifest has changed, or a variable has another value (--var, --var-file or the environment)"
        return
    if approved.state_lineage not in (None, plan.state_lineage):
        yield "it was made from another state"
        return
    if approved.state_serial != plan.state_serial:
        yield f"another run changed the state from version {approved.state_serial} to {plan.state_serial}"
        return
    current = {action.key: action for action in plan.actions()}
    for key, before in approved.actions.items():
        now = current.get(key)
        if now is None:
            yield f"the action '{key}' is no longer needed"
        elif changes := list(_changed_facts(before, now, contents)):
            yield f"'{key}': " + ", ".join(f"{name} {old} → {new}" for name, old, new in changes)


def _changed_facts(before: Facts, action: Action, contents: Mapping[str, str]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, the approved value and the present value of each fact that no longer holds."""
    now = action.facts()
    for name in {**before, **now}:
        if name not in (CONTENT, VERSION) and before.get(name) != now.get(name):
            yield name, before.get(name), now.get(name)
    if before.get("size") != now.get("size") or before.get(VERSION) == now.get(VERSION):
        return
    file = action.local_file
    content = now.get(CONTENT) or (contents.get(file.path) if file is not None else None)
    if content is None or content != before.get(CONTENT):
        yield CONTENT, _short(before.get(CONTENT)), _short(content)


def _short(content_hash: str | None) -> str:
    return "unknown" if content_hash is None else content_hash[:12]


def keep_approved(approved: Approved, plan: Plan, contents: Mapping[str, str] = MappingProxyType({})) -> Plan:
    """Return the plan with the approved actions only, trash rules and attachments included.

    `contents`: as for `find_stale_facts`. Downloads fetch what the lake has now, and remove what was approved.
    """

    def was_approved(action: Action) -> bool:
        # Two items may have one name. The lake id among the facts says which of them was approved.
        before = approved.actions.get(action.key)
        return before is not None and not any(_changed_facts(before, action, contents))

    return replace(
        plan.keep(was_approved),
        trash_rules=tuple(replace(rule, items=tuple(filter(was_approved, rule.items))) for rule in plan.trash_rules),
        attachments=tuple(filter(was_approved, plan.attachments)),
        downloads=tuple(
            replace(download, removals=list(filter(was_approved, download.removals))) for download in plan.downloads
        ),
    )
