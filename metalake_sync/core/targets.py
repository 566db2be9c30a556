"""Parts of a plan: `--target COLLECTION[/GLOB]`, and whatever else keeps some actions and leaves the rest.

Must not: touch the disk; globs are matched against names in the collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from metalake_sync.core.actions import Action, UploadFile
from metalake_sync.core.plan import CollectionPlan, Plan
from metalake_sync.core.snapshots import CollectionKey
from metalake_sync.core.wording import file_name
from metalake_sync.errors import UsageError
from metalake_sync.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A collection, or the files of one whose names match `glob`."""

    collection: str
    glob: str | None = None

    def __str__(self) -> str:
        return self.collection if self.glob is None else f"{self.collection}/{self.glob}"

    def takes(self, collection: str, name: str | None) -> bool:
        """Whether a file is meant; `name` is None for the collection's head, which a glob never means."""
        if collection != self.collection:
            return False
        return self.glob is None or (name is not None and fnmatchcase(name, self.glob))


def parse_target(text: str, collections: Sequence[str]) -> Target | None:
    """Read `COLLECTION[/GLOB]`; a collection's own name may hold slashes. None where no such collection is known."""
    if text in collections:
        return Target(text)
    named = [name for name in collections if text.startswith(name + "/")]
    if not named:
        return None
    name = max(named, key=len)
    return Target(name, text[len(name) + 1 :])


def check_matched(targets: Sequence[Target], names: Mapping[CollectionKey, Iterable[str]], where: str) -> None:
    """Raise UsageError for a target whose glob matches none of the names. `names`: by collection. `where`: what was
    looked through, as a clause."""
    left = [target for target in targets if target.glob is not None]
    for key, known in names.items():
        for name in known:
            if not left:
                return
            left = [target for target in left if not target.takes(key.name, name)]
    if left:
        raise UsageError(
            f"'--target {left[0]}' matches no file {where}",
            remedy="Correct the pattern. It is compared with whole names in the collection.",
        )


def keep_only(plan: CollectionPlan, wanted: Callable[[Action], bool]) -> None:
    """Leave the actions that are wanted. A collection that has to be created is, as long as files go into it. Where the
    plan sends a renamed file under its new name, its old name goes only together with that upload."""
    renamed = {action.renamed_from for action in plan.uploads if isinstance(action, UploadFile)}
    plan.adopts = list(filter(wanted, plan.adopts))
    plan.uploads = list(filter(wanted, plan.uploads))
    plan.metadata = list(filter(wanted, plan.metadata))
    plan.annotations = list(filter(wanted, plan.annotations))
    sent_anew = {action.renamed_from for action in plan.uploads if isinstance(action, UploadFile)}
    plan.trash = [
        action
        for action in plan.trash
        if wanted(action) and (action.recorded.name not in renamed or action.recorded.name in sent_anew)
    ]
    if plan.update_head is not None and not wanted(plan.update_head):
        plan.update_head = None
    if plan.create is not None and not wanted(plan.create) and not plan.uploads:
        plan.create = None


def keep_in_plan(plan: Plan, wanted: Callable[[Action], bool]) -> None:
    """Leave the actions of a whole plan that are wanted."""
    for collection in plan.collections:
        keep_only(collection, wanted)
    for part in plan.addressed:
        part.actions = list(filter(wanted, part.actions))


def keep_targets(plan: CollectionPlan, targets: Sequence[Target]) -> None:
    """Leave what concerns the targets of this collection, in the records too."""

    def takes(name: str | None) -> bool:
        return any(target.takes(plan.key.name, name) for target in targets)

    keep_only(plan, lambda action: takes(file_name(action)))
    plan.rerecords = [record for record in plan.rerecords if takes(record.file.name)]
    plan.forgets = [record for record in plan.forgets if takes(record.recorded.name)]
    if not takes(None):
        plan.rerecord_head = None
