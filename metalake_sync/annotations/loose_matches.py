"""Entries whose folders in front do not agree with where their pictures lie: whether they mean them after all.

Owns: the decision, which falls when all sources of an operation were read. One export of CVAT or COCO puts the same
folder in front of every name; the labels of another split have the names of this one's pictures. Records wait in a
temporary file, and only while the answer may still be yes. Must not: look for pictures.
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
"""Stands in an entry whose record is in the spool."""

Spec = TypeVar("Spec")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Spec]):
    """`offset` and `length` find the record in the spool."""

    spec: Spec
    image: Image
    file: SourceFile
    entry: Entry
    offset: int
    length: int


class LooseMatches(Generic[Spec]):
    """Those of one operation. `Spec`: what the asker wants back with each. Close it."""

    def __init__(self) -> None:
        self._spool: Spool | None = None
        self._waiting: list[_Waiting[Spec]] = []
        self._names: list[str] = []
        self._prefixes: dict[str, int] = {}
        self._one_agrees = False

    def add(self, spec: Spec, match: Match, entry: Entry, file: SourceFile, name: str) -> None:
        """`name`: what the entry calls its picture."""
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
        """An entry of the operation means its picture without a doubt: then so would the others, if they did."""
        if not self._one_agrees:
            self._one_agrees = True
            self._drop()

    def matching(self) -> Iterator[tuple[Spec, Image, Entry, SourceFile]]:
        """Those that match. Ask it when all was read."""
        if self._spool is None or not self._may_match:
            return
        for one in self._waiting:
            record = decode_record(self._spool.read(one.offset, one.length))
            yield one.spec, one.image, replace(one.entry, record=record), one.file

    def lost(self) -> list[str]:
        """What those that do not match call their pictures."""
        return [] if self._may_match else self._names

    def notes(self, operation: str) -> Iterator[Note]:
        """What was decided, where it is not plain."""
        if not self._prefixes or self._one_agrees:
            return
        if self._may_match:
            ((prefix, times),) = self._prefixes.items()
            message = (
                f"'{prefix}/' in front of names is not in the pictures' paths, and is not counted; entries: {times}"
            )
        else:
            named = ", ".join(f"'{prefix}/'" for prefix in list(self._prefixes)[:PREFIXES_NAMED])
            more = ", …" if len(self._prefixes) > PREFIXES_NAMED else ""
            message = (
                f"names have several folders in front that are not in the pictures' paths ({named}{more}), so that none"
                f" of these entries matches: {len(self._names)}"
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
