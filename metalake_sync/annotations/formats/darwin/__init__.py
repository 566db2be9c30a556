"""Darwin JSON (V7): one JSON file for each item. Source: docs.v7labs.com, "Darwin JSON"."""

from __future__ import annotations

from typing import Any

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, OutputFormat, ReadOptions


class DarwinFormat(AnnotationFormat):
    """A JSON object with `item` and `annotations`, or with `image` in version 1."""

    name = "darwin"
    title = "Darwin JSON (V7)"
    documentation = "https://docs.v7labs.com/reference/darwin-json"
    extensions = (".json",)
    writes = True
    loses = ("tags and properties of items", "cuboids", "frames of videos", "holes of polygons and masks")

    def recognizes(self, head: FileHead) -> bool:
        """A JSON object with an `item` that has slots, with the address of Darwin's schema, or with an `image` that has
        an original file name."""
        for key, position, value in head.members():
            if key == "schema_ref" and isinstance(value, str) and "darwin" in value:
                return True
            if key == "item" and isinstance(value, dict):
                return "slots" in value or "name" in value
            if key == "image" and isinstance(value, dict):
                return "original_filename" in value
            if key == "annotations":
                return position is not None and isinstance(value, dict) and "slot_names" in value
            if key in ("images", "items", "shapes"):
                return False
        return False

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.darwin.reading import DarwinReader

        return DarwinReader()

    def output(self) -> OutputFormat:
        from metalake_sync.annotations.formats.darwin.writing import DarwinOutput

        return DarwinOutput()


def is_item(document: dict[str, Any]) -> bool:
    """Whether a document is of an item: of version 2, or of version 1."""
    return isinstance(document.get("item"), dict) or isinstance(document.get("image"), dict)


FORMAT = DarwinFormat()
