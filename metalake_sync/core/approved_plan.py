"""What a saved plan approves, and whether it is stale: whether anything that it depends on has changed since.

Owns: the comparison of an approved plan with the same plan made again. Must not: read the file of a saved plan
(`documents.saved_plan`), or stop a run (`engine`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from metalake_sync.core.actions import Action
from metalake_sync.core.base_action import CONTENT, VERSION, ActionKey, Facts
from metalake_sync.core.plan import Plan
from metalake_sync.core.snapshots import DesiredFile
from metalake_sync.lazy_dataclass import dataclass

DEFAULT_PERCENT = 50.0
DEFAULT_FILES = 1000
DEFAULT_FEW = 20


@dataclass(frozen=True, slots=True)
class ApprovedPlan:
    """A plan that a user approved."""

    manifest_digest: str
    state_lineage: str | None
    """The state from which the plan was made. None: it had no run yet."""
    state_serial: int
    """The version of that state."""
    actions: Mapping[ActionKey, Facts]
    """The facts of each action that must still hold."""


def files_to_compare(approved: ApprovedPlan, plan: Plan) -> Iterator[DesiredFile]:
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
    approved: ApprovedPlan, plan: Plan, manifest_digest: str, contents: Mapping[str, str] = MappingProxyType({})
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
        if now is None and CONTENT in before and not _concerns(plan, key):
            yield f"the file of the action '{key}' is not in the sources any more"
        elif now is None:
            yield f"the action '{key}' is no longer needed"
        elif changes := list(_changed_facts(before, now, contents)):
            yield f"'{key}': " + ", ".join(_clause(*one) for one in changes)


def _clause(name: str, old: Any, new: Any) -> str:
    """Say how a fact changed. Digests and ids tell people nothing."""
    if isinstance(old, int) and isinstance(new, int):
        return f"{name} {old} → {new}"
    return f"{name} changed since the plan was made"


def _concerns(plan: Plan, key: ActionKey) -> bool:
    """Whether a plan has another action of the same file."""
    return any((one.key.collection, one.key.file) == (key.collection, key.file) for one in plan.actions())


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
        yield CONTENT, before.get(CONTENT), content


def keep_approved(approved: ApprovedPlan, plan: Plan, contents: Mapping[str, str] = MappingProxyType({})) -> Plan:
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
