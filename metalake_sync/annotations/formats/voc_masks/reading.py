"""Reads class masks, each of one image, with the object masks beside them.

A pixel is a number of a class, or a color of the label map: labelmap.txt (`name:r,g,b:parts:actions`), else VOC's own
classes. Black is background, and 255 or VOC's light gray is void: the rim of objects. With an object mask, each object
is a shape of its own, in parts; else the parts of a class are. Must not: check shapes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metalake_sync.annotations.entries import Entry, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.elements import Elements, Place
from metalake_sync.annotations.formats.label_texts import stem_of
from metalake_sync.annotations.formats.mask_images import MaskImage, need_pillow, read_mask_file
from metalake_sync.annotations.formats.masks import BrokenMask, Lines, outlines_of_lines
from metalake_sync.annotations.formats.voc_masks import CLASSES, LABEL_MAP, OBJECTS
from metalake_sync.core.shapes import Shape, ShapeType
from metalake_sync.errors import Location, ManifestError
from metalake_sync.sources.text_files import read_text

Color = tuple[int, int, int]

VOC_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
VOID_NUMBER = 255
VOID_COLOR = (224, 224, 192)
BACKGROUND = "background"
_BLACK = (0, 0, 0)
_IMAGES = {CLASSES: "JPEGImages", f"{CLASSES}Aug": "JPEGImages"}
_LEVELS = 3
"""The label map is in the folder of the masks, or up to two folders above it."""


class VocMasksReader(FormatReader):
    """Reads files, each of which is of one image."""

    def __init__(self) -> None:
        self._maps: dict[Path, LabelMap] = {}

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield the entry of the file's image. Raises ManifestError, and UsageError if Pillow is missing."""
        need_pillow(file.shown_as)
        label_map = self._label_map(file)
        objects = _object_mask_of(file.path)
        parse = functools.partial(_shapes, file=file, objects=objects, label_map=label_map)
        elements = Elements("masks", "the mask", parse, ["voc_masks", label_map.facts], whole=True)
        # What the shapes depend on is in the files, so these tell whether they changed.
        stamps = [_stamp(path) for path in (file.path, objects) if path is not None]
        yield elements.entry(stem_of(file, _IMAGES), [(0, stamps)], stem=stem_of(file))

    def _label_map(self, file: SourceFile) -> LabelMap:
        folder = file.path.parent
        if folder not in self._maps:
            self._maps[folder] = _label_map_for(file)
        return self._maps[folder]


class LabelMap:
    """The classes of masks."""

    def __init__(self, labels: Mapping[Color, str], names: tuple[str, ...], *, own: bool) -> None:
        self._labels = labels
        self._names = names
        self._own = own
        self.facts = [own, [[*color, label] for color, label in labels.items()], list(names)]
        """The map as a JSON value."""

    def label_of(self, value: bytes, mask: MaskImage) -> str | None:
        """Return the class of a pixel: empty for background, None for void. Raises KeyError for no class."""
        number = value[0] if mask.bytes_each == 1 else None
        color: Color | None = None
        if mask.palette and number is not None and number < len(mask.palette):
            color = mask.palette[number]
        elif mask.bytes_each >= 3:
            color = (value[0], value[1], value[2])
        if self._own and color is not None and color in self._labels:
            return _without_background(self._labels[color])
        if number == VOID_NUMBER or color == VOID_COLOR:
            return None
        if color == _BLACK or number == 0:
            return ""
        if number is not None and not (self._own and mask.palette):
            if number < len(self._names):
                return _without_background(self._names[number])
            raise KeyError(number)
        return _without_background(self._labels[color or _BLACK])


def _without_background(label: str) -> str:
    return "" if label.lower() == BACKGROUND else label


def voc_color(number: int) -> Color:
    """Return VOC's color of a class: its number's bits, spread over the highest bits of red, green and blue."""
    parts = [0, 0, 0]
    for at in range(8):
        for part in range(3):
            parts[part] |= (number >> (3 * at + part) & 1) << (7 - at)
    return (parts[0], parts[1], parts[2])


VOC_MAP = LabelMap({voc_color(at): name for at, name in enumerate(VOC_CLASSES)}, VOC_CLASSES, own=False)


def _label_map_for(file: SourceFile) -> LabelMap:
    folder = file.path.parent
    for _ in range(_LEVELS):
        path = folder / LABEL_MAP
        if path.is_file():
            beside = os.path.relpath(path, file.path.parent)
            return read_label_map(path, os.path.normpath(os.path.join(os.path.dirname(file.shown_as), beside)))
        folder = folder.parent
    return VOC_MAP


def read_label_map(path: Path, shown_as: str) -> LabelMap:
    """Read a label map. Raises ManifestError with the line."""
    labels: dict[Color, str] = {}
    names: list[str] = []
    for number, line in enumerate(read_text(path, shown_as).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        parts = [part.strip() for part in rest.partition(":")[0].split(",")]
        names.append(name.strip())
        if not any(parts):
            continue
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts):
            raise ManifestError(
                f"the color of '{name.strip()[:40]}' is not red, green and blue",
                where=Location(shown_as, number),
                remedy="Write name:250,50,83::",
            )
        red, green, blue = map(int, parts)
        labels.setdefault((red, green, blue), name.strip())
    return LabelMap(labels, tuple(names), own=True)


def _object_mask_of(path: Path) -> Path | None:
    """Return the object mask of a class mask, or None."""
    parts = [OBJECTS if part == CLASSES else part for part in path.parts]
    found = Path(*parts)
    return found if found != path and found.is_file() else None


def _stamp(path: Path) -> list[int]:
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]


def _shapes(_: Any, place: Place, file: SourceFile, objects: Path | None, label_map: LabelMap) -> Iterator[Shape]:
    try:
        yield from _drawn(place, file, objects, label_map)
    except BrokenMask as error:
        message = f"the mask can't be read: {error}"
        raise ManifestError(message, where=file.shown_as, remedy="Write it as a PNG.") from None


def _drawn(place: Place, file: SourceFile, objects: Path | None, label_map: LabelMap) -> Iterator[Shape]:
    mask = read_mask_file(file.path, file.shown_as)
    if place.size is not None and place.size != (mask.width, mask.height):
        width, height = place.size
        message = f"the mask has {mask.width} x {mask.height} pixels, and its image {width} x {height}"
        raise ManifestError(message, where=file.shown_as, remedy="Write a mask of the image's size.")
    object_mask = None
    if objects is not None:
        shown_as = os.path.join(os.path.dirname(file.shown_as), os.path.relpath(objects, file.path.parent))
        try:
            object_mask = read_mask_file(objects, shown_as)
        except BrokenMask as error:
            message = f"the mask of its objects, {shown_as}, can't be read: {error}"
            raise ManifestError(message, where=file.shown_as, remedy="Write it as a PNG.") from None
        if (object_mask.width, object_mask.height) != (mask.width, mask.height):
            message = f"the mask and {shown_as} have different sizes"
            raise ManifestError(message, where=file.shown_as, remedy="Write both in the image's size.")
    labels: dict[bytes, str] = {}
    for value, lines in mask.by_value().items():
        pixels = sum(end - start for runs in lines.values() for start, end in runs)
        try:
            label = label_map.label_of(value, mask)
        except KeyError:
            place.notes.leave_out("masks have pixels of an unknown class", f"value {tuple(value)}")
            continue
        if label is None:
            place.notes.count("masks have void pixels, which have no class; they are left out", pixels)
        elif label:
            labels[value] = label
    for label, lines, is_object in _regions(mask, object_mask, labels):
        try:
            found = outlines_of_lines(lines)
        except BrokenMask as error:
            place.notes.leave_out(f"masks can't be read: {error}", f"{label}")
            continue
        found.tell_holes(place.notes)
        for part, outline in enumerate(found.outlines, start=1):
            several = is_object and len(found.outlines) > 1
            metadata = {"part": f"{part}/{len(found.outlines)}"} if several else {}
            yield Shape(ShapeType.POLYGON, outline, label, None, metadata)


def _regions(
    mask: MaskImage, objects: MaskImage | None, labels: Mapping[bytes, str]
) -> Iterator[tuple[str, Lines, bool]]:
    """Yield label and rows of each object, and of each class where there is no object."""
    found: dict[tuple[bytes, str], dict[int, list[tuple[int, int]]]] = {}
    of_objects = iter(objects.runs()) if objects is not None else iter(())
    value, row, start, end = next(of_objects, (b"", -1, 0, 0))
    for of_class, at, left, right in mask.runs():
        label = labels.get(of_class)
        while label is not None and left < right:
            while objects is not None and (row < at or (row == at and end <= left)):
                value, row, start, end = next(of_objects, (b"", mask.height, 0, 0))
            covered = objects is not None and row == at and start <= left
            stop = min(right, end) if covered else right
            key = value if covered and objects is not None and _is_object(value, objects) else b""
            found.setdefault((key, label), {}).setdefault(at, []).append((left, stop))
            left = stop
    for (value, label), lines in found.items():
        yield label, {row: _joined(runs) for row, runs in lines.items()}, bool(value)


def _is_object(value: bytes, objects: MaskImage) -> bool:
    """Whether a pixel of an object mask belongs to an object."""
    if objects.bytes_each == 1:
        return value[0] not in (0, VOID_NUMBER)
    return any(value[:3]) and tuple(value[:3]) != VOID_COLOR


def _joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in runs:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
