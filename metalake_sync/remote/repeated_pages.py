"""Detects a lake that repeats pages of a list, so that every listing ends."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from metalake_sync.errors import LakeAnswerInvalid


class RepeatGuard:
    """Checks the pages of one list in order, and remembers one of them at a time.

    Pages that shift while other clients write share some items. An identical page means that the lake, or a cache in
    front of it, ignores the page number. The remembered page is the one at the last power of two (Brent's method), so
    cycles of any length are found.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept: int | None = None
        self._seen = 0
        self._keep_next_at = 1

    def check(self, ids: Iterable[Hashable]) -> None:
        """Raise LakeAnswerInvalid if this page is a repetition. `ids`: those of its items, in order."""
        page = hash(tuple(ids))
        if page == self._kept:
            raise LakeAnswerInvalid(
                "the lake repeats a page of its list, so the list has no end",
                where=self._path,
                remedy="Check that no cache is in front of the lake, and ask its operator.",
            )
        self._seen += 1
        if self._seen == self._keep_next_at:
            self._kept = page
            self._keep_next_at *= 2
