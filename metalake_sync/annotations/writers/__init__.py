"""Canonical records, written as MetaLake JSON, COCO, YOLO or VOC.

Owns: the one call that writes, and its report of what the format can't hold. Must not: know where records come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import assert_never

from metalake_sync.annotations.pictures import Size
from metalake_sync.annotations.writers.coco import CocoWriter
from metalake_sync.annotations.writers.fitting import Fitting, WriteReport
from metalake_sync.annotations.writers.metalake import MetalakeWriter
from metalake_sync.annotations.writers.per_picture import VocWriter, YoloWriter
from metalake_sync.core.shapes import FormatName, ImageRecord
from metalake_sync.errors import SyncError

__all__ = ["WriteReport", "write_records"]


def write_records(
    records: Iterable[ImageRecord],
    format: FormatName,
    folder: Path,
    size_of: Callable[[str], Size | None] = lambda _: None,
) -> WriteReport:
    """Write records, one for each image, as they come; `folder` is made where it is not there.

    `size_of`: width and height in pixels of an image, by its name; YOLO can't be written without, and no format can
    hold a normalized record without. Raises SyncError where the folder can't be written.
    """
    fitting = Fitting(format, size_of)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer: MetalakeWriter | CocoWriter | YoloWriter | VocWriter
        match format:
            case "metalake":
                writer = MetalakeWriter(folder)
            case "coco":
                writer = CocoWriter(folder)
            case "yolo":
                writer = YoloWriter(folder)
            case "voc":
                writer = VocWriter(folder)
            case _:
                assert_never(format)
        with writer:
            for record in records:
                fitted = fitting.fit(record)
                if fitted is not None:
                    writer.write(fitted, size_of(record.image))
    except OSError as error:
        raise SyncError(
            f"annotations can't be written ({error.strerror})",
            where=str(error.filename or folder),
            remedy="Make the folder writable, or choose another.",
        ) from None
    return fitting.report
