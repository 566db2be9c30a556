"""The records of one operation in a temporary file, so that memory grows with images and not with shapes.

Owns: the canonical bytes and the digest of each record, and parsing the raw shapes of an entry that an earlier run has
parsed already. Must not: decide which entries are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from metalake_sync.annotations.entries import Entry, SourceFile
from metalake_sync.annotations.images import Size
from metalake_sync.annotations.parse_cache import RawSource, packed, unpacked
from metalake_sync.core.shapes import (
    EMPTY_SET_DIGEST,
    ImageRecord,
    KnownSet,
    decode_record,
    digest_of_shapes,
    encode_record,
)
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.metadata_entries import HALF_A_CHARACTER, WRITE_IT_WHOLE, is_sendable_text
from metalake_sync.sources.scratch import Spool

Finish = Callable[[RawSource, Entry, Size | None], ImageRecord]
"""Returns the record of a parsed entry as it is sent."""


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """The annotation set of one image, and where its record is in the temporary file."""

    digest: str
    shape_count: int
    offset: int
    length: int
    """0 for a set without shapes, which is not in the file."""
    source: SourceFile
    entry: str
    """The place of the entry in the source."""
    raw: RawSource | None = None
    """Where the file holds the raw shapes of the entry: how to parse them."""
    bucket: str | None = None
    """The bucket that the source names for the image."""

    @property
    def place(self) -> str:
        return place_of(self.source, self.entry)


def place_of(file: SourceFile, entry: str) -> str:
    """Return the place of an entry for messages."""
    return f"{file.shown_as}: {entry}" if entry else file.shown_as


class RecordStore:
    """Records of one operation. Close it."""

    def __init__(self, kind: AnnotationKind, finish: Finish) -> None:
        self._kind = kind
        self._finish = finish
        self._spool = Spool()

    @property
    def has_shapes(self) -> bool:
        """Whether any record has a shape."""
        return bool(self._spool.size_bytes)

    def put(self, record: ImageRecord, entry: Entry, file: SourceFile) -> IndexedImage:
        """Store a record. Raises ManifestError for text that can't be sent."""
        if not record.shapes:
            return IndexedImage(EMPTY_SET_DIGEST, 0, 0, 0, file, entry.place, bucket=record.bucket)
        # The digest covers what the lake stores, so not the spelling of the image's name in the source.
        data = encode_record(replace(record, image=""))
        if not is_sendable_text(data.decode("utf-8", "surrogatepass")):
            raise ManifestError(HALF_A_CHARACTER, where=place_of(file, entry.place), remedy=WRITE_IT_WHOLE)
        digest = digest_of_shapes(self._kind.value.encode() + data)
        offset = self._spool.append(data)
        return IndexedImage(digest, len(record.shapes), offset, len(data), file, entry.place, bucket=record.bucket)

    def put_known(
        self, entry: Entry, file: SourceFile, size: Size | None, known: KnownSet, raw: RawSource
    ) -> IndexedImage:
        """Store an entry with its raw shapes. `known`: what an earlier run made of the same raw shapes."""
        data = packed(entry, size)
        offset, bucket = self._spool.append(data), entry.record.bucket
        return IndexedImage(known.digest, known.shape_count, offset, len(data), file, entry.place, raw, bucket)

    def get(self, image: str, indexed: IndexedImage, *, normalized: bool) -> ImageRecord:
        """Return the record of an image."""
        if not indexed.length:
            return ImageRecord(image, (), normalized, indexed.bucket)
        data = self._spool.read(indexed.offset, indexed.length)
        if indexed.raw is None:
            return replace(decode_record(data), image=image, bucket=indexed.bucket)
        entry, size = unpacked(image, indexed.raw, data)
        return replace(self._finish(indexed.raw, entry, size), bucket=indexed.bucket)

    def close(self) -> None:
        """Delete the temporary file."""
        self._spool.close()
