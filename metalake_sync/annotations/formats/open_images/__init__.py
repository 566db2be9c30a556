"""Open Images: tables of boxes in fractions, with class names in a table of their own. Source:
storage.googleapis.com/openimages, "Data formats"."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions

BOXES = ("imageid", "labelname", "xmin", "xmax", "ymin", "ymax")
IMAGE_LABELS = ("imageid", "source", "labelname", "confidence")


class OpenImagesFormat(AnnotationFormat):
    """Tables with the columns ImageID, LabelName, XMin, XMax, YMin and YMax, and those of labels of whole images."""

    name = "open_images"
    title = "Open Images"
    documentation = "https://storage.googleapis.com/openimages/web/download_v7.html"
    extensions = (".csv",)
    loses = ("labels of whole images", "masks and relationships")

    def recognizes(self, head: FileHead) -> bool:
        """Its first row names the columns."""
        from metalake_sync.annotations.formats.tables import columns_of

        columns = {*columns_of(head)}
        return {*BOXES} <= columns or {*IMAGE_LABELS} <= columns

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.open_images.reading import OpenImagesReader

        return OpenImagesReader()


FORMAT = OpenImagesFormat()
