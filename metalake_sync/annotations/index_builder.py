"""Reads the sources of one operation into an index.

Owns: matching entries with images, and reading each as the set of its image. Must not: parse a format, check a shape,
or decide what an unusable part of a source means (`index_report`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metalake_sync.annotations.block_files import BlockReaders, find_files
from metalake_sync.annotations.entries import AnnotationSpec, Entry, ReadNotes, SourceFile
from metalake_sync.annotations.frames import are_of_stored_frame, fit, turned
from metalake_sync.annotations.image_matching import Ambiguous, Image, Images, Match, Size
from metalake_sync.annotations.index import (
    AnnotationIndex,
    UndecidableSource,
    last_part,
    place_of,
    spellings,
    with_bucket,
)
from metalake_sync.annotations.index_report import BlockReport, IndexReport, LooseMatches
from metalake_sync.annotations.parse_cache import NO_MEMO, Recall, SetMemo
from metalake_sync.core.shapes import KnownSet, Shape
from metalake_sync.errors import ManifestError, ManifestErrors


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
        self._report = IndexReport(index)
        self._loose: LooseMatches[AnnotationSpec] = LooseMatches()
        self._agreeing: dict[str, SourceFile] = {}
        """Images that an entry of a later source of a list names exactly, with its file."""
        self._unusable: dict[str, SourceFile] = {}
        """The images whose entry could not be read, with its file. Earlier sources of the list do not replace it."""

    def read(self, spec: AnnotationSpec) -> None:
        """Read the sources of one block. Raises ManifestErrors."""
        found = ReadNotes()
        readers = BlockReaders(spec, found)
        block = BlockReport(self._report, spec, readers, self._images)
        for file in find_files(spec.base_dir, spec.sources, readers.chosen, spec.declared_at, found):
            notes = ReadNotes()
            try:
                for entry in readers.read(file, notes):
                    try:
                        self._add(spec, entry, file, notes)
                        block.entry_was_read()
                    except UndecidableSource:
                        raise
                    except ManifestError as error:
                        block.entry_failed(file, error)
                block.file_was_read()
            except ManifestError as error:
                block.file_failed(file, error)
            found.incomplete |= notes.incomplete
            self._report.add(spec, notes, file.shown_as)
        for file, late in readers.rest():
            try:
                self._add(spec, late(), file, found)
                block.file_was_read()
            except ManifestError as error:
                block.file_failed(file, error, was_meant=True)
        block.finish()
        if found.incomplete:
            # A part that was not found may name images that have a set.
            self._index.mode = "append"
        self._report.add(spec, found, spec.declared_at)
        self._index.checks.was_read(spec)
        self._report.raise_errors(spec.declared_at)

    def finish(self) -> None:
        """Decide on the loose matches, which needs all sources. Raises ManifestErrors."""
        if self._agreeing:
            self._loose.one_agrees()
        for spec, image, entry, file in self._loose.matching():
            try:
                self._take(spec, image, entry, file, ReadNotes())
            except UndecidableSource as error:
                self._report.errors.append(error)
            except ManifestError as error:
                self._report.skip_entry(spec, error, file)
        self._index.without_file += self._loose.lost()
        self._index.collected += self._loose.notes(self._index.operation)
        self._report.raise_errors(self._index.declared_at)

    def close(self) -> None:
        """Delete the temporary file of loose matches."""
        self._loose.close()

    # Entries.

    def _add(self, spec: AnnotationSpec, entry: Entry, file: SourceFile, notes: ReadNotes) -> None:
        record, index = entry.record, self._index
        try:
            match = self._match(entry)
            if isinstance(match, Ambiguous) and record.image:
                # An export may have a file for each split, beside the images of the split.
                path = Path(os.path.abspath(file.path.parent / record.image))
                beside = self._images.match("/".join(path.parts[2:]), None)
                match = beside if isinstance(beside, Match) and not beside.dropped else match
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
            agreeing = self._agreeing.get(match.image.name)
            if agreeing is not None and agreeing.overrides(file):
                del self._agreeing[match.image.name]  # a later source overrides this entry, and has no leading folders
            self._loose.add(spec, match, parsed, file, name)
        else:
            if file.position:
                self._agreeing.setdefault(match.image.name, file)
            else:
                self._loose.one_agrees()
            self._note_file_of_another(match.image, entry, notes)
            image = match.image
            if index.by_bucket and record.bucket is not None:
                image = replace(image, name=with_bucket(record.bucket, image.name))
            self._take(spec, image, entry, file, notes)

    def _match(self, entry: Entry) -> Match | Ambiguous | None:
        """Return the image of an entry. Raises ManifestError."""
        if not entry.names or self._images.match_all:
            return self._images.match(entry.record.image, entry.stem)
        first: Match | Ambiguous | None = None
        for name in entry.names:
            match = self._images.match(name, None)
            if isinstance(match, Match) and not match.dropped:
                return match
            if match is not None and (first is None or isinstance(first, Ambiguous)):
                first = match
        if entry.stem is not None:
            match = self._images.match("", entry.stem)
            if first is None or (isinstance(match, Match) and not match.dropped):
                return match
        return first

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
        """Index an entry as the set of an image, unless a later source of the list has an entry for it. Raises
        ManifestError."""
        index = self._index
        before = index.by_image.get(image.name)
        first = before.source if before is not None else self._unusable.get(image.name)
        if first is not None and first.overrides(file):
            return
        if before is not None and not file.overrides(before.source):
            raise index.second_entry(image.name, before, place_of(file, entry.place))
        try:
            self._put(spec, image, entry, file, notes)
        except UndecidableSource:
            raise
        except ManifestError:
            self._unusable[image.name] = file
            raise

    def _put(self, spec: AnnotationSpec, image: Image, entry: Entry, file: SourceFile, notes: ReadNotes) -> None:
        """Index an entry as the set of an image. If an earlier run parsed the same raw shapes, they are not parsed
        again. Raises ManifestError."""
        index, checks = self._index, self._index.checks
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
