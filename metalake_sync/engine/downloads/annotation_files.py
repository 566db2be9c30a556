"""The annotations that come along with a download: read from the lake page by page, written, compared, put in place.

Owns: paging, and the door to the formats. Must not: know how a format is written.
"""

from __future__ import annotations

import filecmp
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from metalake_sync.core.downloads import AnnotationsWanted
from metalake_sync.errors import UsageError
from metalake_sync.remote.client import LakeClient

PAGE_SIZE = 250
"""Images of one page, as the published client asks for them."""

ANNOTATIONS_FILE = "annotations.json"


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """`image`: what the picture is called in the folder. `annotations`: in the upload format, in pixels."""

    image: str
    annotations: list[dict[str, Any]]


class AnnotationWriter(Protocol):
    """Writes images into a folder, as one file or many, so that equal images give equal files."""

    def __call__(self, images: Iterable[AnnotatedImage], folder: Path) -> None: ...


def write_metalake(images: Iterable[AnnotatedImage], folder: Path) -> None:
    """The MetaLake's own JSON, one image a line; memory does not grow with their number."""
    with open(folder / ANNOTATIONS_FILE, "w", encoding="utf-8") as file:
        file.write('{"images": [')
        joint = "\n"
        for image in images:
            file.write(joint + json.dumps({"image": image.image, "annotations": image.annotations}, ensure_ascii=True))
            joint = ",\n"
        file.write("\n]}\n")


WRITERS: dict[str, AnnotationWriter] = {"metalake": write_metalake}
"""Format → its writer. Formats beside the lake's own are entered here."""


def writer_for(format_name: str) -> AnnotationWriter:
    """Raises UsageError for a format that can't be written."""
    writer = WRITERS.get(format_name)
    if writer is None:
        raise UsageError(
            f"annotations can't be written as '{format_name}'", remedy=f"This version writes {', '.join(WRITERS)}."
        )
    return writer


class AnnotationDownload:
    """The annotations of one collection. `filenames`: unique name → what the file is called in the folder; images that
    are not in it are left out."""

    def __init__(
        self, client: LakeClient, collection_id: str, wanted: AnnotationsWanted, filenames: Mapping[str, str]
    ) -> None:
        self._client = client
        self._collection_id = collection_id
        self._wanted = wanted
        self._filenames = filenames
        self._write = writer_for(wanted.format)
        self.images = 0

    def write(self, folder: Path, seen: Callable[[int], None] = lambda _: None) -> None:
        """Read the lake's annotations and write them into an empty folder."""
        self.images = 0
        self._write(self._read(seen), folder)

    def _read(self, seen: Callable[[int], None]) -> Iterator[AnnotatedImage]:
        number, more = 0, True
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
            for image in page.resource_array:
                filename = self._filenames.get(image.file_name)
                if filename is None:
                    continue
                self.images += 1
                drawn = image.raw_annotations
                yield AnnotatedImage(filename, drawn.annotations if drawn else [])
            seen(self.images)
            number, more = number + 1, page.next_page


def files_that_differ(written: Path, target: Path) -> list[str]:
    """Of the files that were written, those that the target has not, or not so; by their paths below."""
    differing: list[str] = []
    for folder, _, names in os.walk(written):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), written)
            there = target / path
            if not there.is_file() or not filecmp.cmp(written / path, there, shallow=False):
                differing.append(path)
    return sorted(differing)


def put_in_place(written: Path, target: Path, paths: Iterable[str]) -> None:
    """Move files to where they belong; each is either the old one or the new one, whole."""
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(written / path, target / path)
