"""The MetaLake's own annotation JSON, in its old and its new form."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FormatReader, OutputFormat, ReadOptions
from metalake_sync.annotations.formats.file_head import FileHead


class MetalakeFormat(AnnotationFormat):
    """One JSON file with a list of images."""

    name = "metalake"
    extensions = (".json",)
    writes = True
    options = frozenset({"old_form", "shape_type"})

    def recognizes(self, head: FileHead) -> bool:
        """A JSON object with 'images' whose elements are not COCO's."""
        has_images = has_categories = False
        for key, position, value in head.members():
            if key == "annotations":
                return False
            if key == "images" and position is not None:
                return not (isinstance(value, dict) and ("file_name" in value or "id" in value))
            has_images |= key == "images" and isinstance(value, list)
            has_categories |= key == "categories"
        return has_images and not has_categories

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.metalake.reading import MetalakeForm, MetalakeReader

        chosen = options.chosen
        return MetalakeReader(options.normalized, MetalakeForm(chosen.get("old_form"), chosen.get("shape_type")))

    def output(self) -> OutputFormat:
        from metalake_sync.annotations.formats.metalake.writing import MetalakeOutput

        return MetalakeOutput()


FORMAT = MetalakeFormat()
