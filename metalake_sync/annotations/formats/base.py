"""The port of annotation formats: what a format declares, how it reads files, and how it writes them.

Owns: the protocols, the beginning of a file that formats recognize it by, and the report of what a format can't hold. A
format subclasses `AnnotationFormat`, and `OutputFormat` if it is written; both have defaults. Its own module imports
little: a run loads the modules of all formats to detect one. So readers, and writers that need more than this port, are
imported when they are first used.
Must not: know a format.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from pathlib import Path
from typing import Any, Protocol

from metalake_sync.annotations.entries import Entry, ReadNotes, SourceFile
from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.json_stream import TOP_LEVEL, members
from metalake_sync.core.shapes import ImageRecord, Shape, ShapeType
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.text_files import open_source


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a block of the manifest wants its files read."""

    normalized: bool = False
    """Whether coordinates are fractions of the image. A format whose unit is fixed ignores it."""
    kind: AnnotationKind = AnnotationKind.HUMAN
    """Whether a person or a machine made the annotations of the block. A file may hold both."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """Values of the block's keys that the format lists in `AnnotationFormat.options`, as far as the block has them."""


class FormatReader(Protocol):
    """Reads the files of one block, one after the other. What it learns from one file it may use for the next."""

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield one entry for each image of a file, as the file is read: memory must not grow with the file.

        `notes` takes what is left out, by reason and place. Raises NotAnnotations for a file of another kind, and
        ManifestError with the place for a file that can't be read any further.
        """
        ...

    def rest(self) -> Iterator[tuple[SourceFile, Callable[[], Entry]]]:
        """Yield the files that `read` could not decide on alone, after all others were read. Each comes with a function
        that returns its entry or raises ManifestError."""
        return iter(())


@dataclass(frozen=True, slots=True)
class ListedFiles:
    """Annotation files that an index file names."""

    path: Path
    """A folder of annotation files, or one annotation file."""
    root: Path
    """The folder that relative paths of these files start from."""
    is_file: bool = False


START_BYTES = 1024
PAIRS_SHOWN = 100
"""How many pairs of an object formats look at: an object may hold an entry for each image."""


class FileHead:
    """The beginning of a file, read as far as formats look at it, and only once. Close it."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self._start: bytes | None = None
        self._members: Iterator[tuple[str, int | None, Any]] | None = None
        self._ahead: tuple[str, int | None, Any] | None = None
        self._seen: list[tuple[str, int | None, Any]] = []

    def start(self) -> bytes:
        """Return the first 1024 bytes. Raises ManifestError for a file that can't be read."""
        if self._start is None:
            try:
                with open_source(self.file.path, self.file.shown_as) as opened:
                    self._start = opened.read(START_BYTES)
            except OSError as error:
                raise ManifestError(
                    f"the file can't be read ({error.strerror})", where=self.file.shown_as, remedy="Make it readable."
                ) from None
        return self._start

    def first_line(self, after: str | None = None) -> str:
        """Return the first line that is not empty, without blanks around it. `after`: the beginning of lines to skip.
        Raises ManifestError."""
        lines = self.start().decode("utf-8-sig", "replace").splitlines()
        stripped = (line.strip() for line in lines)
        return next((line for line in stripped if line and not (after and line.startswith(after))), "")

    def members(self) -> Iterator[tuple[str, int | None, Any]]:
        """Yield the keys of the first document of a JSON file. A list yields its key, 0 and its first element,
        everything else its key, None and its value: of an object the first pairs. The key of a list at the top level is
        `TOP_LEVEL`. Raises ManifestError with the place of a syntax error."""
        number = 0
        while number < len(self._seen) or self._read_member():
            yield self._seen[number]
            number += 1

    def _read_member(self) -> bool:
        if self._seen and self._seen[0][0] == TOP_LEVEL:
            return False  # a list has nothing else, and may be long
        while (member := self._next()) is not None:
            key, position, value = member
            if position:
                continue  # the rest of a list or an object that is known already
            if isinstance(value, tuple):
                value, position = self._first_pairs(value), None
            self._seen.append((key, position, value))
            return True
        return False

    def _next(self) -> tuple[str, int | None, Any] | None:
        if self._members is None:
            self._members = members(self.file.path, self.file.shown_as, _EVERY_KEY, _EVERY_KEY, only_first=True)
        member, self._ahead = self._ahead, None
        return member if member is not None else next(self._members, None)

    def _first_pairs(self, first: tuple[str, Any]) -> dict[str, Any]:
        pairs = [first]
        while len(pairs) < PAIRS_SHOWN:
            member = self._next()
            if member is None or not member[1]:
                self._ahead = member
                break
            pairs.append(member[2])
        return dict(pairs)

    def close(self) -> None:
        """Close the file."""
        self._members = None


class _EveryKey(tuple[str, ...]):
    """Holds every key: each list of a document is read element by element."""

    __slots__ = ()

    def __contains__(self, key: object) -> bool:
        return True


_EVERY_KEY = _EveryKey()


class AnnotationFormat(Protocol):
    """An annotation format. The object is stateless; its package exposes it as an entry point."""

    name: str
    """The value of `format` in a manifest."""
    title: str = ""
    """The name that people use, such as CVAT for images 1.1. Empty: the value of `format`."""
    documentation: str = ""
    """The address of the page that describes the format."""
    loses: tuple[str, ...] = ()
    """What reading leaves out and counts: plurals, such as "cuboids"."""
    extensions: tuple[str, ...]
    """Extensions of its files, in lower case, such as `.json`. In a folder only these are read."""
    reads: bool = True
    writes: bool = False
    detected: bool = True
    """Whether files may be of this format where the manifest names none. False for a format whose files look like
    something else, such as masks: they look like images."""
    side_files: frozenset[str] = frozenset()
    """Names of files that lie beside its annotation files and hold none, such as `classes.txt`."""
    index_extensions: tuple[str, ...] = ()
    """Extensions of files that hold no annotations and name the files that do, such as `data.yaml`. See `listed`."""
    options: frozenset[str] = frozenset()
    """Keys of an annotation block that only this format takes."""
    explains: bool = False
    """Whether its reader says what is wrong with files of its extensions that no format recognizes."""

    def may_hold(self, path: Path) -> bool:
        """Whether a file of a folder may hold annotations, as far as its path says. The file has an extension of the
        format. False rules it out for all formats with this extension."""
        return True

    def recognizes(self, head: FileHead) -> bool:
        """Whether a file looks like this format. Asked only where several formats have the extension."""
        ...

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        """Return a reader for the files of one block. `notes` takes what concerns the whole block."""
        ...

    def listed(self, index_file: Path, shown_as: str, notes: ReadNotes) -> Iterator[ListedFiles]:
        """Yield the annotation files that an index file names. `shown_as` is its name in messages. Where some of them
        are missing, the method sets `notes.incomplete`. Raises ManifestError."""
        return iter(())

    def was_meant(self, file: SourceFile) -> bool:
        """Whether a file that turned out to hold no annotations was meant to hold some. The result counts only where no
        local image can decide it, because all images are in the lake."""
        return False

    def output(self) -> OutputFormat:
        """Return how the format is written. Only for a format with `writes`."""
        problem = f"{self.name} is not written"
        raise NotImplementedError(problem)


class SizeUse(enum.Enum):
    """What the writer of a format needs image sizes for."""

    UNUSED = "unused"
    WRITTEN = "written where they are known"
    REQUIRED = "required to write any shape"


@dataclass(slots=True)
class WriteReport:
    """What was written, and what the format can't hold."""

    images: int = 0
    shapes: int = 0
    losses: dict[str, int] = field(default_factory=dict)
    """Reason → how often."""
    examples: dict[str, str] = field(default_factory=dict)
    """Reason → the first image."""

    def lose(self, what: str, image: str, times: int = 1) -> None:
        """Count what is lost of an image. `what`: a plural, such as "attributes", and one of `OutputFormat.losses`."""
        if times:
            self.losses[what] = self.losses.get(what, 0) + times
            self.examples.setdefault(what, image)

    def lines(self) -> Iterator[str]:
        """Yield one line for each kind of loss."""
        for what, count in self.losses.items():
            yield f"{what}: {count}, first in {self.examples[what]}"


class RecordWriter(AbstractContextManager["RecordWriter"], Protocol):
    """Writes the files of one folder, image by image. Leaving the context completes the files."""

    def write(self, record: ImageRecord, size: Size | None) -> None:
        """Write the record of an image, which holds only what the format can hold. `size`: of the image."""
        ...


class OutputFormat(Protocol):
    """How a format is written. What it can't hold is taken out of a record before the record is written: `fit_shape`
    and `fit_shapes` do that, and count each loss in the report."""

    shape_types: frozenset[ShapeType]
    """The types of shapes that the format holds. Other shapes are left out and counted."""
    file_names: tuple[str, ...] = ()
    """Files that the writer makes in the folder. No downloaded image gets one of these names."""
    image_file_extension: str | None = None
    """Where each image has an annotation file of its own: the extension of that file, such as `.txt`."""
    class_ids: bool = False
    """Whether labels are written as numbers, so that all labels must be known before the first record is written."""
    fractions: bool = False
    """Whether coordinates are written as fractions of the image, instead of pixels."""
    sizes: SizeUse = SizeUse.WRITTEN
    losses: tuple[str, ...] = ()
    """What `fit_shape` and `fit_shapes` may count in the report, in the words of the report. A download that counts
    anything else fails."""

    def writer(self, folder: Path, classes: Sequence[str]) -> RecordWriter:
        """Return a writer into an existing folder. `classes`: with `class_ids`, all labels in the order of their ids.
        Raises OSError."""
        ...

    def fit_shape(self, shape: Shape, image: str, report: WriteReport) -> Shape | None:
        """Return what the format holds of a shape, or None if it can't hold the shape."""
        return shape

    def fit_shapes(self, shapes: tuple[Shape, ...], image: str, report: WriteReport) -> tuple[Shape, ...]:
        """Return what the format holds of the shapes of one image, each of which it holds alone."""
        return shapes

    index_file: str | None = None
    """One of `file_names` that names folders of images, such as `data.yaml`. The folders of splits have none of their
    own: `write_index` writes one for all of them."""

    def write_index(self, folder: Path, splits: Sequence[str], classes: Sequence[str]) -> None:
        """Write what joins the folders of splits, which are below `folder`. Raises OSError."""
        return

    def warning_for_splits(self, splits: Sequence[str]) -> str | None:
        """Return why other tools may not use these splits, or None."""
        return None

    def warning_for(self, folder: Path) -> str | None:
        """Return why other tools may not find the files that are written into a folder, or None."""
        return None
