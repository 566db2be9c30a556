"""What became of an entry's shapes, kept by what they were read from: most entries are as they were in the last run.

Owns: the port, what a key is made of, and drawing what was recalled once more. Must not: know where it is kept.

Only entries that leave no trace are kept, those that were taken as they stand: whatever is told of an entry is told in
every run, because it is read in every run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from blake3 import blake3

from metalake_sync.annotations.entries import Entry, SourceFile
from metalake_sync.annotations.images import Image, Size
from metalake_sync.annotations.spec import AnnotationSpec
from metalake_sync.core.shapes import ImageRecord, KnownSet, Shape
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.lazy_dataclass import dataclass

READERS_VERSION = 2
"""Goes into every key. Raise it when a reader, a check or the canonical record changes what comes of a source."""


class SetMemo(Protocol):
    """Keeps sets by keys of 32 bytes."""

    def get(self, key: bytes) -> KnownSet | None: ...

    def put(self, key: bytes, known: KnownSet) -> None: ...


class NoMemo:
    """Keeps nothing."""

    def get(self, key: bytes) -> KnownSet | None:
        return None

    def put(self, key: bytes, known: KnownSet) -> None: ...


NO_MEMO = NoMemo()


@dataclass(frozen=True, slots=True)
class UndrawnSource:
    """What turns the words of a file's entries into shapes once more. `normalized`: as its entries are."""

    spec: AnnotationSpec
    file: SourceFile
    normalized: bool
    draw_again: Callable[[bytes, Size | None], tuple[Shape, ...]]


class Recall:
    """The memory of one operation's index."""

    def __init__(self, memo: SetMemo, kind: AnnotationKind) -> None:
        self._memo = memo
        self._kind = kind
        self._contexts: dict[tuple[int, int], tuple[Any, bytes]] = {}
        self._source: UndrawnSource | None = None

    def key(self, spec: AnnotationSpec, image: Image, entry: Entry, size: Size | None) -> bytes | None:
        """What an entry's set is kept under. None where it is not kept: it has no words of its own, or leaves a note.
        `size`: of the picture."""
        raw = entry.raw
        another_size = size is not None and entry.size not in (None, size)
        if raw is None or another_size or (size is None and image.path is not None):
            return None
        at = (id(spec), id(raw.depends_on))
        if at not in self._contexts:
            context = _context(spec, self._kind, [entry.record.normalized, raw.depends_on])
            # The object stays, so that no other gets its number.
            self._contexts[at] = (raw.depends_on, context)
        return blake3(b"%b%d %d %b" % (self._contexts[at][1], *(size or (0, 0)), raw.raw)).digest()

    def get(self, key: bytes | None) -> KnownSet | None:
        return self._memo.get(key) if key is not None else None

    def put(self, key: bytes, known: KnownSet) -> None:
        self._memo.put(key, known)

    def source(self, spec: AnnotationSpec, entry: Entry, file: SourceFile) -> UndrawnSource:
        """One for each file, not for each entry."""
        assert entry.raw is not None, "it has a key"
        if self._source is None or self._source.file is not file or self._source.spec is not spec:
            self._source = UndrawnSource(spec, file, entry.record.normalized, entry.raw.parse_again)
        return self._source


def packed(entry: Entry, size: Size | None) -> bytes:
    """An entry's own words with the picture's size, for `unpacked`."""
    assert entry.raw is not None, "it has a key"
    return b"%d %d\n%b" % (*(size or (0, 0)), entry.raw.raw)


def unpacked(image: str, source: UndrawnSource, data: bytes) -> tuple[Entry, Size | None]:
    """The entry as it was drawn once, without its places."""
    head, _, raw = data.partition(b"\n")
    width, height = map(int, head.split())
    size = (width, height) if width else None
    return Entry(ImageRecord(image, source.draw_again(raw, size), source.normalized)), size


def _context(spec: AnnotationSpec, kind: AnnotationKind, depends_on: Any) -> bytes:
    """What all entries of a file have in common in their keys. `depends_on`: what the reader adds, as JSON values."""
    policy = {problem.value: treatment for problem, treatment in spec.invalid.named.items()}
    context = [
        READERS_VERSION,
        kind.value,
        spec.normalized,
        sorted(spec.labels.items()),
        None if spec.allowed is None else sorted(spec.allowed),
        spec.invalid.default,
        sorted(policy.items()),
        depends_on,
    ]
    return blake3(json.dumps(context, sort_keys=True).encode("ascii")).digest()
