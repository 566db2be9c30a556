"""The files of one annotation block: finds them, and reads each with the reader of its format.

Owns: files, folders, globs and index files; the readers of a block; and reports of what may hide annotation files: if a
hidden file counted as missing, the annotations of its images would be cleared. Must not: match entries with images.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from metalake_sync.annotations.entries import AnnotationSpec, Entry, ReadNotes, SourceFile
from metalake_sync.annotations.formats import detect_format, format_named, is_recognized, readable_formats
from metalake_sync.annotations.formats.base import AnnotationFormat, FormatReader, ReadOptions
from metalake_sync.errors import ManifestError, SyncError


class BlockReaders:
    """The readers of one block, one for each format that its files have."""

    def __init__(self, spec: AnnotationSpec, notes: ReadNotes) -> None:
        """`notes` takes what concerns the whole block. Raises ManifestError for a format that can't be used."""
        self._spec = spec
        self._notes = notes
        self._readers: dict[str, FormatReader] = {}
        self._usual: dict[str, AnnotationFormat] = {}
        """Extension → the format that files with it had so far."""
        self.chosen = self._chosen()
        """The format that the manifest names. None: detected for each file."""

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Return the entries of a file. Raises ManifestError."""
        found = self._format_of(file)
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
            return self._format_of(file).was_meant(file)
        except ManifestError:
            return False

    def _format_of(self, file: SourceFile) -> AnnotationFormat:
        if self.chosen is not None:
            return self.chosen
        extension = file.path.suffix.lower()
        found = detect_format(file, self._usual.get(extension))
        if not found.explains:
            self._usual[extension] = found
        return found

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
        options = ReadOptions(self._spec.normalized is not False, self._spec.kind, self._spec.options)
        return found.reader(options, self._notes)


_ALSO_OTHERS = (".json", ".txt", ".csv", ".jsonl", ".manifest")
"""Extensions that notes, settings, lists and metadata of a project have too. Such files do not make the folder one of
annotations with this extension."""

_IMAGES = (".jpg", ".jpeg", ".png")
"""Many of these may be beside annotation files, and none of them is a folder."""


def find_files(
    base_dir: Path, sources: Sequence[str], chosen: AnnotationFormat | None, declared_at: str, notes: ReadNotes
) -> Iterator[SourceFile]:
    """Yield each file once, those of later sources first: their entries win. A folder yields its files with an
    extension of the format, in all subfolders that are not hidden.

    `chosen`: the format that the manifest names. Raises ManifestError for a source that does not exist or has no
    annotation file.
    """
    seen: set[Path] = set()
    for position, source in reversed(list(enumerate(sources))):
        found = list(_of_source(base_dir, source, chosen, notes))
        if not found:
            problem = "has no annotation file" if os.path.exists(base_dir / source) else "does not exist"
            raise ManifestError(
                f"annotation source '{source}' {problem}", where=declared_at, remedy="Create it, or correct 'source'."
            )
        for file in found:
            if file.path not in seen:
                seen.add(file.path)
                yield replace(file, declared_at=declared_at, position=position)


def _of_source(base_dir: Path, source: str, chosen: AnnotationFormat | None, notes: ReadNotes) -> Iterator[SourceFile]:
    path = base_dir / source

    def file_of(file: Path, root: Path, *, named: bool, index_file: Path | None = None) -> SourceFile:
        shown_as = os.path.relpath(file, base_dir) if file.is_relative_to(base_dir) else str(file)
        return SourceFile(file, shown_as, root, named, index_file)

    if os.path.isdir(path):
        for file in _in_folder(path, source, chosen, notes):
            yield file_of(file, path, named=False)
    elif os.path.exists(path):
        indexed = _format_of_index(path.suffix.lower(), chosen)
        if indexed is None:
            yield file_of(path, path.parent, named=True)
            return
        for place in indexed.listed(path, source, notes):
            files = [place.path] if place.is_file else _in_folder(place.path, source, indexed, notes)
            for file in files:
                yield file_of(file, place.root, named=place.is_file, index_file=path)
    else:
        # Only `source` is a pattern: the path of the manifest's folder may contain brackets.
        matches = sorted(base_dir / name for name in glob.glob(source, root_dir=base_dir, recursive=True))
        _note_hidden_from_glob(base_dir, source, notes)
        side_files = _side_files()
        files = [file for file in matches if not os.path.isdir(file) and file.name not in side_files]
        root = Path(os.path.commonpath([file.parent for file in files])) if files else path
        for file in files:
            yield file_of(file, root, named=False)


def _format_of_index(extension: str, chosen: AnnotationFormat | None) -> AnnotationFormat | None:
    """Return the format that has index files with this extension; the chosen one if it has."""
    formats = [one for one in readable_formats() if extension in one.index_extensions]
    return chosen if chosen in formats else formats[0] if formats else None


def _side_files() -> frozenset[str]:
    return frozenset().union(*(one.side_files for one in readable_formats()))


def _in_folder(folder: Path, source: str, chosen: AnnotationFormat | None, notes: ReadNotes) -> list[Path]:
    by_extension: dict[str, list[Path]] = {}
    formats: dict[str, list[AnnotationFormat]] = {}
    for one in readable_formats() if chosen is None else (chosen,):
        if one.detected or one is chosen:
            for extension in one.extensions:
                by_extension.setdefault(extension, [])
                formats.setdefault(extension, []).append(one)
    side_files = _side_files()

    def unreadable(error: OSError) -> None:
        # If the folder counted as empty, the annotations of its images would be cleared.
        raise ManifestError(
            f"'{error.filename}' can't be read ({error.strerror})", where=source, remedy="Make it readable."
        )

    elsewhere: list[Path] = []
    hidden = _Hidden(notes, folder)
    for here, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        hidden.check_folder(here, folders, files)
        for name in sorted(files):
            extension = os.path.splitext(name)[1].lower()
            if extension in by_extension and name not in side_files and not name.startswith("."):
                path = Path(here) / name
                if all(one.may_hold(path) for one in formats[extension]):
                    by_extension[extension].append(path)
                elsewhere.append(path)
            elif extension not in by_extension and extension not in _IMAGES:
                hidden.check_other(os.path.join(here, name))
    if chosen is not None:
        # Where no path is as the format has them, the manifest knows better.
        return [file for extension in chosen.extensions for file in by_extension[extension]] or elsewhere
    for extension in _ALSO_OTHERS:
        found = by_extension.get(extension)
        others = any(files for other, files in by_extension.items() if other != extension)
        if found and others and not any(map(_may_be_annotations, found)):
            del by_extension[extension]
            if extension == ".json":
                names = [os.path.relpath(file, folder) for file in found]
                notes.count("JSON files of a folder hold no annotations and are left out", len(names), at=names[0])
    for extension, files_found in by_extension.items():
        if files_found:
            for other, left in by_extension.items():
                if other != extension and left:
                    what = f"{other} files of a folder are not read, because it also has {extension} files"
                    notes.count(f"{what}; set 'format' to choose", len(left))
            return files_found
    return []


class _Hidden:
    """Reports what may hide annotation files in a folder that is walked."""

    def __init__(self, notes: ReadNotes, top: Path) -> None:
        self._notes = notes
        self._top = top
        """Paths are shown relative to this folder."""

    def check_folder(self, here: str, folders: Sequence[str], files: Sequence[str]) -> None:
        """Check one folder. `folders`: the names of its subfolders and links to folders. `files`: its other names."""
        for name in folders:
            if os.path.islink(os.path.join(here, name)):
                self.report("folders are links, which are not followed", os.path.join(here, name))
        if not folders and not files and Path(here) != self._top:
            self.report("folders are empty", here)

    def check_other(self, path: str) -> None:
        """Check what is neither a folder nor an annotation file: it may be a broken link to a folder."""
        if _is_broken_link(path):
            self.report("links are broken", path)

    def report(self, what: str, path: str) -> None:
        self._notes.incomplete = True
        what = f"{what}: their contents are unknown, and images without an entry keep their sets"
        self._notes.count(what, at=f"'{os.path.relpath(path, self._top)}'")


def _is_broken_link(path: str) -> bool:
    return os.path.islink(path) and not os.path.exists(path)


def _note_hidden_from_glob(base_dir: Path, source: str, notes: ReadNotes) -> None:
    """Report what may hide files from a glob: it skips unreadable folders and broken links. Only the folders of the
    pattern are checked, not the files."""
    folders, _, _ = source.rpartition("/")
    if not glob.has_magic(folders):
        return
    hidden = _Hidden(notes, base_dir)
    first, *rest = folders.split("/")
    for name in glob.glob(f"{folders}/", root_dir=base_dir, recursive=True):
        path = os.path.join(base_dir, name)
        try:
            if not os.listdir(path):
                hidden.report("folders are empty", path)
        except OSError:
            hidden.report("folders can't be read", path)
    if "**" in (first, *rest):
        return
    for name in glob.glob(folders, root_dir=base_dir):
        path = os.path.join(base_dir, name)
        if _is_broken_link(path):
            hidden.report("links are broken", path)


def _may_be_annotations(file: Path) -> bool:
    """Whether a file has the form of annotations, correct or not."""
    try:
        return is_recognized(SourceFile(file, str(file), file.parent))
    except ManifestError:
        return True
