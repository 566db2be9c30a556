"""Pascal VOC: one XML file for each image."""

from __future__ import annotations

import re

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, OutputFormat, ReadOptions

_ROOT = re.compile(rb"<annotation[\s/>]")


class VocFormat(AnnotationFormat):
    """XML with the root `<annotation>`."""

    name = "voc"
    title = "Pascal VOC"
    documentation = "http://host.robots.ox.ac.uk/pascal/VOC/"
    extensions = (".xml",)
    loses = ("parts",)
    writes = True
    explains = True

    def recognizes(self, head: FileHead) -> bool:
        """Its root is `<annotation>`."""
        return _ROOT.search(head.start()) is not None

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.voc.documents import VocReader

        return VocReader(options.normalized)

    def output(self) -> OutputFormat:
        from metalake_sync.annotations.formats.voc.documents import VocOutput

        return VocOutput()


FORMAT = VocFormat()
