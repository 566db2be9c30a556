"""CVAT for images 1.1: one XML file with all images of a task or project. Source: docs.cvat.ai, "XML annotation
format"."""

from __future__ import annotations

import re

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, OutputFormat, ReadOptions

_ROOT = re.compile(rb"<annotations[\s/>]")


class CvatFormat(AnnotationFormat):
    """XML with the root `<annotations>`."""

    name = "cvat"
    title = "CVAT for images 1.1"
    documentation = "https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/"
    extensions = (".xml",)
    writes = True
    loses = (
        "tags of images",
        "cuboids",
        "tracks of videos",
        "attributes of points of skeletons",
        "holes of masks",
    )

    def recognizes(self, head: FileHead) -> bool:
        """Its root is `<annotations>`."""
        return _ROOT.search(head.start()) is not None

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.cvat.reading import CvatReader

        return CvatReader()

    def output(self) -> OutputFormat:
        from metalake_sync.annotations.formats.cvat.writing import CvatOutput

        return CvatOutput()


FORMAT = CvatFormat()
