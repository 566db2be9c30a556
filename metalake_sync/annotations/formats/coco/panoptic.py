"""Makes polygons of COCO's panoptic annotations: segments whose pixels are in a PNG of ids.

The id of a pixel is R + 256 G + 65536 B. Owns: where the PNG is, and the pixels of each segment. Must not: know
categories. Source: cocodataset.org, "Data format", 4. Panoptic segmentation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from metalake_sync.annotations.entries import ReadNotes, SourceFile
from metalake_sync.annotations.formats.elements import a_dict, a_list, a_name
from metalake_sync.annotations.formats.mask_images import MaskImage, read_mask_file
from metalake_sync.annotations.formats.masks import BrokenMask, Lines, outlines_of_lines
from metalake_sync.annotations.formats.values import shortened
from metalake_sync.annotations.image_matching import Size
from metalake_sync.core.shapes import Point
from metalake_sync.errors import ManifestError
from metalake_sync.sources.names import plain_path

Outlines = tuple[tuple[Point, ...], ...]


def mask_file_of(source: SourceFile, annotation: dict[str, Any]) -> Path:
    """Return the PNG of an annotation: in the folder that is called as the JSON, or beside it. Raises ManifestError if
    there is no such file."""
    name = plain_path(a_name(annotation.get("file_name"), "'file_name'"))
    if ".." in PurePosixPath(name).parts:
        raise ManifestError(f"'file_name' is {shortened(name)}, which leaves the folder", remedy="Write a file name.")
    beside = source.path.parent / name
    within = source.path.with_suffix("") / name
    # A name that no file can have counts as missing.
    found = next((path for path in (within, beside) if os.path.isfile(path)), None)
    if found is None:
        message = f"the mask {shortened(name)} does not exist"
        raise ManifestError(message, remedy="Put it into the folder that is called as the JSON, or beside it.")
    return found


def stamp_of(source: SourceFile, annotation: dict[str, Any]) -> list[int]:
    """Return what changes with the PNG of an annotation: size, times and inode. Empty without a file."""
    try:
        found = os.stat(mask_file_of(source, annotation))
    except (OSError, ValueError, ManifestError):
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]


def segments_of(
    source: SourceFile, annotation: dict[str, Any], place: str, sizes: Sequence[Size], notes: ReadNotes
) -> Iterator[tuple[dict[str, Any], Outlines]]:
    """Yield each segment of an annotation with its outlines. Raises ManifestError where the PNG can't be used."""
    path = mask_file_of(source, annotation)
    shown_as = os.path.join(os.path.dirname(source.shown_as), os.path.relpath(path, source.path.parent))
    try:
        mask = read_mask_file(path, shown_as)
        lines = _lines_by_id(mask)
    except BrokenMask as error:
        raise ManifestError(f"the mask {shown_as} can't be read: {error}", remedy="Write it as a PNG.") from None
    if sizes and (mask.width, mask.height) not in sizes:
        width, height = sizes[0]
        message = f"the mask {shown_as} has {mask.width} x {mask.height} pixels, and the image {width} x {height}"
        raise ManifestError(message, remedy="Write a mask of the image's size.")
    for number, segment in enumerate(a_list(annotation.get("segments_info"), "'segments_info'")):
        at = f"{place}.segments_info[{number}]"
        try:
            segment_id = a_dict(segment, "the segment").get("id")
            if type(segment_id) is not int:
                raise ManifestError(f"'id' is {shortened(segment_id)}, not a whole number")
        except ManifestError as error:
            notes.leave_out(f"segments can't be read: {error.message}", at)
            continue
        pixels = lines.pop(segment_id, None)
        if pixels is None:
            notes.count("segments have no pixel in the mask; they are left out", at=at)
            continue
        try:
            found = outlines_of_lines(pixels)
        except BrokenMask as error:
            notes.leave_out(f"segments can't be read: {error}", at)
            continue
        found.tell_holes(notes, at)
        yield segment, found.outlines
    others = [segment_id for segment_id in lines if segment_id]
    if others:
        what = "ids of a mask are not in 'segments_info'; their pixels are left out"
        notes.count(what, len(others), at=place)


def _lines_by_id(mask: MaskImage) -> dict[int, Lines]:
    by_id: dict[int, Lines] = {}
    for value, lines in mask.by_value().items():
        color: Sequence[int] = mask.palette[value[0]] if mask.palette and value[0] < len(mask.palette) else value[:3]
        segment_id = sum(part << 8 * at for at, part in enumerate(color))
        if segment_id not in by_id:
            by_id[segment_id] = lines
            continue
        # Two pixels of one color may differ in their alpha.
        both: dict[int, list[tuple[int, int]]] = {row: [*runs] for row, runs in by_id[segment_id].items()}
        for row, runs in lines.items():
            both.setdefault(row, []).extend(runs)
        by_id[segment_id] = {row: sorted(runs) for row, runs in both.items()}
    return by_id
