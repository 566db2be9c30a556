"""The annotations that come along with a download: read from the lake page by page, written, compared, put in place.

Owns: paging, and what is known of the pictures' sizes. Must not: know how a format is written.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from metalake_sync.annotations.entries import SourceFile
from metalake_sync.annotations.formats.base import AnnotationFormat, SizeUse
from metalake_sync.annotations.formats.file_head import FileHead
from metalake_sync.annotations.formats.metalake.reading import read_shapes
from metalake_sync.annotations.formats.registry import format_named
from metalake_sync.annotations.images import Size
from metalake_sync.annotations.writing import ClassedRecords, write_records
from metalake_sync.core.downloads import AnnotationsWanted
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.downloads.walk import SIZE_THREADS, look_at
from metalake_sync.errors import ManifestError
from metalake_sync.protocol import routes
from metalake_sync.protocol.annotation_sets import DownloadedImage
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_resolutions
from metalake_sync.remote.repeated_pages import RepeatGuard
from metalake_sync.remote.transfers.partial import FOLDER
from metalake_sync.sources.images import image_size

PAGE_SIZE = 250
"""Images of one page, as the published client asks for them."""

ANY_SIZE: Size = (1, 1)
"""For a picture that is yet to come: what is written of it differs from what is there, whatever it is."""


class AnnotationDownload:
    """The annotations of one collection. Read them, then write them; close it.

    `filenames`: unique name → what the file is called in the folder; images that are not in it are left out.
    `root`: the folder. `to_come`: images that are not there are about to be downloaded, so that what is written of them
    is of no use but for comparing.
    """

    def __init__(
        self,
        client: LakeClient,
        collection_id: str,
        wanted: AnnotationsWanted,
        filenames: Mapping[str, str],
        root: Path,
        *,
        to_come: bool,
    ) -> None:
        self._client = client
        self._collection_id = collection_id
        self._wanted = wanted
        self._filenames = filenames
        self._root = root
        self._to_come = to_come
        self._sizes: dict[str, Size] = {}
        self._unread: list[str] = []
        self._format = format_named(wanted.format)
        self._output = self._format.output()
        self._classed = ClassedRecords(self._output, self._size_of) if self._output.class_ids else None
        self.images = 0
        self.drawn = False
        """Whether there was a shape at all."""
        self.losses: tuple[str, ...] = ()
        """What was lost on the way, one line each. Known when they are written."""

    @property
    def labels(self) -> frozenset[str]:
        """The labels that get class ids, once they are read; none in a format without class ids."""
        return frozenset(self._classed.labels) if self._classed is not None else frozenset()

    def read(self, seen: Callable[[int], None] = lambda _: None) -> None:
        """Read the lake's annotations for a format with class ids. The others are read as they are written. Raises
        OSError where there is no room for them."""
        if self._classed is not None:
            for record in self._read(seen):
                self._classed.take(record)

    def write(self, folder: Path, classes: Sequence[str], seen: Callable[[int], None] = lambda _: None) -> None:
        """Write the annotations into an empty folder. `classes`: of all downloads, in the order of their ids."""
        if self._classed is not None:
            self._classed.write(folder, classes)
            report = self._classed.report
        else:
            size_of = self._size_of if self._output.sizes is not SizeUse.UNUSED else lambda _: None
            report = write_records(self._read(seen), self._wanted.format, folder, size_of)
        losses = list(report.lines())
        if self._unread:
            losses.append(f"images whose annotations can't be read; left out: {len(self._unread)}, {self._unread[0]}")
        images = set(self._filenames.values())
        twins = [path for path in _files_below(folder) if path in images]
        for path in twins:
            (folder / path).unlink()
        if twins:
            losses.append(f"annotation files that are called as a downloaded file is: {len(twins)}, first {twins[0]}")
        self.losses = tuple(losses)

    def stale_labels(self, written: Path) -> list[str]:
        """Label files in the folder that this download does not write: those of an earlier query, or of others. By
        their paths below it. `written`: where the labels of this download are."""
        extension = self._output.image_file_extension
        if extension is None:
            return []
        images = set(self._filenames.values())
        return sorted(
            path
            for path in _files_below(self._root)
            if path.endswith(extension)
            and path not in images
            and not path.startswith(FOLDER)
            and not (written / path).exists()
            and _is_of(self._format, self._root / path)
        )

    def close(self) -> None:
        if self._classed is not None:
            self._classed.close()

    def _read(self, seen: Callable[[int], None]) -> Iterator[ImageRecord]:
        self.images = 0
        self._unread = []
        number, more = 0, True
        repeats = RepeatGuard(routes.DOWNLOAD_ANNOTATIONS.path)
        while more:
            page = self._client.download_annotations(
                self._collection_id,
                page=number,
                page_size=PAGE_SIZE,
                operations=self._wanted.operations,
                annotation_kind=self._wanted.kind,
            )
            if page is None or not page.resource_array:
                return
            repeats.check(image.file_name for image in page.resource_array)
            images = [image for image in page.resource_array if image.file_name in self._filenames]
            self._sizes = self._sizes_of(images) if self._output.sizes is not SizeUse.UNUSED else {}
            for image in images:
                filename = self._filenames[image.file_name]
                drawn = image.raw_annotations.annotations if image.raw_annotations else []
                self.drawn |= bool(drawn)
                try:
                    record = ImageRecord(filename, read_shapes(drawn, filename))
                except ManifestError as error:
                    self._unread.append(str(error))
                    continue
                self.images += 1
                yield record
            seen(self.images)
            number, more = number + 1, not page.is_last(PAGE_SIZE)

    def _sizes_of(self, images: Sequence[DownloadedImage]) -> dict[str, Size]:
        """Sizes of one page's pictures by their names in the folder: read from the files that are there. The lake is
        asked for those of others only where the format can't be written without."""
        sizes: dict[str, Size] = {}
        away: list[str] = []
        for image in images:
            filename = self._filenames[image.file_name]
            size = image_size(str(self._root / filename))
            if size is not None:
                sizes[filename] = size
            elif image.raw_annotations and image.raw_annotations.annotations:
                away.append(image.file_name)
        if self._output.sizes is SizeUse.REQUIRED and not self._to_come:
            found = remote_resolutions(self._client, away, SIZE_THREADS)
            sizes.update((self._filenames[unique_name], size) for unique_name, size in found.items())
        return sizes

    def _size_of(self, filename: str) -> Size | None:
        size = self._sizes.get(filename)
        if size is None and self._to_come and not (self._root / filename).exists():
            return ANY_SIZE
        return size


def files_that_differ(written: Path, target: Path) -> list[str]:
    """Of the files that were written, those that the target has not, or not so; by their paths below."""
    return sorted(
        path
        for path in _files_below(written)
        if look_at(target / path) is None or not filecmp.cmp(written / path, target / path, shallow=False)
    )


def _is_of(annotation_format: AnnotationFormat, path: Path) -> bool:
    """Whether a file looks like one of the format."""
    if look_at(path) is None:
        return False
    head = FileHead(SourceFile(path, str(path), path.parent))
    try:
        return annotation_format.recognizes(head)
    except ManifestError:
        return False
    finally:
        head.close()


def _files_below(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(parent, name), folder)
