"""Create ML's object detection: a list of images. Source: developer.apple.com, "Building an object detector data
source"."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, OutputFormat, ReadOptions
from metalake_sync.annotations.json_stream import TOP_LEVEL


class CreateMlFormat(AnnotationFormat):
    """One JSON list with an object for each image."""

    name = "createml"
    title = "Create ML object detection"
    documentation = "https://developer.apple.com/documentation/createml/building-an-object-detector-data-source"
    extensions = (".json",)
    writes = True

    def recognizes(self, head: FileHead) -> bool:
        """A list of objects with 'image' and 'annotations'."""
        for key, position, value in head.members():
            return (
                key == TOP_LEVEL
                and position is not None
                and isinstance(value, dict)
                and ("image" in value or "imagefilename" in value)
                and any(isinstance(value.get(name), list) for name in ("annotations", "annotation"))
            )
        return False

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.createml.reading import CreateMlReader

        return CreateMlReader(options.normalized)

    def output(self) -> OutputFormat:
        from metalake_sync.annotations.formats.createml.writing import CreateMlOutput

        return CreateMlOutput()


FORMAT = CreateMlFormat()
