"""One operation's sources as one index: for each image a digest, a count, and where its record lies.

Owns: merging the sources, leaving out what can't be sent, and telling what was left out. Records are spooled to a
temporary file as they are read, so that memory grows with images and not with shapes.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from metalake_sync.annotations.block_readers import BlockReaders
from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.finding import find_files
from metalake_sync.annotations.frames import are_of_stored_frame, fit, to_pixels, turned
from metalake_sync.annotations.images import Ambiguous, AnyImage, Image, Images, Match, Size
from metalake_sync.annotations.loose_matches import LooseMatches
from metalake_sync.annotations.parse_cache import NO_MEMO, Recall, SetMemo, UndrawnSource, packed, unpacked
from metalake_sync.annotations.shape_checks import ShapeChecks
from metalake_sync.annotations.spec import AnnotationSpec
from metalake_sync.annotations.validation import ShapeProblem
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.shapes import (
    EMPTY_SET_DIGEST,
    ImageRecord,
    KnownSet,
    Shape,
    decode_record,
    digest_of_shapes,
    encode_record,
)
from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.metadata_entries import HALF_A_CHARACTER, WRITE_IT_WHOLE, is_sendable_text
from metalake_sync.sources.scratch import Spool
from metalake_sync.sources.text_files import LfsPointer

LabelTree = dict[str, dict[str, list[object]]]
"""Label → attribute → values."""


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """`offset` and `length` find the record in the spool; a set without shapes has none. `undrawn`: its shapes are
    known from an earlier run, and the spool has them in the source's own words."""

    digest: str
    shape_count: int
    offset: int
    length: int
    source: SourceFile
    entry: str
    undrawn: UndrawnSource | None = None
    bucket: str | None = None
    """The bucket that the source names for the image."""

    @property
    def place(self) -> str:
        return f"{self.source.shown_as}: {self.entry}" if self.entry else self.source.shown_as


ENTRIES_NAMED = 20
"""So many entries that can't be used are named; the rest is counted."""


class WholeSource(ManifestError):
    """Only the user can decide it, or it concerns every entry: no entry is left out for it."""


class AnnotationIndex:
    """The sets of one operation, by the pictures' names in the collection. Close it, or its spool stays until the
    process ends."""

    def __init__(
        self, specs: Sequence[AnnotationSpec], images: Images, memo: SetMemo, *, by_bucket: bool = False
    ) -> None:
        first = specs[0]
        self.operation = first.operation
        self.kind = first.kind
        self.mode = first.mode
        self.normalized = first.normalized is True
        self.strict = any(spec.strict for spec in specs)
        self.declared_at = first.declared_at
        self.without_file: list[str] = []
        """Entries that mean no picture of the collection."""
        self._images = images
        self._by_bucket = by_bucket
        self._recall = Recall(memo, first.kind)
        self._by_image: dict[str, IndexedImage] = {}
        self._labels: dict[str, dict[str, dict[str, None]]] = {}
        self._notes: list[Note] = []
        self._errors: list[ManifestError] = []
        self._checks = ShapeChecks(first.operation, first.kind)
        self._other_spellings: set[str] = set()
        self._spellings: set[str] | None = None
        self._spool = Spool()
        self._loose: LooseMatches[AnnotationSpec] = LooseMatches()

    def images(self) -> Mapping[str, IndexedImage]:
        """By their names in the collection. With `by_bucket`, the name of an image whose bucket the source names begins
        with `BUCKET:`."""
        return self._by_image

    def in_its_bucket(self, image: str) -> str:
        """Return the name of an image without the bucket."""
        bucket = self._by_image[image].bucket if self._by_bucket else None
        return image if bucket is None else image.removeprefix(_in_bucket(bucket, ""))

    def buckets(self, default: str) -> dict[str, AnnotationIndex]:
        """Split an index that was opened with `by_bucket`: bucket → the index of its images, by their names in it.

        Images without a bucket of their own are in `default`. All parts share one spool; the first has the notes.
        Raises ManifestError for an image that has two entries.
        """
        images: dict[str, dict[str, IndexedImage]] = {}
        for name, image in self._by_image.items():
            own_name = self.in_its_bucket(name)
            before = images.setdefault(image.bucket or default, {}).setdefault(own_name, image)
            if before is not image:
                raise self._second_entry(own_name, before, image.place)
        if not images.keys() - {default}:
            return {default: self}
        parts: dict[str, AnnotationIndex] = {}
        for bucket, own in images.items():
            part = parts[bucket] = copy.copy(self)
            part._by_bucket, part._by_image = False, own
            if len(parts) > 1:
                part._notes, part._checks = [], ShapeChecks(self.operation, self.kind)
        return parts

    @property
    def has_shapes(self) -> bool:
        """Whether any set holds a shape."""
        return bool(self._spool.size_bytes)

    def record(self, image: str) -> ImageRecord:
        """Read a record back."""
        indexed = self._by_image[image]
        if not indexed.length:
            return ImageRecord(image, (), self.normalized, indexed.bucket)
        data = self._spool.read(indexed.offset, indexed.length)
        if indexed.undrawn is None:
            return replace(decode_record(data), image=image, bucket=indexed.bucket)
        entry, size = unpacked(image, indexed.undrawn, data)
        checks = ShapeChecks(self.operation, self.kind)
        record = self._finished(indexed.undrawn.spec, entry, indexed.undrawn.file, size, checks)
        return replace(record, bucket=indexed.bucket)

    def labels(self) -> LabelTree:
        """All labels in use, with their attributes and values."""
        return {
            label: {attribute: list(values) for attribute, values in attributes.items()}
            for label, attributes in self._labels.items()
        }

    def notes(self) -> Iterator[Note]:
        """What was left out or mended, and why."""
        yield from self._notes
        yield from self._checks.notes()

    def may_mean(self, name: str, filename: str) -> bool:
        """Whether a picture that came or changed after the sources were read may be meant by an entry, be it one that
        means another picture so far."""
        if self._spellings is None:
            mine = (spelling for image in self._by_image for spelling in _spellings(image))
            self._spellings = self._other_spellings.union(mine)
        return not self._spellings.isdisjoint((*_spellings(name), *_spellings(filename)))

    def read_all(self) -> None:
        """The last source was read: decide on what matched loosely. Raises ManifestErrors."""
        errors: list[ManifestError] = []
        for spec, image, entry, file in self._loose.matching():
            try:
                self._take(spec, image, entry, file, ReadNotes())
            except WholeSource as error:
                errors.append(error)
            except ManifestError as error:
                self._leave_out_entry(spec, error, file)
        self.without_file += self._loose.lost()
        self._notes += self._loose.notes(self.operation)
        self._loose.close()
        # The collection's pictures are needed no more.
        self._images = AnyImage()
        self._raise(errors, self.declared_at)

    def close(self) -> None:
        self._spool.close()
        self._loose.close()

    # Filling.

    def read(self, spec: AnnotationSpec) -> None:
        """Read one block's sources. Raises ManifestErrors."""
        found = ReadNotes()
        readers = BlockReaders(spec, found)
        others: list[tuple[SourceFile, ManifestError]] = []
        broken: list[tuple[SourceFile, ManifestError]] = []
        told: list[tuple[SourceFile, ManifestError]] = []
        good = bad = 0
        read_one = False
        for file in find_files(spec.base_dir, spec.sources, readers.chosen, spec.declared_at, found):
            notes = ReadNotes()
            try:
                for entry in readers.read(file, notes):
                    try:
                        self._add(spec, entry, file, notes)
                        good += 1
                    except WholeSource:
                        raise
                    except ManifestError as error:
                        bad += 1
                        if len(told) < ENTRIES_NAMED:
                            told.append((file, error))
                read_one = True
            except (NotAnnotations, LfsPointer) as error:
                if self._was_meant(file, readers):
                    broken.append((file, error))
                else:
                    others.append((file, error))
            except WholeSource as error:
                self._errors.append(error)
            except ManifestError as error:
                broken.append((file, error))
            self._report(spec, notes, file.shown_as)
        for file, late in readers.rest():
            try:
                self._add(spec, late(), file, found)
                read_one = True
            except WholeSource as error:
                self._errors.append(error)
            except ManifestError as error:
                broken.append((file, error))
        self._leave_out(broken, may_go_on=read_one and not spec.strict)
        for file, mistake in told:
            if good:
                self._leave_out_entry(spec, mistake, file)
            else:
                self._errors.append(mistake)
        if bad > len(told) and good:
            message = f"{counted(bad - len(told), 'more entry is', 'more entries are')} left out"
            self._notes.append(Note(NoteCode.ANNOTATIONS_INVALID, message, spec.declared_at))
        if read_one or self._errors:
            self._report_others(spec, [file for file, _ in others])
        else:
            self._errors += [error for _, error in others]
        if found.incomplete:
            # What was not found may name images that have a set.
            self.mode = "append"
        self._report(spec, found, spec.declared_at)
        self._checks.was_read(spec)
        self._raise([], spec.declared_at)

    def _leave_out_entry(self, spec: AnnotationSpec, error: ManifestError, file: SourceFile) -> None:
        """Leave out an entry that can't be used, unless the manifest wants all of them."""
        if spec.strict:
            self._errors.append(error)
            return
        self._note_unusable(error, file, "entry")

    def _note_unusable(self, error: ManifestError, file: SourceFile, what: str) -> None:
        self.mode = "append"
        where = str(error.where) if error.where is not None else file.shown_as
        message = f"{error.message}. The {what} is left out, and images without an entry keep their sets"
        self._notes.append(Note(NoteCode.ANNOTATIONS_INVALID, message, where))

    def _leave_out(self, broken: Sequence[tuple[SourceFile, ManifestError]], *, may_go_on: bool) -> None:
        """Leave out broken files of a folder or a glob, if others of it were read. Images that they may name keep their
        sets. A file that the manifest names must be right."""
        for file, error in broken:
            if file.named or not may_go_on:
                self._errors.append(error)
                continue
            self._note_unusable(error, file, "file")

    def _was_meant(self, file: SourceFile, readers: BlockReaders) -> bool:
        """Whether a file of another kind was meant to be read: its source names it, or an image is called as it is."""
        if file.named:
            return True
        stem = file.path.relative_to(file.root).with_suffix("").as_posix()
        try:
            match = self._images.match("", stem)
        except ManifestError:
            return True
        if not isinstance(match, Match) or match.image.path is not None:
            return match is not None
        # Images that are in the lake alone match everything.
        return readers.was_meant(file)

    def _report_others(self, spec: AnnotationSpec, files: Sequence[SourceFile]) -> None:
        if files:
            one, many = "file holds no annotations and is left out", "files hold no annotations and are left out"
            clause = counted(len(files), one, many)
            names = [file.shown_as for file in files]
            self._notes.append(Note.naming(NoteCode.SOURCE_NOTE, clause, names, spec.declared_at))

    def _raise(self, errors: Sequence[ManifestError], where: str) -> None:
        """Raise what went wrong so far."""
        self._errors += [*errors, *self._checks.errors(where)]
        if self._errors:
            raise ManifestErrors(self._errors)

    def _report(self, spec: AnnotationSpec, notes: ReadNotes, where: str) -> None:
        """Turn what a reader reports into notes, or into errors where the manifest wants no invalid shapes."""
        for what, count in notes.counts.items():
            message = f"{what} ({_times(count, notes.first.get(what))})"
            self._notes.append(Note(NoteCode.SOURCE_NOTE, message, where))
        fails = spec.invalid.of(ShapeProblem.UNREADABLE) == "fail"
        for what, count in notes.unreadable.items():
            first = notes.first.get(what)
            if fails:
                place = f"{where}: {first}" if first else where
                remedy = "Correct it, or set 'invalid: {unreadable: skip}'."
                self._errors.append(ManifestError(f"{what} ({_times(count)})", where=place, remedy=remedy))
            else:
                message = f"{what}; left out ({_times(count, first)})"
                self._notes.append(Note(NoteCode.SHAPE_SKIPPED, message, where))

    def _add(self, spec: AnnotationSpec, entry: Entry, file: SourceFile, notes: ReadNotes) -> None:
        record = entry.record
        try:
            match = self._images.match(record.image, entry.stem)
        except ManifestError as error:
            raise ManifestError(error.message, where=file.shown_as, remedy=error.remedy) from None
        found = None if match is None or isinstance(match, Ambiguous) else match.image
        meant = _spellings(found.name) if found is not None else ()
        self._other_spellings.update({_last(record.image), _last(entry.stem or "")} - {"", *meant})
        name = record.image or entry.stem or file.shown_as
        if match is None:
            self.without_file.append(name)
        elif isinstance(match, Ambiguous):
            self.without_file.append(f"{name} (ambiguous: '{match.one}' or '{match.other}')")
        elif match.dropped:
            drawn = entry.parsed(notes, self._images.size(match.image) if entry.raw is not None else None)
            self._loose.add(spec, match, drawn, file, name)
        else:
            self._loose.one_agrees()
            self._tell_of_namesake(match.image, entry, notes)
            image = match.image
            if self._by_bucket and record.bucket is not None:
                image = replace(image, name=_in_bucket(record.bucket, image.name))
            self._take(spec, image, entry, file, notes)

    def _tell_of_namesake(self, image: Image, entry: Entry, notes: ReadNotes) -> None:
        """Tell where an entry names one picture, and its file is called as another one is: a name that was copied."""
        stem = entry.stem
        if not entry.record.image or stem is None or _last(stem) in _spellings(image.name):
            return
        try:
            other = self._images.match("", stem)
        except ManifestError:
            return  # two pictures share that stem, and this entry means neither
        if isinstance(other, Match) and not other.dropped and other.image.path and other.image.name != image.name:
            notes.count(f"it names '{image.name}', and is called as '{other.image.name}' is; its own words count")

    def _take(self, spec: AnnotationSpec, image: Image, entry: Entry, file: SourceFile, notes: ReadNotes) -> None:
        """Index an entry as the set of a picture: by what an earlier run made of the same words, where that is known.
        Raises ManifestError."""
        self._refuse_second(image, entry, file)
        size = self._size_of(entry, image, file)
        key = self._recall.key(spec, image, entry, size)
        known = self._recall.get(key)
        if known is not None:
            self._by_image[image.name] = self._recalled(spec, entry, file, size, known)
            return
        left_out = ReadNotes()
        entry = entry.parsed(left_out, size)
        notes.add(left_out)
        entry = replace(entry, record=replace(entry.record, image=image.name))
        told_before = self._checks.told
        entry = self._in_shown_frame(entry, image, file)
        record = self._finished(spec, entry, file, size, self._checks)
        indexed = self._by_image[image.name] = self._indexed(record, entry, file)
        if key is not None and record.shapes and not left_out and self._checks.told == told_before:
            spelled = tuple(dict.fromkeys(shape.label for shape in entry.record.shapes))
            self._recall.put(key, KnownSet(indexed.digest, indexed.shape_count, labels_of(record.shapes), spelled))

    def _in_shown_frame(self, entry: Entry, image: Image, file: SourceFile) -> Entry:
        """An entry whose shapes count in the stored frame of an image that EXIF turns, with its shapes turned too."""
        record = entry.record
        header = self._images.header(image) if record.shapes and not record.normalized else None
        if header is None or not header.is_turned:
            return entry
        if are_of_stored_frame(record.shapes, entry.size, header):
            self._checks.was_turned(image.name, file)
            return replace(entry, record=replace(record, shapes=turned(record.shapes, header)), size=header.size)
        if not fit(record.shapes, header.size):
            self._checks.may_be_of_stored_frame(image.name)
        return entry

    def _finished(
        self, spec: AnnotationSpec, entry: Entry, file: SourceFile, size: Size | None, checks: ShapeChecks
    ) -> ImageRecord:
        """An entry's record as it is sent."""
        record = replace(entry.record, shapes=tuple(checks.sendable(spec, entry, file, size)))
        return self._converted(record, size) if record.normalized and not self.normalized else record

    def _indexed(self, record: ImageRecord, entry: Entry, file: SourceFile) -> IndexedImage:
        """Put a record into the spool. Raises ManifestError for a text that can't be sent."""
        if not record.shapes:
            return IndexedImage(EMPTY_SET_DIGEST, 0, 0, 0, file, entry.place, bucket=record.bucket)
        # The digest is of what the lake will have: not of how the source spells the name.
        data = encode_record(replace(record, image=""))
        if not is_sendable_text(data.decode("utf-8", "surrogatepass")):
            place = IndexedImage("", 0, 0, 0, file, entry.place).place
            raise ManifestError(HALF_A_CHARACTER, where=place, remedy=WRITE_IT_WHOLE)
        digest = digest_of_shapes(self.kind.value.encode() + data)
        self._note_labels(labels_of(record.shapes))
        offset = self._spooled(data)
        return IndexedImage(digest, len(record.shapes), offset, len(data), file, entry.place, bucket=record.bucket)

    def _spooled(self, data: bytes) -> int:
        """Append to the spool, and return where it lies."""
        return self._spool.append(data)

    def _recalled(
        self, spec: AnnotationSpec, entry: Entry, file: SourceFile, size: Size | None, known: KnownSet
    ) -> IndexedImage:
        """Put an entry into the spool as an earlier run met it."""
        data = packed(entry, size)
        self._note_labels(known.labels)
        self._checks.recalled(file, (*known.spelled, *known.labels))
        source = self._recall.source(spec, entry, file)
        offset, bucket = self._spooled(data), entry.record.bucket
        return IndexedImage(known.digest, known.shape_count, offset, len(data), file, entry.place, source, bucket)

    def _refuse_second(self, image: Image, entry: Entry, file: SourceFile) -> None:
        before = self._by_image.get(image.name)
        if before is not None:
            here = IndexedImage("", 0, 0, 0, file, entry.place).place
            raise self._second_entry(image.name, before, here)

    def _second_entry(self, name: str, first: IndexedImage, here: str) -> WholeSource:
        return WholeSource(
            f"'{name}' has two entries for '{self.operation}': {first.place} and {here}",
            where=self.declared_at,
            remedy="Merge them into one.",
        )

    def _size_of(self, entry: Entry, image: Image, file: SourceFile) -> Size | None:
        """The picture's size where it is needed."""
        if not entry.record.shapes and entry.raw is None:
            return None
        size = self._images.size(image)
        if size is None and image.path is not None:
            self._checks.size_is_unknown(image.name)
        if size is None and image.path is None and entry.record.normalized and not self.normalized:
            raise WholeSource(
                "its numbers are fractions, and the pictures are not here to turn them to pixels",
                where=file.shown_as,
                remedy="Set 'normalized: true' to send fractions.",
            )
        return size

    def _converted(self, record: ImageRecord, size: tuple[int, int] | None) -> ImageRecord:
        if size is not None:
            return to_pixels(record, size)
        if record.shapes:
            left_out = counted(len(record.shapes), "shape is", "shapes are")
            message = f"{self.operation}: its size can't be read, so {left_out} left out"
            self._notes.append(Note(NoteCode.SHAPE_SKIPPED, message, record.image))
        return replace(record, shapes=(), normalized=False)

    def _note_labels(self, labels: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        for label, attributes in labels.items():
            known = self._labels.setdefault(label, {})
            for name, values in attributes.items():
                known.setdefault(name, {}).update(dict.fromkeys(values))


def labels_of(shapes: Sequence[Shape]) -> dict[str, dict[str, list[str]]]:
    """Label → attribute → values, each once."""
    labels: dict[str, dict[str, list[str]]] = {}
    for shape in shapes:
        attributes = labels.setdefault(shape.label, {})
        for name, values in shape.attributes.items():
            known = attributes.setdefault(name, [])
            known += [value for value in dict.fromkeys(str(one.value) for one in values) if value not in known]
    return labels


def open_index(
    specs: Sequence[AnnotationSpec], images: Images, memo: SetMemo = NO_MEMO, *, by_bucket: bool = False
) -> AnnotationIndex:
    """Read all blocks of one operation. `images`: finds what the entries mean. `memo`: keeps what came of them.
    `by_bucket`: entries are storage paths, so the same name in two buckets means two images.

    Raises ManifestErrors with every mistake of every source.
    """
    index = AnnotationIndex(specs, images, memo, by_bucket=by_bucket)
    mistakes: list[ManifestError] = []
    for spec in specs:
        try:
            index.read(spec)
        except ManifestErrors as errors:
            mistakes += [error for error in errors.errors if error not in mistakes]
        except ManifestError as error:
            mistakes.append(error)
    if not mistakes:
        try:
            index.read_all()
        except ManifestErrors as errors:
            mistakes += errors.errors
    if mistakes:
        index.close()
        raise ManifestErrors(mistakes)
    return index


def _in_bucket(bucket: str, path: str) -> str:
    """A storage path and its bucket as one name. Names of buckets do not hold a colon."""
    return f"{bucket}:{path}"


def _last(path: str) -> str:
    """The last part of a path as sources spell it."""
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _spellings(path: str) -> tuple[str, str]:
    """How an entry may call a picture, whatever folders stand in front."""
    last = _last(path)
    return last, os.path.splitext(last)[0]


def _times(count: int, first: str | None = None) -> str:
    """How often: once, or 3 times, with the first place where that is known."""
    if first is None:
        return f"{count} times" if count > 1 else "once"
    return f"{count} times, first: {first}" if count > 1 else f"once: {first}"
