"""What the state remembers of replacements in a lake, as notes of a plan.

Owns: the words, and the name under which a lake's answer is remembered. Must not: decide what is replaced
(`core.diff`, `apply.replace`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from metalake_sync.core.actions import Reason, ReplaceFile, UploadFile
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionKey, RecordedCollection
from metalake_sync.state.handles import CollectionHandle
from metalake_sync.state.store import StateStore

TAKEN, REFUSED, UNKNOWN = "taken", "refused", "unknown"

TRY_AGAIN = "metalake-sync state forget MANIFEST --trashed-names"
"""The command after which one file is tried again."""


def answer_key(lake: str) -> str:
    """Under what name the state remembers whether a lake takes the name of a trashed file again."""
    return f"trashed names: {lake}"


def replacement_notes(
    state: StateStore,
    lake: str,
    plans: Sequence[CollectionPlan],
    recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]],
) -> Iterator[Note]:
    """Name the files that were lost in the trash by an earlier run, and the replacements that a lake does not allow.

    Reads the state only where a plan sends a name that the lake had before.
    """
    for plan in plans:
        replaces = sum(isinstance(action, ReplaceFile) for action in plan.uploads)
        again = [action.file.name for action in plan.uploads if isinstance(action, UploadFile) and _sent_before(action)]
        if again and plan.key in recorded:
            lost = {file.name: file.lake_id for file in state.pending_replacements.lost(recorded[plan.key][0])}
            for name in filter(lost.__contains__, again):
                message = (
                    f"is lost in trash: an earlier run trashed it (id {lost[name]}) to replace it, and the new file did"
                    " not arrive; no call takes a file out of the trash"
                )
                yield Note(NoteCode.LOST_IN_TRASH, message, f"{plan.key}/{name}")
        if replaces and state.learned(answer_key(lake)) == REFUSED:
            message = (
                "the lake did not take the name of a trashed file again, so an apply leaves"
                f" {counted(replaces, 'replacement', 'replacements')} out; if it takes such names by now, run"
                f" '{TRY_AGAIN}'"
            )
            yield Note(NoteCode.NAMES_REFUSED, message, str(plan.key))


def _sent_before(action: UploadFile) -> bool:
    return action.reason in (Reason.MISSING_IN_LAKE, Reason.CONTENT_CHANGED)
