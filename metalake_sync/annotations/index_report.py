"""Decides, after sources were read, what becomes of their parts that can't be used, and of entries that match loosely.

Owns: what is a note of the index and what is an error. Images that a part left out may name keep their sets, so the
mode of the index becomes `append`. Also the decision whether entries match images although their leading folders
differ, which needs all sources of an operation: an export of CVAT or COCO may put the same folder in front of every
name, and then the entries match; but labels of another split may have the names of this split's images. Their records
wait in a temporary file as long as they may match. Must not: match names, or check a shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from metalake_sync.annotations.block_files import BlockReaders
from metalake_sync.annotations.entries import AnnotationSpec, Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.image_matching import Image, Images, Match
from metalake_sync.annotations.index import AnnotationIndex, UndecidableSource
from metalake_sync.annotations.validation import ShapeProblem
from metalake_sync.core.notes import Note, NoteCode, counted
from metalake_sync.core.shapes import ImageRecord, decode_record, encode_record
from metalake_sync.errors import ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.scratch import Spool
from metalake_sync.sources.text_files import LfsPointer

ENTRIES_NAMED = 20
"""How many unusable entries are named. The others are counted."""

_Failure = tuple[SourceFile, ManifestError]


class IndexReport:
    """The notes and errors of one operation."""

    def __init__(self, index: AnnotationIndex) -> None:
        self._index = index
        self.errors: list[ManifestError] = []
        """The errors of all blocks so far."""

    def note(self, code: NoteCode, message: str, where: str) -> None:
        """Add a note to the index."""
        self._index.collected.append(Note(code, message, where))

    def skip_entry(self, spec: AnnotationSpec, error: ManifestError, file: SourceFile) -> None:
        """Skip an unusable entry, unless the block is strict."""
        if spec.strict:
            self.errors.append(error)
            return
        self._skip(error, file, "entry")

    def skip_files(self, broken: Sequence[_Failure], *, others_were_read: bool) -> None:
        """Skip broken files of a folder or a glob if other files of it were read. A broken file that the manifest names
        is an error."""
        for file, error in broken:
            if file.named or not others_were_read:
                self.errors.append(error)
                continue
            self._skip(error, file, "file")

    def _skip(self, error: ManifestError, file: SourceFile, what: str) -> None:
        self._index.mode = "append"
        where = str(error.where) if error.where is not None else file.shown_as
        message = f"{error.message}. The {what} is left out, and images without an entry keep their sets"
        self.note(NoteCode.ANNOTATIONS_INVALID, message, where)

    def skip_others(self, spec: AnnotationSpec, files: Sequence[SourceFile]) -> None:
        """Report files that hold no annotations."""
        if files:
            one, many = "file holds no annotations and is left out", "files hold no annotations and are left out"
            clause = counted(len(files), one, many)
            names = [file.shown_as for file in files]
            self._index.collected.append(Note.naming(NoteCode.SOURCE_NOTE, clause, names, spec.declared_at))

    def add(self, spec: AnnotationSpec, notes: ReadNotes, where: str) -> None:
        """Turn the report of a reader into notes, or into errors where the block does not accept unreadable shapes."""
        for what, count in notes.counts.items():
            self.note(NoteCode.SOURCE_NOTE, f"{what} ({_times(count, notes.first.get(what))})", where)
        fails = spec.invalid.of(ShapeProblem.UNREADABLE) == "fail"
        for what, count in notes.unreadable.items():
            first = notes.first.get(what)
            if fails:
                place = f"{where}: {first}" if first else where
                remedy = "Correct it, or set 'invalid: {unreadable: skip}'."
                self.errors.append(ManifestError(f"{what} ({_times(count)})", where=place, remedy=remedy))
            else:
                self.note(NoteCode.SHAPE_SKIPPED, f"{what}; left out ({_times(count, first)})", where)

    def raise_errors(self, where: str) -> None:
        """Raise the errors so far, with those of the checks."""
        self.errors += self._index.checks.errors(where)
        if self.errors:
            raise ManifestErrors(self.errors)


def _free_what_was_read(error: ManifestError) -> None:
    """Free the frames that an error holds, and the error that it came from: with them, each broken file would stay in
    memory as far as it was read."""
    error.__traceback__ = error.__context__ = error.__cause__ = None


class BlockReport:
    """What of one block can't be used. That is decided when all its files were read."""

    def __init__(self, report: IndexReport, spec: AnnotationSpec, readers: BlockReaders, images: Images) -> None:
        self._report = report
        self._spec = spec
        self._readers = readers
        self._images = images
        self._others: list[_Failure] = []
        self._broken: list[_Failure] = []
        self._entries: list[_Failure] = []
        self._good_entries = self._bad_entries = 0
        self._a_file_was_read = False

    def entry_was_read(self) -> None:
        """Count an entry that is used."""
        self._good_entries += 1

    def file_was_read(self) -> None:
        """Count a file that was read to its end."""
        self._a_file_was_read = True

    def entry_failed(self, file: SourceFile, error: ManifestError) -> None:
        """Keep an entry that can't be used."""
        self._bad_entries += 1
        if len(self._entries) < ENTRIES_NAMED:
            _free_what_was_read(error)
            self._entries.append((file, error))

    def file_failed(self, file: SourceFile, error: ManifestError, *, was_meant: bool | None = None) -> None:
        """Keep a file that can't be read. `was_meant`: whether it was meant to hold annotations; None: find it out."""
        _free_what_was_read(error)
        if isinstance(error, UndecidableSource):
            self._report.errors.append(error)
        elif was_meant or not isinstance(error, NotAnnotations | LfsPointer) or self._was_meant(file):
            self._broken.append((file, error))
        else:
            self._others.append((file, error))

    def finish(self) -> None:
        """Decide what is skipped and what is an error."""
        report, spec = self._report, self._spec
        report.skip_files(self._broken, others_were_read=self._a_file_was_read and not spec.strict)
        for file, error in self._entries:
            if self._good_entries:
                report.skip_entry(spec, error, file)
            else:
                report.errors.append(error)
        unnamed = self._bad_entries - len(self._entries)
        if unnamed and self._good_entries:
            message = f"{counted(unnamed, 'more entry is', 'more entries are')} left out"
            report.note(NoteCode.ANNOTATIONS_INVALID, message, spec.declared_at)
        if self._a_file_was_read or report.errors:
            report.skip_others(spec, [file for file, _ in self._others])
        else:
            report.errors += [error for _, error in self._others]

    def _was_meant(self, file: SourceFile) -> bool:
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
        return self._readers.was_meant(file)


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


def _times(count: int, first: str | None = None) -> str:
    """Return how often, with the first place if it is known."""
    if first is None:
        return f"{count} times" if count > 1 else "once"
    return f"{count} times, first: {first}" if count > 1 else f"once: {first}"
