"""What the log says of a run: words, with facts beside them.

Owns: these words, and that a note is told once and not by each run. Must not: change the course of anything.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from metalake_sync.core.notes import REFUSALS, Note, NoteCode
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.watch.runner import Ran

log = logging.getLogger("metalake_sync.watch")

SHOWN = 20
"""So many things of a kind are told of each run."""

_TOLD_ELSEWHERE = REFUSALS | {NoteCode.MANIFEST, NoteCode.LITERAL_SECRET, NoteCode.LAKE_NOT_ASKED}
"""Refusals are told as such, what concerns the manifest when it is read; and that a run did not ask the lake is no
news."""


def facts(**facts: Any) -> dict[str, Any]:
    """What a log in JSON shows beside the words."""
    return {"facts": facts}


def tell_ran(ran: Ran, width: str, seconds: float) -> None:
    """Say what a run did, and what it held or refused."""
    done, failed = ran.finished.done, len(ran.finished.failed)
    beside = facts(width=width, seconds=round(seconds, 3), requests=ran.finished.requests)
    if done.changes or failed:
        log.info(
            "synced: %d uploaded, %d replaced, %d trashed, %d metadata, %d annotation sets; %d failed",
            done.upload, done.replace, done.trash, done.update_metadata,
            done.annotate + done.remove_annotations, failed, extra=beside,
        )  # fmt: skip
    else:
        log.debug("nothing to do", extra=beside)
    for action in ran.held[:SHOWN]:
        log.warning(
            "held: %s %s needs approval: look at it with 'plan', then 'apply' it, or watch with --auto-approve",
            action.action_name, action.file_name or "", extra=facts(collection=action.collection.name),
        )  # fmt: skip
    for note in ran.refused[:SHOWN]:
        log.warning("refused: %s", note)


@dataclass(slots=True)
class NotesTold:
    """Notes of plans that the log has. Each is told once; after it was gone from a look at everything, again."""

    _told: set[tuple[NoteCode, str, str]] = field(default_factory=set)

    def tell(self, notes: Sequence[Note], *, of_everything: bool) -> None:
        """Tell those that are new. `of_everything`: these are all that there are."""
        # A count of names grows with every file that comes; the note is the same.
        keyed = {
            (note.code, note.where, "" if note.names else note.message): note
            for note in notes
            if note.code not in _TOLD_ELSEWHERE
        }
        new = [note for key, note in keyed.items() if key not in self._told]
        for note in new[:SHOWN]:
            log.warning("note: %s", note, extra=facts(code=note.code.value))
        if len(new) > SHOWN:
            log.warning("note: and %d more; 'plan' shows them all", len(new) - SHOWN)
        self._told = set(keyed) if of_everything else self._told | keyed.keys()
