"""Notes of a plan on replacements that failed before, or that the lake does not allow.

Owns: these notes, and the key under which the state keeps whether a lake allows replacements. Must not: decide what is
replaced (`core.diff`, `apply.trash`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from metalake_sync.core.actions import Reason, ReplaceFile, UploadFile
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import CollectionKey, RecordedCollection
from metalake_sync.state.names import CollectionHandle
from metalake_sync.state.store import StateStore

TAKEN, REFUSED, UNKNOWN = "taken", "refused", "unknown"

TRY_AGAIN = "metalake-sync state forget MANIFEST --trashed-names"
"""The command after which the next apply tries to replace one file again."""


def answer_key(lake: str) -> str:
    """The key under which the state keeps whether a lake accepts the name of a trashed file again."""
    return f"trashed names: {lake}"


def replacement_notes(
    state: StateStore,
    lake: str,
    plans: Sequence[CollectionPlan],
    recorded: Mapping[CollectionKey, tuple[CollectionHandle, RecordedCollection]],
) -> Iterator[Note]:
    """Notes on files that an earlier run lost in the trash, and on replacements that the lake does not allow.

    Reads the state only if a plan uploads a name that the lake had before.
    """
    for plan in plans:
        replaces = sum(isinstance(action, ReplaceFile) for action in plan.uploads)
        again = [action.file.name for action in plan.uploads if isinstance(action, UploadFile) and _sent_before(action)]
        if again and plan.key in recorded:
            lost = {file.name: file.lake_id for file in state.pending_replacements.lost(recorded[plan.key][0])}
            for name in filter(lost.__contains__, again):
                message = (
                    f"is lost in trash: an earlier run trashed it (id {lost[name]}) to replace it, but the upload of"
                    " the new file failed; no call restores a file from the trash"
                )
                yield Note(NoteCode.LOST_IN_TRASH, message, f"{plan.key}/{name}")
        if replaces and state.learned(answer_key(lake)) == REFUSED:
            message = (
                "the lake rejected the name of a trashed file before, so an apply skips"
                f" {counted(replaces, 'replacement', 'replacements')}; if it accepts such names now, run"
                f" '{TRY_AGAIN}'"
            )
            yield Note(NoteCode.NAMES_REFUSED, message, str(plan.key))


def _sent_before(action: UploadFile) -> bool:
    return action.reason in (Reason.MISSING_IN_LAKE, Reason.CONTENT_CHANGED)
