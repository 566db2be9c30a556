"""COCO panoptic: segments of things and of stuff, whose pixels are in a PNG of ids. Source: cocodataset.org, "Data
format".

The reader is COCO's: it knows a file by its annotations.
"""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions


class CocoPanopticFormat(AnnotationFormat):
    """One JSON file with the lists of COCO, and a PNG for each image."""

    name = "coco_panoptic"
    title = "COCO panoptic"
    documentation = "https://cocodataset.org/#format-data"
    extensions = (".json",)
    loses = ("holes of masks",)

    def recognizes(self, head: FileHead) -> bool:
        """A JSON object with 'annotations' that have 'segments_info'. COCO takes a file with other lists in front."""
        for key, _, value in head.members():
            if key == "annotations":
                return isinstance(value, dict) and "segments_info" in value
        return False

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.coco.reading import CocoReader

        return CocoReader(options.normalized)


FORMAT = CocoPanopticFormat()
