"""The limit on how much one run may trash.

Owns: the limit and whether a plan keeps it. A renamed file does not count: its bytes are in the lake under the new name
before the old one goes. Must not: stop anything (`engine.session` does).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metalake_sync.core.actions import Reason
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.lazy_dataclass import dataclass

DEFAULT_PERCENT = 50.0
DEFAULT_FILES = 1000


@dataclass(frozen=True, slots=True)
class MaxDelete:
    """How much may be trashed: at most `percent` of each collection's recorded files, and at most `files` in the whole
    run. None is no limit of that kind. Both None would be no guard at all and is never built by the command line."""

    percent: float | None = DEFAULT_PERCENT
    files: int | None = DEFAULT_FILES

    def __str__(self) -> str:
        said = [f"{self.percent:g} % of a collection"] if self.percent is not None else []
        said += [f"{self.files} files"] if self.files is not None else []
        return " or ".join(said)


def too_many_deletes(plans: Sequence[CollectionPlan], limit: MaxDelete, *, by_rules: int = 0) -> Iterator[Note]:
    """Say where a plan of these collections would trash more than the limit allows. `by_rules`: items that trash rules
    mean; they count for the whole run only, since nobody knows of how many."""
    remedy = f"more than --max-delete allows ({limit}); give --max-delete N or P% if that is what you want"
    counts = [(collection, _deletes(collection)) for collection in plans]
    for collection, deletes in counts:
        if limit.percent is not None and deletes * 100 > limit.percent * collection.recorded:
            message = f"would lose {deletes} of {collection.recorded} files, {remedy}"
            yield Note(NoteCode.TOO_MANY_DELETES, message, str(collection.key))
    total = sum(deletes for _, deletes in counts) + by_rules
    if limit.files is not None and total > limit.files:
        yield Note(NoteCode.TOO_MANY_DELETES, f"{total} files would be trashed, {remedy}")


def _deletes(collection: CollectionPlan) -> int:
    return sum(action.reason is not Reason.RENAMED for action in collection.trash)
