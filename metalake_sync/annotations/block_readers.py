"""Reads the files of one annotation block, each with the reader of its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from metalake_sync.annotations.entries import Entry, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import AnnotationFormat, FormatReader, ReadOptions
from metalake_sync.annotations.formats.registry import detect_format, format_named
from metalake_sync.annotations.spec import AnnotationSpec
from metalake_sync.errors import ManifestError, SyncError


class BlockReaders:
    """The readers of one block, one for each format that its files have."""

    def __init__(self, spec: AnnotationSpec, notes: ReadNotes) -> None:
        """`notes` takes what concerns the whole block. Raises ManifestError for a format that can't be used."""
        self._spec = spec
        self._notes = notes
        self._readers: dict[str, FormatReader] = {}
        self.chosen = self._chosen()
        """The format that the manifest names. None: detected for each file."""

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Return the entries of a file. Raises ManifestError."""
        found = self.chosen or detect_format(file)
        reader = self._readers.get(found.name)
        if reader is None:
            reader = self._readers[found.name] = self._open(found, file)
        return reader.read(file, notes)

    def rest(self) -> Iterator[tuple[SourceFile, Callable[[], Entry]]]:
        """Yield the files that could not be read before all others were, each with a function that reads it."""
        for reader in self._readers.values():
            yield from reader.rest()

    def was_meant(self, file: SourceFile) -> bool:
        """Whether a file that turned out to hold no annotations was meant to hold some."""
        try:
            return (self.chosen or detect_format(file)).was_meant(file)
        except ManifestError:
            return False

    def _chosen(self) -> AnnotationFormat | None:
        if self._spec.format is None:
            return None
        try:
            found = format_named(self._spec.format)
        except SyncError as error:
            raise ManifestError(error.message, where=self._spec.declared_at, remedy=error.remedy) from None
        if not found.reads:
            raise ManifestError(
                f"the format '{found.name}' can only be written",
                where=self._spec.declared_at,
                remedy="Convert the source, or correct 'format'.",
            )
        return found

    def _open(self, found: AnnotationFormat, file: SourceFile) -> FormatReader:
        others = sorted(self._spec.options.keys() - found.options)
        if others:
            raise ManifestError(
                f"the file has the format {found.name}, which does not take '{others[0]}'",
                where=file.shown_as,
                remedy=f"Remove '{others[0]}', or correct 'format'.",
            )
        return found.reader(ReadOptions(self._spec.normalized is not False, self._spec.options), self._notes)
