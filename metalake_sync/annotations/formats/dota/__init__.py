"""DOTA: boxes of four corners, one text for each image. Source: captain-whu.github.io/DOTA."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions


class DotaFormat(AnnotationFormat):
    """Lines of eight numbers, a class and how difficult the object is."""

    name = "dota"
    title = "DOTA"
    documentation = "https://captain-whu.github.io/DOTA/dataset.html"
    extensions = (".txt",)
    loses = ("facts of images ('imagesource', 'gsd')",)

    def recognizes(self, head: FileHead) -> bool:
        """Its first line is eight numbers, a class and a number, or it names the source of the image."""
        from metalake_sync.annotations.formats.dota.reading import is_about_image, is_label

        first = head.first_line()
        return is_about_image(first) or is_label(first.split())

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.dota.reading import DotaReader

        return DotaReader(options.normalized)


FORMAT = DotaFormat()
