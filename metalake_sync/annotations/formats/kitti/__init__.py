"""KITTI's object labels: one text for each image. Source: cvlibs.net, readme of the object development kit."""

from __future__ import annotations

from pathlib import Path

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, OutputFormat, ReadOptions

_LABEL_FOLDERS = ("label_2", "label_3")
_OTHER_FOLDERS = frozenset({"calib", "velodyne", "planes"})
"""Folders of the data set whose texts hold something else than labels."""


class KittiFormat(AnnotationFormat):
    """Lines of a class and fourteen numbers, or fifteen with a score."""

    name = "kitti"
    title = "KITTI object labels"
    documentation = "https://www.cvlibs.net/datasets/kitti/eval_object.php"
    extensions = (".txt",)
    writes = True
    loses = ("3D boxes", "regions 'DontCare'")

    def may_hold(self, path: Path) -> bool:
        folder = path.parent
        return folder.name not in _OTHER_FOLDERS or not any((folder.parent / name).is_dir() for name in _LABEL_FOLDERS)

    def recognizes(self, head: FileHead) -> bool:
        """Its first line is a class and fourteen or fifteen numbers."""
        from metalake_sync.annotations.formats.kitti.reading import is_label

        return is_label(head.first_line().split())

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.kitti.reading import KittiReader

        return KittiReader()

    def output(self) -> OutputFormat:
        from metalake_sync.annotations.formats.kitti.writing import KittiOutput

        return KittiOutput()


FORMAT = KittiFormat()
