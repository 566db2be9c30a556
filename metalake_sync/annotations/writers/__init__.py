"""Canonical records, written as MetaLake JSON, COCO, YOLO or VOC.

Owns: the one call that writes, and its report of what the format can't hold. Must not: know where records come from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import assert_never

from metalake_sync.annotations.images import Size
from metalake_sync.annotations.writers.classed import CLASSED, ClassedRecords, class_order
from metalake_sync.annotations.writers.fitting import Fitting, WriteReport
from metalake_sync.annotations.writers.metalake import MetalakeWriter
from metalake_sync.annotations.writers.per_image import VocWriter
from metalake_sync.core.shapes import FormatName, ImageRecord
from metalake_sync.errors import SyncError

__all__ = ["CLASSED", "ClassedRecords", "WriteReport", "class_order", "write_records"]


def write_records(
    records: Iterable[ImageRecord],
    format: FormatName,
    folder: Path,
    size_of: Callable[[str], Size | None] = lambda _: None,
) -> WriteReport:
    """Write records, one for each image, as they come; `folder` is made where it is not there.

    `size_of`: width and height in pixels of an image, by its name; YOLO can't be written without, and no format can
    hold a normalized record without. Class ids are in the order of the names. Raises SyncError where the folder can't
    be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        match format:
            case "coco" | "yolo":
                return _write_classed(records, format, folder, size_of)
            case "metalake":
                return _write(records, MetalakeWriter(folder), Fitting(format, size_of))
            case "voc":
                return _write(records, VocWriter(folder), Fitting(format, size_of))
            case _:
                assert_never(format)
    except OSError as error:
        raise SyncError(
            f"annotations can't be written ({error.strerror})",
            where=str(error.filename or folder),
            remedy="Make the folder writable, or choose another.",
        ) from None


def _write_classed(
    records: Iterable[ImageRecord], format: FormatName, folder: Path, size_of: Callable[[str], Size | None]
) -> WriteReport:
    with contextlib.closing(ClassedRecords(format, size_of)) as classed:
        for record in records:
            classed.take(record)
        classed.write(folder, class_order([classed.labels]))
    return classed.report


def _write(records: Iterable[ImageRecord], writer: MetalakeWriter | VocWriter, fitting: Fitting) -> WriteReport:
    with writer:
        for record in records:
            fitted = fitting.fit(record)
            if fitted is not None:
                writer.write(fitted, fitting.size_of(record.image))
    return fitting.report
