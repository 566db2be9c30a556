"""Reads Darwin JSON: the items of V7, of which each slot has an image.

Owns: the slots of an item, and which of them an annotation belongs to. The masks of a slot are in one raster layer
as runs of numbers; each mask gets its own runs here. Must not: make shapes (`shapes` does).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from typing import Any

from metalake_sync.annotations.entries import Entry, NotAnnotations, ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import FormatReader
from metalake_sync.annotations.formats.darwin import is_item
from metalake_sync.annotations.formats.darwin.shapes import MASK_RUNS, MASK_SIZE, shapes_of
from metalake_sync.annotations.formats.elements import Elements
from metalake_sync.annotations.formats.masks import PIXEL_LIMIT
from metalake_sync.annotations.formats.values import image_size, shortened
from metalake_sync.annotations.json_stream import members
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass

_RASTER_LAYER = "__raster_layer__"


@dataclass(slots=True)
class _Slot:
    """An image of an item."""

    name: str
    size: tuple[int, int] | None
    names: tuple[str, ...]
    """Names of the image, with the folder of the item first."""
    is_image: bool = True
    annotations: list[tuple[int, Any]] = field(default_factory=list)
    layers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


class DarwinReader(FormatReader):
    """Reads files, each of which is of one item."""

    def read(self, file: SourceFile, notes: ReadNotes) -> Iterator[Entry]:
        """Yield an entry for each image of the item. Raises ManifestError."""
        document: dict[str, Any] = {}
        annotations: list[tuple[int, Any]] = []
        for key, position, value in members(file.path, file.shown_as, {"annotations"}):
            if key == "annotations" and position is not None:
                annotations.append((position, value))
            else:
                document[key] = value
        if not is_item(document):
            raise NotAnnotations(
                "the file is not Darwin JSON: it has no 'item'",
                where=file.shown_as,
                remedy="Export the dataset from V7 as Darwin JSON 2.0.",
            )
        slots = _slots(document)
        if not slots:
            raise ManifestError("the item has no slots", where=f"{file.shown_as}: item", remedy="Add 'slots'.")
        properties = document.get("properties")
        if isinstance(properties, list) and properties:
            what = "properties of items are labels of whole images, and are not read as shapes"
            notes.count(what, len(properties), at="properties")
        for position, annotation in annotations:
            _assign(annotation, position, slots, notes)
        elements = Elements("annotations", "annotations[{}]", shapes_of, ["darwin"])
        for number, slot in enumerate(slots):
            if not slot.is_image:
                what = "slots of items are not images (videos, documents, scans), and are not read"
                notes.count(what, at=f"item.slots[{number}]")
                continue
            _add_masks(slot, notes)
            place = f"item.slots[{number}]" if len(slots) > 1 else ""
            # The name of a file with several slots is the item's, and not an image's.
            stem = file.path.relative_to(file.root).with_suffix("").as_posix() if len(slots) == 1 else None
            entry = elements.entry(slot.names[0] if slot.names else "", slot.annotations, place=place, size=slot.size)
            yield replace(entry, names=slot.names, stem=stem)


def _slots(document: dict[str, Any]) -> list[_Slot]:
    item = document.get("item")
    if not isinstance(item, dict):
        image = document["image"]
        names = [image.get(key) for key in ("original_filename", "filename")]
        return [_Slot("", image_size(image.get("width"), image.get("height")), _names(image.get("path"), names))]
    found = item.get("slots")
    slots = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    made: list[_Slot] = []
    for slot in slots:
        files = slot.get("source_files")
        first = files[0] if isinstance(files, list) and files else None
        file_name = first.get("file_name") if isinstance(first, dict) else first
        names = [item.get("name"), file_name] if len(slots) == 1 else [file_name]
        kind = slot.get("type", "image")
        made.append(
            _Slot(
                str(slot.get("slot_name", "")),
                image_size(slot.get("width"), slot.get("height")),
                _names(item.get("path"), names),
                kind == "image" and not slot.get("frame_count"),
            )
        )
    return made or [_Slot("", None, _names(item.get("path"), [item.get("name")]))]


def _names(folder: Any, names: list[Any]) -> tuple[str, ...]:
    folder = folder.strip("/") if isinstance(folder, str) else ""
    texts = [name for name in names if isinstance(name, str) and name]
    inside = [f"{folder}/{name}" for name in texts] if folder else []
    return tuple(dict.fromkeys((*inside, *texts)))


def _assign(annotation: Any, position: int, slots: list[_Slot], notes: ReadNotes) -> None:
    """Add an annotation to its slot."""
    where = f"annotations[{position}]"
    if not isinstance(annotation, dict):
        notes.leave_out(f"annotations are {shortened(annotation)}, not objects", where)
        return
    named = annotation.get("slot_names")
    wanted = named[0] if isinstance(named, list) and named else None
    slot = next((one for one in slots if one.name == wanted), slots[0] if wanted is None else None)
    if slot is None:
        notes.leave_out("annotations are of a slot that the item does not have", f"{where}: {shortened(wanted)}")
    elif annotation.get("name") == _RASTER_LAYER or "raster_layer" in annotation:
        slot.layers.append((position, annotation))
    elif "frames" in annotation:
        notes.count("annotations are of frames of a video, and are not read", at=where)
    else:
        slot.annotations.append((position, annotation))


def _add_masks(slot: _Slot, notes: ReadNotes) -> None:
    """Give each mask of a slot its runs."""
    runs: dict[Any, list[list[int]]] = {}
    pixels = 0
    for position, annotation in slot.layers:
        where = f"annotations[{position}]"
        layer = annotation.get("raster_layer")
        dense = layer.get("dense_rle") if isinstance(layer, dict) else None
        mapping = layer.get("mask_annotation_ids_mapping") if isinstance(layer, dict) else None
        if not isinstance(mapping, dict) or not isinstance(dense, list) or not _are_runs(dense):
            notes.leave_out("raster layers can't be read: 'dense_rle' or its mapping is wrong", where)
            continue
        by_value: dict[int, list[list[int]]] = {}
        start = 0
        for value, count in zip(dense[::2], dense[1::2], strict=True):
            if value:
                by_value.setdefault(value, []).append([start, count])
            start += count
        pixels = max(pixels, start)
        for mask, value in mapping.items():
            if type(value) is int:
                # Each value is of one mask.
                runs[mask] = by_value.pop(value, [])
    size = slot.size
    for at, (position, annotation) in enumerate(slot.annotations):
        if "mask" in annotation:
            own = runs.get(annotation["id"]) if isinstance(annotation.get("id"), str) else None
            found = {MASK_RUNS: own, MASK_SIZE: [*(size or (0, 0)), pixels]}
            slot.annotations[at] = (position, {**annotation, **found})


def _are_runs(dense: list[Any]) -> bool:
    """Whether a list alternates between values and how often they follow each other."""
    return (
        len(dense) % 2 == 0 and all(type(one) is int and one >= 0 for one in dense) and sum(dense[1::2]) <= PIXEL_LIMIT
    )
