"""Notices a lake that answers every page of a list with the same one, so that no listing goes on for ever."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from metalake_sync.errors import LakeAnswerInvalid


class RepeatGuard:
    """Sees the pages of one list in their order, and keeps one of them, whatever their number.

    A page that moves while others write to the lake shares some items with an earlier one; a full page that is the same
    as an earlier one is a lake, or a cache before it, that ignores the page's number. The page that is kept is that of
    the last power of two (Brent's method), so that a cycle of any length is found.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept: int | None = None
        self._seen = 0
        self._keep_next_at = 1

    def check(self, ids: Iterable[Hashable]) -> None:
        """Raise LakeAnswerInvalid where this page was there before. `ids`: those of its items, in their order."""
        page = hash(tuple(ids))
        if page == self._kept:
            raise LakeAnswerInvalid(
                "the lake answers with a page of its list that it gave before, so the list has no end",
                where=self._path,
                remedy="Check that no cache stands before the lake, and ask its operator.",
            )
        self._seen += 1
        if self._seen == self._keep_next_at:
            self._kept = page
            self._keep_next_at *= 2
