"""MOTChallenge: boxes of the frames of a sequence. Source: motchallenge.net; MOT16, arXiv 1603.00831."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions


class MotFormat(AnnotationFormat):
    """gt/gt.txt or det/det.txt of a sequence: rows of numbers that are separated by commas."""

    name = "mot"
    title = "MOTChallenge"
    documentation = "https://motchallenge.net/instructions/"
    extensions = (".txt",)
    loses = ("boxes that do not count",)

    def recognizes(self, head: FileHead) -> bool:
        """Its first row has seven to ten numbers, of which the first two are a frame and a track."""
        from metalake_sync.annotations.formats.mot.reading import is_row

        return is_row(head.first_line(after="#").split(","))

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.mot.reading import MotReader

        return MotReader()


FORMAT = MotFormat()
