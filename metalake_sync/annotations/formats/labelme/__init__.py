"""LabelMe (the desktop tool): one JSON file for each image. Source: github.com/wkentaro/labelme, examples."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, OutputFormat, ReadOptions


class LabelmeFormat(AnnotationFormat):
    """A JSON object with `shapes`."""

    name = "labelme"
    title = "LabelMe JSON"
    documentation = "https://github.com/wkentaro/labelme"
    extensions = (".json",)
    writes = True
    loses = ("flags of images", "holes of masks")

    def recognizes(self, head: FileHead) -> bool:
        """A JSON object with `shapes` whose elements have points, or with `shapes` and `imagePath`."""
        shapes = path = False
        for key, position, value in head.members():
            if key == "shapes":
                if isinstance(value, dict) and position is not None and "points" in value:
                    return True
                shapes = position is not None or isinstance(value, list)
            path |= key == "imagePath"
            if shapes and path:
                return True
        return False

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.labelme.reading import LabelmeReader

        return LabelmeReader()

    def output(self) -> OutputFormat:
        from metalake_sync.annotations.formats.labelme.writing import LabelmeOutput

        return LabelmeOutput()


FORMAT = LabelmeFormat()
