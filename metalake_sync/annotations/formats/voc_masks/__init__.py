"""Pascal VOC's segmentation: PNGs of classes in SegmentationClass, and of objects in SegmentationObject. Source:
host.robots.ox.ac.uk/pascal/VOC, development kit; CVAT, "Segmentation mask 1.1"."""

from __future__ import annotations

from pathlib import Path

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions

CLASSES = "SegmentationClass"
OBJECTS = "SegmentationObject"
LABEL_MAP = "labelmap.txt"

_PNG = b"\x89PNG\r\n\x1a\n"


class VocMasksFormat(AnnotationFormat):
    """PNGs in a folder SegmentationClass. They look like images, so the folder is what they are recognized by."""

    name = "voc_masks"
    title = "Pascal VOC masks"
    documentation = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/"
    extensions = (".png",)
    loses = ("void pixels", "holes of masks")
    side_files = frozenset({LABEL_MAP})

    def may_hold(self, path: Path) -> bool:
        return any(part.startswith(CLASSES) for part in path.parts[:-1])

    def recognizes(self, head: FileHead) -> bool:
        """A PNG in a folder of class masks."""
        return self.may_hold(head.file.path) and head.start().startswith(_PNG)

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.voc_masks.reading import VocMasksReader

        return VocMasksReader()


FORMAT = VocMasksFormat()
