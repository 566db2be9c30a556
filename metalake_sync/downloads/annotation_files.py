"""The annotation files of a download: reads the lake's annotations page by page, writes them, and compares the files.

Owns: paging, and the sizes of images. Must not: know how a format is written.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from metalake_sync.annotations.entries import SourceFile
from metalake_sync.annotations.formats import format_named
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, SizeUse
from metalake_sync.annotations.formats.metalake.reading import read_shapes
from metalake_sync.annotations.image_matching import Size
from metalake_sync.annotations.writing import ClassedRecords, stated_losses, write_records
from metalake_sync.core.downloads import AnnotationsWanted
from metalake_sync.core.shapes import ImageRecord
from metalake_sync.downloads.walk import SIZE_THREADS, fingerprint_at
from metalake_sync.errors import ManifestError
from metalake_sync.protocol import routes
from metalake_sync.protocol.annotation_sets import DownloadedImage
from metalake_sync.remote.answers import RepeatGuard
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_resolutions
from metalake_sync.remote.transfers.partial import FOLDER
from metalake_sync.sources.image_headers import image_size
from metalake_sync.sources.names import folded

PAGE_SIZE = 250
"""Images per page, as the vendor's client requests them."""

ANY_SIZE: Size = (1, 1)
"""The size of an image that is not downloaded yet. Its label file differs from the present one in any case."""


class AnnotationDownload:
    """The annotations of one collection. Read them, then write them, then close this.

    `filenames`: unique name → file name in the folder. Other images are left out. `root`: the folder. `to_come`:
    missing images will be downloaded, so that their annotations are written for comparison only. `reserved`: names of
    other files that the download writes into the folder.
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
        reserved: Collection[str] = (),
    ) -> None:
        self._client = client
        self._collection_id = collection_id
        self._wanted = wanted
        self._filenames = filenames
        self._root = root
        self._to_come = to_come
        self._reserved = reserved
        self._sizes: dict[str, Size] = {}
        self._unread: list[str] = []
        self._format = format_named(wanted.format)
        self._output = self._format.output()
        self._classed = ClassedRecords(self._output, self._size_of, reserved) if self._output.class_ids else None
        self.images = 0
        self.labels: set[str] = set()
        """The labels of all shapes in the collection, also of images that are not downloaded. Known after reading.
        Empty for a format without class ids."""
        self.drawn = False
        """Whether any image has a shape."""
        self.losses: tuple[str, ...] = ()
        """What the format could not express, one line each. Known after writing."""
        self.stated_losses: frozenset[str] = frozenset()
        """Those of them that follow from what the format is. The others concern whole images."""

    @property
    def numbers_classes(self) -> bool:
        """Whether the format has class ids."""
        return self._classed is not None

    @property
    def written_labels(self) -> frozenset[str]:
        """The labels of the shapes to write, known after reading. Empty for a format without class ids."""
        return frozenset(self._classed.labels) if self._classed is not None else frozenset()

    def read(self, seen: Callable[[int], None] = lambda _: None) -> None:
        """Read the lake's annotations for a format with class ids. Other formats read while they write.

        Raises OSError if the disk is full.
        """
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
            report = write_records(self._read(seen), self._wanted.format, folder, size_of, reserved=self._reserved)
        losses = list(report.lines())
        stated = stated_losses(self._output)
        self.stated_losses = frozenset(line for what, line in zip(report.losses, losses, strict=True) if what in stated)
        if self._unread:
            losses.append(f"images whose annotations can't be read; left out: {len(self._unread)}, {self._unread[0]}")
        images = set(map(folded, self._filenames.values()))
        clashing = [path for path in files_below(folder) if folded(path) in images]
        for path in clashing:
            (folder / path).unlink()
        if clashing:
            losses.append(f"annotation files with the name of a downloaded file: {len(clashing)}, first {clashing[0]}")
        self.losses = tuple(losses)

    def stale_labels(self, written: Path) -> list[str]:
        """Label files in the folder that this download does not write, as paths below the folder.

        They come from an earlier query, or another program. `written`: the folder with the labels of this download.
        """
        extension = self._output.image_file_extension
        if extension is None:
            return []
        images = set(self._filenames.values())
        return sorted(
            path
            for path in files_below(self._root)
            if path.endswith(extension)
            and path not in images
            and not path.startswith(FOLDER)
            and not (written / path).exists()
            and _is_in_format(self._format, self._root / path)
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
            if self._classed is not None:
                self.labels.update(_labels_of(page.resource_array))
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
        """The sizes of one page's images by file name, read from the files in the folder.

        Requests the sizes of missing images from the lake only if the format needs them.
        """
        sizes: dict[str, Size] = {}
        missing: list[str] = []
        for image in images:
            filename = self._filenames[image.file_name]
            size = image_size(str(self._root / filename))
            if size is not None:
                sizes[filename] = size
            elif image.raw_annotations and image.raw_annotations.annotations:
                missing.append(image.file_name)
        if self._output.sizes is SizeUse.REQUIRED and not self._to_come:
            found = remote_resolutions(self._client, missing, SIZE_THREADS)
            sizes.update((self._filenames[unique_name], size) for unique_name, size in found.items())
        return sizes

    def _size_of(self, filename: str) -> Size | None:
        size = self._sizes.get(filename)
        if size is None and self._to_come and not (self._root / filename).exists():
            return ANY_SIZE
        return size


def _labels_of(images: Sequence[DownloadedImage]) -> Iterator[str]:
    for image in images:
        for shape in image.raw_annotations.annotations if image.raw_annotations else ():
            label = shape.get("label") if isinstance(shape, dict) else None
            if isinstance(label, str):
                yield label


def files_that_differ(written: Path, target: Path) -> list[str]:
    """The written files that the target folder does not have or that differ there, as paths below it."""
    return sorted(
        path
        for path in files_below(written)
        if fingerprint_at(target / path) is None or not filecmp.cmp(written / path, target / path, shallow=False)
    )


def _is_in_format(annotation_format: AnnotationFormat, path: Path) -> bool:
    """Whether a file looks like one of the format."""
    if fingerprint_at(path) is None:
        return False
    head = FileHead(SourceFile(path, str(path), path.parent))
    try:
        return annotation_format.recognizes(head)
    except ManifestError:
        return False
    finally:
        head.close()


def files_below(folder: Path) -> Iterator[str]:
    """Yield the paths of all files below a folder, relative to it."""
    for parent, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(parent, name), folder)
