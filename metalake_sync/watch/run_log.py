"""Log lines about runs, with facts for JSON logs.

Owns: these lines, and that each note is logged once and not in each run. Must not: influence runs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from metalake_sync.core.notes import REFUSALS, Note, NoteCode
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.watch.runner import RunResult

log = logging.getLogger("metalake_sync.watch")

SHOWN = 20
"""The largest number of lines of one kind for each run."""

_LOGGED_ELSEWHERE = REFUSALS | {NoteCode.MANIFEST, NoteCode.LITERAL_SECRET, NoteCode.LAKE_NOT_ASKED}
"""Refusals have their own lines, notes about the manifest are logged when it is read, and runs without the lake are
normal here."""


def facts(**facts: Any) -> dict[str, Any]:
    """Return the `extra` of a log line: facts that a JSON log shows as keys."""
    return {"facts": facts}


def log_run(result: RunResult, coverage: str, seconds: float) -> None:
    """Log what a run did, and what it held or refused."""
    done, failed = result.finished.done, len(result.finished.failed)
    extra = facts(width=coverage, seconds=round(seconds, 3), requests=result.finished.requests)
    if done.changes or failed:
        log.info(
            "synced: %d uploaded, %d replaced, %d trashed, %d metadata, %d annotation sets; %d failed",
            done.upload, done.replace, done.trash, done.update_metadata,
            done.annotate + done.remove_annotations, failed, extra=extra,
        )  # fmt: skip
    else:
        log.debug("nothing to do", extra=extra)
    for action in result.held[:SHOWN]:
        log.warning(
            "held: %s %s needs approval: review it with 'plan' and run 'apply', or watch with --auto-approve",
            action.action_name, action.file_name or "", extra=facts(collection=action.collection.name),
        )  # fmt: skip
    for note in result.refused[:SHOWN]:
        log.warning("refused: %s", note)


@dataclass(slots=True)
class NoteLog:
    """The notes that were logged. Each is logged once, and again after a full run without it."""

    _logged: set[tuple[NoteCode, str, str]] = field(default_factory=set)

    def log(self, notes: Sequence[Note], *, of_everything: bool) -> None:
        """Log new notes. `of_everything`: whether these are the notes of a full run."""
        # The number of names grows with every new file, but the note stays the same.
        keyed = {
            (note.code, note.where, "" if note.names else note.message): note
            for note in notes
            if note.code not in _LOGGED_ELSEWHERE
        }
        new = [note for key, note in keyed.items() if key not in self._logged]
        for note in new[:SHOWN]:
            log.warning("note: %s", note, extra=facts(code=note.code.value))
        if len(new) > SHOWN:
            log.warning("note: and %d more; 'plan' shows all of them", len(new) - SHOWN)
        self._logged = set(keyed) if of_everything else self._logged | keyed.keys()
