"""Reads the sources of one operation into an index.

Owns: matching entries with images, leaving out what can't be used, and the notes on that. Must not: parse a format, or
check a shape. Over 300 lines, because matching an entry and reporting an unusable one share the notes of one source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metalake_sync.annotations.block_readers import BlockReaders
from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.finding import find_files
from metalake_sync.annotations.frames import are_of_stored_frame, fit, turned
from metalake_sync.annotations.images import Ambiguous, Image, Images, Match, Size
from metalake_sync.annotations.index import AnnotationIndex, UndecidableSource, last_part, spellings, with_bucket
from metalake_sync.annotations.loose_matches import LooseMatches
from metalake_sync.annotations.parse_cache import NO_MEMO, Recall, SetMemo
from metalake_sync.annotations.record_store import place_of
from metalake_sync.annotations.spec import AnnotationSpec
from metalake_sync.annotations.validation import ShapeProblem
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.shapes import KnownSet, Shape
from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.sources.text_files import LfsPointer

ENTRIES_NAMED = 20
"""How many unusable entries are named. The others are counted."""


def open_index(
    specs: Sequence[AnnotationSpec], images: Images, memo: SetMemo = NO_MEMO, *, by_bucket: bool = False
) -> AnnotationIndex:
    """Read all blocks of one operation.

    `images` matches entries. `memo` keeps parsed sets for the next run. `by_bucket`: entries are storage paths, so the
    same name in two buckets is two images. Raises ManifestErrors with every error of every source.
    """
    index = AnnotationIndex(specs, by_bucket=by_bucket)
    builder = IndexBuilder(index, images, memo)
    errors: list[ManifestError] = []
    for spec in specs:
        try:
            builder.read(spec)
        except ManifestErrors as found:
            errors += [error for error in found.errors if error not in errors]
        except ManifestError as error:
            errors.append(error)
    if not errors:
        try:
            builder.finish()
        except ManifestErrors as found:
            errors += found.errors
    builder.close()
    if errors:
        index.close()
        raise ManifestErrors(errors)
    return index


class IndexBuilder:
    """Fills an index. Read all blocks, then finish, then close it."""

    def __init__(self, index: AnnotationIndex, images: Images, memo: SetMemo) -> None:
        self._index = index
        self._images = images
        self._recall = Recall(memo, index.kind)
        self._errors: list[ManifestError] = []
        self._loose: LooseMatches[AnnotationSpec] = LooseMatches()

    def read(self, spec: AnnotationSpec) -> None:
        """Read the sources of one block. Raises ManifestErrors."""
        found = ReadNotes()
        readers = BlockReaders(spec, found)
        others: list[tuple[SourceFile, ManifestError]] = []
        broken: list[tuple[SourceFile, ManifestError]] = []
        named: list[tuple[SourceFile, ManifestError]] = []
        good = bad = 0
        read_one = False
        for file in find_files(spec.base_dir, spec.sources, readers.chosen, spec.declared_at, found):
            notes = ReadNotes()
            try:
                for entry in readers.read(file, notes):
                    try:
                        self._add(spec, entry, file, notes)
                        good += 1
                    except UndecidableSource:
                        raise
                    except ManifestError as error:
                        bad += 1
                        if len(named) < ENTRIES_NAMED:
                            named.append((file, error))
                read_one = True
            except (NotAnnotations, LfsPointer) as error:
                if self._was_meant(file, readers):
                    broken.append((file, error))
                else:
                    others.append((file, error))
            except UndecidableSource as error:
                self._errors.append(error)
            except ManifestError as error:
                broken.append((file, error))
            self._report(spec, notes, file.shown_as)
        for file, late in readers.rest():
            try:
                self._add(spec, late(), file, found)
                read_one = True
            except UndecidableSource as error:
                self._errors.append(error)
            except ManifestError as error:
                broken.append((file, error))
        self._skip_files(broken, others_were_read=read_one and not spec.strict)
        for file, unusable in named:
            if good:
                self._skip_entry(spec, unusable, file)
            else:
                self._errors.append(unusable)
        if bad > len(named) and good:
            message = f"{counted(bad - len(named), 'more entry is', 'more entries are')} left out"
            self._note(NoteCode.ANNOTATIONS_INVALID, message, spec.declared_at)
        if read_one or self._errors:
            self._report_others(spec, [file for file, _ in others])
        else:
            self._errors += [error for _, error in others]
        if found.incomplete:
            # A part that was not found may name images that have a set.
            self._index.mode = "append"
        self._report(spec, found, spec.declared_at)
        self._index.checks.was_read(spec)
        self._raise_errors(spec.declared_at)

    def finish(self) -> None:
        """Decide on the loose matches, which needs all sources. Raises ManifestErrors."""
        for spec, image, entry, file in self._loose.matching():
            try:
                self._take(spec, image, entry, file, ReadNotes())
            except UndecidableSource as error:
                self._errors.append(error)
            except ManifestError as error:
                self._skip_entry(spec, error, file)
        self._index.without_file += self._loose.lost()
        self._index.collected += self._loose.notes(self._index.operation)
        self._raise_errors(self._index.declared_at)

    def close(self) -> None:
        """Delete the temporary file of loose matches."""
        self._loose.close()

    # What can't be used.

    def _skip_entry(self, spec: AnnotationSpec, error: ManifestError, file: SourceFile) -> None:
        """Skip an unusable entry, unless the block is strict."""
        if spec.strict:
            self._errors.append(error)
            return
        self._note_unusable(error, file, "entry")

    def _skip_files(self, broken: Sequence[tuple[SourceFile, ManifestError]], *, others_were_read: bool) -> None:
        """Skip broken files of a folder or a glob if other files of it were read. Images that they may name keep their
        sets. A broken file that the manifest names is an error."""
        for file, error in broken:
            if file.named or not others_were_read:
                self._errors.append(error)
                continue
            self._note_unusable(error, file, "file")

    def _note_unusable(self, error: ManifestError, file: SourceFile, what: str) -> None:
        self._index.mode = "append"
        where = str(error.where) if error.where is not None else file.shown_as
        message = f"{error.message}. The {what} is left out, and images without an entry keep their sets"
        self._note(NoteCode.ANNOTATIONS_INVALID, message, where)

    def _was_meant(self, file: SourceFile, readers: BlockReaders) -> bool:
        """Whether a file without annotations was meant to hold some: the manifest names it, or it has an image's
        name."""
        if file.named:
            return True
        stem = file.path.relative_to(file.root).with_suffix("").as_posix()
        try:
            match = self._images.match("", stem)
        except ManifestError:
            return True
        if not isinstance(match, Match) or match.image.path is not None:
            return match is not None
        # Without local images every name matches.
        return readers.was_meant(file)

    def _report_others(self, spec: AnnotationSpec, files: Sequence[SourceFile]) -> None:
        if files:
            one, many = "file holds no annotations and is left out", "files hold no annotations and are left out"
            clause = counted(len(files), one, many)
            names = [file.shown_as for file in files]
            self._index.collected.append(Note.naming(NoteCode.SOURCE_NOTE, clause, names, spec.declared_at))

    def _report(self, spec: AnnotationSpec, notes: ReadNotes, where: str) -> None:
        """Turn the report of a reader into notes, or into errors where the block does not accept unreadable shapes."""
        for what, count in notes.counts.items():
            self._note(NoteCode.SOURCE_NOTE, f"{what} ({_times(count, notes.first.get(what))})", where)
        fails = spec.invalid.of(ShapeProblem.UNREADABLE) == "fail"
        for what, count in notes.unreadable.items():
            first = notes.first.get(what)
            if fails:
                place = f"{where}: {first}" if first else where
                remedy = "Correct it, or set 'invalid: {unreadable: skip}'."
                self._errors.append(ManifestError(f"{what} ({_times(count)})", where=place, remedy=remedy))
            else:
                self._note(NoteCode.SHAPE_SKIPPED, f"{what}; left out ({_times(count, first)})", where)

    def _note(self, code: NoteCode, message: str, where: str) -> None:
        self._index.collected.append(Note(code, message, where))

    def _raise_errors(self, where: str) -> None:
        """Raise the errors so far."""
        self._errors += self._index.checks.errors(where)
        if self._errors:
            raise ManifestErrors(self._errors)

    # Entries.

    def _add(self, spec: AnnotationSpec, entry: Entry, file: SourceFile, notes: ReadNotes) -> None:
        record, index = entry.record, self._index
        try:
            match = self._images.match(record.image, entry.stem)
        except ManifestError as error:
            raise ManifestError(error.message, where=file.shown_as, remedy=error.remedy) from None
        found = None if match is None or isinstance(match, Ambiguous) else match.image
        matched = spellings(found.name) if found is not None else ()
        index.add_spellings({last_part(record.image), last_part(entry.stem or "")} - {"", *matched})
        name = record.image or entry.stem or file.shown_as
        if match is None:
            index.without_file.append(name)
        elif isinstance(match, Ambiguous):
            index.without_file.append(f"{name} (ambiguous: '{match.one}' or '{match.other}')")
        elif match.dropped:
            parsed = entry.parsed(notes, self._images.size(match.image) if entry.raw is not None else None)
            self._loose.add(spec, match, parsed, file, name)
        else:
            self._loose.one_agrees()
            self._note_file_of_another(match.image, entry, notes)
            image = match.image
            if index.by_bucket and record.bucket is not None:
                image = replace(image, name=with_bucket(record.bucket, image.name))
            self._take(spec, image, entry, file, notes)

    def _note_file_of_another(self, image: Image, entry: Entry, notes: ReadNotes) -> None:
        """Report an entry that names one image while its file has the name of another: the file may be a copy."""
        stem = entry.stem
        if not entry.record.image or stem is None or last_part(stem) in spellings(image.name):
            return
        try:
            other = self._images.match("", stem)
        except ManifestError:
            return  # two images have this stem, so it does not name another image
        if isinstance(other, Match) and not other.dropped and other.image.path and other.image.name != image.name:
            notes.count(
                f"the file names '{image.name}' and has the name of '{other.image.name}'; the name in the file is used"
            )

    def _take(self, spec: AnnotationSpec, image: Image, entry: Entry, file: SourceFile, notes: ReadNotes) -> None:
        """Index an entry as the set of an image. If an earlier run parsed the same raw shapes, they are not parsed
        again. Raises ManifestError."""
        index, checks = self._index, self._index.checks
        before = index.by_image.get(image.name)
        if before is not None:
            raise index.second_entry(image.name, before, place_of(file, entry.place))
        size = self._size_of(entry, image, file)
        key = self._recall.key(spec, image, entry, size)
        known = self._recall.get(key)
        if known is not None:
            index.add_labels(known.labels)
            checks.recalled(file, (*known.spelled, *known.labels))
            raw = self._recall.source(spec, entry, file)
            index.by_image[image.name] = index.store.put_known(entry, file, size, known, raw)
            return
        left_out = ReadNotes()
        entry = entry.parsed(left_out, size)
        notes.add(left_out)
        entry = replace(entry, record=replace(entry.record, image=image.name))
        reported_before = checks.reported
        entry = self._in_displayed_frame(entry, image, file)
        record = index.finished(spec, entry, file, size, checks)
        indexed = index.by_image[image.name] = index.store.put(record, entry, file)
        if record.shapes:
            labels = labels_of(record.shapes)
            index.add_labels(labels)
            if key is not None and not left_out and checks.reported == reported_before:
                spelled = tuple(dict.fromkeys(shape.label for shape in entry.record.shapes))
                self._recall.put(key, KnownSet(indexed.digest, indexed.shape_count, labels, spelled))

    def _in_displayed_frame(self, entry: Entry, image: Image, file: SourceFile) -> Entry:
        """Return an entry with its shapes in the displayed orientation of an image that EXIF turns."""
        record = entry.record
        header = self._images.header(image) if record.shapes and not record.normalized else None
        if header is None or not header.is_turned:
            return entry
        if are_of_stored_frame(record.shapes, entry.size, header):
            self._index.checks.was_turned(image.name, file)
            return replace(entry, record=replace(record, shapes=turned(record.shapes, header)), size=header.size)
        if not fit(record.shapes, header.size):
            self._index.checks.may_be_of_stored_frame(image.name)
        return entry

    def _size_of(self, entry: Entry, image: Image, file: SourceFile) -> Size | None:
        """Return the size of an image if the entry has shapes. Raises UndecidableSource where fractions need it."""
        if not entry.record.shapes and entry.raw is None:
            return None
        size = self._images.size(image)
        if size is None and image.path is not None:
            self._index.checks.size_is_unknown(image.name)
        if size is None and image.path is None and entry.record.normalized and not self._index.normalized:
            raise UndecidableSource(
                "the coordinates are fractions, and the images are not local, so they can't be converted to pixels",
                where=file.shown_as,
                remedy="Set 'normalized: true' to send fractions.",
            )
        return size


def labels_of(shapes: Sequence[Shape]) -> dict[str, dict[str, list[str]]]:
    """Return label → attribute → values of shapes, each once."""
    labels: dict[str, dict[str, list[str]]] = {}
    for shape in shapes:
        attributes = labels.setdefault(shape.label, {})
        for name, values in shape.attributes.items():
            known = attributes.setdefault(name, [])
            known += [value for value in dict.fromkeys(str(one.value) for one in values) if value not in known]
    return labels


def _times(count: int, first: str | None = None) -> str:
    """Return how often, with the first place if it is known."""
    if first is None:
        return f"{count} times" if count > 1 else "once"
    return f"{count} times, first: {first}" if count > 1 else f"once: {first}"
