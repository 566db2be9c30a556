"""VGG Image Annotator: JSON, projects and CSV of its versions 1 and 2. Source: robots.ox.ac.uk/~vgg/software/via."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions

PROJECT_KEY = "_via_img_metadata"
COLUMNS = ("region_shape_attributes", "region_attributes")


class ViaFormat(AnnotationFormat):
    """A JSON object with an entry for each image, or a table with a row for each region."""

    name = "via"
    title = "VGG Image Annotator 1 and 2"
    documentation = "https://www.robots.ox.ac.uk/~vgg/software/via/"
    extensions = (".json", ".csv")
    loses = ("attributes of whole images", "regions without a label")

    def recognizes(self, head: FileHead) -> bool:
        """A JSON object whose first entry has 'filename' and 'regions', a project, or a table with VIA's columns."""
        if head.file.path.suffix.lower() == ".csv":
            from metalake_sync.annotations.formats.tables import columns_of

            return {*COLUMNS} <= {*columns_of(head)}
        for key, _, value in head.members():
            if key.startswith("_via_"):
                return True
            return isinstance(value, dict) and "filename" in value and "regions" in value
        return False

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.via.reading import ViaReader

        return ViaReader(options.normalized)


FORMAT = ViaFormat()
