"""What the state remembers of replacements in a lake, as notes of a plan.

Owns: the words, and the name under which a lake's answer is remembered. Must not: decide what is replaced
(`core.diff`, `engine.execute.replace`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from metalake_sync.core.actions import ReplaceFile, UploadFile
from metalake_sync.core.facts import CollectionKey, RecordedCollection
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.plan import CollectionPlan
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
    recorded: Mapping[CollectionKey, tuple[int, RecordedCollection]],
) -> Iterator[Note]:
    """Name the files that were lost in the trash by an earlier run, and the replacements that a lake does not allow."""
    lost = {(file.collection, file.name): file.lake_id for file in state.made_room.lost()}
    refused = state.learned(answer_key(lake)) == REFUSED
    for plan in plans:
        row = recorded[plan.key][0] if plan.key in recorded else None
        for action in plan.uploads if lost else ():
            lake_id = lost.get((row, action.file.name)) if row is not None and isinstance(action, UploadFile) else None
            if lake_id is not None:
                message = (
                    f"is lost in trash: an earlier run trashed it (id {lake_id}) to replace it, and the new file did"
                    " not arrive; no call takes a file out of the trash"
                )
                yield Note(NoteCode.LOST_IN_TRASH, message, f"{plan.key}/{action.file.name}")
        replaces = sum(isinstance(action, ReplaceFile) for action in plan.uploads)
        if replaces and refused:
            message = (
                "the lake did not take the name of a trashed file again, so an apply leaves"
                f" {counted(replaces, 'replacement', 'replacements')} out; if it takes such names by now, run"
                f" '{TRY_AGAIN}'"
            )
            yield Note(NoteCode.NAMES_REFUSED, message, str(plan.key))
