"""What a run did, in the words that the end of a run, `status` and `history` share.

Must not: read the state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from metalake_sync.cli.terminal import count, duration, size
from metalake_sync.state.runs import RunRow

_DONE = {
    "create_collection": ("collection", "created"),
    "upload": ("file", "uploaded"),
    "replace": ("file", "replaced"),
    "adopt": ("file", "adopted"),
    "claim": ("file", "claimed"),
    "update_metadata": ("metadata update", ""),
    "annotate": ("annotation set", "sent"),
    "remove_annotations": ("annotation set", "cleared"),
    "download": ("file", "downloaded"),
    "remove_downloaded": ("local file", "removed"),
    "trash": ("file", "trashed"),
    "attach_model_run": ("model run", "attached"),
}
"""Action → what it concerns, and what happened to it, in the order in which runs are described."""

VERBS = {
    **{name: verb for name, (_, verb) in _DONE.items()},
    "update_metadata": "metadata",
    "annotate": "annotated",
}
"""Action → the word for it at the start of a line of the history."""

_OUTCOMES = {"some_failed": "some failed", None: "was killed"}


def done_words(counts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was done: `26 files uploaded`, `3 metadata updates`. `counts`: action → number."""
    for name, (noun, verb) in _DONE.items():
        if number := counts.get(name):
            yield f"{count(number, noun)} {verb}".rstrip()


def outcome_words(outcome: str | None) -> str:
    """Return how a run ended. None: it recorded no end."""
    return _OUTCOMES.get(outcome, outcome or "")


def when(moment: str) -> str:
    """Return a time of the history for a person: `2026-01-31 10:15:00 UTC`."""
    return f"{moment[:19].replace('T', ' ')} UTC"


def run_words(run: RunRow) -> str:
    """Return what a finished run did, how much it sent and how long it took."""
    summary = run.summary or {}
    failed = [f"{summary['failed']} failed"] if summary.get("failed") else []
    nothing = "nothing was sent" if run.outcome == "done" else "nothing was finished"
    words = ", ".join([*done_words(summary), *failed]) or nothing
    sent = [f"{size(summary['bytes_sent'])} sent"] if summary.get("bytes_sent") else []
    took = [duration(seconds)] if (seconds := _seconds(run)) is not None else []
    return f"{words} ({', '.join([*sent, *took])})" if sent or took else words


def _seconds(run: RunRow) -> float | None:
    from datetime import datetime

    if run.ended_at is None:
        return None
    try:
        return (datetime.fromisoformat(run.ended_at) - datetime.fromisoformat(run.started_at)).total_seconds()
    except (ValueError, TypeError):
        return None
