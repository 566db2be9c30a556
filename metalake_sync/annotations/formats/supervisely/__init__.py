"""Supervisely: a project with one JSON file for each image. Source: docs.supervisely.com, "annotation format"."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions


class SuperviselyFormat(AnnotationFormat):
    """A JSON object with `objects` and `size`."""

    name = "supervisely"
    title = "Supervisely"
    documentation = "https://docs.supervisely.com/customization-and-integration/00_ann_format_navi"
    extensions = (".json",)
    side_files = frozenset({"obj_class_to_machine_color.json"})
    loses = ("tags and descriptions of images", "holes of polygons and masks", "cuboids")

    def recognizes(self, head: FileHead) -> bool:
        """A JSON object with the `size` of an image and `objects` that have a `classTitle`."""
        size = tags = False
        for key, position, value in head.members():
            if key == "objects":
                if position is not None and isinstance(value, dict):
                    return "classTitle" in value or "geometryType" in value
                return size and tags
            size |= key == "size" and isinstance(value, dict)
            tags |= key == "tags" and (position is not None or value == [])
            if key in ("images", "annotations", "shapes", "items"):
                return False
        return False

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.supervisely.reading import SuperviselyReader

        return SuperviselyReader()


FORMAT = SuperviselyFormat()
