"""Labelbox: an export with one data row a line. Source: docs.labelbox.com, "Export v2"."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions
from metalake_sync.annotations.json_stream import TOP_LEVEL


class LabelboxFormat(AnnotationFormat):
    """JSON Lines, each an object with `data_row`."""

    name = "labelbox"
    title = "Labelbox NDJSON (export v2)"
    documentation = "https://docs.labelbox.com/reference/label-export"
    extensions = (".ndjson", ".jsonl", ".json")
    loses = ("answers for whole images", "masks behind an address", "labels of other annotators", "relationships")

    def recognizes(self, head: FileHead) -> bool:
        """Its first object has `data_row`."""
        for key, _, value in head.members():
            if key == TOP_LEVEL:
                return isinstance(value, dict) and "data_row" in value
            if key == "data_row":
                return True
            if key in ("images", "annotations", "shapes", "items"):
                return False
        return False

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.labelbox.reading import LabelboxReader

        return LabelboxReader()


FORMAT = LabelboxFormat()
