"""BDD100K and Scalabel: frames with boxes, polygons, masks and poses. Source: doc.bdd100k.com, doc.scalabel.ai."""

from __future__ import annotations

from typing import Any

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions
from metalake_sync.annotations.json_stream import TOP_LEVEL

_KEYS = ("labels", "videoName", "frameIndex", "timestamp", "attributes")


class Bdd100kFormat(AnnotationFormat):
    """A JSON list of frames, or an object with 'frames'."""

    name = "bdd100k"
    title = "BDD100K and Scalabel"
    documentation = "https://doc.bdd100k.com/format.html"
    extensions = (".json",)
    loses = ("attributes of whole images", "3D boxes", "holes of masks")

    def recognizes(self, head: FileHead) -> bool:
        """A list of objects with 'name' and 'labels', or an object with 'frames' of such objects."""
        for key, position, value in head.members():
            if key == TOP_LEVEL:
                return position is not None and _is_frame(value)
            if key == "frames":
                return position is not None and (_is_frame(value) or (isinstance(value, dict) and "objects" in value))
        return False

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.bdd100k.reading import Bdd100kReader

        return Bdd100kReader()


def _is_frame(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str) and any(key in value for key in _KEYS)


FORMAT = Bdd100kFormat()
