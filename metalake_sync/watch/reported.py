"""What the log and the webhook of the daemon have reported, so that each note and each held action is reported once.

Must not: send anything but log lines.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from metalake_sync.core.notes import BLOCKING, Note, NoteCode
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.watch.runner import RunResult

log = logging.getLogger("metalake_sync.watch")

SHOWN = 20
"""The largest number of lines of one kind for each run."""


def facts(**facts: Any) -> dict[str, Any]:
    """Return the `extra` of a log line: facts that a JSON log shows as keys."""
    return {"facts": facts}


_LOGGED_ELSEWHERE = BLOCKING | {NoteCode.MANIFEST, NoteCode.LITERAL_SECRET, NoteCode.LAKE_NOT_ASKED}
"""Refusals have their own lines, notes about the manifest are logged when it is read, and runs without the lake are
normal here."""


_DELETES = NoteCode.TOO_MANY_DELETES


def waiting_of(result: RunResult) -> int:
    """Return how many actions and problems wait for a person. The note on too many deletes is about held actions."""
    return len(result.held) + sum(note.code is not _DELETES or not result.held for note in result.blocking)


@dataclass(slots=True)
class HeldLog:
    """The actions that wait for approval, and the blocking notes. Each is reported once, and again after a full run
    without it."""

    _reported: set[str] = field(default_factory=set)

    def log(self, result: RunResult, *, of_everything: bool) -> list[str]:
        """Log new actions and blocking notes of a run. Returns them as clauses.

        `of_everything`: whether the run was full.
        """
        held = {f"held {action.key}": action for action in result.held}
        # The numbers in the note on too many deletes change with every file, but the guard stays the same.
        blocking = {
            f"blocking {note.code} {note.where}" if note.code is _DELETES else f"blocking {note}": note
            for note in result.blocking
        }
        new_held = [action for key, action in held.items() if key not in self._reported]
        new_blocking = [note for key, note in blocking.items() if key not in self._reported]
        for action in new_held[:SHOWN]:
            log.warning(
                "held: %s %s needs approval: review it with 'plan' and run 'apply', or watch with --auto-approve",
                action.action_name, action.file_name or "", extra=facts(collection=action.collection.name),
            )  # fmt: skip
        if len(new_held) > SHOWN:
            log.warning("held: and %d more; 'plan' shows all of them", len(new_held) - SHOWN)
        for note in new_blocking[:SHOWN]:
            log.warning("blocks apply: %s", note)
        self._reported = {*held, *blocking, *(() if of_everything else self._reported)}
        waiting = [note for note in new_blocking if note.code is not _DELETES or not result.held]
        return [*map(str, (action.key for action in new_held)), *map(str, waiting)]


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
