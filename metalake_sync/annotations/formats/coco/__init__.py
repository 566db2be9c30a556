"""COCO: detection, segmentation and keypoints. Source: cocodataset.org, "Data format"."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, OutputFormat, ReadOptions
from metalake_sync.annotations.json_stream import TOP_LEVEL


class CocoFormat(AnnotationFormat):
    """One JSON file with three lists: images, annotations and categories."""

    name = "coco"
    title = "COCO"
    documentation = "https://cocodataset.org/#format-data"
    extensions = (".json",)
    loses = ("captions", "labels of whole images", "holes of masks")
    writes = True

    def recognizes(self, head: FileHead) -> bool:
        """A JSON object with 'annotations', with 'images' that have ids or file names, or with 'categories'; or a list
        of results, which the reader refuses. The reader also takes panoptic files."""
        has_images = has_categories = False
        for key, position, value in head.members():
            if key == TOP_LEVEL:
                return isinstance(value, dict) and "image_id" in value and "category_id" in value
            if key == "annotations":
                return not (isinstance(value, dict) and "segments_info" in value)
            if key == "images" and position is not None:
                return isinstance(value, dict) and ("file_name" in value or "id" in value)
            has_images |= key == "images" and isinstance(value, list)
            has_categories |= key == "categories"
        return has_images and has_categories

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.coco.reading import CocoReader

        return CocoReader(options.normalized)

    def output(self) -> OutputFormat:
        from metalake_sync.annotations.formats.coco.writing import CocoOutput

        return CocoOutput()


FORMAT = CocoFormat()
