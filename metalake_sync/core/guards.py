"""The limit on how many files one run may trash or replace.

Owns: the limit and whether a plan keeps it. A replacement counts, because it puts the old bytes into the trash. A
renamed file does not count: its bytes are in the lake under the new name before the old one goes. Must not: stop
anything (`project` does).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metalake_sync.core.actions import Reason, ReplaceFile
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.lazy_dataclass import dataclass

DEFAULT_PERCENT = 50.0
DEFAULT_FILES = 1000
DEFAULT_FEW = 20


@dataclass(frozen=True, slots=True)
class MaxDelete:
    """How many files may be trashed or replaced: at most `percent` of each collection's files, and at most `files` in
    the whole run. None is no limit of that kind; without both there is no guard, and the command line never builds
    that.

    `few`: up to this many replacements in a collection do not count for `percent`, so that small collections can
    change as a whole. It is 0 where the user gave a limit.
    """

    percent: float | None = DEFAULT_PERCENT
    files: int | None = DEFAULT_FILES
    few: int = DEFAULT_FEW

    def __str__(self) -> str:
        said = [f"{self.percent:g} % of a collection"] if self.percent is not None else []
        said += [f"{self.files} files"] if self.files is not None else []
        return " or ".join(said)


def too_many_deletes(plans: Sequence[CollectionPlan], limit: MaxDelete, *, by_rules: int = 0) -> Iterator[Note]:
    """Say where a plan of these collections trashes or replaces more files than the limit allows. `by_rules`: items
    that match trash rules; they count for the whole run only, because they may be of any collection."""
    remedy = f"more than --max-delete allows ({limit}); give --max-delete N or P% if that is what you want"
    trashed = replaced = 0
    for collection in plans:
        deletes, replaces = _deletes(collection), _replaces(collection)
        trashed, replaced = trashed + deletes, replaced + replaces
        # What is met in the lake for the first time is not recorded yet.
        files = max(collection.recorded, replaces + len(collection.adopts))
        lost = deletes + (replaces if replaces > limit.few else 0)
        if limit.percent is not None and lost * 100 > limit.percent * files:
            message = f"would lose {_of_which(lost, lost - deletes)} of {files} files, {remedy}"
            yield Note(NoteCode.TOO_MANY_DELETES, message, str(collection.key))
    total = trashed + replaced + by_rules
    if limit.files is not None and total > limit.files:
        done = "trashed or replaced" if replaced else "trashed"
        yield Note(NoteCode.TOO_MANY_DELETES, f"{total} files would be {done}, {remedy}")


def _of_which(lost: int, replaced: int) -> str:
    return f"the bytes of {lost} ({replaced} by replacement)" if replaced else str(lost)


def _deletes(collection: CollectionPlan) -> int:
    return sum(action.reason is not Reason.RENAMED for action in collection.trash)


def _replaces(collection: CollectionPlan) -> int:
    return sum(isinstance(action, ReplaceFile) for action in collection.uploads)
