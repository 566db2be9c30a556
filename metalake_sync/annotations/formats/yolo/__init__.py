"""YOLO: one text file for each image, one line for each object, in fractions of the image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from metalake_sync.annotations.entries import ReadNotes, SourceFile
from metalake_sync.annotations.formats.base import (
    AnnotationFormat,
    FileHead,
    FormatReader,
    ListedFiles,
    OutputFormat,
    ReadOptions,
)

DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAME_FILES = ("classes.txt", "obj.names", "labels.txt", "_darknet.labels")
"""The last one is of Roboflow's exports for Darknet."""


class YoloFormat(AnnotationFormat):
    """Label files, and a data file or a list that names the classes."""

    name = "yolo"
    title = "YOLO (Ultralytics, Darknet)"
    documentation = "https://docs.ultralytics.com/datasets/"
    extensions = (".txt",)
    writes = True
    explains = True
    side_files = frozenset((*DATA_FILES, *NAME_FILES))
    index_extensions = (".yaml", ".yml", ".data")
    """`.data` is Darknet's data file: `names = obj.names`."""

    def recognizes(self, head: FileHead) -> bool:
        """Its first line is one of labels, and begins with a number."""
        from metalake_sync.annotations.formats.label_texts import is_number
        from metalake_sync.annotations.formats.yolo.label_files import looks_like_labels

        words = head.first_line(after="#").replace(",", " ").replace(";", " ").split()
        return len(words) > 1 and looks_like_labels(words) and is_number(words[0])

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.yolo.label_files import YoloReader

        return YoloReader(notes)

    def listed(self, index_file: Path, shown_as: str, notes: ReadNotes) -> Iterator[ListedFiles]:
        from metalake_sync.annotations.formats.yolo.data_files import LabelsOfDataFile

        return LabelsOfDataFile(index_file, shown_as, notes).places()

    def was_meant(self, file: SourceFile) -> bool:
        from metalake_sync.annotations.formats.yolo.label_files import may_be_other_text

        return not may_be_other_text(file)

    def output(self) -> OutputFormat:
        from metalake_sync.annotations.formats.yolo.writing import YoloOutput

        return YoloOutput()


FORMAT = YoloFormat()
