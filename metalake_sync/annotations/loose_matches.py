"""Decides whether entries match images although their leading folders differ from the images' folders.

Owns: the decision, which needs all sources of an operation. An export of CVAT or COCO may put the same folder in front
of every name, and then the entries match; but labels of another split may have the names of this split's images.
Records wait in a temporary file as long as they may match. Must not: match names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Generic, TypeVar

from metalake_sync.annotations.entries import Entry, SourceFile
from metalake_sync.annotations.images import Image, Match
from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.core.shapes import ImageRecord, decode_record, encode_record
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.scratch import Spool

PREFIXES_NAMED = 5

_ELSEWHERE = ImageRecord("", ())
"""The record of a waiting entry, whose own record is in the temporary file."""

Spec = TypeVar("Spec")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Spec]):
    spec: Spec
    image: Image
    file: SourceFile
    entry: Entry
    offset: int
    """Of the record in the temporary file."""
    length: int


class LooseMatches(Generic[Spec]):
    """The loose matches of one operation. Each comes back with the `Spec` it was added with. Close it."""

    def __init__(self) -> None:
        self._spool: Spool | None = None
        self._waiting: list[_Waiting[Spec]] = []
        self._names: list[str] = []
        self._prefixes: dict[str, int] = {}
        self._one_agrees = False

    def add(self, spec: Spec, match: Match, entry: Entry, file: SourceFile, name: str) -> None:
        """Add a loose match. `name`: the name in the entry."""
        self._names.append(name)
        self._prefixes[match.dropped] = self._prefixes.get(match.dropped, 0) + 1
        if not self._may_match:
            self._drop()
            return
        if self._spool is None:
            self._spool = Spool()
        data = encode_record(entry.record, checked=False)
        offset = self._spool.append(data)
        self._waiting.append(_Waiting(spec, match.image, file, replace(entry, record=_ELSEWHERE), offset, len(data)))

    def one_agrees(self) -> None:
        """Take that an entry of the operation matches an image exactly: then the loose ones do not match."""
        if not self._one_agrees:
            self._one_agrees = True
            self._drop()

    def matching(self) -> Iterator[tuple[Spec, Image, Entry, SourceFile]]:
        """Yield the loose matches that count. Call it after all sources were read."""
        if self._spool is None or not self._may_match:
            return
        for one in self._waiting:
            record = decode_record(self._spool.read(one.offset, one.length))
            yield one.spec, one.image, replace(one.entry, record=record), one.file

    def lost(self) -> list[str]:
        """Return the names of the entries that do not match."""
        return [] if self._may_match else self._names

    def notes(self, operation: str) -> Iterator[Note]:
        """Yield a note on the decision where it is not obvious."""
        if not self._prefixes or self._one_agrees:
            return
        if self._may_match:
            ((prefix, times),) = self._prefixes.items()
            message = f"names begin with '{prefix}/', which is not in the paths of the images"
            message += f" and is ignored; entries: {times}"
        else:
            named = ", ".join(f"'{prefix}/'" for prefix in list(self._prefixes)[:PREFIXES_NAMED])
            more = ", …" if len(self._prefixes) > PREFIXES_NAMED else ""
            message = (
                f"names begin with several folders that are not in the paths of the images ({named}{more}), so these"
                f" entries match no image: {len(self._names)}"
            )
        yield Note(NoteCode.SOURCE_NOTE, message, operation)

    def close(self) -> None:
        self._drop()

    @property
    def _may_match(self) -> bool:
        return not self._one_agrees and len(self._prefixes) <= 1

    def _drop(self) -> None:
        self._waiting.clear()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
