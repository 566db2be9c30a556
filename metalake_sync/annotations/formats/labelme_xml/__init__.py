"""LabelMe XML (the web tool): one XML file for each image. Source: labelme.csail.mit.edu, "annotation XML"."""

from __future__ import annotations

import re

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions

_ROOT = re.compile(rb"<annotation[\s/>]")
_OWN = re.compile(
    rb"<sourceAnnotation>\s*LabelMe|<deleted[\s/>]|<imagesize[\s/>]|<segm[\s/>]|<polygon>\s*(<username|<pt)"
)
"""Elements that Pascal VOC does not have."""


class LabelmeXmlFormat(AnnotationFormat):
    """XML with the root `<annotation>`, as Pascal VOC, and with elements of its own."""

    name = "labelme_xml"
    title = "LabelMe XML"
    documentation = "http://labelme.csail.mit.edu/Release3.0/"
    extensions = (".xml",)
    loses = ("deleted objects", "parts of objects", "holes of masks")

    def recognizes(self, head: FileHead) -> bool:
        """Its root is `<annotation>`, and it has elements that only LabelMe writes."""
        start = head.start()
        own = _OWN.search(start)
        if _ROOT.search(start) is None or own is None:
            return False
        box = start.find(b"<bndbox")
        return box < 0 or own.start() < box

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.labelme_xml.reading import LabelmeXmlReader

        return LabelmeXmlReader()


FORMAT = LabelmeXmlFormat()
