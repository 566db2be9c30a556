"""Datumaro: one JSON file for each subset. Source: open-edge-platform.github.io/datumaro, "Datumaro format"."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, OutputFormat, ReadOptions


class DatumaroFormat(AnnotationFormat):
    """A JSON object with `items` and `categories`."""

    name = "datumaro"
    title = "Datumaro"
    documentation = "https://open-edge-platform.github.io/datumaro/"
    extensions = (".json",)
    writes = True
    loses = ("labels and captions of images", "cuboids", "holes of masks")

    def recognizes(self, head: FileHead) -> bool:
        """A JSON object with its version, or with `items` that have annotations."""
        has_categories = False
        for key, position, value in head.members():
            if key == "dm_format_version":
                return True
            has_categories |= key == "categories" and isinstance(value, dict)
            if key == "items":
                has_elements = position is not None and isinstance(value, dict)
                return (value == [] and has_categories) or (has_elements and "annotations" in value and "id" in value)
            if key in ("images", "annotations", "shapes", "item"):
                return False
        return False

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.datumaro.reading import DatumaroReader

        return DatumaroReader()

    def output(self) -> OutputFormat:
        from metalake_sync.annotations.formats.datumaro.writing import DatumaroOutput

        return DatumaroOutput()


FORMAT = DatumaroFormat()
