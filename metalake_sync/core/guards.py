"""The guard against deletes, which stops a plan before it destroys something.

Owns: the limit on how many files one run may trash, replace or remove. A replacement counts, because it moves the old
bytes to the trash. A renamed file does not count: its bytes are in the lake under the new name before the old file is
trashed. Which actions need approval is declared by each action (`actions`). Must not: ask for approval (`cli`), compare
an approved plan (`approved_plan`) or stop a run (`engine`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metalake_sync.core.actions import Reason, ReplaceFile
from metalake_sync.core.downloads import DownloadPlan
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.lazy_dataclass import dataclass

DEFAULT_PERCENT = 50.0
DEFAULT_FILES = 1000
DEFAULT_FEW = 20


@dataclass(frozen=True, slots=True)
class MaxDelete:
    """How many files a run may trash, replace or remove. The command line always sets at least one of both limits."""

    percent: float | None = DEFAULT_PERCENT
    """The limit in percent of each collection's files; None for no such limit."""
    files: int | None = DEFAULT_FILES
    """The limit in files of the whole run; None for no such limit."""
    few: int = DEFAULT_FEW
    """Up to this many replacements in a collection, and removed files of a download, do not count for `percent`, so
    that small collections and folders can change as a whole. It is 0 if the user set a limit."""

    @classmethod
    def parse(cls, text: str) -> MaxDelete | None:
        """Read a number of files, such as `20`, or a share, such as `10%`. Returns None for anything else."""
        number = text.removesuffix("%").strip()
        if text.endswith("%"):
            try:
                percent = float(number)
            except ValueError:
                return None
            return cls(percent=percent, files=None, few=0) if 0 <= percent <= 100 else None
        if number.isascii() and number.isdigit():
            return cls(percent=None, files=int(number), few=0)
        return None

    def __str__(self) -> str:
        limits = [f"{self.percent:g} % of a collection"] if self.percent is not None else []
        limits += [f"{self.files} files"] if self.files is not None else []
        return " or ".join(limits)


def too_many_deletes(
    plans: Sequence[CollectionPlan], limit: MaxDelete, *, by_rules: int = 0, downloads: Sequence[DownloadPlan] = ()
) -> Iterator[Note]:
    """Yield a note for each collection, each download and for the whole run, whose trashed, replaced and removed files
    exceed the limit.

    `by_rules`: the number of items that match trash rules. They count for the whole run only, because they may belong
    to any collection.
    """
    remedy = f"more than --max-delete allows ({limit}); to allow it, pass --max-delete N or P%"
    trashed = replaced = 0
    for collection in plans:
        deletes, replaces = _deletes(collection), _replaces(collection)
        trashed, replaced = trashed + deletes, replaced + replaces
        # Files that are adopted or replaced for the first time have no record yet.
        files = max(collection.recorded, replaces + len(collection.adopts))
        lost = deletes + (replaces if replaces > limit.few else 0)
        if limit.percent is not None and lost * 100 > limit.percent * files:
            message = f"would lose {_of_which(lost, lost - deletes)} of {files} files, {remedy}"
            yield Note(NoteCode.TOO_MANY_DELETES, message, str(collection.key))
    removed = sum(len(download.removals) for download in downloads)
    yield from _too_many_removals(downloads, limit, remedy)
    total = trashed + replaced + by_rules + removed
    if limit.files is not None and total > limit.files:
        words = {"trashed": trashed + by_rules, "replaced": replaced, "removed": removed}
        deleted = " or ".join(word for word, number in words.items() if number)
        yield Note(NoteCode.TOO_MANY_DELETES, f"{total} files would be {deleted}, {remedy}")


def _too_many_removals(downloads: Sequence[DownloadPlan], limit: MaxDelete, remedy: str) -> Iterator[Note]:
    """The folders of one block count together."""
    blocks: dict[str, list[DownloadPlan]] = {}
    for download in downloads:
        blocks.setdefault(download.spec.declared_at or download.spec.to, []).append(download)
    for where, parts in blocks.items():
        lost = sum(len(download.removals) for download in parts)
        files = sum(download.recorded for download in parts)
        if limit.percent is not None and lost > limit.few and lost * 100 > limit.percent * files:
            message = f"the download would remove {lost} of {files} local files, {remedy}"
            yield Note(NoteCode.TOO_MANY_DELETES, message, where)


def _of_which(lost: int, replaced: int) -> str:
    return f"the bytes of {lost} ({replaced} by replacement)" if replaced else str(lost)


def _deletes(collection: CollectionPlan) -> int:
    return sum(action.reason is not Reason.RENAMED for action in collection.trash)


def _replaces(collection: CollectionPlan) -> int:
    return sum(isinstance(action, ReplaceFile) for action in collection.uploads)
