"""The CSV of TensorFlow's object detection tutorials: one row for each box. Roboflow exports it as _annotations.csv."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions

COLUMNS = ("filename", "class", "xmin", "ymin", "xmax", "ymax")


class TfCsvFormat(AnnotationFormat):
    """A table with the columns filename, width, height, class, xmin, ymin, xmax and ymax."""

    name = "tf_csv"
    title = "TensorFlow Object Detection CSV"
    documentation = "https://tensorflow-object-detection-api-tutorial.readthedocs.io/en/latest/training.html"
    extensions = (".csv",)

    def recognizes(self, head: FileHead) -> bool:
        """Its first row names the columns."""
        from metalake_sync.annotations.formats.tables import columns_of

        return {*COLUMNS} <= {*columns_of(head)}

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.tf_csv.reading import TfCsvReader

        return TfCsvReader(options.normalized)


FORMAT = TfCsvFormat()
