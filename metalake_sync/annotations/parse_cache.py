"""Remembers the parsed sets of entries by their raw shapes: most entries do not change between two runs.

Owns: the port to the memory, the keys, and parsing a remembered entry once more. Must not: know where the memory is.

Only entries that leave no note are remembered. An entry that leaves a note is parsed in every run, so that every run
reports it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from blake3 import blake3

from metalake_sync.annotations.entries import AnnotationSpec, Entry, SourceFile
from metalake_sync.annotations.image_matching import Image, Size
from metalake_sync.core.shapes import ImageRecord, KnownSet, Shape
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.lazy_dataclass import dataclass

READERS_VERSION = 3
"""A part of every key. Raise it when a reader, a check or the canonical record gives other results for a source."""


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
class RawSource:
    """How to parse the raw shapes of a file's entries once more."""

    spec: AnnotationSpec
    file: SourceFile
    normalized: bool
    """Whether the coordinates of its entries are fractions."""
    parse_again: Callable[[bytes, Size | None], tuple[Shape, ...]]


class Recall:
    """Looks up the entries of one operation in the memory."""

    def __init__(self, memo: SetMemo, kind: AnnotationKind) -> None:
        self._memo = memo
        self._kind = kind
        self._contexts: dict[tuple[int, int], tuple[Any, bytes]] = {}
        self._source: RawSource | None = None

    def key(self, spec: AnnotationSpec, image: Image, entry: Entry, size: Size | None) -> bytes | None:
        """Return the key of an entry's set, or None if the set is not remembered: the entry has no raw shapes, or
        leaves a note. `size`: of the image."""
        raw = entry.raw
        another_size = size is not None and entry.size not in (None, size)
        if raw is None or another_size or (size is None and image.path is not None):
            return None
        at = (id(spec), id(raw.depends_on))
        if at not in self._contexts:
            context = _context(spec, self._kind, [entry.record.normalized, raw.depends_on])
            # Keeping the object keeps its id from being used again.
            self._contexts[at] = (raw.depends_on, context)
        return blake3(b"%b%d %d %b" % (self._contexts[at][1], *(size or (0, 0)), raw.raw)).digest()

    def get(self, key: bytes | None) -> KnownSet | None:
        """Return the set of an earlier run."""
        return self._memo.get(key) if key is not None else None

    def put(self, key: bytes, known: KnownSet) -> None:
        """Remember a set for later runs."""
        self._memo.put(key, known)

    def source(self, spec: AnnotationSpec, entry: Entry, file: SourceFile) -> RawSource:
        """Return how to parse an entry again: one object for each file, not for each entry."""
        assert entry.raw is not None, "an entry with a key has raw shapes"
        if self._source is None or self._source.file is not file or self._source.spec is not spec:
            self._source = RawSource(spec, file, entry.record.normalized, entry.raw.parse_again)
        return self._source


def packed(entry: Entry, size: Size | None) -> bytes:
    """Return the raw shapes of an entry with the size of its image, for `unpacked`."""
    assert entry.raw is not None, "an entry with a key has raw shapes"
    return b"%d %d\n%b" % (*(size or (0, 0)), entry.raw.raw)


def unpacked(image: str, source: RawSource, data: bytes) -> tuple[Entry, Size | None]:
    """Return an entry as it was parsed, without its places, and the size of its image."""
    head, _, raw = data.partition(b"\n")
    width, height = map(int, head.split())
    size = (width, height) if width else None
    return Entry(ImageRecord(image, source.parse_again(raw, size), source.normalized)), size


def _context(spec: AnnotationSpec, kind: AnnotationKind, depends_on: Any) -> bytes:
    """Return the part of the key that all entries of a file share. `depends_on`: the reader's part, as JSON values."""
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
