"""Cityscapes: polygons of one image in each JSON file. Source: github.com/mcordts/cityscapesScripts, README."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions


class CityscapesFormat(AnnotationFormat):
    """A JSON object with 'imgHeight', 'imgWidth' and 'objects'."""

    name = "cityscapes"
    title = "Cityscapes polygons"
    documentation = "https://github.com/mcordts/cityscapesScripts"
    extensions = (".json",)
    loses = ("deleted objects",)

    def recognizes(self, head: FileHead) -> bool:
        """A JSON object with the height of the image and its objects."""
        has_size = False
        for key, _, value in head.members():
            has_size |= key in ("imgHeight", "imgWidth")
            if has_size and key == "objects":
                return isinstance(value, dict | list)
            if not has_size and key not in ("objects",):
                return False
        return False

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.cityscapes.reading import CityscapesReader

        return CityscapesReader()


FORMAT = CityscapesFormat()
