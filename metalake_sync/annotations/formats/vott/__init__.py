"""VoTT 2: its JSON export, the JSON of one asset, and its CSV. Source: github.com/microsoft/VoTT."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions

COLUMNS = ("image", "xmin", "ymin", "xmax", "ymax", "label")
_SETTINGS = ("videoSettings", "activeLearningSettings", "exportFormat", "sourceConnection")


class VottFormat(AnnotationFormat):
    """A JSON object with 'assets' and their 'regions', or a table with a row for each box."""

    name = "vott"
    title = "VoTT 2"
    documentation = "https://github.com/microsoft/VoTT"
    extensions = (".json", ".csv")
    loses = ("frames of videos", "regions without a tag")

    def recognizes(self, head: FileHead) -> bool:
        """A JSON object with 'assets' or an 'asset' and its 'regions', or a table with VoTT's columns."""
        if head.file.path.suffix.lower() == ".csv":
            from metalake_sync.annotations.formats.tables import columns_of

            return {*COLUMNS} <= {*columns_of(head)}
        for key, _, value in head.members():
            if key in _SETTINGS and isinstance(value, dict):
                return True
            if key == "assets" and isinstance(value, dict):
                first = next(iter(value.values()), None)
                return isinstance(first, dict) and "asset" in first
            if key == "asset":
                return isinstance(value, dict) and "name" in value and "path" in value
        return False

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.vott.reading import VottReader

        return VottReader(options.normalized)


FORMAT = VottFormat()
